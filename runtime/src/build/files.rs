//! `COPY` and `ADD`: what is selected, how it is called below the destination, and whose it becomes.

use std::cell::RefCell;
use std::fs::File;
use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;

use super::addresses::{Brought, Elsewhere};
use super::cache::{self, Found, Key};
use super::context::{Chmod, Context, Hashes, Patterns, Placed, Request, Selection, has_wildcard};
use super::dockerfile::instruction::{Files, InlineFile};
use super::dockerfile::{Command, Instruction, Source, Word};
use super::driver::{Build, Progress, Stage};
use super::explain::Copied;
use super::options::Event;
use super::origin::Place;
use super::remote::{Address, is_archive};
use super::step::Onto;
use crate::container::cp::{
    Extraction, Inside, New, Owner, Question, Typed, ask, look, make_directory, put, put_from, stream_in,
};
use crate::container::engine::Engine;
use crate::container::record::Record;
use crate::digest::Digest;
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::image::config::RunConfig;
use crate::image::tar::{BLOCK, Head, Kind, Time, header, join, padding};

/// Who a user is in a container's files.
pub(super) fn owner(engine: &Engine, record: &Record, user: &str) -> Result<Owner> {
    Ok(ask(engine, record, Question { owner: Some(user), ..Question::default() })?.owner)
}

/// An instruction, its variables expanded.
struct Wanted<'i> {
    instruction: &'i Instruction,
    files: &'i Files,
    /// What is not the build's own context.
    from: Option<Place>,
    /// The sources that are there, without those that are elsewhere.
    sources: Vec<Vec<u8>>,
    elsewhere: Vec<Elsewhere>,
    parents: bool,
    /// Archives are extracted.
    unpack: bool,
}

/// Where the instruction says that the files go.
struct Target<'t> {
    to: &'t Typed,
    /// One file is copied, which may be called as the destination is.
    single: bool,
    /// The files' owner, if that is known.
    owner: Option<Owner>,
}

/// What goes where.
struct Placing {
    to: Typed,
    /// The files' owner; `None`: they keep theirs.
    owner: Option<Owner>,
    mode: Option<Chmod>,
}

impl Wanted<'_> {
    /// How many sources are written, but for so many wildcards that match nothing.
    fn written(&self, unmatched: usize) -> usize {
        (self.files.sources.len() + self.files.inline.len()).saturating_sub(unmatched)
    }

    /// Refuses several sources where there may be no directory.
    fn fit(&self, to: &Typed, unmatched: usize) -> Result<()> {
        if self.written(unmatched) <= 1 || to.asserts_directory() {
            return Ok(());
        }
        let name = self.instruction.name;
        let text = format!(
            "When using {name} with more than one source file, the destination must be a directory and end with a /"
        );
        Err(Error::new(ErrorKind::Invalid, text))
    }

    fn exclude(&self) -> Result<Patterns> {
        Patterns::new(self.files.exclude.iter().map(|word| word.text.as_bytes()))
    }

    fn select(&self, context: &Context) -> Result<Selection> {
        let sources: Vec<&[u8]> = self.sources.iter().map(Vec::as_slice).collect();
        context.select(&Request { sources: &sources, parents: self.parents, exclude: &self.exclude()? })
    }

    fn mode(&self) -> Result<Option<Chmod>> {
        self.files.chmod.as_ref().map(|word| Chmod::parse(&word.text)).transpose()
    }

    /// How the files will be, as far as that is known without the image.
    fn placed(&self) -> Result<Placed> {
        Ok(Placed { owner: (!self.keeps_owners()).then_some((0, 0)), mode: self.mode()?, mtime: None })
    }

    /// The owner of files that are copied onto nothing, where only the image knows who that is.
    fn names_of_image(&self) -> Option<&str> {
        let chown = self.files.chown.as_ref().filter(|_| self.files.link)?;
        let number = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
        (!chown.text.split(':').all(number)).then_some(chown.text.as_str())
    }

    /// Owners mean something in images alone.
    fn keeps_owners(&self) -> bool {
        matches!(self.from, Some(Place::Image(_))) && self.files.chown.is_none()
    }
}

