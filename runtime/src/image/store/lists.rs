//! Lists of images for several platforms that are being made here, to be pushed as one: `lists/<digest of the name>.json`,
//! sealed. Of an image a list has the manifest, not the layers, which a registry has.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::Store;
use crate::digest::Digest;
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::file::{self, Durability};
use crate::image::archive::documents::{DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use crate::reference::Reference;

/// Bytes of a list's file.
const LIST_MAX: usize = 16 << 20;
/// Images in one; a manifest of each is kept.
const MOST: usize = 128;

/// A list, as its file has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageList {
    /// Its name, in complete form.
    pub name: String,
    /// Its images, by their names.
    pub entries: Vec<ListEntry>,
}

/// One image of a list, with docker's names of the fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListEntry {
    /// The image's name, in complete form.
    #[serde(rename = "Ref")]
    pub name: String,
    /// What its list points to it by.
    pub descriptor: ListDescriptor,
    /// The manifest's exact bytes.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub raw: Vec<u8>,
    /// The same as a document, of docker's kind.
    #[serde(rename = "SchemaV2Manifest", default, skip_serializing_if = "Option::is_none")]
    pub docker: Option<Value>,
    /// The same as a document, of OCI's kind.
    #[serde(rename = "OCIManifest", default, skip_serializing_if = "Option::is_none")]
    pub oci: Option<Value>,
}

/// What an index has of an image; OCI image index, `manifests`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListDescriptor {
    /// The manifest's type.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// What the image is made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<ListPlatform>,
}

/// What an image is made for, with all that can be said of it; OCI image index, `platform`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ListPlatform {
    /// In Go's words, such as `arm64`.
    #[serde(default)]
    pub architecture: String,
    /// In Go's words, such as `linux`.
    #[serde(default)]
    pub os: String,
    /// Of Windows alone.
    #[serde(rename = "os.version", default, skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Of Windows alone.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// Such as `v7`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<u8>, D::Error> {
    STANDARD.decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

impl ListEntry {
    /// The entry of an image with this manifest, whose media type is bare.
    pub fn new(name: String, raw: Vec<u8>, media_type: &str, platform: Option<ListPlatform>) -> Result<Self> {
        let document: Value = serde_json::from_slice(&raw)
            .map_err(|error| Error::new(ErrorKind::Corrupt, format!("the manifest is damaged: {error}")))?;
        let (media_type, digest, size) = (media_type.to_owned(), Digest::of(&raw), raw.len() as u64);
        let (docker, oci) = match media_type.as_str() {
            OCI_MANIFEST => (None, Some(document)),
            DOCKER_MANIFEST => (Some(document), None),
            _ => (None, None),
        };
        let descriptor = ListDescriptor { media_type, digest, size, platform };
        Ok(Self { name, descriptor, raw, docker, oci })
    }
}

impl ImageList {
    /// The image of this name.
    pub fn entry(&mut self, name: &str) -> Option<&mut ListEntry> {
        self.entries.iter_mut().find(|entry| entry.name == name)
    }

    /// Adds an image. One of that name that is in the list already stays, with what was said of it.
    pub fn add(&mut self, entry: ListEntry) -> Result<()> {
        if self.entry(&entry.name).is_some() {
            return Ok(());
        }
        if self.entries.len() == MOST {
            return Err(Error::new(ErrorKind::Invalid, format!("a list has at most {MOST} images")));
        }
        self.entries.push(entry);
        self.entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(())
    }

    /// The index: its exact bytes, and its media type, which is of the first image's kind.
    pub fn index(&self) -> Result<(Vec<u8>, &'static str)> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Index<'a> {
            schema_version: u8,
            media_type: &'static str,
            manifests: Vec<&'a ListDescriptor>,
        }
        let of_oci = self.entries.first().is_some_and(|entry| entry.descriptor.media_type == OCI_MANIFEST);
        let media_type = if of_oci { OCI_INDEX } else { DOCKER_INDEX };
        let manifests = self.entries.iter().map(|entry| &entry.descriptor).collect();
        let mut bytes = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"   ");
        Index { schema_version: 2, media_type, manifests }
            .serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))
            .map_err(|error| Error::new(ErrorKind::Invalid, format!("encode JSON: {error}")))?;
        Ok((bytes, media_type))
    }
}

impl Store {
    /// The list of this name, if one is being made.
    pub fn list(&self, name: &Reference) -> Result<Option<ImageList>> {
        match file::read_json(&self.root.list(&name.to_string()), LIST_MAX) {
            Ok(list) => Ok(Some(list)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.context(format!("list {name}"))),
        }
    }

