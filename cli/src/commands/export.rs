//! `export`: a container's root file system as a tar.

use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use lrun_runtime::container::export::export;
use lrun_runtime::container::lifecycle;
use lrun_runtime::error::{Context as _, Error, ErrorKind, Result};

use crate::args::{ExportArgs, Global};
use crate::context;
use crate::ui::output;

/// Runs the command.
pub fn run(global: &Global, args: &ExportArgs) -> Result<u8> {
    let stdout = std::io::stdout();
    if args.output.is_none() && stdout.is_terminal() {
        return Err(Error::new(ErrorKind::Invalid, "standard output is a terminal: an archive would garble it")
            .hint("give a file with -o, or redirect the output"));
    }
    let engine = context::engine(global)?;
    let record = lifecycle::find(&engine, &args.container)?;
    let target = match &args.output {
        Some(path) => Target::open(path)?,
        None => Target::Direct(rustix::io::fcntl_dupfd_cloexec(stdout.as_fd(), 3)?),
    };
    let exported = match export(&engine, &record.id, target.descriptor()?) {
        // A reader that has gone away ends the program quietly, as SIGPIPE would.
        Err(error) if error.errno() == Some(rustix::io::Errno::PIPE.raw_os_error()) => {
            target.discard();
            return Ok(141);
        }
        Err(error) => {
            target.discard();
            return Err(error);
        }
        Ok(exported) => exported,
    };
    target.finish()?;
    if exported.torn > 0 {
        output::complain(&format!(
            "WARNING: {} files became shorter while they were read; zeros stand for what was lost",
            exported.torn
        ));
    }
    Ok(0)
}

/// Where the archive goes.
enum Target {
    /// What is no regular file is written as it is.
    Direct(OwnedFd),
    /// A file gets its name when it is whole.
    File { draft: File, path: PathBuf, name: PathBuf },
}

impl Target {
    fn open(path: &Path) -> Result<Self> {
        let attempt = || format!("open {}", path.display());
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                return Err(Error::new(ErrorKind::Invalid, format!("{} is a directory", path.display())));
            }
            Ok(metadata) if !metadata.is_file() => {
                return Ok(Self::Direct(File::options().write(true).open(path).context(attempt)?.into()));
            }
            _ => {}
        }
        // A link keeps pointing where it does.
        let name = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let mut draft = name.clone().into_os_string();
        draft.push(format!(".{}.part", std::process::id()));
        let draft = PathBuf::from(draft);
        let mut options = File::options();
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.write(true).create_new(true).open(&draft).context(attempt)?;
        Ok(Self::File { draft: file, path: draft, name })
    }

    fn descriptor(&self) -> Result<OwnedFd> {
        Ok(match self {
            Self::Direct(fd) => fd.try_clone()?,
            Self::File { draft, .. } => draft.try_clone()?.into(),
        })
    }

    fn finish(self) -> Result<()> {
        match self {
            Self::Direct(_) => Ok(()),
            Self::File { path, name, .. } => {
                std::fs::rename(&path, &name).context(|| format!("write {}", name.display()))
            }
        }
    }

    fn discard(self) {
        if let Self::File { path, .. } = self {
            // The failure is what matters.
            let _ = std::fs::remove_file(path);
        }
    }
}
