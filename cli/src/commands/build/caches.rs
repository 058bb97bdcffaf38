//! `--cache-from` and `--cache-to`: steps come from what other machines have made, and go to them.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use lrun_runtime::build::elsewhere::place::{From, Place, To};
use lrun_runtime::build::elsewhere::{Bring, Elsewhere, Source, format};
use lrun_runtime::build::{Finished, entries};
use lrun_runtime::container::engine::Engine;
use lrun_runtime::digest::Digest;
use lrun_runtime::error::{Context as _, Error, ErrorKind, Result};
use lrun_runtime::image::archive::{self, Format, SaveOptions, Selected, save};
use lrun_runtime::image::store::Image;
use lrun_runtime::reference::Reference;
use lrun_runtime::registry::client::Purpose;
use lrun_runtime::registry::platform::Platform;
use lrun_runtime::transfer::{self, PullOptions, push_unnamed};

use super::super::access::{Registries, transfers};
use super::super::target::draft_of;
use crate::ui::{escape, output};

/// What an OCI layout has at its top.
const LAYOUT: [&str; 3] = ["oci-layout", "index.json", "blobs"];

/// Caches elsewhere.
#[derive(Clone, Copy)]
pub struct Caches<'a> {
    /// How registries are reached.
    pub registries: &'a Registries,
    /// The store, which the caller holds against collection.
    pub engine: &'a Engine,
    /// What is built for.
    pub platform: &'a Platform,
    /// Say nothing.
    pub quiet: bool,
}

impl<'a> Caches<'a> {
    /// Those that can be read. One that cannot is told of, and the build goes on without it.
    pub fn open(self, from: &[From]) -> Elsewhere<'a> {
        let mut sources = Vec::new();
        for from in from {
            let (name, found) = match from {
                From::Local(path) => (path.display().to_string(), self.local(path).map(|source| vec![source])),
                From::Image(reference) => (reference.familiar_with_tag(), self.image(reference)),
            };
            match found {
                Ok(found) => sources.extend(found),
                Err(error) => self.warn(&format!("--cache-from {name}: {error}")),
            }
        }
        Elsewhere(sources)
    }

    fn warn(&self, text: &str) {
        if !self.quiet {
            output::complain(&format!("WARNING: {}", escape::line(text)));
        }
    }

    fn local(self, path: &Path) -> Result<Source<'a>> {
        let directory: OwnedFd = std::fs::File::open(path).context(|| format!("open {}", path.display()))?.into();
        let parts = archive::Parts::open(directory)?;
        let mut found = None;
        for config in parts.configs() {
            if let Some(more) = format::read(config)? {
                found.get_or_insert_with(std::collections::BTreeMap::new).extend(more);
            }
        }
        let entries = found.ok_or_else(|| none("the directory"))?;
        let engine = self.engine;
        let bring: Box<Bring<'a>> = Box::new(move |layer| {
            parts.bring((&engine.store, &engine.map), layer, &mut |path| engine.remove_tree(path))
        });
        Ok(Source { name: path.display().to_string(), entries, bring })
    }

    /// The image of the store by this name, and that of its registry.
    fn image(self, reference: &Reference) -> Result<Vec<Source<'a>>> {
        let name = reference.familiar_with_tag();
        let mut sources = Vec::new();
        if let Ok(here) = self.engine.store.resolve(&name)
            && let Some(entries) = format::read(&here.bytes)?
        {
            let gone = |_: &_| Err(Error::new(ErrorKind::NotFound, "the layer is not here"));
            sources.push(Source { name: name.clone(), entries, bring: Box::new(gone) });
        }
        match self.pulled(reference) {
            Ok(source) => sources.push(source),
            // What is here may be all that there is.
            Err(error) if sources.is_empty() => return Err(error),
            Err(error) => tracing::info!(%error, "the image that is here is the cache"),
        }
        Ok(sources)
    }

    fn pulled(self, reference: &Reference) -> Result<Source<'a>> {
        let registries = self.registries;
        let reference = registries.settings.registries.qualify(&reference.familiar_with_tag())?;
        let options = PullOptions { platform: self.platform.clone(), explicit: false };
        let shown = transfers(self.quiet);
        let events = |event: transfer::Event<'_>| shown.tell(event);
        let parts = transfer::Parts::find(registries.sources(&reference)?, &reference, &options, &events)?;
        let entries = format::read(parts.config())?.ok_or_else(|| none("the image"))?;
        let (engine, quiet) = (self.engine, self.quiet);
        let bring: Box<Bring<'a>> = Box::new(move |layer| {
            let shown = transfers(quiet);
            let events = |event: transfer::Event<'_>| shown.tell(event);
            let remove = &mut |path: &Path| engine.remove_tree(path);
            parts.bring((&engine.store, &engine.map), layer, &events, remove)
        });
        Ok(Source { name: reference.familiar_with_tag(), entries, bring })
    }

    /// Sends what the steps made everywhere it is to go.
    pub fn send(self, finished: &Finished, to: &[To]) -> Result<()> {
        for to in to {
            let keys = if to.whole { &finished.all } else { &finished.own };
            let image = format::image(&entries(&self.engine.store, keys), self.platform)?;
            let (name, sent) = match &to.place {
                Place::Inline => continue,
                Place::Local(path) => (path.display().to_string(), self.save(&image, path)),
                Place::Registry(reference) => (reference.familiar_with_tag(), self.push(&image, reference)),
            };
            match sent.context(|| format!("--cache-to {name}")) {
                Err(error) if to.optional => self.warn(&error.to_string()),
                sent => sent?,
            }
        }
        Ok(())
    }

    fn push(self, image: &Image, reference: &Reference) -> Result<()> {
        let client = self.registries.client((reference.registry(), reference.repository()), Purpose::Push)?;
        let shown = transfers(self.quiet);
        let events = |event: transfer::Event<'_>| shown.tell(event);
        let what = (image, reference, transfer::Format::default());
        push_unnamed((&self.engine.store, &self.engine.map), client, what, &events).map(drop)
    }

    /// As an OCI layout that takes the place of what is there, if that is one.
    fn save(self, image: &Image, path: &Path) -> Result<()> {
        let (path, there) = replaceable(path)?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).context(|| format!("make {}", parent.display()))?;
        }
        let draft = draft_of(&path);
        std::fs::create_dir(&draft).context(|| format!("make {}", draft.display()))?;
        let written = self.write(image, &draft).and_then(|()| {
            let attempt = || format!("write {}", path.display());
            match there {
                false => std::fs::rename(&draft, &path).context(attempt),
                true => {
                    use rustix::fs::{CWD, RenameFlags, renameat_with};
                    renameat_with(CWD, &draft, CWD, &path, RenameFlags::EXCHANGE).context(attempt)
                }
            }
        });
        if there || written.is_err() {
            // What is left of it is in nobody's way.
            let _ = std::fs::remove_dir_all(&draft);
        }
        written
    }

    fn write(self, image: &Image, draft: &Path) -> Result<()> {
        let directory: OwnedFd = std::fs::File::open(draft)?.into();
        let selected = [Selected { image: image.clone(), names: Vec::new() }];
        let options = SaveOptions { format: Format::OciDirectory, since: None };
        save(&self.engine.store, &self.engine.map, &selected, &options, directory, &mut |_| {})
    }
}

