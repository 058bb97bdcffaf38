//! What push sends: blobs and manifests. The server may have a blob already, or take it from another repository.
//!
//! A blob whose size is not known goes as one streamed request. Where that breaks, the registry is asked how far it is, and
//! the rest goes in chunks from there, each in memory until the registry has it.

use std::io::{Read, Seek, SeekFrom};

use ureq::http::Method;

use super::client::Client;
use super::http::{Answer, Body, Failed, read_error};
use super::retry::{ATTEMPTS, delay, is_temporary};
use super::url::Url;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};

const OCTETS: (&str, &str) = ("content-type", "application/octet-stream");
/// Bytes of a chunk, where the registry does not want larger ones.
const CHUNK: usize = 8 << 20;
/// It may not want larger ones than this.
const CHUNK_MAX: usize = 64 << 20;

/// An upload that the registry has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// Where it goes on.
    url: Url,
    /// Bytes that each chunk but the last must have.
    least: usize,
}

/// What became of a wish to mount a blob.
#[derive(Debug)]
pub enum Mount {
    /// The repository has it.
    Mounted,
    /// It must be sent, by this upload.
    Upload(Upload),
}

/// Why an upload ended early.
enum Broken {
    /// The line broke, or the registry is busy: worth another try, at the time that it names.
    Line(Error, Option<String>),
    /// For good.
    Stopped(Error),
}

impl From<Failed> for Broken {
    fn from(Failed { error, temporary }: Failed) -> Self {
        if temporary { Self::Line(error, None) } else { Self::Stopped(error) }
    }
}

