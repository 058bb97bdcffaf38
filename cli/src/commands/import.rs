//! `import`: a root file system's archive becomes an image.

use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::{AsFd, OwnedFd};

use lrun_runtime::build::given::Secrets;
use lrun_runtime::build::remote::Remote;
use lrun_runtime::build::remote::address::without_user;
use lrun_runtime::container::engine::Engine;
use lrun_runtime::error::{Context as _, Error, ErrorKind, Result};
use lrun_runtime::file::Staging;
use lrun_runtime::image::import::{ImportOptions, architecture, import};
use lrun_runtime::registry::platform::Platform;

use super::access;
use super::tag::new_name;
use crate::args::{Global, ImportArgs};
use crate::context;
use crate::ui::progress::{Progress, Style};
use crate::ui::{escape, output};

/// Runs the command.
pub fn run(global: &Global, args: &ImportArgs) -> Result<u8> {
    let source = if args.is_url() { without_user(&args.source).0 } else { args.source.clone() };
    let platform = args.platform.as_deref().filter(|platform| !platform.is_empty());
    let reference = args.repository.as_deref().map(new_name).transpose()?;
    let opened = if args.is_url() { None } else { Some(open(&args.source)?) };
    let options = ImportOptions {
        changes: args.change.clone(),
        message: args.message.clone().unwrap_or_else(|| format!("Imported from {source}")),
        reference,
        made_for: platform.map(made_for).transpose()?,
        clock: context::source_date_epoch()?,
    };
    let engine = context::settled_engine(global)?;
    let (archive, total) = opened.map_or_else(|| download(&engine, &args.source), Ok)?;
    let mut progress = Progress::new(std::io::stderr(), Style::of_stderr(), "Importing", total);
    let mut done = 0;
    let mut report = |bytes| {
        done = bytes;
        progress.set(bytes);
    };
    let imported =
        import(&engine.store, &engine.map, archive, &options, &mut report, &mut |path| engine.remove_tree(path));
    progress.finish(total.unwrap_or(done));
    let imported = imported.context(|| format!("import {source}"))?;
    for warning in &imported.warnings {
        output::complain(&format!("WARNING: {}", escape::line(warning)));
    }
    output::line(&imported.id.to_string());
    Ok(0)
}

/// Architecture and variant of a platform, which may be another machine's.
fn made_for(platform: &str) -> Result<(String, String)> {
    let wanted = Platform::parse(platform, &Platform::new("linux", architecture()?, ""))?;
    match wanted.os.as_str() {
        "linux" => Ok((wanted.architecture, wanted.variant)),
        os => Err(Error::new(ErrorKind::Unsupported, format!("--platform {platform}: images are for linux, not {os}"))),
    }
}

/// Brings the whole archive before anything is made of it: a connection that breaks is made again. Its file has no name any
/// more when it is read.
fn download(engine: &Engine, url: &str) -> Result<(OwnedFd, Option<u64>)> {
    let staging = Staging::new(engine.root())?;
    let folder = std::path::absolute(staging.path()).context(|| "find the store")?;
    let remote = Remote::new(folder, Vec::new(), Secrets::new(), Box::new(access::servers));
    let (mut progress, mut done) = (None, 0);
    let file = remote.open(engine.root(), url, &mut |bytes, total| {
        done = bytes;
        let begin = || Progress::new(std::io::stderr(), Style::of_stderr(), "Downloading", total);
        progress.get_or_insert_with(begin).set(bytes);
    });
    if let Some(progress) = progress {
        progress.finish(done);
    }
    // What cannot be deleted now is swept later.
    let _ = staging.remove(&mut |path| engine.remove_tree(path));
    Ok((file?.into(), Some(done)))
}

fn open(source: &str) -> Result<(OwnedFd, Option<u64>)> {
    if source == "-" {
        let stdin = std::io::stdin();
        if stdin.is_terminal() {
            let message = "standard input is a terminal: an archive is expected";
            return Err(Error::new(ErrorKind::Invalid, message).hint("lrun import - NAME < archive.tar"));
        }
        return Ok((rustix::io::fcntl_dupfd_cloexec(stdin.as_fd(), 3)?, None));
    }
    let file = File::open(source).context(|| format!("open {source}"))?;
    let metadata = file.metadata().context(|| format!("look at {source}"))?;
    if metadata.is_dir() {
        return Err(Error::new(ErrorKind::Invalid, format!("{source} is a directory: an archive is expected")));
    }
    let total = metadata.is_file().then_some(metadata.len());
    Ok((file.into(), total))
}