impl Build<'_> {
    /// Makes the working directory.
    pub(super) fn workdir(
        &mut self,
        stage: &mut Stage<'_>,
        path: &str,
        instruction: &Instruction,
    ) -> Progress<Option<u64>> {
        let path = Typed::inside(stage.state.absolute(path).as_bytes());
        let text = String::from_utf8_lossy(path.path()).into_owned();
        let run = RunConfig { working_dir: text.clone(), ..stage.state.run().clone() };
        let mut key = self.layer_key(&stage.state);
        key.add("directory", text.as_bytes());
        key.add("user", run.user.as_bytes());
        let created_by = instruction.original.clone();
        let source = stage.source;
        let made = self.layer(stage, key, (run, created_by), |build, options, state| {
            let engine = build.steps.engine;
            let user = state.run().user.clone();
            Ok(build.steps.change(options, |record| {
                let owner = match user.as_str() {
                    "" => Owner::default(),
                    // As in docker: who is not known when the directory is made may be before a command runs.
                    user => {
                        ask(engine, record, Question { owner: Some(user), lenient: true, ..Question::default() })?.owner
                    }
                };
                make_directory(engine, record, &path, owner)
            })?)
        });
        made.map_err(|stop| stop.at(source, instruction))
    }

    pub(super) fn files(&mut self, stage: &mut Stage<'_>, instruction: &Instruction) -> Progress<Option<u64>> {
        let source = stage.source;
        let wanted = self.wanted(stage, instruction).map_err(|stop| stop.at(source, instruction))?;
        self.copy(stage, &wanted).map_err(|stop| stop.at(source, instruction))
    }

    /// What the instruction asks for. What it says to be elsewhere is looked for there.
    fn wanted<'i>(&mut self, stage: &Stage<'_>, instruction: &'i Instruction) -> Progress<Wanted<'i>> {
        match &instruction.command {
            Command::Copy(copy) => {
                let files = &copy.files;
                for word in &files.sources {
                    if let Ok(Some(_)) | Err(_) = Address::of(&word.text) {
                        let text = "source can't be a URL or a git ref for COPY";
                        return Err(Error::new(ErrorKind::Invalid, text).hint("ADD takes addresses").into());
                    }
                }
                let from = copy.from.as_ref().map(|from| self.from(stage.source, from)).transpose()?;
                let sources = files.sources.iter().map(|word| word.text.clone().into_bytes()).collect();
                Ok(Wanted {
                    instruction,
                    files,
                    from,
                    sources,
                    elsewhere: Vec::new(),
                    parents: copy.parents,
                    unpack: false,
                })
            }
            Command::Add(add) => {
                let (mut sources, mut addresses) = (Vec::new(), Vec::new());
                for word in &add.files.sources {
                    match Address::of(&word.text)? {
                        Some(address) => addresses.push(address),
                        None => sources.push(word.text.clone().into_bytes()),
                    }
                }
                let elsewhere = self.look_up_all(add, &addresses, stage.cached)?;
                let (files, unpack) = (&add.files, add.unpack != Some(false));
                Ok(Wanted { instruction, files, from: None, sources, elsewhere, parents: false, unpack })
            }
            _ => Err(Error::new(ErrorKind::Io, "neither COPY nor ADD").into()),
        }
    }

    fn copy(&mut self, stage: &mut Stage<'_>, wanted: &Wanted<'_>) -> Progress<Option<u64>> {
        let destination = stage.state.absolute(&wanted.files.destination.text);
        let to = Typed::inside(destination.as_bytes());
        // What is wrong whatever matches is told before anything is read.
        wanted.fit(&to, wanted.sources.iter().filter(|source| has_wildcard(source)).count())?;
        let mut key = self.copy_key(stage, wanted, &destination);
        let placed = wanted.placed()?;
        let (context, image) = match &wanted.from {
            None => (self.context, None),
            Some(Place::Files(context)) => (context.as_ref(), None),
            Some(Place::Image(image)) => (self.context, Some(image)),
        };
        let digest = match image {
            None if wanted.sources.is_empty() => None,
            None => Some(self.of_context(context, wanted, &placed)?),
            Some(image) => Some(self.of_image(image, wanted, &placed)?),
        };
        let selection = digest.map(|(digest, selection)| {
            key.add("files", digest.as_str().as_bytes());
            selection
        });
        wanted.fit(&to, selection.as_ref().map_or(0, |selection| selection.unmatched))?;
        wanted.elsewhere.iter().for_each(|what| what.add_to(&mut key));
        if !wanted.elsewhere.is_empty() {
            // Of what is here, the digest has only what is not left out.
            wanted.files.exclude.iter().for_each(|word| key.add("exclude", word.text.as_bytes()));
        }
        if to.asserts_directory() && wanted.elsewhere.iter().any(Elsewhere::is_unnamed) {
            let text = "the address has no file name, so that the destination must name a file";
            return Err(Error::new(ErrorKind::Invalid, text).into());
        }
        let single = is_single(selection.as_ref().unwrap_or(&Selection::default()), wanted);
        let created_by = wanted.instruction.original.clone();
        let run = stage.state.run().clone();
        let implicit = on_the_way(&to);
        let onto = if wanted.files.link { Onto::Nothing { implicit: &implicit } } else { Onto::Image };
        let copied = Rc::new(Copied { selection: RefCell::new(selection), placed });
        stage.place.files = image.is_none().then(|| copied.clone());
        self.layer(stage, key, (run, created_by), |build, options, state| {
            let exclude = wanted.exclude()?;
            let brought: Vec<Brought> =
                wanted.elsewhere.iter().map(|what| build.take_in(what, &exclude)).collect::<Result<_>>()?;
            let selection = copied.selection.take();
            let steps = &build.steps;
            let whose = wanted.names_of_image().zip(state.image.as_ref());
            let whose =
                whose.map(|(name, image)| steps.look(options, image, |record| owner(steps.engine, record, name)));
            let target = Target { to: &to, single, owner: whose.transpose()? };
            let warnings = RefCell::new(Vec::new());
            let made = match image {
                None => steps.change_on(onto, options, |record| {
                    let local = selection.map(|selection| (context, selection, wanted.unpack));
                    let brought = brought.iter().map(|all| (&all.context, all.selection.clone(), all.unpack));
                    let parts = local.into_iter().chain(brought);
                    warnings.replace(from_contexts(steps.engine, record, (wanted, &target), parts)?);
                    Ok(())
                }),
                Some(image) => steps.look(options, image, |other| {
                    steps.change_on(onto, options, |record| {
                        warnings.replace(from_image(steps.engine, (other, record), wanted, &target)?);
                        Ok(())
                    })
                }),
            };
            let made = made?;
            for warning in warnings.borrow().iter() {
                (build.tell)(Event::Warning(warning));
            }
            Ok(made)
        })
    }

    /// The input, but for the files.
    fn copy_key(&self, stage: &Stage<'_>, wanted: &Wanted<'_>, destination: &str) -> Key {
        let mut key = match wanted.files.link && wanted.names_of_image().is_none() {
            true => self.layer_key_on(&[]),
            false => self.layer_key(&stage.state),
        };
        if wanted.files.link {
            key.add("link", &[]);
        }
        key.add("instruction", wanted.instruction.name.as_bytes());
        key.add("unpack", &[u8::from(wanted.unpack)]);
        key.add("destination", destination.as_bytes());
        let chown = wanted.files.chown.as_ref().map_or("", |word| word.text.as_str());
        key.add("chown", chown.as_bytes());
        key.add("chmod", wanted.files.chmod.as_ref().map_or("", |word| word.text.as_str()).as_bytes());
        for file in &wanted.files.inline {
            key.add("name", file.name.as_bytes());
            key.add("content", file.content.as_bytes());
        }
        key
    }

    /// Where `--from` says that the files are.
    fn from(&mut self, source: &Source, from: &Word) -> Progress<Place> {
        let origin = self.file.copy_from(source, from)?;
        Ok(self.place(origin)?)
    }

    /// `COPY . /` of these files: an image of them alone.
    pub(super) fn copy_all(
        &mut self,
        stage: &mut Stage<'_>,
        instruction: &Instruction,
        from: Arc<Context>,
    ) -> Progress<Option<u64>> {
        let Command::Copy(copy) = &instruction.command else {
            return Err(Error::new(ErrorKind::Io, "not a COPY").into());
        };
        let from = Some(Place::Files(from));
        let (files, sources) = (&copy.files, vec![b".".to_vec()]);
        let wanted = Wanted { instruction, files, from, sources, elsewhere: Vec::new(), parents: false, unpack: false };
        self.copy(stage, &wanted)
    }

    fn of_context(&mut self, context: &Context, wanted: &Wanted<'_>, placed: &Placed) -> Result<(Digest, Selection)> {
        let mut selection = wanted.select(context)?;
        let digest = context.digest(&mut selection, placed, &mut self.hashes)?;
        Ok((digest, selection))
    }

    /// In a helper, whose `/` are the image's files; the selection is as large as what matters of it here.
    fn of_image(&mut self, image: &Digest, wanted: &Wanted<'_>, placed: &Placed) -> Result<(Digest, Selection)> {
        let options = self.options.run.clone();
        let engine = self.steps.engine;
        let layers = engine.store.image_record(image)?.layers;
        let request = request(&layers, wanted, placed);
        let found = match cache::remembered(engine.root(), &request) {
            Some(found) => found,
            None => {
                let found = self.steps.look(&options, image, |record| {
                    look(engine, record, || {
                        let context = root()?;
                        let mut selection = wanted.select(&context)?;
                        let digest = context.digest(&mut selection, placed, &mut Hashes::default())?;
                        let (single, unmatched) = (is_single(&selection, wanted), selection.unmatched);
                        Ok(Found { digest, single, unmatched, layers: layers.clone() })
                    })
                })?;
                cache::remember(engine.root(), &request, &found);
                found
            }
        };
        let mut selection = Selection { unmatched: found.unmatched, ..Selection::default() };
        if found.single {
            selection.sources.push(super::context::Source { directory: false, entries: 0..0 });
        }
        Ok((found.digest, selection))
    }
}

