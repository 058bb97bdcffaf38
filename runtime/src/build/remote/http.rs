//! Downloads, and not downloading what is known.
//!
//! What a URL led to is remembered (`cache/url-<digest of the URL>.json`): the digest of the content, and what the server
//! called that version. The next time the server is asked whether it still is that; if so nothing is sent, and a step that
//! was made from it is found in the cache.

use std::fs::File;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, utimensat};
use serde::{Deserialize, Serialize};
use ureq::http::Method;

use super::address::{file_name, without_user};
use super::{Progress, Remote};
use crate::build::cache;
use crate::digest::{Digest, Hasher};
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::file::{self, Durability};
use crate::paths::Root;
use crate::registry::http::{Answer, Body, read_error};
use crate::registry::retry::{ATTEMPTS, delay, is_temporary};
use crate::registry::url::Url;

const VERSION: u32 = 1;
const NOTE_MAX: usize = 64 << 10;
const REDIRECTS: usize = 10;
const BUFFER: usize = 256 << 10;
/// What a file without a name by its URL is called where it needs one.
const UNNAMED: &str = "download";
/// The mode of a downloaded file.
const MODE: u32 = 0o600;

/// What a URL leads to.
#[derive(Clone, Debug)]
pub struct Download {
    /// The digest of its bytes.
    pub digest: Digest,
    /// Its name by its URL.
    pub name: Option<String>,
    /// The file, alone in its directory; `None`: it was not sent, because it is known.
    pub file: Option<PathBuf>,
}

/// What is known of a URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    version: u32,
    digest: Digest,
    /// What the server calls this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    /// When it was changed, as the server says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_modified: Option<String>,
}

impl Note {
    fn read(root: &Root, url: &str) -> Option<Self> {
        let path = root.cache_url(&Digest::of(url.as_bytes()));
        let note = file::read_json(&path, NOTE_MAX).ok().filter(|note: &Self| note.version == VERSION)?;
        cache::used(&path);
        Some(note)
    }

    /// Best effort: without it the file is downloaded again.
    fn write(&self, root: &Root, url: &str) {
        let path = root.cache_url(&Digest::of(url.as_bytes()));
        let write = || {
            file::ensure_dir(&root.cache())?;
            file::write_atomic(&path, &file::to_json(self)?, Durability::Relaxed)
        };
        if let Err(error) = write() {
            tracing::debug!(%error, "what is known of a URL");
        }
    }

    /// The headers that ask whether it still is this.
    fn conditions(&self) -> Vec<(&'static str, String)> {
        let etag = self.etag.clone().map(|etag| ("if-none-match", etag));
        let since = self.last_modified.clone().map(|since| ("if-modified-since", since));
        etag.into_iter().chain(since).collect()
    }
}

impl Remote {
    /// What a URL leads to. It is sent if it is not known, or `wanted` whatever is known; one of a digest that the caller
    /// expects and that it was before is not asked for.
    pub fn download(
        &self,
        root: &Root,
        url: &str,
        expected: Option<&Digest>,
        wanted: bool,
        progress: &mut Progress<'_>,
    ) -> Result<Download> {
        let name = file_name(url);
        let note = if wanted { None } else { Note::read(root, url) };
        if let Some(note) = note.as_ref().filter(|note| Some(&note.digest) == expected) {
            return Ok(Download { digest: note.digest.clone(), name, file: None });
        }
        let conditions = note.as_ref().map(Note::conditions).unwrap_or_default();
        let mut attempt = 1;
        let (digest, file) = loop {
            let failed = match self.attempt(root, url, &conditions, progress) {
                Ok(Got::Known) => match &note {
                    Some(note) => break (note.digest.clone(), None),
                    None => return Err(Error::new(ErrorKind::Invalid, "the server sent nothing")),
                },
                Ok(Got::File(digest, path)) => break (digest, Some(path)),
                Err(failed) => failed,
            };
            match failed.again.filter(|_| attempt < ATTEMPTS) {
                Some(after) => std::thread::sleep(after.unwrap_or_else(|| delay(attempt, None))),
                None => return Err(failed.error.context(without_user(url).0)),
            }
            attempt += 1;
        };
        match expected {
            Some(expected) if *expected != digest => {
                let text = format!("digest mismatch: {digest} came, {expected} was expected");
                Err(Error::new(ErrorKind::Corrupt, text).context(without_user(url).0))
            }
            _ => Ok(Download { digest, name, file }),
        }
    }

