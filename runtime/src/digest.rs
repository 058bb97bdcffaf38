//! SHA-256 digests in the form of the OCI image specification (`sha256:<64 lowercase hex digits>`).
//!
//! A [`Digest`] is always well formed, so its hex part can be a file name.

use std::fmt;
use std::io;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, ErrorKind, Result};

const PREFIX: &str = "sha256:";
const HEX_LEN: usize = 64;
/// How many hex digits tables show, as in docker.
const SHORT_LEN: usize = 12;

/// A SHA-256 digest; OCI image specification, "Digests".
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(Box<str>);

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

impl Digest {
    /// Parses `sha256:<64 lowercase hex digits>`; other algorithms are refused.
    pub fn parse(text: &str) -> Result<Self> {
        match text.strip_prefix(PREFIX) {
            Some(hex) if hex.len() == HEX_LEN && is_lower_hex(hex) => Ok(Self(text.into())),
            Some(_) => Err(Error::new(ErrorKind::Invalid, format!("invalid digest {text:?}: not 64 hex digits"))),
            None => Err(Error::new(ErrorKind::Invalid, format!("invalid digest {text:?}: only sha256 is supported"))),
        }
    }

    /// Parses the 64 lowercase hex digits alone.
    pub fn from_hex(hex: &str) -> Result<Self> {
        Self::parse(&format!("{PREFIX}{hex}"))
    }

    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The whole text, `sha256:` and 64 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 64 hex digits.
    pub fn hex(&self) -> &str {
        self.0.get(PREFIX.len()..).unwrap_or_default()
    }

    /// The first 12 hex digits, as tables show them.
    pub fn short(&self) -> &str {
        self.hex().get(..SHORT_LEN).unwrap_or_default()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

/// Computes a [`Digest`] from bytes that come piece by piece.
#[derive(Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// A hasher that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of everything added.
    pub fn finish(self) -> Digest {
        Digest(format!("{PREFIX}{}", hex(&self.0.finalize())).into())
    }
}

impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes as lowercase hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// `bytes` random bytes as lowercase hex digits.
pub fn random_hex(bytes: usize) -> Result<String> {
    let mut random = vec![0; bytes];
    fill_random(&mut random)?;
    Ok(hex(&random))
}

/// Fills at most 256 bytes, which `getrandom(2)` always gives whole.
pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<()> {
    let got = rustix::io::retry_on_intr(|| rustix::rand::getrandom(&mut *bytes, rustix::rand::GetRandomFlags::empty()));
    match got {
        Ok(count) if count == bytes.len() => Ok(()),
        Ok(_) => Err(Error::new(ErrorKind::Io, "read random bytes: too few")),
        Err(errno) => Err(Error::from(errno).context("read random bytes")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn known_value_and_parts() {
        let digest = Digest::of(b"abc");
        assert_eq!(digest.to_string(), ABC);
        assert_eq!(digest.hex(), &ABC[7..]);
        assert_eq!(digest.short(), "ba7816bf8f01");
        assert_eq!(Digest::from_hex(&ABC[7..]).unwrap(), digest);
        let mut hasher = Hasher::new();
        hasher.write_all(b"a").unwrap();
        hasher.update(b"bc");
        assert_eq!(hasher.finish(), digest);
    }

    #[test]
    fn what_is_not_a_digest_is_refused() {
        let upper = ABC.to_uppercase();
        let long = format!("{ABC}0");
        let cases =
            ["", "sha256:", "sha256:abc", &ABC[7..], &ABC[..70], &long, &upper, "sha256:../../etc/passwd", "md5:00"];
        for text in cases {
            assert_eq!(Digest::parse(text).unwrap_err().kind(), ErrorKind::Invalid, "{text}");
        }
    }

    #[test]
    fn serde_is_the_text_and_checks_it() {
        let digest: Digest = serde_json::from_str(&format!("\"{ABC}\"")).unwrap();
        assert_eq!(serde_json::to_string(&digest).unwrap(), format!("\"{ABC}\""));
        assert!(serde_json::from_str::<Digest>("\"sha256:..\"").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_comes_back_whole(text in "(sha256:)?[0-9a-fA-F./:]{0,70}") {
            if let Ok(digest) = Digest::parse(&text) {
                prop_assert_eq!(digest.as_str(), &text);
                prop_assert!(is_lower_hex(digest.hex()) && digest.hex().len() == 64);
            }
        }
    }
}