    /// Changes a list, or makes it, durably; nobody else changes one meanwhile.
    pub fn change_list(
        &self,
        name: &Reference,
        change: impl FnOnce(Option<ImageList>) -> Result<ImageList>,
    ) -> Result<()> {
        let _refs_lock = self.lock_refs()?;
        let list = change(self.list(name)?)?;
        let bytes = file::to_json(&list)?;
        if bytes.len() > LIST_MAX {
            let message =
                format!("list {name}: the manifests of its images are larger than {} MiB in all", LIST_MAX >> 20);
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        file::ensure_dir(&self.root.lists())?;
        file::fsync_dir(self.root.path())?;
        file::write_atomic(&self.root.list(&list.name), &bytes, Durability::Flushed).context(|| format!("list {name}"))
    }

    /// Removes a list, also a damaged one; whether there was one. One that is not `only` any more stays.
    pub fn remove_list(&self, name: &Reference, only: Option<&ImageList>) -> Result<bool> {
        let _refs_lock = self.lock_refs()?;
        if only.is_some() && self.list(name)?.as_ref() != only {
            return Ok(false);
        }
        match rustix::fs::unlink(self.root.list(&name.to_string())) {
            Ok(()) => file::fsync_dir(&self.root.lists()).map(|()| true),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(errno) => Err(Error::from(errno).context(format!("remove list {name}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, media_type: &str) -> ListEntry {
        let platform = ListPlatform { architecture: "arm".into(), os: "linux".into(), ..Default::default() };
        ListEntry::new(name.to_owned(), b"{\"a\": 1}".to_vec(), media_type, Some(platform)).unwrap()
    }

    #[test]
    fn a_list_keeps_what_was_said_of_an_image() {
        let mut list = ImageList { name: "r/l:1".to_owned(), entries: Vec::new() };
        list.add(entry("r/b:1", OCI_MANIFEST)).unwrap();
        list.add(entry("r/a:1", OCI_MANIFEST)).unwrap();
        list.entry("r/b:1").unwrap().descriptor.platform.as_mut().unwrap().variant = "v7".to_owned();
        list.add(entry("r/b:1", OCI_MANIFEST)).unwrap();
        let names: Vec<&str> = list.entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["r/a:1", "r/b:1"]);
        let (bytes, media_type) = list.index().unwrap();
        assert_eq!(media_type, OCI_INDEX);
        let index: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(index["manifests"][0]["platform"], serde_json::json!({"architecture": "arm", "os": "linux"}));
        assert_eq!(index["manifests"][1]["platform"]["variant"], "v7");
        for n in 2..MOST {
            list.add(entry(&format!("r/c:{n}"), OCI_MANIFEST)).unwrap();
        }
        assert!(list.add(entry("r/d:1", OCI_MANIFEST)).is_err());
    }

    #[test]
    fn a_list_that_was_changed_meanwhile_stays() {
        let dir = super::super::tests::scratch();
        let store = super::super::tests::open(&dir);
        let name = Reference::parse("r.example/l:1").unwrap();
        let add = |image: &'static str| {
            let change = |there: Option<ImageList>| {
                let mut list =
                    there.unwrap_or_else(|| ImageList { name: "r.example/l:1".to_owned(), entries: Vec::new() });
                list.add(entry(image, OCI_MANIFEST)).map(|()| list)
            };
            store.change_list(&name, change).unwrap();
            store.list(&name).unwrap().unwrap()
        };
        let (first, second) = (add("r/a:1"), add("r/b:1"));
        assert!(!store.remove_list(&name, Some(&first)).unwrap());
        assert_eq!(store.list(&name).unwrap().as_ref(), Some(&second));
        assert!(store.remove_list(&name, Some(&second)).unwrap());
        assert!(store.list(&name).unwrap().is_none() && !store.remove_list(&name, None).unwrap());
    }

    #[test]
    fn an_entry_is_written_with_dockers_names() {
        let text =
            serde_json::to_string(&entry("r/a:1", "application/vnd.docker.distribution.manifest.v2+json")).unwrap();
        let digest = Digest::of(b"{\"a\": 1}");
        assert_eq!(
            text,
            format!(
                "{{\"Ref\":\"r/a:1\",\"Descriptor\":{{\"mediaType\":\
                 \"application/vnd.docker.distribution.manifest.v2+json\",\"digest\":\"{digest}\",\"size\":8,\
                 \"platform\":{{\"architecture\":\"arm\",\"os\":\"linux\"}}}},\"Raw\":\"eyJhIjogMX0=\",\
                 \"SchemaV2Manifest\":{{\"a\":1}}}}"
            )
        );
        let (_, media_type) =
            ImageList { name: String::new(), entries: vec![serde_json::from_str(&text).unwrap()] }.index().unwrap();
        assert_eq!(media_type, DOCKER_INDEX);
    }
}
