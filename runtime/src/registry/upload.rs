//! What push sends: blobs and manifests. The server may have a blob already, or take it from another repository.

use std::io::Read;

use ureq::http::Method;

use super::client::Client;
use super::http::Answer;
use super::url::Url;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};

const OCTETS: (&str, &str) = ("content-type", "application/octet-stream");

/// What became of a wish to mount a blob.
#[derive(Debug)]
pub enum Mount {
    /// The repository has it.
    Mounted,
    /// It must be sent, to there.
    Upload(Url),
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
            202 => Ok(Mount::Upload(self.location(&answer)?)),
            // One that may not be read there is sent.
            _ => Ok(Mount::Upload(self.begin()?)),
        }
    }

    /// Begins an upload: where to.
    pub fn begin(&self) -> Result<Url> {
        let answer = self.send_bytes(&Method::POST, &self.url("blobs/uploads/")?, &[], Some(&[]))?;
        match answer.status {
            202 => self.location(&answer),
            _ => Err(self.refusal(answer, "begin an upload")),
        }
    }

    /// Sends bytes whose number is not known yet, in one request; the upload goes on at the URL that comes back.
    pub fn append(&self, upload: &Url, body: &mut dyn Read) -> Result<Url> {
        let answer = self.send_stream(&Method::PATCH, upload, &[(OCTETS.0, OCTETS.1.to_owned())], body)?;
        match answer.status {
            201 | 202 | 204 => self.location(&answer),
            _ => Err(self.refusal(answer, "send a layer")),
        }
    }

    /// Ends an upload: what was sent, and `rest`, has this digest.
    pub fn complete(&self, upload: &Url, digest: &Digest, rest: &[u8]) -> Result<()> {
        let url = upload.with("digest", digest.as_str());
        let answer = self.send_bytes(&Method::PUT, &url, &[(OCTETS.0, OCTETS.1.to_owned())], Some(rest))?;
        match answer.status {
            201 | 204 => Ok(()),
            _ => Err(self.refusal(answer, "end an upload")),
        }
    }

    /// Gives an upload up. Best effort: servers forget it by themselves.
    pub fn abandon(&self, upload: &Url) {
        let _ = self.send(&Method::DELETE, upload, &[]);
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
