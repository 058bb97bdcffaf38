//! What docker replaces variables in, instruction by instruction. In the commands of RUN, CMD, ENTRYPOINT and
//! HEALTHCHECK it is nothing: they are the shell's.

use super::{Add, Command, Copy, Files, InlineFile, Instruction};
use super::{mount, ports};
use crate::build::dockerfile::expand::Expander;
use crate::build::dockerfile::source::{Fault, Parsed, Source, Word};
use crate::build::dockerfile::tree::Pair;
use crate::error::Result;
use crate::image::config::is_signal;

impl Source {
    /// A word of this text with the values of variables, without quotes and escapes.
    pub fn expand(&self, word: &Word, expander: &mut Expander<'_>) -> Result<Word> {
        expander.begin();
        one(word, expander).map_err(|fault| self.fault(fault))
    }
}

impl Instruction {
    /// The instruction, which stands in `source`, with the values of variables.
    ///
    /// Not that of the arguments of ARG, each of which sees those before it: use [`Source::expand`] on their defaults.
    pub fn expand(&self, source: &Source, expander: &mut Expander<'_>) -> Result<Self> {
        expander.begin();
        let command = self.expanded(expander).map_err(|fault| source.fault(fault))?;
        Ok(Self { command, ..self.clone() })
    }

    fn expanded(&self, expander: &mut Expander<'_>) -> Parsed<Command> {
        let mut command = self.command.clone();
        match &mut command {
            Command::Add(add) => expand_add(add, expander, self)?,
            Command::Copy(copy) => expand_copy(copy, expander, self)?,
            Command::Env(pairs) | Command::Label(pairs) => {
                *pairs = pairs.iter().map(|pair| expand_pair(pair, expander, self)).collect::<Parsed<_>>()?;
            }
            Command::Expose(words) => *words = expand_ports(words, expander)?,
            Command::Run(run) => {
                let mounts = run.mount_flags.iter().map(|flag| mount::parse(flag, expander));
                run.mounts = mounts.collect::<Parsed<_>>()?;
            }
            Command::StopSignal(word) => {
                *word = one(word, expander)?;
                if !is_signal(&word.text) {
                    return Err(Fault::new(word.at, format!("Invalid signal: {word}")));
                }
            }
            Command::User(word) | Command::Workdir(word) => *word = one(word, expander)?,
            Command::Volume(words) => {
                *words = words.iter().map(|word| one(word, expander)).collect::<Parsed<_>>()?;
                if let Some(word) = words.iter().find(|word| word.text.is_empty()) {
                    return Err(Fault::new(word.at, "VOLUME specified can not be an empty string"));
                }
            }
            Command::Arg(_)
            | Command::Cmd(_)
            | Command::Entrypoint(_)
            | Command::Healthcheck(_)
            | Command::Maintainer(_)
            | Command::OnBuild(_)
            | Command::Shell(_) => {}
        }
        Ok(command)
    }
}

fn one(word: &Word, expander: &mut Expander<'_>) -> Parsed<Word> {
    let text = expander.text(&word.text).map_err(|message| Fault::new(word.at, message))?;
    Ok(Word::new(text, word.at))
}

fn optional(word: &mut Option<Word>, expander: &mut Expander<'_>) -> Parsed<()> {
    if let Some(inner) = word {
        *inner = one(inner, expander)?;
    }
    word.take_if(|inner| inner.text.is_empty());
    Ok(())
}

fn expand_add(add: &mut Add, expander: &mut Expander<'_>, instruction: &Instruction) -> Parsed<()> {
    optional(&mut add.checksum, expander)?;
    expand_files(&mut add.files, expander, instruction)
}

fn expand_copy(copy: &mut Copy, expander: &mut Expander<'_>, instruction: &Instruction) -> Parsed<()> {
    expand_files(&mut copy.files, expander, instruction)
}

fn expand_files(files: &mut Files, expander: &mut Expander<'_>, instruction: &Instruction) -> Parsed<()> {
    optional(&mut files.chown, expander)?;
    optional(&mut files.chmod, expander)?;
    for word in files.sources.iter_mut().chain([&mut files.destination]) {
        *word = one(word, expander)?;
    }
    for file in files.inline.iter_mut().filter(|file| file.expand) {
        let content = expander
            .body(&file.content)
            .map_err(|message| Fault::new(instruction.at, format!("heredoc {}: {message}", file.name)))?;
        *file = InlineFile { name: std::mem::take(&mut file.name), content, expand: false };
    }
    Ok(())
}

fn expand_pair(pair: &Pair, expander: &mut Expander<'_>, instruction: &Instruction) -> Parsed<Pair> {
    let (name, value) = (one(&pair.name, expander)?, one(&pair.value, expander)?);
    match name.text.is_empty() {
        true => Err(Fault::new(name.at, format!("{} names can not be blank", instruction.name))),
        false => Ok(Pair { name, value, equals: pair.equals }),
    }
}

/// A word may become several.
fn expand_ports(words: &[Word], expander: &mut Expander<'_>) -> Parsed<Vec<Word>> {
    let (mut ports_named, mut count) = (Vec::new(), 0);
    for word in words {
        let expanded = expander.words(&word.text).map_err(|message| Fault::new(word.at, message))?;
        for port in &expanded {
            count += ports::count(port).map_err(|error| Fault::new(word.at, error.to_string()))?;
            ports::affordable(count).map_err(|error| Fault::new(word.at, error.to_string()))?;
        }
        ports_named.extend(expanded.into_iter().map(|text| Word::new(text, word.at)));
    }
    Ok(ports_named)
}
