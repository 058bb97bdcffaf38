//! `save`: images into an archive or a directory.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use lrun_runtime::container::engine::Engine;
use lrun_runtime::error::{Context as _, Error, ErrorKind, Result};
use lrun_runtime::image::archive::save::{platform, size};
use lrun_runtime::image::archive::{Format, Platform, SaveOptions, Selected, save, select};

use super::target::{READER_GONE, Target, draft_of};
use crate::args::{Global, SaveArgs, SaveFormat};
use crate::context;
use crate::ui::progress::{Progress, Style};

/// Runs the command.
pub fn run(global: &Global, args: &SaveArgs) -> Result<u8> {
    if args.output.is_none() && args.format == SaveFormat::OciDir {
        return Err(Error::new(ErrorKind::Invalid, "--format oci-dir makes a directory: say where with -o"));
    }
    if args.output.is_none() && std::io::stdout().is_terminal() {
        let message = "cowardly refusing to save to a terminal. Use the -o flag or redirect";
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    let wanted = args.platform.as_deref().filter(|platform| !platform.is_empty()).map(Platform::parse).transpose()?;
    let engine = context::engine(global)?;
    // From here on until all is written no layer goes away.
    let _using = engine.store.lock_shared()?;
    let selected = select(&engine.store, &args.images)?;
    for image in &selected {
        let own = platform(&image.image);
        if wanted.as_ref().is_some_and(|wanted| wanted.fit(&own).is_none()) {
            let message = format!("image {} is for {own}, and for no other platform", image.image.id.short());
            return Err(Error::new(ErrorKind::NotFound, message));
        }
    }
    let since = args.since.as_deref().map(|name| engine.store.resolve(name)).transpose()?;
    let format = match args.format {
        SaveFormat::DockerArchive => Format::DockerArchive,
        SaveFormat::OciArchive => Format::OciArchive,
        SaveFormat::OciDir => Format::OciDirectory,
    };
    let options = SaveOptions { format, since };
    let job = Job { engine: &engine, selected: &selected, options: &options, quiet: args.quiet };
    match (&args.output, args.format) {
        (Some(path), SaveFormat::OciDir) => job.directory(path),
        (Some(path), _) => job.stream(Target::open(path)?),
        (None, _) => job.stream(Target::stdout()?),
    }
}

/// Images on their way out.
pub struct Job<'a> {
    /// The store, which the caller holds against collection.
    pub engine: &'a Engine,
    /// The images.
    pub selected: &'a [Selected],
    /// How they go out.
    pub options: &'a SaveOptions,
    /// Do not show how far it is.
    pub quiet: bool,
}

impl Job<'_> {
    /// As an archive; the exit code.
    pub fn stream(&self, target: Target) -> Result<u8> {
        Ok(target.write(true, |out| self.save(out))?.map_or(READER_GONE, |()| 0))
    }

    /// As a directory, which is new or empty.
    pub fn directory(&self, path: &Path) -> Result<u8> {
        if std::fs::symlink_metadata(path).is_ok() && std::fs::remove_dir(path).is_err() {
            let message = format!("{} exists, and is no empty directory", path.display());
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        // Without the slash at its end.
        let draft = draft_of(&path.components().collect::<PathBuf>());
        std::fs::create_dir(&draft).context(|| format!("make {}", draft.display()))?;
        let saved = std::fs::File::open(&draft).map_err(Error::from).and_then(|directory| self.save(directory.into()));
        let named = saved.and_then(|()| {
            let flush = |path: PathBuf| std::fs::File::open(path).and_then(|directory| directory.sync_all());
            ["blobs/sha256", "blobs", ""].into_iter().try_for_each(|part| flush(draft.join(part)))?;
            std::fs::rename(&draft, path).context(|| format!("write {}", path.display()))?;
            Ok(flush(path.join(".."))?)
        });
        if named.is_err() {
            // The failure is what matters.
            let _ = std::fs::remove_dir_all(&draft);
        }
        named.map(|()| 0)
    }

    fn save(&self, output: std::os::fd::OwnedFd) -> Result<()> {
        let Self { engine, selected, options, .. } = self;
        let total = size(&engine.store, selected, options)?;
        let style = if self.quiet { Style::Quiet } else { Style::of_stderr() };
        let mut progress = Progress::new(std::io::stderr(), style, "Saving", Some(total));
        let saved = save(&engine.store, &engine.map, selected, options, output, &mut |bytes| progress.set(bytes));
        progress.finish(total);
        saved.context(|| "save")
    }
}
