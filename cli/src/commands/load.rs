//! `load`: images from an archive or a directory.

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::Path;

use lrun_runtime::error::{Context as _, Error, ErrorKind, Result};
use lrun_runtime::image::archive::{LoadOptions, LoadedImage, Platform, Source, load};

use crate::args::{Global, LoadArgs};
use crate::context;
use crate::ui::progress::{Progress, Style};
use crate::ui::{escape, output};

/// Runs the command.
pub fn run(global: &Global, args: &LoadArgs) -> Result<u8> {
    let platform = args.platform.as_deref().filter(|platform| !platform.is_empty());
    let options = LoadOptions { platform: platform.map(Platform::parse).transpose()?, pick: None };
    let (source, total) = open(args.input.as_deref())?;
    let engine = context::settled_engine(global)?;
    let style = if args.quiet { Style::Quiet } else { Style::of_stderr() };
    let mut progress = Progress::new(std::io::stderr(), style, "Loading", total);
    let mut done = 0;
    let mut report = |bytes| {
        done = bytes;
        progress.set(bytes);
    };
    let loaded = load(&engine.store, &engine.map, source, &options, &mut report, &mut |path| engine.remove_tree(path));
    progress.finish(total.unwrap_or(done));
    let from = args.input.as_deref().map_or("standard input".into(), |path| path.to_string_lossy());
    let loaded = loaded.context(|| format!("load {from}"))?;
    for warning in &loaded.warnings {
        output::complain(&format!("WARNING: {}", escape::line(warning)));
    }
    loaded.images.iter().for_each(print);
    Ok(0)
}

/// In docker's words, on standard output like docker.
fn print(image: &LoadedImage) {
    for (name, before) in &image.names {
        let name = name.familiar_with_tag();
        if let Some(before) = before {
            output::line(&format!(
                "The image {name} already exists, renaming the old one with ID {before} to empty string"
            ));
        }
        output::line(&format!("Loaded image: {name}"));
    }
    if image.names.is_empty() {
        output::line(&format!("Loaded image ID: {}", image.id));
    }
}

/// Where the images are, and how many bytes of them.
fn open(input: Option<&Path>) -> Result<(Source, Option<u64>)> {
    let Some(path) = input else {
        let stdin = std::io::stdin();
        if stdin.is_terminal() {
            return Err(Error::new(ErrorKind::Invalid, "requested load from stdin, but stdin is empty")
                .hint("give a file with -i, or redirect the input"));
        }
        return Ok((Source::Stream(rustix::io::fcntl_dupfd_cloexec(stdin.as_fd(), 3)?), None));
    };
    let file = std::fs::File::open(path).context(|| format!("open {}", path.display()))?;
    let metadata = file.metadata().context(|| format!("look at {}", path.display()))?;
    match metadata.is_dir() {
        true => Ok((Source::Directory(file.into()), None)),
        false => Ok((Source::Stream(file.into()), metadata.is_file().then_some(metadata.len()))),
    }
}
