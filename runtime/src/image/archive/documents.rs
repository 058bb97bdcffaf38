//! The documents of image archives: OCI manifests and indexes, docker's `manifest.json`, the note of `save --since`.
//!
//! OCI image specification, "Image Manifest" and "Image Index"; docker's schema 2 of both. A document is what its
//! descriptor says or it is refused, and one that could be read as two kinds is none.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::image::compress::Compression;
use crate::image::config::null_is_default;

/// Largest document; registries take manifests of 4 MiB at most.
pub const DOCUMENT_MAX: usize = 4 << 20;
/// Most values in one: decoded, each takes many times the bytes that it has here.
const VALUES_MAX: usize = 300_000;

/// Media type of OCI's image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of OCI's image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of OCI's image config.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of an uncompressed layer.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Annotation with an image's tag, or, from some programs, its whole name.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Annotation with an image's whole name.
pub const IMAGE_NAME: &str = "io.containerd.image.name";

/// Media type of docker's manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Media type of docker's index.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// What a media type stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A manifest.
    Manifest,
    /// An index of manifests.
    Index,
    /// An image's config.
    Config,
    /// A layer, compressed in this way.
    Layer(Compression),
    /// None: the body says what it is.
    Unsaid,
    /// Anything else.
    Other,
}

impl Kind {
    /// Of a media type.
    pub fn of(media_type: &str) -> Self {
        match media_type {
            "" => Self::Unsaid,
            OCI_MANIFEST | DOCKER_MANIFEST => Self::Manifest,
            OCI_INDEX | DOCKER_INDEX => Self::Index,
            OCI_CONFIG | DOCKER_CONFIG => Self::Config,
            OCI_LAYER
            | "application/vnd.oci.image.layer.nondistributable.v1.tar"
            | "application/vnd.docker.image.rootfs.diff.tar" => Self::Layer(Compression::None),
            "application/vnd.oci.image.layer.v1.tar+gzip"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => Self::Layer(Compression::Gzip),
            "application/vnd.oci.image.layer.v1.tar+zstd"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
            | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Self::Layer(Compression::Zstd),
            _ => Self::Other,
        }
    }
}

/// What an image runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// CPU architecture in Go's words.
    #[serde(default)]
    pub architecture: String,
    /// Operating system in Go's words.
    #[serde(default)]
    pub os: String,
    /// Variant of the architecture.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl Platform {
    /// Reads `os[/architecture[/variant]]`; the architecture is this machine's by default.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parts = text.split('/');
        let mut part = || parts.next().map(str::to_lowercase);
        let (os, architecture, variant, more) = (part().unwrap_or_default(), part(), part(), part());
        let word =
            |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if more.is_some()
            || !word(&os)
            || [&architecture, &variant].iter().any(|p| p.as_deref().is_some_and(|p| !word(p)))
        {
            let message = format!("{text:?} is no platform");
            return Err(Error::new(ErrorKind::Invalid, message).hint("such as linux/amd64 or linux/arm64/v8"));
        }
        let architecture = match architecture.as_deref() {
            None => crate::image::import::architecture()?,
            Some("x86_64") => "amd64",
            Some("aarch64") => "arm64",
            Some(other) => other,
        };
        Ok(Self { architecture: architecture.to_owned(), os, variant: variant.unwrap_or_default() })
    }

    /// This machine's.
    pub fn own() -> Result<Self> {
        Self::parse("linux")
    }

    /// How well an image for `other` serves where this one is wanted; `None`: not at all.
    pub fn fit(&self, other: &Self) -> Option<u8> {
        // What every 64-bit ARM and every x86-64 has goes without saying.
        let variant = |platform: &Self| match (platform.architecture.as_str(), platform.variant.as_str()) {
            ("arm64", "v8") | ("amd64", "v1") => String::new(),
            (_, variant) => variant.to_owned(),
        };
        if (&self.os, &self.architecture) != (&other.os, &other.architecture) {
            return None;
        }
        match (variant(self), variant(other)) {
            (wanted, has) if wanted == has => Some(2),
            (_, has) if has.is_empty() => Some(1),
            (wanted, _) if wanted.is_empty() && self.architecture == "arm" => Some(0),
            _ => None,
        }
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

/// A reference from one document to another blob.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    #[serde(default, deserialize_with = "null_is_default")]
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// What its image runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Names, among others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// Of a blob that needs no more words.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self { media_type: media_type.to_owned(), digest, size, platform: None, annotations: BTreeMap::new() }
    }

    /// What the media type stands for.
    pub fn kind(&self) -> Kind {
        Kind::of(&self.media_type)
    }

    /// Whether it is what a builder says about another image, which nobody runs.
    pub fn is_attestation(&self) -> bool {
        self.annotations.contains_key("vnd.docker.reference.type")
    }
}