impl Client<'_> {
    /// The size of a blob that the repository has.
    pub fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        let answer = self.follow(&Method::HEAD, &self.url(&format!("blobs/{digest}"))?, &[])?;
        match answer.status {
            200 => Ok(answer.header("content-length").and_then(|text| text.parse().ok())),
            404 => Ok(None),
            _ => Err(self.refusal(answer, "look for a layer")),
        }
    }

    /// Asks that a blob be taken from another repository of the registry.
    pub fn mount(&self, digest: &Digest, from: &str) -> Result<Mount> {
        let url = self.url("blobs/uploads/")?.with("mount", digest.as_str()).with("from", from);
        let answer = self.send_bytes(&Method::POST, &url, &[], Some(&[]))?;
        match answer.status {
            201 => Ok(Mount::Mounted),
            202 => Ok(Mount::Upload(self.begun(&answer)?)),
            // One that may not be read there is sent.
            _ => Ok(Mount::Upload(self.begin()?)),
        }
    }

    /// Begins an upload.
    pub fn begin(&self) -> Result<Upload> {
        let answer = self.send_bytes(&Method::POST, &self.url("blobs/uploads/")?, &[], Some(&[]))?;
        match answer.status {
            202 => self.begun(&answer),
            _ => Err(self.refusal(answer, "begin an upload")),
        }
    }

    fn begun(&self, answer: &Answer) -> Result<Upload> {
        let least = answer.header("oci-chunk-min-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok(Upload { url: self.location(answer)?, least })
    }

    /// Sends a blob whose size is not known yet, by an upload that has nothing so far; gives the upload, to be completed.
    /// `body` stands at its start, and is set back to where the registry is when the line broke.
    pub fn send_blob(&self, mut upload: Upload, body: &mut (impl Read + Seek)) -> Result<Upload> {
        let mut outcome = self.stream(&mut upload, body);
        let (mut best, mut attempt) = (0, 0);
        loop {
            let (error, retry_after) = match outcome {
                Ok(()) => return Ok(upload),
                Err(Broken::Stopped(error)) => return Err(error),
                Err(Broken::Line(error, retry_after)) => (error, retry_after),
            };
            attempt += 1;
            if attempt >= ATTEMPTS {
                return Err(error);
            }
            std::thread::sleep(delay(attempt, retry_after.as_deref()));
            let at = self.resume(&mut upload, body.stream_position()?)?;
            tracing::debug!(at, %error, "going on with an upload");
            if at > best {
                (best, attempt) = (at, 0);
            }
            outcome = match body.seek(SeekFrom::Start(at)) {
                Ok(_) => self.chunks(&mut upload, at, body),
                Err(error) => Err(Broken::Stopped(error.into())),
            };
        }
    }

    fn stream(&self, upload: &mut Upload, body: &mut (impl Read + Seek)) -> std::result::Result<(), Broken> {
        let headers = [(OCTETS.0, OCTETS.1.to_owned())];
        let answer = self.send_once(&Method::PATCH, &upload.url, &headers, Body::Stream(body))?;
        let sent = body.stream_position().map_err(|error| Broken::Stopped(error.into()))?;
        self.took(upload, answer, sent)?;
        // Nothing is left, unless the answer came early.
        self.chunks(upload, sent, body)
    }

    /// Sends what follows byte `at`.
    fn chunks(&self, upload: &mut Upload, mut at: u64, body: &mut impl Read) -> std::result::Result<(), Broken> {
        let size = CHUNK.max(upload.least.min(CHUNK_MAX)) as u64;
        loop {
            let mut chunk = Vec::new();
            let read = body.take(size).read_to_end(&mut chunk);
            let end = at + read.map_err(|error| Broken::Stopped(read_error(error)))? as u64;
            if chunk.is_empty() {
                return Ok(());
            }
            let headers = [(OCTETS.0, OCTETS.1.to_owned()), ("content-range", format!("{at}-{}", end - 1))];
            let answer = self.send_once(&Method::PATCH, &upload.url, &headers, Body::Bytes(&chunk))?;
            self.took(upload, answer, end)?;
            at = end;
        }
    }

    /// The answer to bytes that were sent, up to byte `end`.
    fn took(&self, upload: &mut Upload, answer: Answer, end: u64) -> std::result::Result<(), Broken> {
        let retry_after = answer.header("retry-after").map(str::to_owned);
        match answer.status {
            201 | 202 | 204 => {
                upload.url = self.location(&answer).map_err(Broken::Stopped)?;
                match taken(&answer) {
                    Some(taken) if taken < end => {
                        let message = format!("{} took {taken} of {end} bytes", self.registry());
                        Err(Broken::Line(Error::new(ErrorKind::Io, message), None))
                    }
                    _ => Ok(()),
                }
            }
            // It has lost the upload, or is elsewhere in it.
            404 | 416 => Err(Broken::Line(self.refusal(answer, "send a layer"), None)),
            status if is_temporary(status) => Err(Broken::Line(self.refusal(answer, "send a layer"), retry_after)),
            _ => Err(Broken::Stopped(self.refusal(answer, "send a layer"))),
        }
    }

    /// How many bytes of an upload the registry has, of the `sent` ones. One that it has lost, or does not tell of, is begun
    /// anew.
    fn resume(&self, upload: &mut Upload, sent: u64) -> Result<u64> {
        let answer = self.send(&Method::GET, &upload.url, &[])?;
        let known = match answer.status {
            200 | 202 | 204 => taken(&answer),
            status if is_temporary(status) => return Err(self.refusal(answer, "ask how far an upload is")),
            _ => None,
        };
        match known {
            Some(known) if known > sent => {
                let message = format!("{} says that it has {known} bytes of {sent} that were sent", self.registry());
                Err(Error::new(ErrorKind::Invalid, message))
            }
            Some(known) => {
                if answer.header("location").is_some() {
                    upload.url = self.location(&answer)?;
                }
                Ok(known)
            }
            None => {
                self.abandon(upload);
                *upload = self.begin()?;
                Ok(0)
            }
        }
    }

    /// Ends an upload: what was sent, and `rest`, has this digest.
    pub fn complete(&self, upload: &Upload, digest: &Digest, rest: &[u8]) -> Result<()> {
        let url = upload.url.with("digest", digest.as_str());
        let answer = self.send_bytes(&Method::PUT, &url, &[(OCTETS.0, OCTETS.1.to_owned())], Some(rest))?;
        match answer.status {
            201 | 204 => Ok(()),
            // It was ended before, and the answer got lost.
            404 | 416 if matches!(self.blob_size(digest), Ok(Some(_))) => Ok(()),
            _ => Err(self.refusal(answer, "end an upload")),
        }
    }

    /// Gives an upload up. Best effort: servers forget it by themselves.
    pub fn abandon(&self, upload: &Upload) {
        let _ = self.send_once(&Method::DELETE, &upload.url, &[], Body::None);
    }

    /// Publishes a manifest under a tag.
    pub fn put_manifest(&self, tag: &str, media_type: &str, bytes: &[u8]) -> Result<()> {
        let url = self.url(&format!("manifests/{tag}"))?;
        let answer = self.send_bytes(&Method::PUT, &url, &[("content-type", media_type.to_owned())], Some(bytes))?;
        match answer.status {
            200..=204 => Ok(()),
            _ => Err(self.refusal(answer, "publish the manifest")),
        }
    }

    fn location(&self, answer: &Answer) -> Result<Url> {
        let location = answer.header("location").ok_or_else(|| {
            Error::new(ErrorKind::Invalid, format!("{} does not say where the upload goes", self.registry()))
        })?;
        self.checked(answer.url.join(location)?)
    }
}

/// How many bytes an upload has, by the answer's `Range`. `0-0` says one byte or none, which is as good as nothing.
fn taken(answer: &Answer) -> Option<u64> {
    read_range(answer.header("range")?)
}

fn read_range(range: &str) -> Option<u64> {
    let last = range.trim().trim_start_matches("bytes=").strip_prefix("0-")?;
    let last = last.parse::<u64>().ok().filter(|last| *last > 0 && *last < u64::MAX);
    last.map(|last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_uploads_are_read() {
        for (range, taken) in [
            ("0-9", Some(10)),
            (" bytes=0-1 ", Some(2)),
            ("0-0", None),
            ("1-9", None),
            ("0--1", None),
            ("0-18446744073709551615", None),
            ("0-9-", None),
            ("", None),
        ] {
            assert_eq!(read_range(range), taken, "{range:?}");
        }
    }
}
