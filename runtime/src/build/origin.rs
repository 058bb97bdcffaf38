//! Where the files are that an instruction names: a stage, an image, or a context that has a name.
//!
//! A named context (`--build-context NAME=…`) stands for the stage or the image of its name, wherever that is named: in
//! FROM, in `COPY --from` and in the mounts of RUN.
//!
//! Runs in the CLI, on the host.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::addresses::Telling;
use super::arguments::Values;
use super::context::Context;
use super::dockerfile::{Dockerfile, Origin, SCRATCH, Trigger};
use super::driver::{Build, Progress, Stage};
use super::explain::Place as Step;
use super::graph::{Graph, origins};
use super::remote::Address;
use super::state::State;
use crate::digest::Digest;
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::reference::Reference;
use crate::registry::platform::Platform;

/// What a named context is.
#[derive(Clone, Debug)]
pub enum Named {
    /// An image, by a word that [`super::Resolve`] finds it by.
    Image(String),
    /// Files.
    Files(Arc<Context>),
    /// Files that are brought when they are named for the first time.
    Later(Arc<Later>),
}

/// Files that are elsewhere.
#[derive(Debug)]
pub struct Later {
    address: Address,
    files: OnceLock<Arc<Context>>,
}

impl Later {
    /// What is at an address.
    pub fn new(address: Address) -> Self {
        Self { address, files: OnceLock::new() }
    }
}

/// The named contexts, by their names as [`name`] has them.
pub type Contexts = BTreeMap<String, Named>;

/// Where files are.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// An image of the store.
    Image(Digest),
    /// A directory.
    Files(Arc<Context>),
}

/// The name of a context as it is compared: `docker.io/library/x:latest` is `x`.
pub fn name(text: &str) -> Result<String> {
    let name = Reference::parse(text).map_err(|error| error.context(format!("invalid context name {text}")))?;
    let familiar = name.familiar_with_tag();
    Ok(familiar.strip_suffix(":latest").map_or(familiar.clone(), str::to_owned))
}

