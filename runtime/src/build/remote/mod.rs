//! Files that come from elsewhere: over HTTP, and from git repositories.
//!
//! | file | owns |
//! | --- | --- |
//! | [`address`] | which texts are addresses, and of what; pure |
//! | `auth` | who is told to a server |
//! | [`http`] | downloads, and not downloading what is known |
//! | [`git`] | the host's `git`, and how it is kept from doing anything but fetching |
//!
//! What comes goes into a directory of the build's own, of the process's own user, and is a [`Context`] from there on.
//!
//! Runs in the CLI, on the host.

pub mod address;
mod auth;
pub mod git;
pub mod http;

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

pub use address::{Address, Repository};

use super::context::Context;
use super::given::Secrets;
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::file;
use crate::paths::Root;
use crate::registry::http::{Access, Http};

/// Is told how far a download is: its bytes, and how many there will be.
pub type Progress<'p> = dyn FnMut(u64, Option<u64>) + 'p;

/// What is asked for access to servers, when the first is spoken to.
pub type AskAccess = dyn Fn() -> Result<Access> + Send + Sync;

/// The way to what is elsewhere.
pub struct Remote {
    /// A directory that is the build's own; it goes with the build.
    folder: PathBuf,
    access: Box<AskAccess>,
    /// What `git` gets of the environment: `PATH`, proxies, the way to an SSH agent.
    environment: Vec<(OsString, OsString)>,
    /// Some of them are for servers.
    secrets: Secrets,
    http: OnceLock<Http>,
    count: AtomicU32,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// A file that was downloaded as the context of a build.
#[derive(Debug)]
pub enum Downloaded {
    /// It was an archive; also what the user should know.
    Archive(Context, Vec<String>),
    /// It is something else, a Dockerfile.
    File(Vec<u8>),
}

impl Remote {
    /// Nothing is connected to yet. Files go into `folder`, which is there.
    pub fn new(
        folder: PathBuf,
        environment: Vec<(OsString, OsString)>,
        secrets: Secrets,
        access: Box<AskAccess>,
    ) -> Self {
        Self { folder, access, environment, secrets, http: OnceLock::new(), count: AtomicU32::new(0) }
    }

    fn http(&self) -> Result<&Http> {
        if let Some(http) = self.http.get() {
            return Ok(http);
        }
        let http = Http::new((self.access)()?);
        Ok(self.http.get_or_init(|| http))
    }

    /// A new directory.
    fn directory(&self) -> Result<PathBuf> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        // Several processes of a build have the same folder.
        let path = self.folder.join(format!("remote-{}-{number}", std::process::id()));
        file::make_dir(&path)?;
        Ok(path)
    }

    /// A context in which nothing is.
    pub fn empty(&self) -> Result<Context> {
        Context::open(&self.directory()?)
    }

    /// The files of a repository, as the context of a build.
    pub fn repository(&self, repository: &Repository) -> Result<Context> {
        let found = self.resolve(repository)?;
        self.checkout(repository, &found, repository.keep_git_dir == Some(true))
    }

    /// What is at a URL, as the context of a build: an archive's files, or a Dockerfile of at most `max` bytes.
    pub fn context(&self, root: &Root, url: &str, max: u64, progress: &mut Progress<'_>) -> Result<Downloaded> {
        let file = self.open(root, url, progress)?;
        if !is_archive(&file)? {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut std::io::Read::take(file, max + 1), &mut bytes)
                .context(|| address::without_user(url).0)?;
            return Ok(Downloaded::File(bytes));
        }
        let path = self.directory()?;
        let (context, warnings) = Context::unpack(file, file::open_dir(&path)?, &mut |_| {})?;
        Ok(Downloaded::Archive(context, warnings))
    }

    /// The same as a context with a name: what is no archive is a file in it.
    pub fn named(&self, root: &Root, url: &str, progress: &mut Progress<'_>) -> Result<Context> {
        let found = self.download(root, url, None, true, progress)?;
        let path = found.file.ok_or_else(|| Error::new(ErrorKind::Io, "the download is lost"))?;
        let file = File::open(&path).context(|| path.display().to_string())?;
        if is_archive(&file)? {
            return Ok(Context::unpack(file, file::open_dir(&self.directory()?)?, &mut |_| {})?.0);
        }
        Ok(Context::at(file::open_dir(path.parent().unwrap_or(&self.folder))?))
    }

    /// What is at a URL, as a file of the folder.
    pub fn open(&self, root: &Root, url: &str, progress: &mut Progress<'_>) -> Result<File> {
        let found = self.download(root, url, None, true, progress)?;
        let path = found.file.ok_or_else(|| Error::new(ErrorKind::Io, "the download is lost"))?;
        File::open(&path).context(|| path.display().to_string())
    }
}

/// Whether a file is a tar, compressed or not: its first header may be of any kind, also one that only tells of the next
/// (pax, GNU's long names), and what it names is not looked at yet. The file is at its start then.
pub(super) fn is_archive(file: &File) -> Result<bool> {
    use std::io::Read as _;

    use rustix::fs::{SeekFrom, seek};

    use crate::image::compress;
    use crate::image::tar::{BLOCK, is_header};

    let again = || -> Result<()> { seek(file, SeekFrom::Start(0)).map(drop).map_err(Error::from) };
    again()?;
    let mut block = [0; BLOCK];
    let begins =
        compress::decompress(Box::new(file.try_clone()?)).is_ok_and(|(mut tar, _)| tar.read_exact(&mut block).is_ok());
    again()?;
    Ok(begins && is_header(&block) && block.iter().any(|b| *b != 0))
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, Write as _};

    use super::*;
    use crate::image::tar::{BLOCK, Head, Kind, header};

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        file
    }

    /// The header of an entry, of another type than it is.
    fn typed(kind: u8) -> Vec<u8> {
        let mut block = Vec::new();
        header::write(&Head::new(b"a".to_vec(), Kind::File, 0o644), &mut block);
        block[156] = kind;
        block[148..156].fill(b' ');
        let sum: u32 = block[..BLOCK].iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }

    #[test]
    fn an_archive_may_begin_with_any_header() {
        for kind in *b"0125gxLK" {
            assert!(is_archive(&file(&typed(kind))).unwrap(), "{}", kind as char);
        }
        let mut broken = typed(b'0');
        broken[0] ^= 1;
        for other in [&broken[..], &typed(b'x')[..100], &[0; BLOCK], b"", b"FROM busybox\n"] {
            assert!(!is_archive(&file(other)).unwrap());
        }
    }
}
