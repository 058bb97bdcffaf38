//! A registry's content, made byte by byte: an image of small layers, right until a test changes it.

use std::collections::HashMap;
use std::io::Write;
use std::process::{Command, Stdio};

use lrun_tests::{Lrun, Tar};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::server::{Request, Response};

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// `sha256:…` of these bytes.
pub fn digest(bytes: &[u8]) -> String {
    let hex: Vec<String> = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{}", hex.concat())
}

/// What a program that packs or unpacks makes of these bytes.
pub fn through(program: &[&str], data: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program[0]);
    let mut child = command.args(&program[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect(program[0]);
    let (mut stdin, data) = (child.stdin.take().expect("piped"), data.to_owned());
    let writer = std::thread::spawn(move || stdin.write_all(&data).expect("write"));
    let output = child.wait_with_output().expect(program[0]);
    writer.join().expect("the writer");
    output.stdout
}

pub fn gzip(data: &[u8]) -> Vec<u8> {
    through(&["gzip", "-nc"], data)
}

pub fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
}

/// Go's word for this machine.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        "riscv64" => "riscv64",
        _ => "amd64",
    }
}

/// What a registry holds.
#[derive(Clone, Default)]
pub struct Content {
    /// Blobs by digest, or by whatever name a test gives them.
    pub blobs: HashMap<String, Vec<u8>>,
    /// Manifests by tag and digest: type and bytes.
    pub manifests: HashMap<String, (String, Vec<u8>)>,
}

impl Content {
    pub fn blob(&mut self, bytes: &[u8]) -> String {
        let name = digest(bytes);
        self.blobs.insert(name.clone(), bytes.to_owned());
        name
    }

    /// A manifest under its digest and under a tag; its descriptor.
    pub fn manifest(&mut self, tag: &str, media_type: &str, document: &Value) -> Value {
        let bytes = document.to_string().into_bytes();
        for name in [tag.to_owned(), digest(&bytes)] {
            self.manifests.insert(name, (media_type.to_owned(), bytes.clone()));
        }
        descriptor(media_type, &bytes)
    }

    /// An image of these layers' tars; its manifest.
    pub fn image(&mut self, tag: &str, architecture: &str, tars: &[Vec<u8>]) -> Value {
        let diff_ids: Vec<String> = tars.iter().map(|tar| digest(tar)).collect();
        let config = json!({
            "os": "linux", "architecture": architecture,
            "config": {"Cmd": ["/bin/true"]}, "rootfs": {"type": "layers", "diff_ids": diff_ids},
        })
        .to_string();
        let mut layers = Vec::new();
        for tar in tars {
            let packed = gzip(tar);
            self.blob(&packed);
            layers.push(descriptor(LAYER, &packed));
        }
        self.blob(config.as_bytes());
        let document = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG, config.as_bytes()), "layers": layers,
        });
        self.manifest(tag, MANIFEST, &document);
        document
    }

    /// A registry's answer to a reading request.
    pub fn answer(&self, request: &Request) -> Response {
        let missing = Response::new(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#);
        if let Some((_, name)) = request.path.split_once("/manifests/") {
            return match self.manifests.get(name) {
                Some((media_type, bytes)) => Response::new(200, bytes.clone())
                    .header("Content-Type", media_type)
                    .header("Docker-Content-Digest", digest(bytes)),
                None => missing,
            };
        }
        if let Some((_, name)) = request.path.split_once("/blobs/") {
            let Some(bytes) = self.blobs.get(name) else { return missing };
            let range =
                request.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
            return match range {
                Some(from) => {
                    let (end, all) = (bytes.len() - 1, bytes.len());
                    Response::new(206, &bytes[from..]).header("Content-Range", format!("bytes {from}-{end}/{all}"))
                }
                None => Response::new(200, bytes.clone()),
            };
        }
        Response::new(200, "{}")
    }
}

/// A layer with one file, that compresses badly.
pub fn layer(name: &str, size: usize) -> Vec<u8> {
    let mut state = size as u32 | 1;
    let noise: Vec<u8> = (0..size)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    Tar::new().dir("d/").file(&format!("d/{name}"), &noise).finish()
}

/// Has lrun speak plain HTTP to these.
pub fn insecure(lrun: &Lrun, registries: &[&str]) {
    settings(lrun, &format!("[registries]\ninsecure = {registries:?}\n"));
}

/// Writes `config.toml`.
pub fn settings(lrun: &Lrun, text: &str) {
    std::fs::create_dir_all(lrun.folder().join("home/.config/lrun")).expect("a folder");
    lrun.file("home/.config/lrun/config.toml", text);
}

/// Keeps `ada:secret` for a registry.
pub fn logged_in(lrun: &Lrun, registry: &str) {
    std::fs::create_dir_all(lrun.folder().join("home/.docker")).expect("a folder");
    let config = json!({"auths": {registry: {"auth": "YWRhOnNlY3JldA=="}}});
    lrun.file("home/.docker/config.json", config.to_string());
}

/// `Authorization` of [`logged_in`].
pub const BASIC: &str = "Basic YWRhOnNlY3JldA==";