    fn attempt(
        &self,
        root: &Root,
        url: &str,
        conditions: &[(&'static str, String)],
        progress: &mut Progress<'_>,
    ) -> std::result::Result<Got, Failed> {
        let answer = self.ask(url, conditions)?;
        match answer.status {
            304 => return Ok(Got::Known),
            200 => {}
            status => {
                let kind = if matches!(status, 404 | 410) { ErrorKind::NotFound } else { ErrorKind::Io };
                let again = is_temporary(status).then(|| answer.header("retry-after").map(|text| delay(1, Some(text))));
                return Err(Failed { error: Error::new(kind, format!("invalid response status {status}")), again });
            }
        }
        let total = answer.header("content-length").and_then(|text| text.parse().ok());
        let header = |name: &str| answer.header(name).map(str::to_owned);
        let (etag, last_modified) = (header("etag"), header("last-modified"));
        let changed = last_modified.as_deref().and_then(seconds).unwrap_or(0);
        let name = file_name(url).unwrap_or_else(|| UNNAMED.to_owned());
        let path = self.directory()?.join(name);
        let digest = save(answer, &path, changed, total, progress)?;
        if etag.is_some() || last_modified.is_some() {
            Note { version: VERSION, digest: digest.clone(), etag, last_modified }.write(root, url);
        }
        Ok(Got::File(digest, path))
    }

    fn ask(&self, url: &str, conditions: &[(&'static str, String)]) -> std::result::Result<Answer, Failed> {
        let (plain, user) = without_user(url);
        let url = Url::parse(&plain)?;
        let authorization = self.authorization(&url.origin, user)?;
        self.get(&url, authorization, conditions).map(|(answer, _)| answer)
    }

    /// GET, along redirects; the answer, and whose it is. Who asks is for the URL's own server.
    pub(super) fn get(
        &self,
        first: &Url,
        authorization: Option<String>,
        conditions: &[(&'static str, String)],
    ) -> std::result::Result<(Answer, Url), Failed> {
        let mut url = first.clone();
        for _ in 0..=REDIRECTS {
            let mut headers = conditions.to_vec();
            if let Some(value) = authorization.clone().filter(|_| url.origin == first.origin) {
                headers.push(("authorization", value));
            }
            let answer = self
                .http()?
                .send(&Method::GET, &url, &headers, Body::None)
                .map_err(|failed| Failed { error: failed.error, again: failed.temporary.then_some(None) })?;
            if !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
                return Ok((answer, url));
            }
            url = url.join(answer.header("location").unwrap_or_default())?;
            if url.origin.is_plain() && !first.origin.is_plain() {
                let text = format!("{} points to {}, which is not reached over TLS", first.origin, url.origin);
                return Err(Error::new(ErrorKind::Unsupported, text).into());
            }
        }
        Err(Error::new(ErrorKind::Invalid, "redirects without end").into())
    }
}

/// What an attempt brought.
enum Got {
    /// It is what it was.
    Known,
    /// This, in a file.
    File(Digest, PathBuf),
}

/// Why an attempt failed, and whether another may succeed: after how long, if the server says.
pub(super) struct Failed {
    error: Error,
    again: Option<Option<Duration>>,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, again: None }
    }
}

/// Writes a body to a new file that was changed at this time; its digest.
fn save(
    answer: Answer,
    path: &Path,
    changed: i64,
    total: Option<u64>,
    progress: &mut Progress<'_>,
) -> std::result::Result<Digest, Failed> {
    let attempt = || format!("write {}", path.display());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(path, flags, Mode::from_raw_mode(MODE)).context(attempt)?);
    let (mut body, mut hasher, mut buffer, mut done) = (answer.into_reader(), Hasher::new(), vec![0; BUFFER], 0);
    loop {
        let got = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(got) => got,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failed { error: read_error(error), again: Some(None) }),
        };
        let bytes = buffer.get(..got).unwrap_or_default();
        hasher.update(bytes);
        file.write_all(bytes).context(attempt)?;
        done += got as u64;
        progress(done, total);
    }
    let time = Timespec { tv_sec: changed, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(rustix::fs::CWD, path, &times, AtFlags::empty()).context(attempt)?;
    Ok(hasher.finish())
}

/// A time as HTTP has it, in seconds since 1970.
fn seconds(text: &str) -> Option<i64> {
    jiff::fmt::rfc2822::parse(text).ok().map(|time| time.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_servers() {
        assert_eq!(seconds("Wed, 21 Oct 2015 07:28:00 GMT"), Some(1_445_412_480));
        assert_eq!(seconds("yesterday"), None);
    }

    #[test]
    fn what_is_known_is_asked_for() {
        let note =
            Note { version: VERSION, digest: Digest::of(b"x"), etag: Some("\"e\"".to_owned()), last_modified: None };
        assert_eq!(note.conditions(), [("if-none-match", "\"e\"".to_owned())]);
    }
}