/// A manifest.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u64,
    /// Its own.
    pub media_type: String,
    /// The image's config.
    pub config: Descriptor,
    /// The layers, bottom first.
    pub layers: Vec<Descriptor>,
}

/// An index.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u64,
    /// Its own.
    pub media_type: String,
    /// What it lists.
    pub manifests: Vec<Descriptor>,
}

/// A manifest or an index.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// Several.
    Index(Index),
}

/// All that either can have.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<u64>,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    fs_layers: Option<IgnoredAny>,
}

impl Document {
    /// Reads a document to which a descriptor gave this media type (empty: none).
    pub fn read(bytes: &[u8], media_type: &str) -> Result<Self> {
        let raw: Raw = decode(bytes)?;
        let own = raw.media_type.unwrap_or_default();
        if !own.is_empty() && !media_type.is_empty() && own != media_type {
            return Err(invalid(format!("a document says that it is {own:?}, but is listed as {media_type:?}")));
        }
        if raw.schema_version != Some(2) || raw.fs_layers.is_some() {
            return Err(Error::new(ErrorKind::Unsupported, "a manifest that is not of schema version 2"));
        }
        let said = if own.is_empty() { media_type } else { &own };
        match (raw.config, raw.layers, raw.manifests, Kind::of(said)) {
            (Some(config), Some(layers), None, Kind::Manifest | Kind::Unsaid) => {
                let media_type = if said.is_empty() { OCI_MANIFEST } else { said }.to_owned();
                Ok(Self::Manifest(Manifest { schema_version: 2, media_type, config, layers }))
            }
            (None, None, Some(manifests), Kind::Index | Kind::Unsaid) => {
                let media_type = if said.is_empty() { OCI_INDEX } else { said }.to_owned();
                Ok(Self::Index(Index { schema_version: 2, media_type, manifests }))
            }
            (Some(_), _, Some(_), _) | (_, Some(_), Some(_), _) => {
                Err(invalid("a document that is a manifest and an index at once"))
            }
            _ => Err(invalid(format!("a document that is not the {said:?} which it is said to be"))),
        }
    }
}

/// One image in docker's `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DockerImage {
    /// Path of the config.
    pub config: String,
    /// Names.
    #[serde(default, deserialize_with = "null_is_default")]
    pub repo_tags: Vec<String>,
    /// Paths of the layers, bottom first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub layers: Vec<String>,
}

/// Reads docker's `manifest.json`.
pub fn docker_images(bytes: &[u8]) -> Result<Vec<DockerImage>> {
    if bytes.trim_ascii_start().starts_with(b"{") {
        let message = "manifest.json is one manifest, as in a \"docker-dir\" or \"dir:\" layout";
        return Err(Error::new(ErrorKind::Unsupported, message)
            .hint("save it as docker-archive, oci-archive or oci-dir instead"));
    }
    decode(bytes)
}

/// What `save --since` left out; the file `lrun-since.json` of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Since {
    /// The image that the receiver is said to have.
    pub image: Digest,
    /// Diff IDs of the layers that are not in the archive for that reason.
    pub layers: Vec<Digest>,
}

/// Reads the note of `save --since`.
pub fn since(bytes: &[u8]) -> Result<Since> {
    decode(bytes)
}

/// Whether a document that an archive contains can be of use: SBOMs and the like are not kept.
pub fn is_of_use(bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Probe {
        rootfs: Option<IgnoredAny>,
        layers: Option<IgnoredAny>,
        manifests: Option<IgnoredAny>,
    }
    check(bytes).is_ok()
        && serde_json::from_slice::<Probe>(bytes)
            .is_ok_and(|probe| probe.rootfs.is_some() || probe.layers.is_some() || probe.manifests.is_some())
}

