//! One image of an OCI layout, for somebody who names it by tag or digest: what of `index.json` is of that image. Pure.

use super::documents::REF_NAME;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};

/// The tag that is meant where none is named.
const LATEST: &str = "latest";

/// Which image of a layout is meant. It gets no name here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pick {
    /// Its tag in the layout; without one, `latest`, or the only image that there is.
    pub tag: Option<String>,
    /// The digest of its manifest or index.
    pub digest: Option<Digest>,
}

impl Pick {
    /// The index with this image alone. `NotFound`: it has none such.
    pub(super) fn of(&self, index: &[u8]) -> Result<Vec<u8>> {
        let unread = |error: serde_json::Error| Error::new(ErrorKind::Invalid, format!("read index.json: {error}"));
        let mut index: serde_json::Value = serde_json::from_slice(index).map_err(unread)?;
        let Some(all) = index.get_mut("manifests").and_then(serde_json::Value::as_array_mut) else {
            return Err(Error::new(ErrorKind::Invalid, "index.json lists no manifests"));
        };
        let only = self.tag.is_none() && self.digest.is_none() && all.len() == 1;
        let tag = match (&self.tag, &self.digest) {
            (None, None) => Some(LATEST),
            (tag, _) => tag.as_deref(),
        };
        all.retain(|entry| {
            let text =
                |value: Option<&serde_json::Value>| value.and_then(|v| v.as_str()).unwrap_or_default().to_owned();
            let name = text(entry.pointer("/annotations").and_then(|all| all.get(REF_NAME)));
            let named = tag.is_none_or(|tag| name == tag || name.rsplit_once(':').is_some_and(|(_, last)| last == tag));
            let same = self.digest.as_ref().is_none_or(|digest| text(entry.get("digest")) == digest.as_str());
            only || named && same
        });
        if all.is_empty() {
            let wanted = self.digest.as_ref().map(Digest::as_str).or(tag).unwrap_or_default();
            return Err(Error::new(ErrorKind::NotFound, format!("the layout has no image {wanted}")));
        }
        serde_json::to_vec(&index).map_err(unread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(entries: &[(&str, &str)]) -> Vec<u8> {
        let manifests: Vec<_> = entries
            .iter()
            .map(|(name, digest)| serde_json::json!({"digest": digest, "annotations": {REF_NAME: name}}))
            .collect();
        serde_json::json!({"schemaVersion": 2, "manifests": manifests}).to_string().into_bytes()
    }

    fn picked(pick: &Pick, entries: &[(&str, &str)]) -> Option<String> {
        let found: serde_json::Value = serde_json::from_slice(&pick.of(&index(entries)).ok()?).expect("JSON");
        let all = found["manifests"].as_array().expect("an array");
        assert_eq!(all.len(), 1);
        Some(all[0]["digest"].as_str().expect("a text").to_owned())
    }

    #[test]
    fn an_image_is_found_by_tag_or_digest() {
        let digest = Digest::of(b"x");
        let two = [("latest", "one"), ("r.io/x:v2", digest.as_str())];
        let tag = |tag: &str| Pick { tag: Some(tag.to_owned()), digest: None };
        assert_eq!(picked(&Pick::default(), &two).as_deref(), Some("one"));
        assert_eq!(picked(&Pick::default(), &two[1..]).as_deref(), Some(digest.as_str()), "the only one");
        assert_eq!(picked(&tag("v2"), &two).as_deref(), Some(digest.as_str()));
        assert_eq!(picked(&tag("v3"), &two), None);
        assert_eq!(picked(&Pick { tag: None, digest: Some(digest.clone()) }, &two).as_deref(), Some(digest.as_str()));
        assert_eq!(picked(&Pick { tag: Some("latest".to_owned()), digest: Some(digest.clone()) }, &two), None);
        assert!(Pick::default().of(b"{}").is_err() && Pick::default().of(b"no").is_err());
    }
}
