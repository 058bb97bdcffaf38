//! What becomes of an image that was built: it stays, is pushed, becomes an archive, or its files go somewhere.

use std::io::IsTerminal;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use jiff::Timestamp;
use lrun_runtime::build::output::{Output, Sink};
use lrun_runtime::container::engine::Engine;
use lrun_runtime::container::export::{export_image, extract_image};
use lrun_runtime::digest::{Digest, random_hex};
use lrun_runtime::error::{Context as _, Error, ErrorKind, Result};
use lrun_runtime::image::archive::save::manifest;
use lrun_runtime::image::archive::{Format, SaveOptions, Selected};
use lrun_runtime::image::store::Image;
use lrun_runtime::reference::Reference;
use lrun_runtime::transfer::Pushed;
use serde_json::json;

use super::super::access::Registries;
use super::super::push;
use super::super::save::Job;
use super::super::target::{READER_GONE, Target};
use crate::args::{Global, Outputs};
use crate::ui::{escape, output};

/// Refuses what could not be done at the end, before anything is built.
pub fn check(outputs: &Outputs) -> Result<()> {
    if outputs.use_stdout() && std::io::stdout().is_terminal() {
        let text = "dest file is required for the output: refusing to write an archive to the terminal";
        return Err(Error::new(ErrorKind::Invalid, text).hint("-o dest=FILE, or redirect the output"));
    }
    Ok(())
}

/// What is done with one image.
pub struct Outgoing<'a> {
    /// The settings.
    pub global: &'a Global,
    /// The store, which the caller holds against collection.
    pub engine: &'a Engine,
    /// What is asked for.
    pub outputs: &'a Outputs,
    /// The time that all files have which go out as files.
    pub clock: Option<Timestamp>,
    /// Say nothing.
    pub quiet: bool,
}

impl Outgoing<'_> {
    /// Does all of it; the exit code, and what was pushed.
    pub fn send(&self, id: &Digest) -> Result<(u8, Option<Pushed>)> {
        let image = self.engine.store.image(id)?;
        let mut pushed = None;
        for output in &self.outputs.all {
            let code = match output {
                Output::Store { push, compression, .. } => {
                    if *push {
                        let registries = Registries::open(self.global)?;
                        for name in &self.outputs.names {
                            let sent = push::send(self.engine, &registries, name, *compression, self.quiet)?;
                            if !self.quiet {
                                output::complain(&format!("Pushed {}", push::told(name, &sent)));
                            }
                            pushed = Some(sent);
                        }
                    }
                    0
                }
                Output::Files(path) => self.files(&image, path)?,
                Output::Tar(sink) => self.tar(&image, target(sink)?)?,
                Output::Docker { sink, names } => {
                    self.archive(&image, Format::DockerArchive, names, |job| job.stream(target(sink)?))?
                }
                Output::Oci { sink, names } => {
                    self.archive(&image, Format::OciArchive, names, |job| job.stream(target(sink)?))?
                }
                Output::OciDirectory { path, names } => {
                    self.archive(&image, Format::OciDirectory, names, |job| job.directory(path))?
                }
                Output::Nothing => 0,
            };
            if code != 0 {
                return Ok((code, pushed));
            }
        }
        Ok((0, pushed))
    }

    fn files(&self, image: &Image, path: &Path) -> Result<u8> {
        let attempt = || format!("make {}", path.display());
        std::fs::create_dir_all(path).context(attempt)?;
        let directory: OwnedFd = std::fs::File::open(path).context(|| format!("open {}", path.display()))?.into();
        for warning in extract_image(self.engine, image, self.clock, (directory, path.as_os_str().as_bytes()))? {
            output::complain(&format!("WARNING: {}", escape::line(&warning)));
        }
        Ok(0)
    }

    fn tar(&self, image: &Image, target: Target) -> Result<u8> {
        let written = target.write(true, |out| export_image(self.engine, image, self.clock, out))?;
        Ok(written.map_or(READER_GONE, |_| 0))
    }

    fn archive(
        &self,
        image: &Image,
        format: Format,
        own: &[Reference],
        write: impl FnOnce(&Job<'_>) -> Result<u8>,
    ) -> Result<u8> {
        let mut names = self.outputs.names.clone();
        names.extend(own.iter().filter(|name| !self.outputs.names.contains(name)).cloned());
        let selected = [Selected { image: image.clone(), names }];
        let options = SaveOptions { format, since: None };
        write(&Job { engine: self.engine, selected: &selected, options: &options, quiet: self.quiet })
    }

    /// `--metadata-file`, in buildx's words.
    pub fn describe(&self, id: &Digest, pushed: Option<&Pushed>, path: &Path) -> Result<()> {
        let image = self.engine.store.image(id)?;
        let (bytes, media_type) = manifest(&self.engine.store, &image)?;
        let (digest, size) = match pushed {
            Some(pushed) => (pushed.digest.clone(), pushed.size),
            None => (Digest::of(&bytes), bytes.len() as u64),
        };
        let mut platform = json!({"architecture": image.config.architecture, "os": image.config.os});
        if !image.config.variant.is_empty() {
            platform["variant"] = json!(image.config.variant);
        }
        let mut told = json!({
            "buildx.build.ref": format!("default/default/{}", random_hex(13)?),
            "containerimage.config.digest": id,
            "containerimage.descriptor":
                {"mediaType": media_type, "digest": digest, "size": size, "platform": platform},
            "containerimage.digest": digest,
        });
        if !self.outputs.names.is_empty() {
            let names: Vec<String> = self.outputs.names.iter().map(ToString::to_string).collect();
            told["image.name"] = json!(names.join(","));
        }
        let text = serde_json::to_string_pretty(&told)
            .map_err(|error| Error::new(ErrorKind::Invalid, format!("encode JSON: {error}")))?;
        std::fs::write(path, text).context(|| format!("write {}", path.display()))
    }
}

fn target(sink: &Sink) -> Result<Target> {
    match sink {
        Sink::Stdout => Target::stdout(),
        Sink::File(path) => {
            if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
                std::fs::create_dir_all(directory).context(|| format!("make {}", directory.display()))?;
            }
            Target::open(path)
        }
    }
}
