//! Archives of images made by hand.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lrun_tests::{Lrun, Tar};
use serde_json::{Value, json};

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// What a program makes of these bytes.
pub fn filtered(program: &[&str], data: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program[0]);
    let mut child = command.args(&program[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect(program[0]);
    let (mut stdin, data) = (child.stdin.take().expect("piped"), data.to_owned());
    let writer = std::thread::spawn(move || stdin.write_all(&data));
    let output = child.wait_with_output().expect(program[0]);
    let _ = writer.join();
    output.stdout
}

/// The hex digits of a SHA-256 digest.
pub fn hex(data: &[u8]) -> String {
    String::from_utf8_lossy(&filtered(&["sha256sum"], data)[..64]).into_owned()
}

pub fn digest(data: &[u8]) -> String {
    format!("sha256:{}", hex(data))
}

pub fn blob(data: &[u8]) -> String {
    format!("blobs/sha256/{}", hex(data))
}

pub fn descriptor(media_type: &str, data: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(data), "size": data.len()})
}

/// This machine's architecture in Go's words.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A layer with one file.
pub fn layer(name: &str, content: &str) -> Vec<u8> {
    Tar::new().file(name, content.as_bytes()).finish()
}

/// A config of these layers; `note` makes it another one.
pub fn config(layers: &[&[u8]], note: &str) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
    let config = json!({
        "architecture": architecture(), "os": "linux", "created": "2024-01-02T03:04:05Z",
        "config": {"Labels": {"note": note}}, "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    config.to_string().into_bytes()
}

/// A file of an archive.
#[derive(Clone)]
pub enum Item {
    File(Vec<u8>),
    Link(String),
}

/// The files of an archive, in order.
#[derive(Clone, Default)]
pub struct Files(pub Vec<(String, Item)>);

impl Files {
    pub fn file(mut self, path: impl Into<String>, data: impl Into<Vec<u8>>) -> Self {
        let path = path.into();
        self.0.retain(|(other, _)| *other != path);
        self.0.push((path, Item::File(data.into())));
        self
    }

    pub fn blob(self, data: &[u8]) -> Self {
        self.file(blob(data), data)
    }

    pub fn json(self, path: &str, value: &Value) -> Self {
        self.file(path, value.to_string())
    }

    pub fn link(mut self, path: &str, target: &str) -> Self {
        self.0.push((path.into(), Item::Link(target.into())));
        self
    }

    pub fn without(mut self, path: &str) -> Self {
        self.0.retain(|(other, _)| other != path);
        self
    }

    /// What is at this path, changed.
    pub fn change(mut self, path: &str, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        match self.0.iter_mut().find(|(other, _)| other == path) {
            Some((_, Item::File(data))) => change(data),
            _ => panic!("no file {path}"),
        }
        self
    }

    pub fn tar(&self) -> Vec<u8> {
        let add = |tar: Tar, (path, item): &(String, Item)| match item {
            Item::File(data) => tar.file(path, data),
            Item::Link(target) => tar.symlink(path, target),
        };
        self.0.iter().fold(Tar::new(), add).finish()
    }

    /// The same as files in a folder.
    pub fn folder(&self, lrun: &Lrun, name: &str) -> PathBuf {
        let folder = lrun.folder().join(name);
        for (path, item) in &self.0 {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("make a folder");
            match item {
                Item::File(data) => fs::write(path, data).expect("write a file"),
                Item::Link(target) => symlink(target, path).expect("make a link"),
            }
        }
        folder
    }
}

/// An OCI layout of one image; `forms` are the layers as they are stored, with the ends of their media types.
pub fn oci(name: &str, config: &[u8], forms: &[(&str, &[u8])]) -> Files {
    let layers: Vec<Value> = forms.iter().map(|(end, data)| descriptor(&format!("{LAYER}{end}"), data)).collect();
    let manifest =
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG, config), "layers": layers});
    let manifest = manifest.to_string().into_bytes();
    let mut entry = descriptor(MANIFEST, &manifest);
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    let files = Files::default().json("oci-layout", &json!({"imageLayoutVersion": "1.0.0"}));
    let files = files.json("index.json", &json!({"schemaVersion": 2, "manifests": [entry]}));
    forms.iter().fold(files.blob(&manifest).blob(config), |files, (_, data)| files.blob(data))
}

/// docker's layout before version 25 of one image, with its documents at the end.
pub fn docker(name: &str, config: &[u8], layers: &[&[u8]]) -> Files {
    let ids: Vec<String> = layers.iter().map(|layer| hex(&[b"id", *layer].concat())).collect();
    let add = |files: Files, (id, layer): (&String, &&[u8])| {
        let files = files.file(format!("{id}/VERSION"), "1.0").json(&format!("{id}/json"), &json!({"id": id}));
        files.file(format!("{id}/layer.tar"), *layer)
    };
    let files = ids.iter().zip(layers).fold(Files::default(), add);
    let path = format!("{}.json", hex(config));
    let paths: Vec<String> = ids.iter().map(|id| format!("{id}/layer.tar")).collect();
    let document = json!([{"Config": path, "RepoTags": [name], "Layers": paths}]);
    files.file(path, config).json("manifest.json", &document).json("repositories", &json!({}))
}

/// Loads a file; standard output.
#[track_caller]
pub fn load(lrun: &Lrun, archive: &Path) -> String {
    lrun.ok(&["load", "-i", archive.to_str().expect("UTF-8")])
}

/// What a store holds: images and layers.
pub fn contents(lrun: &Lrun) -> BTreeMap<&'static str, usize> {
    let folders = ["layers", "blobs/sha256", "images", "staging", "refs"];
    let count = |folder| fs::read_dir(lrun.store().join(folder)).map_or(0, Iterator::count);
    folders.map(|folder| (folder, count(folder))).into()
}

/// The content of a file in an image.
#[track_caller]
pub fn read(lrun: &Lrun, image: &str, path: &str) -> String {
    let id = lrun.ok(&["create", image, "x"]);
    let output = lrun.run(&["export", &id]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    lrun.ok(&["rm", &id]);
    String::from_utf8_lossy(&filtered(&["tar", "-xO", path], &output.bytes)).into_owned()
}
