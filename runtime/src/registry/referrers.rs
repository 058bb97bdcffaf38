//! Referrers: what a registry has that says of itself that it is about an image, such as signatures and lists of parts.
//!
//! The registry's list, page after page; of registries that have none, the index under the tag that is made of the image's
//! digest, as the distribution specification (1.1) has it. Anybody who may push can be in it: it is data to be shown.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;

use super::client::{Client, Page};
use super::manifest::{OCI_INDEX, is_type};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};

/// No list has more.
const MOST: usize = 10_000;
const WHAT: &str = "list the referrers";

/// One of them, as the list describes it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Referrer {
    /// Media type of its manifest.
    pub media_type: String,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Bytes of its manifest.
    pub size: u64,
    /// What it is.
    #[serde(default)]
    pub artifact_type: Option<String>,
    /// What is said about it.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u64,
    media_type: Option<String>,
    manifests: Vec<Referrer>,
}

impl Client<'_> {
    /// What refers to the manifest `subject`; of this type, where one is given.
    pub fn referrers(&self, subject: &Digest, artifact_type: Option<&str>) -> Result<Vec<Referrer>> {
        let url = self.url(&format!("referrers/{subject}"))?;
        let url = artifact_type.map_or_else(|| url.clone(), |wanted| url.with("artifactType", wanted));
        let listed = self.pages(&url, WHAT, MOST, |page| {
            let is_filtered = filters(&page).any(|filter| filter.eq_ignore_ascii_case("artifactType"));
            Ok(chosen(read(&page.media_type, &page.bytes)?, artifact_type, is_filtered))
        });
        let mut listed = match listed {
            Err(error) if error.kind() == ErrorKind::NotFound => self.tagged(subject, artifact_type)?,
            other => other?,
        };
        let mut known = HashSet::new();
        listed.retain(|referrer| known.insert(referrer.digest.clone()));
        Ok(listed)
    }

    /// The list of a registry without one.
    fn tagged(&self, subject: &Digest, artifact_type: Option<&str>) -> Result<Vec<Referrer>> {
        match self.manifest(&tag(subject)) {
            Ok(found) => Ok(chosen(read(&found.media_type, &found.bytes)?, artifact_type, false)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

/// The tag under which the referrers of a manifest are.
fn tag(subject: &Digest) -> String {
    subject.as_str().replacen(':', "-", 1)
}

/// Which filters the registry says that it applied.
fn filters(page: &Page) -> impl Iterator<Item = &str> {
    page.filters.iter().flat_map(|header| header.split(',')).map(str::trim)
}

/// A registry need not filter. One that did may have had more to look at than the list says.
fn chosen(mut list: Vec<Referrer>, artifact_type: Option<&str>, is_filtered: bool) -> Vec<Referrer> {
    if let Some(wanted) = artifact_type {
        list.retain(|referrer| match &referrer.artifact_type {
            Some(own) => own == wanted,
            None => is_filtered,
        });
    }
    list
}

fn read(media_type: &str, bytes: &[u8]) -> Result<Vec<Referrer>> {
    let wrong = |why: String| Error::new(ErrorKind::Invalid, format!("{WHAT}: {why}"));
    if !is_type(media_type, OCI_INDEX) {
        return Err(wrong(format!("{media_type:?} is no index")));
    }
    let index: Index = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
    if index.schema_version != 2 || index.media_type.is_some_and(|own| own != OCI_INDEX) {
        return Err(wrong("the list is no index".to_owned()));
    }
    Ok(index.manifests)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn entry(name: &str, artifact_type: Option<&str>) -> serde_json::Value {
        let mut entry = json!({"mediaType": super::super::manifest::OCI_MANIFEST, "size": 1, "digest": Digest::of(name.as_bytes())});
        if let Some(artifact_type) = artifact_type {
            entry["artifactType"] = json!(artifact_type);
            entry["annotations"] = json!({"a": "b"});
        }
        entry
    }

    #[test]
    fn lists_are_read_and_filtered() {
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX,
            "manifests": [entry("a", Some("x/y")), entry("b", Some("x/z")), entry("c", None)]});
        let all = read(OCI_INDEX, index.to_string().as_bytes()).unwrap();
        assert_eq!(all[0].annotations["a"], "b");
        for (wanted, filtered, count) in
            [(None, false, 3), (Some("x/y"), false, 1), (Some("x/y"), true, 2), (Some("none"), false, 0)]
        {
            assert_eq!(chosen(all.clone(), wanted, filtered).len(), count, "{wanted:?} {filtered}");
        }
        let digest = Digest::of(b"x");
        assert_eq!(tag(&digest), format!("sha256-{}", digest.hex()));
    }

    #[test]
    fn what_is_no_index_is_refused() {
        let good = json!({"schemaVersion": 2, "manifests": []});
        assert!(read("application/json", good.to_string().as_bytes()).is_err());
        for wrong in [
            json!({"schemaVersion": 1, "manifests": []}),
            json!({"schemaVersion": 2}),
            json!({"schemaVersion": 2, "mediaType": "application/json", "manifests": []}),
            json!({"schemaVersion": 2, "manifests": [{"mediaType": "x", "digest": "sha256:../..", "size": 1}]}),
            json!({"schemaVersion": 2, "manifests": [{"mediaType": "x", "size": 1}]}),
        ] {
            assert!(read(OCI_INDEX, wrong.to_string().as_bytes()).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(OCI_INDEX, &bytes);
        }
    }
}