/// All that decides what is found in an image with these layers.
fn request(layers: &[Digest], wanted: &Wanted<'_>, placed: &Placed) -> Digest {
    let mut key = Key::default();
    // Without their number, what was found in an image of none was what its containers are given.
    key.add("layers", layers.len().to_string().as_bytes());
    layers.iter().for_each(|layer| key.add("layer", layer.as_str().as_bytes()));
    wanted.sources.iter().for_each(|source| key.add("source", source));
    wanted.files.exclude.iter().for_each(|word| key.add("exclude", word.text.as_bytes()));
    key.add("parents", &[u8::from(wanted.parents)]);
    key.add("placed", format!("{placed:?}").as_bytes());
    // What decides whether it is one file.
    key.add("inline", &[u8::from(wanted.files.inline.is_empty())]);
    key.finish().0
}

/// In a helper: everything that is there.
fn root() -> Result<Context> {
    Ok(Context::open(std::path::Path::new("/"))?.named("the image"))
}

/// Whether one file is copied, which may be called as the destination is.
fn is_single(selection: &Selection, wanted: &Wanted<'_>) -> bool {
    let written = wanted.written(selection.unmatched) == 1;
    let file = selection.sources.len() == 1 && selection.sources.iter().all(|source| !source.directory);
    let brought = wanted.elsewhere.iter().all(Elsewhere::is_single) && !wanted.elsewhere.is_empty();
    let other = brought || !wanted.files.inline.is_empty();
    written && !wanted.parents && (file || selection.sources.is_empty() && other)
}

