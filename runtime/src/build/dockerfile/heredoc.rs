//! Heredocs: `<<NAME` in RUN, COPY and ADD, whose bodies follow the line.

use super::directives::DEFAULT_ESCAPE;
use super::expand::{Expander, Mode, Quotes};
use super::source::{Fault, Parsed, Position};

/// A heredoc, and its body once that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The line that ends the body.
    pub name: String,
    /// The file descriptor before the `<<`, 0 without one.
    pub descriptor: u32,
    /// No part of the word was quoted: variables in the body are replaced (in RUN, that is the shell's work).
    pub expand: bool,
    /// `<<-`: tabs at the start of the lines do not count.
    pub chomp: bool,
    /// The lines with their line ends, tabs included.
    pub body: String,
}

impl Heredoc {
    /// The body without the tabs that `<<-` removes.
    pub fn content(&self) -> String {
        if !self.chomp {
            return self.body.clone();
        }
        self.body.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// The heredocs that a whole instruction line announces, without their bodies.
pub(super) fn in_line(line: &str, at: Position) -> Parsed<Vec<Heredoc>> {
    // The escape directive does not matter here. A line whose quotes do not close has no heredocs.
    let mode = Mode { quotes: Quotes::Keep, raw_escapes: true, keep_unset: true };
    let words = Expander::new(DEFAULT_ESCAPE, &|_| None).words_in(line, mode).unwrap_or_default();
    let found = words.iter().map(|word| parse(word)).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|message| Fault::new(at, format!("heredoc: {message}")))?;
    Ok(found.into_iter().flatten().collect())
}

/// A word that is a heredoc and nothing else; an error if its quotes do not close.
pub(super) fn parse(word: &str) -> Result<Option<Heredoc>, String> {
    let digits = word.bytes().take_while(u8::is_ascii_digit).count();
    let Some(rest) = word[digits..].strip_prefix("<<") else { return Ok(None) };
    let (chomp, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
    let rest = rest.trim_start();
    if rest.is_empty() || rest.contains('<') {
        return Ok(None);
    }
    // The words with and without their quotes: if the number of quotes differs, some part was quoted.
    let mut expander = Expander::new(DEFAULT_ESCAPE, &|_| None);
    let mut words = |quotes| expander.words_in(rest, Mode { quotes, raw_escapes: false, keep_unset: true });
    let (plain, raw) = (words(Quotes::Remove)?, words(Quotes::Keep)?);
    let ([name], [raw]) = (plain.as_slice(), raw.as_slice()) else { return Ok(None) };
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    Ok(Some(Heredoc {
        name: name.clone(),
        descriptor: word[..digits].parse().unwrap_or(0),
        expand: quotes(name) == quotes(raw),
        chomp,
        body: String::new(),
    }))
}
