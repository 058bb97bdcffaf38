//! Images of several layers, or with a config that no command would make, for `load`.

use std::collections::BTreeMap;

use lrun_tests::Tar;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// An image to be made.
pub struct Made<'a> {
    /// Its name, with a tag.
    pub name: String,
    /// What its config says of a container: `Env`, `Cmd`, …
    pub config: Value,
    /// Its layers, the lowest first: uncompressed archives.
    pub layers: Vec<&'a [u8]>,
}

fn hex(data: &[u8]) -> String {
    Sha256::digest(data).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An archive in docker's layout with these images; each layer is in it once.
pub fn archive(images: &[Made<'_>]) -> Vec<u8> {
    archive_of(images, &[])
}

/// The same, where some layers are stored in another form: the layer, and what a compressor made of it.
pub fn archive_of(images: &[Made<'_>], forms: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let stored = |layer: &[u8]| forms.iter().find(|(plain, _)| plain == layer).map_or(layer, |(_, form)| form).to_vec();
    let mut files = BTreeMap::new();
    let mut document = Vec::new();
    for image in images {
        let ids: Vec<String> = image.layers.iter().map(|layer| hex(layer)).collect();
        let diff_ids: Vec<String> = ids.iter().map(|id| format!("sha256:{id}")).collect();
        let rootfs = json!({"type": "layers", "diff_ids": diff_ids});
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let config = json!({"architecture": architecture, "os": "linux", "config": image.config, "rootfs": rootfs});
        let config = config.to_string().into_bytes();
        let layers: Vec<String> = ids.iter().map(|id| format!("{id}.tar")).collect();
        let name = format!("{}.json", hex(&config));
        document.push(json!({"Config": &name, "RepoTags": [&image.name], "Layers": &layers}));
        files.insert(name, config);
        files.extend(layers.into_iter().zip(image.layers.iter().map(|layer| stored(layer))));
    }
    files.insert("manifest.json".to_owned(), Value::from(document).to_string().into_bytes());
    files.iter().fold(Tar::new(), |tar, (name, data)| tar.file(name, data)).finish()
}
