//! Where an archive goes: a file gets its name when it is whole, a stream is written as it is.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use lrun_runtime::error::{Context as _, Error, ErrorKind, Result};

/// The exit code of a program that SIGPIPE ended.
pub const READER_GONE: u8 = 141;

/// Where an archive goes.
pub enum Target {
    /// What is no regular file is written as it is.
    Direct(OwnedFd),
    /// A file, which has the name of a draft or, where the file system can do without, none until it is whole: then nothing
    /// stays of it whenever this process ends.
    File { draft: File, is_named: bool, path: PathBuf, name: PathBuf },
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
        let path = draft_of(&name);
        let mode = Mode::RUSR | Mode::WUSR;
        let nameless = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
        if let Ok(draft) = rustix::fs::open(parent_of(&name), nameless, mode) {
            return Ok(Self::File { draft: draft.into(), is_named: false, path, name });
        }
        let named = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let draft = rustix::fs::open(&path, named, mode).context(attempt)?;
        Ok(Self::File { draft: draft.into(), is_named: true, path, name })
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
        let Self::File { draft, is_named, path, name } = self else { return Ok(()) };
        let attempt = || format!("write {}", name.display());
        if durably {
            draft.sync_all().context(attempt)?;
        }
        if !is_named {
            // A link replaces nothing, a rename does.
            let itself = format!("/proc/self/fd/{}", draft.as_raw_fd());
            rustix::fs::linkat(CWD, itself, CWD, path, AtFlags::SYMLINK_FOLLOW).context(attempt)?;
        }
        std::fs::rename(path, name).context(attempt)?;
        if durably {
            File::open(parent_of(name)).and_then(|parent| parent.sync_all()).context(attempt)?;
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

fn parent_of(name: &Path) -> &Path {
    name.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Where a file or directory is made before it gets its name.
pub fn draft_of(name: &Path) -> PathBuf {
    let mut draft = name.as_os_str().to_owned();
    draft.push(format!(".{}.part", std::process::id()));
    PathBuf::from(draft)
}
