//! Manifests and image indexes, as the OCI image specification (1.1) and docker's schema 2 define them.
//!
//! A document is what its media type says and nothing else: the type in the answer's header, the type in the document
//! and the document's shape must agree, or two programs would see two images behind one digest.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::platform::Platform;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};

/// No manifest or index is larger; registries take as much.
pub const MANIFEST_MAX: usize = 4 << 20;
/// No config of an image is larger.
pub const CONFIG_MAX: u64 = 8 << 20;
/// No index lists more.
const INDEX_MOST: usize = 2048;

/// `application/vnd.oci.image.manifest.v1+json`.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// `application/vnd.oci.image.index.v1+json`.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// docker's manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// docker's index.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// `application/vnd.oci.image.config.v1+json`.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// A layer as `push` makes it.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// The same, compressed by zstd.
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// For `Accept`.
pub const ACCEPTED: [&str; 4] = [OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST];

const LAYERS: [&str; 5] = [
    "application/vnd.oci.image.layer.v1.tar",
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
];
/// Layers that are kept elsewhere, at URLs that the manifest names.
const FOREIGN: [&str; 4] = [
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
];

/// What one document points to another by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// What it is made for, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// A checked document.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    /// One image.
    Image(Manifest),
    /// Several.
    Index(Vec<Descriptor>),
}

/// One image's parts.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// Its own media type.
    pub media_type: String,
    /// The config.
    pub config: Descriptor,
    /// The layers, bottom first.
    pub layers: Vec<Descriptor>,
}

/// Everything that says which kind of document it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: u64,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    // Schema 1, and what would make one of a schema 2 document.
    fs_layers: Option<Value>,
    history: Option<Value>,
    signatures: Option<Value>,
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, message)
}

/// A media type without its parameters.
fn bare(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether a header's media type is that of a descriptor.
pub fn is_type(header: &str, media_type: &str) -> bool {
    bare(header) == media_type
}

/// Reads a document that is kept: its type is the one in it, or the only one that it can be.
pub fn parse_kept(bytes: &[u8]) -> Result<Document> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kind {
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    let kind: Kind =
        serde_json::from_slice(bytes).map_err(|error| invalid(format!("the manifest is damaged: {error}")))?;
    let shape = if kind.manifests.is_some() { OCI_INDEX } else { OCI_MANIFEST };
    parse(bytes, kind.media_type.as_deref().unwrap_or(shape))
}

/// Reads a document. `media_type`: what its server, or the descriptor that led to it, says it is.
pub fn parse(bytes: &[u8], media_type: &str) -> Result<Document> {
    if bytes.len() > MANIFEST_MAX {
        return Err(invalid(format!("the manifest is larger than {} MiB", MANIFEST_MAX >> 20)));
    }
    let told = bare(media_type);
    if told.starts_with("application/vnd.docker.distribution.manifest.v1") {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "the image has a manifest of docker's schema 1, which is not served",
        ));
    }
    let raw: Raw =
        serde_json::from_slice(bytes).map_err(|error| invalid(format!("the manifest is damaged: {error}")))?;
    if raw.schema_version != 2 {
        let message = format!("the manifest is of schema {}: only 2 is served", raw.schema_version);
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    if raw.fs_layers.is_some() || raw.history.is_some() || raw.signatures.is_some() {
        return Err(invalid("the manifest is of two schemas at once"));
    }
    if let Some(own) = &raw.media_type
        && *own != told
    {
        return Err(invalid(format!("the manifest says that it is {own}, and its server that it is {told}")));
    }
    match told.as_str() {
        OCI_MANIFEST | DOCKER_MANIFEST => image(raw, told),
        OCI_INDEX | DOCKER_INDEX => index(raw),
        _ => Err(Error::new(ErrorKind::Unsupported, format!("{told:?} is no manifest of an image"))),
    }
}

