//! Names of images: `[registry[:port]/]repository[:tag][@digest]`.
//!
//! The grammar is the OCI distribution specification's ("Pulling manifests", `<name>` and `<reference>`) as docker
//! reads it: a first component without a dot, a colon or an upper-case letter is no registry (except `localhost`),
//! the default registry is `docker.io`, its one-component repositories are in `library/`, the default tag is `latest`.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};

/// The registry of names that give none.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// The tag of names that give neither tag nor digest.
pub const DEFAULT_TAG: &str = "latest";

const OFFICIAL: &str = "library/";
const NAME_MAX: usize = 255;
const TAG_MAX: usize = 128;
const ID_LEN: usize = 64;

/// A checked, complete name of an image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

fn invalid() -> Error {
    Error::new(ErrorKind::Invalid, "invalid reference format")
}

impl Reference {
    /// Parses a name as a user types it. Without tag and digest, the tag is `latest`.
    pub fn parse(text: &str) -> Result<Self> {
        if is_hex(text) && text.len() == ID_LEN {
            let message = format!("invalid repository name ({text}), cannot specify 64-byte hexadecimal strings");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let (registry, remainder) = split_registry(text);
        let (rest, digest) = match remainder.split_once('@') {
            Some((rest, digest)) => (rest, Some(Digest::parse(digest).map_err(|_| invalid())?)),
            None => (remainder.as_str(), None),
        };
        let (repository, tag) = match rest.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        if repository.bytes().any(|b| b.is_ascii_uppercase()) {
            let message = format!("invalid reference format: repository name ({repository}) must be lowercase");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        if !is_registry(registry) || !repository.split('/').all(is_component) || !tag.is_none_or(is_tag) {
            return Err(invalid());
        }
        if registry.len() + 1 + repository.len() > NAME_MAX {
            let message = format!("repository name must not be more than {NAME_MAX} characters");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let tag = match (tag, &digest) {
            (None, None) => Some(DEFAULT_TAG),
            (tag, _) => tag,
        };
        Ok(Self {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    /// Host and port of the registry, `docker.io` by default.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository inside the registry: `library/debian`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; a reference has a tag or a digest or both.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The manifest's digest.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same repository with this tag and no digest.
    pub fn with_tag(&self, tag: &str) -> Result<Self> {
        if !is_tag(tag) {
            return Err(invalid());
        }
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// Whether both name one repository.
    pub fn same_repository(&self, other: &Self) -> bool {
        self.registry == other.registry && self.repository == other.repository
    }

    /// The repository as people write it: `debian`, `user/x`, `localhost:5000/x`.
    pub fn familiar(&self) -> String {
        let first = self.repository.split_once('/').map_or("", |(first, _)| first);
        // `docker.io/a.b/c` stays whole: `a.b/c` would be read as registry `a.b`.
        if self.registry != DEFAULT_REGISTRY || looks_like_registry(first) {
            return format!("{}/{}", self.registry, self.repository);
        }
        match self.repository.strip_prefix(OFFICIAL) {
            Some(name) if !name.contains('/') => name.to_owned(),
            _ => self.repository.clone(),
        }
    }

    /// [`Reference::familiar`] with tag and digest: `debian:latest`.
    pub fn familiar_with_tag(&self) -> String {
        let mut text = self.familiar();
        self.push_suffix(&mut text);
        text
    }

    fn push_suffix(&self, text: &mut String) {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(digest.as_str());
        }
    }
}

/// The complete form: `docker.io/library/debian:latest`.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("{}/{}", self.registry, self.repository);
        self.push_suffix(&mut text);
        f.pad(&text)
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

/// What a user's word for an image may mean, in the order in which it is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// A complete image id.
    pub id: Option<Digest>,
    /// A name.
    pub reference: Option<Reference>,
    /// The first hex digits of an image id.
    pub prefix: Option<String>,
}

impl Lookup {
    /// Reads `debian`, `sha256:<64 hex>`, 64 hex digits, or the beginning of either.
    pub fn parse(text: &str) -> Result<Self> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if hex.len() == ID_LEN && is_hex(hex) {
            return Ok(Self { id: Some(Digest::from_hex(hex)?), reference: None, prefix: None });
        }
        let prefix = (!hex.is_empty() && hex.len() < ID_LEN && is_hex(hex)).then(|| hex.to_owned());
        match Reference::parse(text) {
            Ok(reference) => Ok(Self { id: None, reference: Some(reference), prefix }),
            Err(_) if prefix.is_some() => Ok(Self { id: None, reference: None, prefix }),
            Err(error) => Err(error),
        }
    }

    /// The word as error messages show it: `debian:latest`, or the id.
    pub fn shown(&self) -> String {
        match (&self.reference, &self.id, &self.prefix) {
            (Some(reference), _, _) => reference.familiar_with_tag(),
            (None, Some(id), _) => id.to_string(),
            (None, None, prefix) => prefix.clone().unwrap_or_default(),
        }
    }
}

/// Separates the registry from the rest, which gets `library/` where docker adds it.
fn split_registry(text: &str) -> (&str, String) {
    let (registry, remainder) = match text.split_once('/') {
        Some(("index.docker.io", remainder)) => (DEFAULT_REGISTRY, remainder),
        Some((first, remainder)) if looks_like_registry(first) => (first, remainder),
        _ => (DEFAULT_REGISTRY, text),
    };
    if registry == DEFAULT_REGISTRY && !remainder.contains('/') {
        return (registry, format!("{OFFICIAL}{remainder}"));
    }
    (registry, remainder.to_owned())
}

fn looks_like_registry(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// `host[:port]`, where the host is a domain name, an IPv4 address or an IPv6 address in brackets.
fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => {
                let hex = !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
                return hex && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
            }
            None => return false,
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    host.split('.').all(is_domain_label) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_domain_label(label: &str) -> bool {
    !label.is_empty()
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Lower-case letters and digits, with `.`, `_`, `__` or any number of `-` between them.
fn is_component(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut separator = String::new();
    let mut after_plain = false;
    for byte in text.bytes() {
        if plain(byte) {
            let fine = separator.is_empty()
                || matches!(separator.as_str(), "." | "_" | "__")
                || separator.bytes().all(|b| b == b'-');
            if !fine {
                return false;
            }
            separator.clear();
            after_plain = true;
        } else if after_plain && matches!(byte, b'.' | b'_' | b'-') {
            separator.push(char::from(byte));
        } else {
            return false;
        }
    }
    after_plain && separator.is_empty()
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= TAG_MAX
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn names_are_completed_and_shortened_as_docker_does() {
        let pinned = format!("x@sha256:{HEX}");
        let both = format!("reg.io/a/b:t@sha256:{HEX}");
        let cases = [
            ("stage0", "docker.io/library/stage0:latest", "stage0"),
            ("stage0:v1", "docker.io/library/stage0:v1", "stage0"),
            ("user/x", "docker.io/user/x:latest", "user/x"),
            ("library/x", "docker.io/library/x:latest", "x"),
            ("docker.io/x", "docker.io/library/x:latest", "x"),
            ("index.docker.io/a/x", "docker.io/a/x:latest", "a/x"),
            ("docker.io/library/a/b", "docker.io/library/a/b:latest", "library/a/b"),
            ("reg:5000/x", "reg:5000/x:latest", "reg:5000/x"),
            ("localhost/x", "localhost/x:latest", "localhost/x"),
            ("localhost:5000", "docker.io/library/localhost:5000", "localhost"),
            ("Upper/x", "Upper/x:latest", "Upper/x"),
            ("[::1]:5000/a/b:t", "[::1]:5000/a/b:t", "[::1]:5000/a/b"),
            ("[fe80::1]/x", "[fe80::1]/x:latest", "[fe80::1]/x"),
            ("127.0.0.1/a-b/c__d/e.f/g---h", "127.0.0.1/a-b/c__d/e.f/g---h:latest", "127.0.0.1/a-b/c__d/e.f/g---h"),
            ("x:_.-A", "docker.io/library/x:_.-A", "x"),
            (&pinned, &format!("docker.io/library/x@sha256:{HEX}"), "x"),
            (&both, &both, "reg.io/a/b"),
        ];
        for (text, whole, familiar) in cases {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(reference.to_string(), whole, "{text}");
            assert_eq!(reference.familiar(), familiar, "{text}");
            assert_eq!(Reference::parse(&reference.familiar_with_tag()).unwrap(), reference, "{text}");
        }
    }

    #[test]
    fn what_docker_rejects_is_rejected_in_its_words() {
        let long_tag = format!("x:{}", "t".repeat(129));
        let long_name = format!("reg.io/{}", "a".repeat(250));
        let upper_digest = format!("x@sha256:{}", HEX.to_uppercase());
        let cases = [
            ("", "invalid reference format"),
            ("UPPER", "invalid reference format: repository name (library/UPPER) must be lowercase"),
            ("reg.io/Foo", "invalid reference format: repository name (Foo) must be lowercase"),
            ("x:", "invalid reference format"),
            ("x:-a", "invalid reference format"),
            ("x:a:b", "invalid reference format"),
            ("x/", "invalid reference format"),
            ("/x", "invalid reference format"),
            ("a//b", "invalid reference format"),
            ("../x", "invalid reference format"),
            ("a/../b", "invalid reference format"),
            (".x", "invalid reference format"),
            ("x.", "invalid reference format"),
            ("a..b", "invalid reference format"),
            ("a___b", "invalid reference format"),
            ("a.-b", "invalid reference format"),
            ("-x", "invalid reference format"),
            ("x y", "invalid reference format"),
            ("x\0", "invalid reference format"),
            ("é", "invalid reference format"),
            ("reg:port/x", "invalid reference format"),
            ("reg:/x", "invalid reference format"),
            ("-reg.io/x", "invalid reference format"),
            ("[::1/x", "invalid reference format"),
            ("[::g]/x", "invalid reference format"),
            ("x@sha256:abc", "invalid reference format"),
            ("x@md5:00000000000000000000000000000000", "invalid reference format"),
            (&upper_digest, "invalid reference format"),
            (&long_tag, "invalid reference format"),
            (&long_name, "repository name must not be more than 255 characters"),
            (HEX, &format!("invalid repository name ({HEX}), cannot specify 64-byte hexadecimal strings")),
        ];
        for (text, message) in cases {
            let error = Reference::parse(text).unwrap_err();
            assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Invalid, message), "{text:?}");
        }
    }

    #[test]
    fn a_lookup_is_an_id_a_name_or_a_prefix() {
        let whole = format!("sha256:{HEX}");
        for text in [HEX, &whole] {
            let lookup = Lookup::parse(text).unwrap();
            assert_eq!((lookup.id.unwrap().hex(), lookup.reference, lookup.prefix), (HEX, None, None));
        }
        let lookup = Lookup::parse("abc").unwrap();
        assert_eq!((lookup.shown().as_str(), lookup.prefix.as_deref()), ("abc:latest", Some("abc")));
        let lookup = Lookup::parse("sha256:abc").unwrap();
        assert_eq!((lookup.shown().as_str(), lookup.prefix.as_deref()), ("sha256:abc", Some("abc")));
        assert_eq!(Lookup::parse("debian").unwrap().prefix, None);
        assert!(Lookup::parse("../x").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_is_a_fixed_point(text in "[a-zA-Z0-9./:@_\\[\\]-]{0,40}|\\PC{0,20}") {
            if let Ok(reference) = Reference::parse(&text) {
                prop_assert_eq!(&Reference::parse(&reference.to_string()).unwrap(), &reference);
                prop_assert_eq!(&Reference::parse(&reference.familiar_with_tag()).unwrap(), &reference);
                let path = crate::paths::Root::new("/r").repository(&reference);
                let safe = path.components().all(|c| !matches!(c, std::path::Component::ParentDir));
                prop_assert!(safe && path.starts_with("/r/refs") && path.components().count() >= 4);
            }
        }
    }
}
