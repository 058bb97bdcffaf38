//! Rows 49 and 54: words of an image that steer other engines, and privileges in files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use lrun_tests::{Entry, Lrun, images};

use crate::host::Host;

/// What a container's Spec and settings are, without what is each container's and image's own.
fn settings(lrun: &Lrun, image: &str) -> [serde_json::Value; 2] {
    let id = lrun.ok(&["create", "--network", "none", image, "true"]);
    let of_image = lrun.inspect(image, "{{.Id}}");
    let spec = fs::read(lrun.store().join("containers").join(&id).join("spec.json")).expect("the Spec");
    let mut spec: serde_json::Value = serde_json::from_slice(&spec).expect("JSON");
    spec.as_object_mut().expect("an object").remove("xxh3");
    // Sets, in no order.
    for set in spec["process"]["capabilities"].as_object_mut().expect("sets").values_mut() {
        set.as_array_mut().expect("a set").sort_by_key(|name| name.to_string());
    }
    let both = [spec.to_string(), lrun.inspect(&id, "{{json .HostConfig}}")];
    lrun.ok(&["rm", "--no-trash", &id]);
    let plain = [(id.as_str(), "ID"), (&id[..12], "SHORT"), (of_image.as_str(), "IMAGE"), (&of_image[7..], "IMAGE")];
    both.map(|text| {
        let text = plain.iter().fold(text, |text, (what, word)| text.replace(what, word));
        serde_json::from_str(&text).expect("JSON")
    })
}

/// Labels and annotations that mean something somewhere, and random ones.
fn words() -> Vec<(String, &'static str)> {
    const KNOWN: [&str; 22] = [
        "io.podman.annotations.privileged",
        "io.podman.annotations.userns",
        "io.podman.annotations.volumes-from",
        "io.podman.annotations.seccomp",
        "io.podman.annotations.label",
        "io.podman.annotations.autoremove",
        "io.kubernetes.cri-o.UnifiedCgroup",
        "io.kubernetes.cri-o.Devices",
        "io.kubernetes.cri-o.userns-mode",
        "io.containers.capabilities",
        "io.containers.seccomp.profile",
        "io.containers.autoupdate",
        "io.buildah.version",
        "com.docker.compose.project",
        "run.oci.hooks.stdin",
        "run.oci.keep_original_groups",
        "run.oci.handler",
        "org.systemd.property.ExecStart",
        "org.opencontainers.image.stopSignal",
        "lrun.image",
        "lrun.reference",
        "lrun.options",
    ];
    const PARTS: [&str; 12] = [
        "podman",
        "annotations",
        "kubernetes",
        "cri-o",
        "lrun",
        "seccomp",
        "privileged",
        "x",
        "mount",
        "cgroup",
        "user",
        "0",
    ];
    const VALUES: [&str; 6] = ["TRUE", "host", "/:/host", "{}", "", "CAP_SYS_ADMIN"];
    let mut state = 0x9e37_79b9u32;
    let mut next = |most: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as usize % most
    };
    let mut all: Vec<(String, &str)> = KNOWN.iter().map(|key| ((*key).to_owned(), VALUES[next(6)])).collect();
    for _ in 0..300 {
        let mut key = ["io", "lrun", "run.oci", "com.docker"][next(4)].to_owned();
        (0..=next(4)).for_each(|_| key += &format!(".{}", PARTS[next(12)]));
        all.push((key, VALUES[next(6)]));
    }
    all
}

/// Row 49, labels as control: whatever they are called, containers get the same Spec, and so do annotations of a manifest.
#[test]
fn labels_and_annotations_change_nothing_of_a_container() {
    let host = Host::empty();
    let lrun = &host.lrun;
    let archive = fs::read(images("busybox.tar")).expect("busybox.tar");
    lrun.import_bytes(&archive, "image");
    let plain = settings(lrun, "image");
    let text = plain[0].to_string();
    assert!(text.contains("lrun.image") && text.contains("CAP_") && text.len() > 2000, "{text}");
    let words = words();
    let label: String =
        words.iter().map(|(key, value)| format!(" \"{key}\"=\"{}\"", value.replace('"', "\\\""))).collect();
    let output = lrun.run_with(&archive, &["import", "-c", &format!("LABEL{label}"), "-", "image"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(lrun.inspect("image", "{{json .Config.Labels}}").contains("io.podman.annotations.privileged"));
    assert_eq!(settings(lrun, "image"), plain);

    lrun.ok(&["save", "--format", "oci-dir", "-o", "home/layout", "image"]);
    let layout = lrun.folder().join("home/layout");
    let read = |path: &Path| -> serde_json::Value {
        serde_json::from_slice(&fs::read(path).expect("a document")).expect("JSON")
    };
    let mut index = read(&layout.join("index.json"));
    let blobs = layout.join("blobs/sha256");
    let hex = |digest: &serde_json::Value| digest.as_str().expect("a digest").trim_start_matches("sha256:").to_owned();
    let mut manifest = read(&blobs.join(hex(&index["manifests"][0]["digest"])));
    for (key, value) in &words {
        manifest["annotations"][key] = (*value).into();
        manifest["config"]["annotations"][key] = (*value).into();
        manifest["layers"][0]["annotations"][key] = (*value).into();
        index["manifests"][0]["annotations"][key] = (*value).into();
    }
    let text = manifest.to_string();
    let path = lrun.file("home/manifest", &text);
    let said = Command::new("sha256sum").arg(&path).output().expect("sha256sum").stdout;
    let digest = String::from_utf8_lossy(&said[..64]).into_owned();
    fs::rename(path, blobs.join(&digest)).expect("rename");
    index["manifests"][0]["digest"] = format!("sha256:{digest}").into();
    index["manifests"][0]["size"] = text.len().into();
    fs::write(layout.join("index.json"), index.to_string()).expect("write the index");
    lrun.ok(&["rmi", "image"]);
    lrun.ok(&["load", "-i", "home/layout"]);
    assert_eq!(settings(lrun, "image"), plain);
    host.unharmed();
}

/// Row 54, helpers with privileges: lrun has none, in its binary or in what it makes for itself, whatever images have.
#[test]
fn no_file_of_lruns_has_privileges() {
    let host =
        Host::with(|tar| tar.entry(Entry { name: b"suid", data: b"#!/bin/sh\n", mode: 0o6755, ..Entry::default() }));
    let lrun = &host.lrun;
    lrun.ok(&[
        "run",
        "--name",
        "box",
        "--network",
        "none",
        "hostile",
        "sh",
        "-c",
        "cp -p /suid /suid2; chmod 6755 /suid2",
    ]);
    lrun.ok(&["commit", "box", "committed"]);
    let privileged = |path: &Path| {
        let mode = path.symlink_metadata().expect("metadata").permissions().mode();
        let mut value = [0; 64];
        mode & 0o6000 != 0 || rustix::fs::lgetxattr(path, "security.capability", &mut value).is_ok()
    };
    assert!(!privileged(host.binary()));
    let mut folders = vec![lrun.store()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            // The trees of layers are what images say, and nobody else can go into the store.
            if path.ends_with("diff") {
                continue;
            }
            assert!(!privileged(&path), "{}", path.display());
            seen += 1;
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            }
        }
    }
    assert!(seen > 20, "{seen} files were looked at");
    assert_eq!(lrun.store().metadata().expect("metadata").permissions().mode() & 0o7777, 0o700);
    host.unharmed();
}