/// Where the files go, in this image.
fn place(engine: &Engine, record: &Record, wanted: &Wanted<'_>, target: &Target<'_>) -> Result<Placing> {
    let Target { to, single, owner } = *target;
    let chown = wanted.files.chown.as_ref().filter(|_| owner.is_none()).map(|word| word.text.as_str());
    let unsure = single && !to.asserts_directory();
    let question = Question { place: unsure.then_some(to), owner: chown, lenient: false };
    let answer = if unsure || chown.is_some() { ask(engine, record, question)? } else { Default::default() };
    Ok(Placing {
        to: match answer.at {
            Some(at) => Typed::inside(&at),
            None if unsure && !answer.directory => to.clone(),
            None => to.as_directory(),
        },
        owner: (!wanted.keeps_owners()).then_some(owner.unwrap_or(answer.owner)),
        mode: wanted.mode()?,
    })
}

/// The directories on the way to the files, which a lower layer may have: relative paths, the root first.
fn on_the_way(to: &Typed) -> Vec<Vec<u8>> {
    let mut paths = vec![Vec::new()];
    for component in to.path().split(|byte| *byte == b'/').filter(|component| !component.is_empty()) {
        let above = paths.last().map_or(&[][..], Vec::as_slice);
        paths.push(join(above, component));
    }
    paths
}

impl Placing {
    /// What a single file is called; `None`: it keeps its name.
    fn name(&self) -> Option<&[u8]> {
        if self.to.asserts_directory() { None } else { self.to.name() }
    }

    fn directory(&self) -> Typed {
        if self.to.asserts_directory() { self.to.clone() } else { Typed::inside(self.to.parent()).as_directory() }
    }

    /// How the directories on the way are made.
    fn new_directories(&self) -> New {
        let mode = self.mode.as_ref().map_or(0o755, Chmod::of_new_directories);
        New { owner: self.owner.unwrap_or_default(), mode }
    }

    fn placed(&self) -> Placed {
        Placed { owner: self.owner.map(|owner| (owner.uid, owner.gid)), mode: self.mode.clone(), mtime: None }
    }
}

fn rename(selection: &mut Selection, placing: &Placing) {
    if let Some(name) = placing.name() {
        selection.entries.iter_mut().for_each(|entry| entry.name = name.to_vec());
    }
}

/// What is selected of a context, and whether archives among it are extracted.
type Part<'p> = (&'p Context, Selection, bool);