/// Refuses what would take much memory once decoded.
pub fn check(bytes: &[u8]) -> Result<()> {
    if bytes.len() > DOCUMENT_MAX {
        return Err(invalid(format!("a document of more than {DOCUMENT_MAX} bytes, the limit")));
    }
    if bytes.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count() > VALUES_MAX {
        return Err(invalid(format!("a document of more than {VALUES_MAX} values, the limit")));
    }
    Ok(())
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    check(bytes)?;
    serde_json::from_slice(bytes).map_err(|error| invalid(format!("a damaged document ({error})")))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn descriptor(media_type: &str) -> serde_json::Value {
        json!({"mediaType": media_type, "digest": Digest::of(b"x"), "size": 1})
    }

    fn read(value: &serde_json::Value, media_type: &str) -> Result<Document> {
        Document::read(value.to_string().as_bytes(), media_type)
    }

    #[test]
    fn a_document_is_what_it_is_said_to_be() {
        let manifest = json!({"schemaVersion": 2, "config": descriptor(OCI_CONFIG), "layers": [descriptor(OCI_LAYER)]});
        let index = json!({"schemaVersion": 2, "manifests": [descriptor(OCI_MANIFEST)], "annotations": null});
        assert!(matches!(read(&manifest, OCI_MANIFEST).unwrap(), Document::Manifest(_)));
        assert!(matches!(read(&manifest, "").unwrap(), Document::Manifest(_)));
        assert!(matches!(read(&index, OCI_INDEX).unwrap(), Document::Index(_)));
        let mut both = manifest.clone();
        both["manifests"] = json!([]);
        let mut typed = manifest.clone();
        typed["mediaType"] = json!(OCI_MANIFEST);
        let mut old = manifest.clone();
        old["fsLayers"] = json!([]);
        let cases = [
            (manifest.clone(), OCI_INDEX),
            (index, OCI_MANIFEST),
            (manifest, "text/plain"),
            (both.clone(), OCI_MANIFEST),
            (both, OCI_INDEX),
            (typed, DOCKER_MANIFEST),
            (old, OCI_MANIFEST),
            (json!({"schemaVersion": 1, "manifests": []}), OCI_INDEX),
            (json!({"schemaVersion": 2}), ""),
            (json!([]), ""),
            (json!({"schemaVersion": 2, "manifests": [{"digest": "sha256:../..", "size": 1}]}), OCI_INDEX),
            (json!({"schemaVersion": 2, "manifests": [{"digest": Digest::of(b""), "size": -1}]}), OCI_INDEX),
        ];
        for (value, media_type) in cases {
            assert!(read(&value, media_type).is_err(), "{value} as {media_type}");
        }
        let twice = format!(r#"{{"schemaVersion": 2, "manifests": [], "manifests": [{}]}}"#, descriptor(OCI_MANIFEST));
        assert!(Document::read(twice.as_bytes(), OCI_INDEX).is_err());
    }

    #[test]
    fn what_would_take_much_memory_is_refused() {
        let many = format!("{{\"a\":[{}0]}}", "0,".repeat(VALUES_MAX));
        assert!(check(many.as_bytes()).is_err() && !is_of_use(many.as_bytes()));
        assert!(check(&vec![b' '; DOCUMENT_MAX + 1]).is_err());
        assert!(is_of_use(b"{\"rootfs\":{}}") && !is_of_use(b"{\"spdx\":1}") && !is_of_use(b"[]"));
    }

    #[test]
    fn docker_dir_is_told_from_an_archive() {
        assert_eq!(docker_images(b" {\"schemaVersion\":2}").unwrap_err().kind(), ErrorKind::Unsupported);
        let images =
            docker_images(b"[{\"Config\":\"a.json\",\"RepoTags\":null,\"Layers\":[\"a/layer.tar\"]}]").unwrap();
        assert_eq!((images[0].repo_tags.len(), images[0].layers[0].as_str()), (0, "a/layer.tar"));
    }

    #[test]
    fn platforms_fit_by_their_variant() {
        let platform = |text: &str| Platform::parse(text).unwrap();
        for (wanted, has, fit) in [
            ("linux/amd64", "linux/amd64", Some(2)),
            ("linux/x86_64", "linux/amd64/v1", Some(2)),
            ("linux/amd64", "linux/amd64/v3", None),
            ("linux/amd64/v3", "linux/amd64", Some(1)),
            ("linux/arm64", "linux/arm64/v8", Some(2)),
            ("linux/arm", "linux/arm/v7", Some(0)),
            ("linux/arm/v6", "linux/arm/v7", None),
            ("linux/arm64", "linux/amd64", None),
            ("linux/amd64", "windows/amd64", None),
        ] {
            assert_eq!(platform(wanted).fit(&platform(has)), fit, "{wanted} {has}");
        }
        for text in ["", "linux/", "linux/a/b/c", "linux/a b", "/amd64"] {
            assert!(Platform::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(platform("linux/arm64/v8").to_string(), "linux/arm64/v8");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), media_type in "[a-z./+]{0,30}") {
            let _ = (Document::read(&bytes, &media_type), docker_images(&bytes), since(&bytes), is_of_use(&bytes));
        }
    }
}
