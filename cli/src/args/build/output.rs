//! The flags of `build` that say what becomes of what was built.

use std::path::PathBuf;

use clap::Args;
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
}

/// What is to become of the image.
#[derive(Clone, Debug)]
pub struct Outputs {
    /// In the order of the flags.
    pub all: Vec<Output>,
    /// The names that it gets, in the store or in an archive.
    pub names: Vec<Reference>,
}

impl Outputs {
    /// Whether it gets its names in the store.
    pub fn stores(&self) -> bool {
        self.all.iter().any(|output| matches!(output, Output::Store { .. }))
    }

    /// Whether standard output is one of them.
    pub fn use_stdout(&self) -> bool {
        self.all.iter().any(Output::is_stdout)
    }
}

impl OutputFlags {
    /// The flags, parsed; `tags`: the names of `-t`. An error here is wrong usage.
    pub fn parse(&self, tags: &[Reference]) -> Result<Outputs> {
        let given: Vec<String> = self.output.iter().filter(|text| !text.is_empty()).cloned().collect();
        let mut all = flags("-o, --output", &given, Output::parse)?;
        let stores = all.iter().any(|output| matches!(output, Output::Store { .. }));
        if all.is_empty() || !stores && (self.push || self.load) {
            all.push(Output::Store { names: Vec::new(), push: None });
        }
        let mut names = tags.to_vec();
        let mut pushes = false;
        for output in &mut all {
            let Output::Store { names: own, push } = output else { continue };
            if self.push && push.is_none() {
                *push = Some(Default::default());
            }
            pushes |= push.is_some();
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
        Ok(Outputs { all, names })
    }
}
