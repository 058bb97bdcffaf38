//! `create`: everything of `run` but the start.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use lrun_runtime::container::create::{Draft, draft};
use lrun_runtime::container::engine::Engine;
use lrun_runtime::container::lifecycle::{self, Removal};
use lrun_runtime::container::names::ContainerId;
use lrun_runtime::error::{Context as _, Error, ErrorKind, Result};
use lrun_runtime::registry::platform::Platform;

use super::access::own_platform;
use super::pull;
use crate::args::{CreateArgs, Global, Pulling};
use crate::context;
use crate::ui::{escape, output};

/// Runs the command.
pub fn run(global: &Global, args: CreateArgs) -> Result<u8> {
    let (pulling, replace) = (args.pulling()?, args.replace()?);
    let mut options = args.into_options(&context::env_exact, &context::cwd_or_none())?;
    let engine = context::engine(global)?;
    options.image = pull::ensure(global, &engine, options.image, &pulling)?;
    let cidfile = CidFile::reserve(options.cidfile.as_deref())?;
    let draft = draft(&engine, &options, &context::host(), false)?;
    warn_about_platform(&draft, &pulling)?;
    if replace {
        remove_named(&engine, options.name.as_deref())?;
    }
    let created = draft.write()?;
    cidfile.write(&created.record.id)?;
    output::line(created.record.id.as_str());
    Ok(0)
}

/// An image for another machine runs where the kernel can, with an emulator, and else not.
pub(super) fn warn_about_platform(draft: &Draft<'_>, pulling: &Pulling) -> Result<()> {
    let [os, architecture, variant] = draft.platform();
    let (image, own) = (Platform::new(os, architecture, variant), own_platform()?);
    if pulling.platform.is_none() && !architecture.is_empty() && !own.accepts(&image) {
        output::complain(&escape::line(&format!(
            "WARNING: The requested image's platform ({image}) does not match the detected host platform ({own}) and no \
             specific platform was requested"
        )));
    }
    Ok(())
}

/// For `--replace`: removes the container of exactly this name, if there is one; it can be brought back. Done when all
/// is decided about its successor: what is refused replaces nothing.
pub(super) fn remove_named(engine: &Engine, name: Option<&str>) -> Result<()> {
    let Some(name) = name else { return Ok(()) };
    match lifecycle::find(engine, name) {
        Ok(record) if record.name.as_str() == name.trim_start_matches('/') => {
            lifecycle::remove(engine, &record, Removal { force: true, trash: true, ..Removal::default() })
        }
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The file that gets the id. It is made before anything else is done, and does not stay where no container came to be.
#[derive(Default)]
pub struct CidFile(Option<(File, PathBuf)>);

impl CidFile {
    /// Makes the file; an existing one stops the command.
    pub fn reserve(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        match File::create_new(path) {
            Ok(file) => Ok(Self(Some((file, path.to_owned())))),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "container ID file found, make sure the other container isn't running or delete {}",
                    path.display()
                ),
            )),
            Err(error) => Err(Error::from(error).context(format!("create the container ID file {}", path.display()))),
        }
    }

    /// Writes the id, without a newline as docker does.
    pub fn write(mut self, id: &ContainerId) -> Result<()> {
        let Some((mut file, path)) = self.0.take() else { return Ok(()) };
        file.write_all(id.as_str().as_bytes()).context(|| format!("write the container ID file {}", path.display()))
    }
}

impl Drop for CidFile {
    fn drop(&mut self) {
        if let Some((_, path)) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}