fn none(what: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("{what} has no cache of lrun's"))
}

/// Refuses directories that could not be written at the end, before anything is built.
pub fn check(to: &[To]) -> Result<()> {
    for to in to.iter().filter(|to| !to.optional) {
        if let Place::Local(path) = &to.place {
            replaceable(path).context(|| format!("--cache-to {}", path.display()))?;
        }
    }
    Ok(())
}

/// The path without links, and whether a cache is there, or an empty directory, that can be replaced. Anything else that is
/// there is refused: it would be deleted.
fn replaceable(path: &Path) -> Result<(PathBuf, bool)> {
    let path = match std::fs::canonicalize(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((path.components().collect(), false)),
        found => found.context(|| format!("open {}", path.display()))?,
    };
    let refused = |what: &str| {
        let text = format!("{} {what}: it is not replaced", path.display());
        Error::new(ErrorKind::Conflict, text).hint("name another directory, or remove that one")
    };
    if names(&path)?.is_empty() {
        return Ok((path, true));
    }
    let stranger = |inside: &str, known: &dyn Fn(&str) -> bool| {
        let names = names(&path.join(inside))?;
        let other = names.iter().find(|name| !known(name));
        other.map_or(Ok(()), |name| {
            Err(refused(&format!("has {}, which is no part of a cache", Path::new(inside).join(name).display())))
        })
    };
    stranger("", &|name| LAYOUT.contains(&name))?;
    stranger("blobs", &|name| name == "sha256")?;
    stranger("blobs/sha256", &|name| Digest::from_hex(name).is_ok())?;
    let directory: OwnedFd = std::fs::File::open(&path)?.into();
    let is_cache = archive::Parts::open(directory).is_ok_and(|parts| {
        !parts.configs().is_empty() && parts.configs().iter().all(|config| format::is_cache(config))
    });
    if is_cache { Ok((path, true)) } else { Err(refused("is no cache of lrun's")) }
}

/// The names in a directory; none where there is no such directory.
fn names(path: &Path) -> Result<Vec<String>> {
    let attempt = || format!("read {}", path.display());
    match std::fs::read_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries
            .context(attempt)?
            .map(|entry| Ok(entry.context(attempt)?.file_name().to_string_lossy().into_owned()))
            .collect(),
    }
}
