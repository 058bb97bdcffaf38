//! `ADD` of addresses: what is known of each before it is needed, for the cache's key, and how it is brought.
//!
//! Runs in the CLI, on the host.

use std::path::Path;
use std::time::{Duration, Instant};

use super::cache::Key;
use super::context::{Context, Patterns, Request, Selection};
use super::dockerfile::instruction::Add;
use super::driver::Build;
use super::options::Event;
use super::remote::address::without_user;
use super::remote::git::Found;
use super::remote::http::Download;
use super::remote::{Address, Repository};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};

/// So often it is told how far a download is.
const OFTEN: Duration = Duration::from_secs(1);

/// A source that is elsewhere, and what is known of it.
#[derive(Debug)]
pub(super) enum Elsewhere {
    /// A file.
    File {
        /// Its URL.
        url: String,
        /// What that leads to.
        found: Download,
        /// It is an archive whose files are meant.
        unpack: bool,
    },
    /// Files of a repository.
    Repository {
        /// Which.
        repository: Repository,
        /// Its commit.
        found: Found,
        /// `.git` is among the files.
        keep_git_dir: bool,
    },
}

/// Tells now and then how far a download is.
pub struct Telling<'t> {
    tell: &'t mut dyn FnMut(Event<'_>),
    url: String,
    told: Instant,
}

impl<'t> Telling<'t> {
    /// Of a download from this URL that begins now.
    pub fn new(tell: &'t mut dyn FnMut(Event<'_>), url: &str) -> Self {
        Self { tell, url: without_user(url).0, told: Instant::now() }
    }

    /// So many bytes have come, of so many.
    pub fn tell(&mut self, bytes: u64, total: Option<u64>) {
        if self.told.elapsed() >= OFTEN {
            self.told = Instant::now();
            (self.tell)(Event::Download { url: &self.url, bytes, total });
        }
    }
}

/// Files that were brought.
pub(super) struct Brought {
    pub context: Context,
    pub selection: Selection,
    /// Archives among them are extracted.
    pub unpack: bool,
}

impl Elsewhere {
    /// Adds to a key what it is made of.
    pub fn add_to(&self, key: &mut Key) {
        match self {
            Self::File { found, unpack, .. } => {
                key.add("download", found.digest.as_str().as_bytes());
                key.add("name", found.name.as_deref().unwrap_or_default().as_bytes());
                key.add("unpack", &[u8::from(*unpack)]);
            }
            Self::Repository { repository, found, keep_git_dir } => {
                key.add("commit", found.commit.as_bytes());
                key.add("directory", repository.directory.as_deref().unwrap_or_default().as_bytes());
                key.add("submodules", &[u8::from(!repository.without_submodules)]);
                if *keep_git_dir {
                    key.add("repository", repository.url.as_bytes());
                }
            }
        }
    }

    /// Whether it is one file, which may be called as the destination is.
    pub fn is_single(&self) -> bool {
        matches!(self, Self::File { unpack: false, .. })
    }

    /// Whether it is a file that needs a name.
    pub fn is_unnamed(&self) -> bool {
        matches!(self, Self::File { unpack: false, found: Download { name: None, .. }, .. })
    }
}

/// What the flag and the address say, who may both do so.
fn agreed<T: PartialEq + std::fmt::Debug>(name: &str, flag: Option<T>, address: Option<T>) -> Result<Option<T>> {
    match (flag, address) {
        (Some(flag), Some(address)) if flag != address => {
            let text = format!("--{name} says {flag:?}, the address {address:?}");
            Err(Error::new(ErrorKind::Invalid, text))
        }
        (flag, address) => Ok(flag.or(address)),
    }
}

impl Build<'_> {
    /// Finds out what the addresses of an ADD lead to now. `cached`: nothing is brought that is known.
    pub(super) fn look_up_all(&mut self, add: &Add, addresses: &[Address], cached: bool) -> Result<Vec<Elsewhere>> {
        let invalid = |text: &str| Err(Error::new(ErrorKind::Invalid, text));
        let is_repository = |address: &Address| matches!(address, Address::Repository(_));
        if add.checksum.is_some() && add.files.sources.len() + add.files.inline.len() > 1 {
            return invalid("checksum can't be specified for multiple sources");
        }
        if add.checksum.is_some() && addresses.is_empty() {
            return invalid("checksum requires HTTP(S) or Git sources");
        }
        if add.keep_git_dir == Some(true) && !addresses.iter().any(is_repository) {
            return invalid("--keep-git-dir is for git repositories");
        }
        addresses.iter().map(|address| self.look_up(add, address, cached)).collect()
    }

    fn look_up(&mut self, add: &Add, address: &Address, cached: bool) -> Result<Elsewhere> {
        let checksum = add.checksum.as_ref().map(|word| word.text.as_str());
        match address {
            Address::File(url) => {
                let expected = checksum.map(Digest::parse).transpose()?;
                let found = self.download(url, expected.as_ref(), !cached)?;
                Ok(Elsewhere::File { url: url.clone(), found, unpack: add.unpack == Some(true) })
            }
            Address::Repository(repository) => {
                let mut repository = repository.clone();
                let checksum = checksum.map(str::to_owned);
                repository.checksum = agreed("checksum", checksum, repository.checksum)?;
                let keep_git_dir = agreed("keep-git-dir", add.keep_git_dir, repository.keep_git_dir)?.unwrap_or(false);
                let found = self.steps.remote.resolve(&repository)?;
                Ok(Elsewhere::Repository { repository, found, keep_git_dir })
            }
        }
    }

    fn download(&mut self, url: &str, expected: Option<&Digest>, wanted: bool) -> Result<Download> {
        let mut progress = Telling::new(&mut *self.tell, url);
        let tell = &mut |bytes, total| progress.tell(bytes, total);
        self.steps.remote.download(self.steps.engine.root(), url, expected, wanted, tell)
    }

    /// Brings the files.
    pub(super) fn take_in(&mut self, what: &Elsewhere, exclude: &Patterns) -> Result<Brought> {
        let (context, unpack) = match what {
            Elsewhere::File { url, found, unpack } => {
                let file = match &found.file {
                    Some(file) => Some(file.clone()),
                    None => self.download(url, Some(&found.digest), true)?.file,
                };
                let lost = || Error::new(ErrorKind::Io, "the download is lost");
                (Context::open(file.as_deref().and_then(Path::parent).ok_or_else(lost)?)?, *unpack)
            }
            Elsewhere::Repository { repository, found, keep_git_dir } => {
                (self.steps.remote.checkout(repository, found, *keep_git_dir)?, false)
            }
        };
        let (context, all) = (context.named("what was brought"), Patterns::default());
        // A file is there by its own name, which --exclude is not about.
        let exclude = if what.is_single() { &all } else { exclude };
        let sources: &[&[u8]] = if matches!(what, Elsewhere::File { .. }) { &[b"*"] } else { &[b"."] };
        let selection = context.select(&Request { sources, parents: false, exclude })?;
        Ok(Brought { context, selection, unpack })
    }
}
