//! Where an archive goes: a file gets its name when it is whole, a stream is written as it is.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use lrun_runtime::error::{Context as _, Error, ErrorKind, Result};

/// The exit code of a program that SIGPIPE ended.
pub const READER_GONE: u8 = 141;

/// Where an archive goes.
pub enum Target {
    /// What is no regular file is written as it is.
    Direct(OwnedFd),
    /// A file.
    File { draft: File, path: PathBuf, name: PathBuf },
}

impl Target {
    /// Standard output.
    pub fn stdout() -> Result<Self> {
        Ok(Self::Direct(rustix::io::fcntl_dupfd_cloexec(std::io::stdout().as_fd(), 3)?))
    }

    /// The file at this path, new or replaced, or a device or FIFO.
    pub fn open(path: &Path) -> Result<Self> {
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
        let draft = draft_of(&name);
        let mut options = File::options();
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.write(true).create_new(true).open(&draft).context(attempt)?;
        Ok(Self::File { draft: file, path: draft, name })
    }

    /// Has it written. With `durably` it is on disk when this returns. A failure leaves nothing of it; `None`: its reader has
    /// gone away, at which a program ends quietly with [`READER_GONE`].
    pub fn write<T>(self, durably: bool, write: impl FnOnce(OwnedFd) -> Result<T>) -> Result<Option<T>> {
        match self.descriptor().and_then(write).and_then(|written| self.finish(durably).map(|()| written)) {
            Ok(written) => Ok(Some(written)),
            Err(error) => {
                self.discard();
                if error.errno() == Some(rustix::io::Errno::PIPE.raw_os_error()) { Ok(None) } else { Err(error) }
            }
        }
    }

    fn descriptor(&self) -> Result<OwnedFd> {
        Ok(match self {
            Self::Direct(fd) => fd.try_clone()?,
            Self::File { draft, .. } => draft.try_clone()?.into(),
        })
    }

    fn finish(&self, durably: bool) -> Result<()> {
        let Self::File { draft, path, name } = self else { return Ok(()) };
        let attempt = || format!("write {}", name.display());
        if durably {
            draft.sync_all().context(attempt)?;
        }
        std::fs::rename(path, name).context(attempt)?;
        if durably && let Some(parent) = name.parent() {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            File::open(parent).and_then(|parent| parent.sync_all()).context(attempt)?;
        }
        Ok(())
    }

    fn discard(self) {
        if let Self::File { path, .. } = self {
            // The failure is what matters.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Where a file or directory is made before it gets its name.
pub fn draft_of(name: &Path) -> PathBuf {
    let mut draft = name.as_os_str().to_owned();
    draft.push(format!(".{}.part", std::process::id()));
    PathBuf::from(draft)
}