/// Puts files of the host into an image; what the user should know of it.
fn inside(
    engine: &Engine,
    record: &Record,
    (wanted, placing): (&Wanted<'_>, &Placing),
    (context, mut selection, unpack): Part<'_>,
) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    let directory = placing.directory();
    let owner = placing.owner.unwrap_or_default();
    let archives = if unpack { take_archives(context, &mut selection)? } else { Vec::new() };
    if !archives.is_empty() && wanted.files.chmod.is_some() {
        warnings.push("--chmod: files of an archive keep the modes that it says".to_owned());
    }
    let how = Extraction { make: Some(New::of(owner)), owner: wanted.files.chown.as_ref().map(|_| owner) };
    for archive in archives {
        // What an archive is extracted to is a directory, whatever its name ends with.
        let all = Typed::inside(placing.to.path()).as_directory();
        let to = Inside { name: "image", path: &all };
        warnings.extend(stream_in(engine, record, archive.into(), (to, how), &mut |_| {})?.warnings);
    }
    if !selection.sources.is_empty() {
        rename(&mut selection, placing);
        warnings.extend(put(engine, (record, &directory, placing.new_directories()), |out| {
            context.stream(&selection, &placing.placed(), out).map(drop)
        })?);
    }
    Ok(warnings)
}

/// Puts all into an image that does not come from another: what the user should know of it.
fn from_contexts<'p>(
    engine: &Engine,
    record: &Record,
    (wanted, target): (&Wanted<'_>, &Target<'_>),
    parts: impl Iterator<Item = Part<'p>>,
) -> Result<Vec<String>> {
    let placing = place(engine, record, wanted, target)?;
    let mut warnings = Vec::new();
    for part in parts {
        warnings.extend(inside(engine, record, (wanted, &placing), part)?);
    }
    warnings.extend(inlined(engine, record, (wanted, &placing))?);
    Ok(warnings)
}

/// Puts files of one image into another, likewise.
fn from_image(
    engine: &Engine,
    (from, record): (&Record, &Record),
    wanted: &Wanted<'_>,
    target: &Target<'_>,
) -> Result<Vec<String>> {
    let placing = place(engine, record, wanted, target)?;
    let directory = placing.directory();
    let to = (record, &directory, placing.new_directories());
    put_from(engine, to, from, |out| {
        let context = root()?;
        let mut selection = wanted.select(&context)?;
        rename(&mut selection, &placing);
        context.stream(&selection, &placing.placed(), out).map(drop)
    })
}

/// Puts the files into an image whose content the Dockerfile has.
fn inlined(engine: &Engine, record: &Record, (wanted, placing): (&Wanted<'_>, &Placing)) -> Result<Vec<String>> {
    if wanted.files.inline.is_empty() {
        return Ok(Vec::new());
    }
    let to = (record, &placing.directory(), placing.new_directories());
    put(engine, to, |out| inline(&wanted.files.inline, placing, out))
}

/// The files whose content the Dockerfile has, as a tar.
fn inline(files: &[InlineFile], placing: &Placing, out: &mut dyn Write) -> Result<()> {
    let owner = placing.owner.unwrap_or_default();
    for file in files {
        let size = file.content.len() as u64;
        let path = placing.name().unwrap_or(file.name.as_bytes()).to_vec();
        let mtime = Time { secs: jiff::Timestamp::now().as_second(), nanos: 0 };
        let (uid, gid) = (owner.uid, owner.gid);
        let head =
            Head::new(path, Kind::File, placing.mode.as_ref().map_or(0o644, |change| change.apply(0o644, false)));
        let head = Head { uid, gid, mtime, size, stored: size, ..head };
        let mut blocks = Vec::new();
        header::write(&head, &mut blocks);
        blocks.extend_from_slice(file.content.as_bytes());
        blocks.resize(blocks.len() + padding(size), 0);
        out.write_all(&blocks).context(|| format!("write {}", file.name))?;
    }
    out.write_all(&[0; 2 * BLOCK]).context(|| "end the archive")
}

/// The sources that are archives, opened, and no longer in the selection.
fn take_archives(context: &Context, selection: &mut Selection) -> Result<Vec<File>> {
    let mut archives = Vec::new();
    let mut rest = Vec::new();
    for source in std::mem::take(&mut selection.sources) {
        let entry = selection.entries.get(source.entries.start).filter(|_| !source.directory);
        let file = entry.filter(|entry| entry.kind == super::context::Kind::File);
        let archive = file.map(|entry| context.open_entry(entry)).transpose()?.map(File::from);
        match archive {
            Some(file) if is_archive(&file)? => archives.push(file),
            _ => rest.push(source),
        }
    }
    selection.sources = rest;
    Ok(archives)
}