fn image(raw: Raw, media_type: String) -> Result<Document> {
    if raw.manifests.is_some() {
        return Err(invalid("the manifest is an image and an index at once"));
    }
    let (Some(config), Some(layers)) = (raw.config, raw.layers) else {
        return Err(invalid("the manifest has no config or no layers"));
    };
    if config.media_type != OCI_CONFIG && config.media_type != DOCKER_CONFIG {
        let message = format!("this is no image of a container: its config is of type {}", config.media_type);
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    if config.size > CONFIG_MAX {
        return Err(invalid(format!("the image's config is larger than {} MiB", CONFIG_MAX >> 20)));
    }
    for layer in &layers {
        if FOREIGN.contains(&layer.media_type.as_str()) {
            let message = format!("layer {} is kept elsewhere: lrun goes to no URL that an image names", layer.digest);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        if !LAYERS.contains(&layer.media_type.as_str()) {
            let message = format!("layer {} is of an unknown type: {}", layer.digest, layer.media_type);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    }
    Ok(Document::Image(Manifest { media_type, config, layers }))
}

fn index(raw: Raw) -> Result<Document> {
    if raw.config.is_some() || raw.layers.is_some() {
        return Err(invalid("the manifest is an image and an index at once"));
    }
    let manifests = raw.manifests.ok_or_else(|| invalid("the index has no manifests"))?;
    if manifests.len() > INDEX_MOST {
        return Err(invalid(format!("the index lists {} manifests, more than {INDEX_MOST}", manifests.len())));
    }
    Ok(Document::Index(manifests))
}

/// The bytes of an OCI manifest.
pub fn oci_manifest(config: &Descriptor, layers: &[Descriptor]) -> Vec<u8> {
    serde_json::json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config,
        "layers": layers,
    })
    .to_string()
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn descriptor(media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": Digest::of(b"x").as_str(), "size": 1})
    }

    fn manifest() -> Value {
        json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor(OCI_CONFIG), "layers": [descriptor(OCI_LAYER_GZIP)]})
    }

    fn error(document: &Value, media_type: &str) -> String {
        parse(document.to_string().as_bytes(), media_type).unwrap_err().to_string()
    }

    #[test]
    fn images_and_indexes_are_read() {
        let with_parameter = format!("{OCI_MANIFEST}; charset=utf-8");
        for media_type in [OCI_MANIFEST, &with_parameter] {
            let Document::Image(image) = parse(manifest().to_string().as_bytes(), media_type).unwrap() else {
                panic!()
            };
            assert_eq!((image.layers.len(), image.config.size), (1, 1));
        }
        let mut index = json!({"schemaVersion": 2, "manifests": [descriptor(OCI_MANIFEST)]});
        index["manifests"][0]["platform"] = json!({"os": "linux", "architecture": "arm", "variant": "v7"});
        let Document::Index(manifests) = parse(index.to_string().as_bytes(), OCI_INDEX).unwrap() else { panic!() };
        assert_eq!(manifests[0].platform.as_ref().unwrap().to_string(), "linux/arm/v7");
        let made = oci_manifest(
            &serde_json::from_value(descriptor(OCI_CONFIG)).unwrap(),
            &[serde_json::from_value(descriptor(OCI_LAYER_GZIP)).unwrap()],
        );
        assert!(matches!(parse(&made, OCI_MANIFEST).unwrap(), Document::Image(_)));
    }

    #[test]
    fn documents_of_two_minds_are_refused() {
        assert!(error(&manifest(), DOCKER_MANIFEST).contains("and its server that it is"));
        assert!(error(&manifest(), OCI_INDEX).contains("and its server that it is"));
        let mut untyped = manifest();
        untyped.as_object_mut().unwrap().remove("mediaType");
        assert!(error(&untyped, OCI_INDEX).contains("image and an index at once"));
        assert!(error(&untyped, "application/json").contains("no manifest of an image"));
        let mut both = manifest();
        both["manifests"] = json!([]);
        assert!(error(&both, OCI_MANIFEST).contains("image and an index at once"));
        let mut both = manifest();
        both["fsLayers"] = json!([]);
        assert!(error(&both, OCI_MANIFEST).contains("two schemas"));
        let twice = manifest().to_string().replacen('{', "{\"layers\":[],", 1);
        assert!(parse(twice.as_bytes(), OCI_MANIFEST).unwrap_err().to_string().contains("duplicate field"));
    }

    #[test]
    fn what_is_no_image_is_named() {
        let mut chart = manifest();
        chart["config"] = descriptor("application/vnd.cncf.helm.config.v1+json");
        assert!(error(&chart, OCI_MANIFEST).contains("no image of a container"));
        let mut foreign = manifest();
        foreign["layers"][0] = descriptor(FOREIGN[3]);
        assert!(error(&foreign, OCI_MANIFEST).contains("goes to no URL"));
        let mut odd = manifest();
        odd["layers"][0] = descriptor("text/plain");
        assert!(error(&odd, OCI_MANIFEST).contains("unknown type: text/plain"));
        let mut large = manifest();
        large["config"]["size"] = json!(CONFIG_MAX + 1);
        assert!(error(&large, OCI_MANIFEST).contains("larger than"));
        for bad in ["sha256:../../etc/passwd", "sha256:ABC", "md5:0", ""] {
            let mut bad_digest = manifest();
            bad_digest["layers"][0]["digest"] = json!(bad);
            assert!(error(&bad_digest, OCI_MANIFEST).contains("invalid digest"), "{bad}");
        }
        let one = json!({"schemaVersion": 1});
        assert!(error(&one, "application/vnd.docker.distribution.manifest.v1+prettyjws").contains("schema 1"));
        assert!(error(&one, OCI_MANIFEST).contains("schema 1"));
        assert!(
            parse(&vec![b' '; MANIFEST_MAX + 1], OCI_MANIFEST).unwrap_err().to_string().contains("larger than 4 MiB")
        );
        let many = json!({"schemaVersion": 2, "manifests": vec![descriptor(OCI_MANIFEST); INDEX_MOST + 1]});
        assert!(error(&many, OCI_INDEX).contains("more than 2048"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0usize..4) {
            let _ = parse(&bytes, ACCEPTED[kind]);
        }
    }
}