impl Build<'_> {
    /// The context that stands for a stage or an image, if there is one of its name.
    pub(super) fn named(&self, origin: Origin<'_>) -> Option<&Named> {
        named(self.file, &self.options.contexts, origin)
    }

    /// Where the files are that `COPY --from` and mounts name. A stage is built before those that name it.
    pub(super) fn place(&mut self, origin: Origin<'_>) -> Result<Place> {
        let (image, stage) = match (self.named(origin).cloned(), origin) {
            (Some(Named::Files(context)), _) => return Ok(Place::Files(context)),
            (Some(Named::Later(later)), _) => return Ok(Place::Files(self.brought(&later)?)),
            (Some(Named::Image(image)), _) => (image, None),
            (None, Origin::Other(image)) => (image.to_owned(), None),
            (None, Origin::Stage(stage)) => (String::new(), Some(stage)),
        };
        let Some(stage) = stage else {
            let platform = &self.options.platform;
            let image = match image == SCRATCH {
                true => self.image(&mut State::scratch(platform))?,
                false => (self.resolve)(&image, platform)?.id,
            };
            return Ok(Place::Image(image));
        };
        let unbuilt = || Error::new(ErrorKind::Invalid, format!("stage {stage} is not built before this one"));
        let mut state = self.stages.get(&stage).cloned().ok_or_else(unbuilt)?;
        Ok(Place::Image(self.image(&mut state)?))
    }

    /// Brings the images and contexts that these stages need from elsewhere. `bases`: what each stage is on.
    pub(super) fn bring(&mut self, graph: &Graph, bases: &[String], globals: &Values) -> Progress<()> {
        let file = self.file;
        for stage in graph.stages() {
            let from = &file.stages[stage];
            let own = self.platform(from, globals)?;
            let target = self.options.platform.clone();
            let triggers = self.triggers(stage, &bases[stage], globals)?;
            let mut needed = vec![(self.below(stage, &bases[stage]), &own, from.original.as_str())];
            let replaced = self.named(Origin::Stage(stage)).is_some();
            let written = from.instructions.iter().filter(|_| !replaced);
            let all = triggers.iter().map(|trigger| (&trigger.source, &trigger.instruction));
            for (source, instruction) in all.chain(written.map(|instruction| (&file.source, instruction))) {
                let origins = origins(file, source, instruction)?.into_iter();
                needed.extend(origins.map(|(origin, _)| (origin, &target, instruction.original.as_str())));
            }
            for (origin, platform, text) in needed {
                let image = match (self.named(origin).cloned(), origin) {
                    (Some(Named::Later(later)), _) => {
                        self.brought(&later).map_err(|error| error.context(text))?;
                        continue;
                    }
                    (Some(Named::Image(image)), _) => image,
                    (None, Origin::Other(image)) => image.to_owned(),
                    _ => continue,
                };
                if image != SCRATCH {
                    (self.resolve)(&image, platform).map_err(|error| error.context(text))?;
                }
            }
        }
        Ok(())
    }

    /// What a stage is on: a context of its own name takes its place.
    pub(super) fn below<'n>(&self, stage: usize, base: &'n str) -> Origin<'n> {
        let own = Origin::Stage(stage);
        if self.named(own).is_some() { own } else { self.file.base(stage, base) }
    }

    /// The instructions that a stage's base wants to be run there, before it is built; an image is found for it.
    pub(super) fn triggers(&mut self, stage: usize, base: &str, globals: &Values) -> Result<Vec<Trigger>> {
        let file = self.file;
        let origin = self.below(stage, base);
        let image = match (self.named(origin), origin) {
            (Some(Named::Files(_) | Named::Later(_)), _) => return Ok(Vec::new()),
            (None, Origin::Stage(other)) => return Trigger::parse_all(base, &file.on_build(other)),
            (Some(Named::Image(image)), _) => image.clone(),
            (None, Origin::Other(image)) => image.to_owned(),
        };
        if image == SCRATCH {
            return Ok(Vec::new());
        }
        let from = &file.stages[stage];
        let platform = self.platform(from, globals)?;
        let found = (self.resolve)(&image, &platform).context(|| from.shown(&file.source))?;
        Trigger::parse_all(base, &found.config.config.on_build)
    }

    /// What a stage for this platform is on that is `FROM` this, and the instructions that it wants to be run there. `step`:
    /// where that FROM is, and whether what it makes may be in the cache.
    pub(super) fn base(
        &mut self,
        origin: Origin<'_>,
        platform: &Platform,
        step: (&Step<'_>, bool),
    ) -> Progress<(State, Vec<String>)> {
        let image = match (self.named(origin).cloned(), origin) {
            (Some(Named::Files(context)), _) => return Ok((self.on_files(context, platform, step)?, Vec::new())),
            (Some(Named::Later(later)), _) => {
                let files = self.brought(&later)?;
                return Ok((self.on_files(files, platform, step)?, Vec::new()));
            }
            (Some(Named::Image(image)), _) => image,
            (None, Origin::Other(image)) => image.to_owned(),
            (None, Origin::Stage(stage)) => {
                let unbuilt = || Error::new(ErrorKind::Invalid, format!("stage {stage} is not built before this one"));
                return Ok(self.stages.get(&stage).cloned().ok_or_else(unbuilt)?.anew());
            }
        };
        if image == SCRATCH {
            return Ok(State::scratch(platform).anew());
        }
        let image = (self.resolve)(&image, platform)?;
        Ok(State::on(image.config, image.id).anew())
    }

    /// What is elsewhere, brought once.
    fn brought(&mut self, later: &Later) -> Result<Arc<Context>> {
        if let Some(files) = later.files.get() {
            return Ok(Arc::clone(files));
        }
        let files = match &later.address {
            Address::File(url) => {
                let mut progress = Telling::new(&mut *self.tell, url);
                let tell = &mut |bytes, total| progress.tell(bytes, total);
                self.steps.remote.named(self.steps.engine.root(), url, tell)?
            }
            Address::Repository(repository) => self.steps.remote.repository(repository)?,
        };
        Ok(Arc::clone(later.files.get_or_init(|| Arc::new(files.named("what was brought")))))
    }

    /// A stage on nothing but these files, for this platform.
    fn on_files(
        &mut self,
        context: Arc<Context>,
        platform: &Platform,
        (place, cached): (&Step<'_>, bool),
    ) -> Progress<State> {
        let copy = Trigger::parse("--build-context", "COPY . /")?;
        let (state, values, place) = (State::scratch(platform), BTreeMap::new(), place.clone());
        let mut stage = Stage { state, values, source: &copy.source, cached, place };
        self.copy_all(&mut stage, &copy.instruction, context)?;
        let (mut state, _) = stage.state.anew();
        // The files are a step of the stage, other than its layers and history.
        state.base_trail = 0;
        Ok(state)
    }
}

/// The context that stands for a stage or an image.
pub(super) fn named<'c>(file: &Dockerfile, contexts: &'c Contexts, origin: Origin<'_>) -> Option<&'c Named> {
    if contexts.is_empty() {
        return None;
    }
    let text = match origin {
        Origin::Stage(stage) => file.stages.get(stage)?.name.as_deref()?,
        Origin::Other(text) => text,
    };
    // What is no name of an image is none of a context.
    contexts.get(&name(text).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_images() {
        for (typed, wanted) in [
            ("base", "base"),
            ("docker.io/library/base:latest", "base"),
            ("alpine:3.20", "alpine:3.20"),
            ("r.io:5000/a/b", "r.io:5000/a/b"),
        ] {
            assert_eq!(name(typed).expect(typed), wanted);
        }
        for wrong in ["", "Base", "a b", "a=b"] {
            assert!(name(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_context_stands_for_the_stage_or_image_of_its_name() {
        let file = Dockerfile::parse("Dockerfile", b"FROM x AS Base\nFROM y\n").expect("it is read");
        let contexts: Contexts = ["base", "alpine:3.20", "debian"]
            .map(|text| (text.to_owned(), Named::Image(format!("{text}!"))))
            .into_iter()
            .collect();
        let found = |origin| match named(&file, &contexts, origin) {
            Some(Named::Image(image)) => image.clone(),
            _ => String::new(),
        };
        for (origin, wanted) in [
            (Origin::Stage(0), "base!"),
            (Origin::Stage(1), ""),
            (Origin::Other("base"), "base!"),
            (Origin::Other("alpine"), ""),
            (Origin::Other("docker.io/library/alpine:3.20"), "alpine:3.20!"),
            (Origin::Other("debian:latest"), "debian!"),
            (Origin::Other("NONE"), ""),
        ] {
            assert_eq!(found(origin), wanted, "{origin:?}");
        }
    }
}
