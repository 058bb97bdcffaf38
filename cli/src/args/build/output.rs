//! The flags of `build` that say what becomes of what was built.

use std::path::PathBuf;

use clap::Args;
use lrun_runtime::build::elsewhere::place::{From, Place, To};
use lrun_runtime::build::output::Output;
use lrun_runtime::error::{Error, ErrorKind, Result};
use lrun_runtime::reference::Reference;

use crate::args::container::flags;

/// `-o` and its short forms.
#[derive(Clone, Debug, Default, Args)]
pub struct OutputFlags {
    /// What becomes of the image: DIR (its files), - (a tar of them), or type=local|tar|oci|docker|image|registry|cacheonly
    /// with dest=PATH, name=NAME, push=true (default: it is kept in the store)
    #[arg(short, long, value_name = "OUTPUT")]
    pub output: Vec<String>,
    /// Send the image to the registries of its names
    #[arg(long)]
    pub push: bool,
    /// Keep the image in the store too, where -o says otherwise
    #[arg(long)]
    pub load: bool,
    /// Write digests and names of what was built to a file, as JSON
    #[arg(long, value_name = "FILE")]
    pub metadata_file: Option<PathBuf>,
    /// Take steps from this cache: an image, type=registry,ref=IMAGE or type=local,src=DIR
    #[arg(long, value_name = "CACHE")]
    cache_from: Vec<String>,
    /// Keep the steps in a cache: type=registry,ref=IMAGE, type=local,dest=DIR or type=inline, with mode=max those of all
    /// stages
    #[arg(long, value_name = "CACHE")]
    cache_to: Vec<String>,
    /// Make one layer of those of the image's own stage
    #[arg(long)]
    pub squash: bool,
    /// Make a layer of each step (default true); without, one of the stage, and no step comes from the cache
    #[arg(long, hide = true, action = clap::ArgAction::SetFalse)]
    pub layers: bool,
}

/// What is to become of the image.
#[derive(Clone, Debug)]
pub struct Outputs {
    /// In the order of the flags.
    pub all: Vec<Output>,
    /// The names that it gets, in the store or in an archive.
    pub names: Vec<Reference>,
    /// Where steps come from.
    pub cache_from: Vec<From>,
    /// Where they go.
    pub cache_to: Vec<To>,
}

impl Outputs {
    /// Whether it gets its names in the store.
    pub fn stores(&self) -> bool {
        self.all.iter().any(|output| matches!(output, Output::Store { .. }))
    }

    /// Whether steps come from caches elsewhere, or go there.
    pub fn use_caches(&self) -> bool {
        !self.cache_from.is_empty() || !self.cache_to.is_empty()
    }

    /// Whether the image carries the cache of its steps.
    pub fn inline_cache(&self) -> bool {
        self.cache_to.iter().any(|to| to.place == Place::Inline)
    }

    /// Whether standard output is one of them.
    pub fn use_stdout(&self) -> bool {
        self.all.iter().any(Output::is_stdout)
    }
}

impl OutputFlags {
    /// The flags, parsed; `tags`: the names of `-t`. An error here is wrong usage.
    pub fn parse(&self, tags: &[Reference]) -> Result<Outputs> {
        let mut all = flags("-o, --output", &filled(&self.output), Output::parse)?;
        let stores = all.iter().any(|output| matches!(output, Output::Store { .. }));
        if all.is_empty() || !stores && (self.push || self.load) {
            all.push(Output::Store { names: Vec::new(), push: false, compression: Default::default() });
        }
        let mut names = tags.to_vec();
        let mut pushes = false;
        for output in &mut all {
            let Output::Store { names: own, push, .. } = output else { continue };
            *push |= self.push;
            pushes |= *push;
            for name in own.drain(..) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        if pushes && names.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "tag is needed when pushing to registry").hint("give -t NAME"));
        }
        if all.iter().filter(|output| output.is_stdout()).count() > 1 {
            return Err(Error::new(ErrorKind::Invalid, "-o: only one output can be standard output"));
        }
        let cache_from = flags("--cache-from", &filled(&self.cache_from), From::parse)?;
        let cache_to = flags("--cache-to", &filled(&self.cache_to), To::parse)?;
        Ok(Outputs { all, names, cache_from, cache_to })
    }
}

/// docker takes an empty value as none.
fn filled(values: &[String]) -> Vec<String> {
    values.iter().filter(|value| !value.is_empty()).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_that_is_asked_for_beside_an_output_keeps_its_compression() {
        let output = vec!["type=image,name=a,compression=zstd".to_owned()];
        let outputs = OutputFlags { output, push: true, ..OutputFlags::default() }.parse(&[]).unwrap();
        assert!(matches!(
            outputs.all.as_slice(),
            [Output::Store { push: true, compression: lrun_runtime::transfer::Format::Zstd, .. }]
        ));
    }
}
