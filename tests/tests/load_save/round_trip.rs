//! What `save` wrote, `load` takes, with the same digests; the same images give the same bytes.

use std::fs;
use std::process::Command;

use lrun_tests::{Lrun, Tar, eventually};

use crate::made::{config, contents, digest, filtered, hex, layer, oci, read};

/// An image of three layers, two of them made by containers.
fn base(lrun: &Lrun) {
    lrun.import("busybox.tar", "busybox");
    let change = |image: &str, script: &str, commit: &[&str]| {
        lrun.ok(&["run", "--name", "box", "--network", "none", image, "sh", "-c", script]);
        lrun.ok(&[&["commit"], commit].concat());
        lrun.ok(&["rm", "box"]);
    };
    let script = "echo one > /etc/one; rm -r /var/lib/files/1; mkdir -m 1777 /t";
    change("busybox", script, &["-m", "first", "box", "base:v1"]);
    change("base:v1", "echo two > /etc/two; ln /etc/two /etc/three", &["box", "base:v2"]);
}

fn saved(lrun: &Lrun, args: &[&str]) -> Vec<u8> {
    let output = lrun.run(&[&["save"], args].concat());
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    output.bytes
}

#[test]
fn every_format_comes_back_with_the_same_digests_and_bytes() {
    let lrun = Lrun::new();
    base(&lrun);
    let id = lrun.inspect("base:v2", "{{.Id}}");
    for format in ["docker-archive", "oci-archive"] {
        let archive = saved(&lrun, &["--format", format, "base:v1", "base:v2"]);
        assert!(archive == saved(&lrun, &["--format", format, "base:v1", "base:v2"]), "{format}: the same bytes again");
        let other = Lrun::new();
        let loaded = other.run_with(&archive, &["load"]);
        assert_eq!(
            (loaded.code, loaded.stdout.as_str()),
            (0, "Loaded image: base:v1\nLoaded image: base:v2\n"),
            "{}",
            loaded.stderr
        );
        assert_eq!(other.inspect("base:v2", "{{.Id}}"), id);
        assert!(
            archive == saved(&other, &["--format", format, "base:v1", "base:v2"]),
            "{format}: the same bytes elsewhere"
        );
        assert_eq!(
            other.ok(&[
                "run",
                "--rm",
                "--network",
                "none",
                "base:v2",
                "sh",
                "-c",
                "cat /etc/one /etc/three; stat -c %a /t; ls /var/lib/files | wc -l"
            ]),
            "one\ntwo\n1777\n39"
        );
        let members = filtered(&["tar", "-t"], &archive);
        let members = String::from_utf8_lossy(&members).into_owned();
        assert_eq!(members.contains("manifest.json\n"), format == "docker-archive", "{members}");
        assert!(members.contains("oci-layout\n") && members.contains("index.json\n"), "{members}");
        // Again: nothing new comes in, and nothing is left over.
        eventually("what --rm left is deleted", || contents(&other)["staging"] == 0);
        let before = contents(&other);
        assert_eq!(other.run_with(&archive, &["load", "-q"]).stdout, loaded.stdout);
        assert_eq!(contents(&other), before);
    }
    let folder = lrun.folder().join("layout");
    let folder = folder.to_str().expect("UTF-8");
    assert_eq!(lrun.ok(&["save", "--format", "oci-dir", "-o", folder, "base:v2"]), "");
    let other = Lrun::new();
    assert_eq!(other.ok(&["load", "-i", folder]), "Loaded image: base:v2");
    assert_eq!(other.inspect("base:v2", "{{.Id}}"), id);
    let error = lrun.fails(1, &["save", "--format", "oci-dir", "-o", folder, "base:v2"]);
    assert!(error.contains("exists, and is no empty directory"), "{error}");
}

/// docker's choice of names.
#[test]
fn a_name_without_a_tag_is_all_tags_and_an_id_none() {
    let lrun = Lrun::new();
    let tar = Tar::new().file("x", b"x").finish();
    let id = lrun.import_bytes(&tar, "r.io/x:v1");
    for name in ["r.io/x:v2", "r.io/x/y:v1", "x:v1"] {
        lrun.ok(&["tag", "r.io/x:v1", name]);
    }
    let names = |words: &[&str]| {
        let archive = saved(&lrun, words);
        let text = filtered(&["tar", "-xO", "manifest.json"], &archive);
        let text = String::from_utf8_lossy(&text).into_owned();
        let start = text.find("\"RepoTags\":").expect("names") + 11;
        text[start..][..text[start..].find(']').expect("an end") + 1].to_owned()
    };
    assert_eq!(names(&["r.io/x"]), "[\"r.io/x:v1\",\"r.io/x:v2\"]");
    assert_eq!(names(&["x:v1", "r.io/x:v2"]), "[\"x:v1\",\"r.io/x:v2\"]");
    assert_eq!(names(&[&id]), "[]");
    assert_eq!(names(&[&id[7..19]]), "[]");
    let other = Lrun::new();
    assert_eq!(other.run_with(&saved(&lrun, &[&id]), &["load"]).stdout, format!("Loaded image ID: {id}\n"));
    let error = lrun.fails(1, &["save", "absent"]);
    assert_eq!(error, "lrun: No such image: absent:latest\n");
    let error = lrun.fails(1, &["save", "--platform", "linux/sparc", "x:v1"]);
    assert!(error.contains("and for no other platform"), "{error}");
    let (pty, _) = lrun.pty(&["save", "x:v1"]).finish();
    assert!(pty.contains("cowardly refusing to save to a terminal. Use the -o flag or redirect"), "{pty}");
}

/// On a terminal a long save says how far it is, and takes the line away at the end; not with -q.
#[test]
fn progress_on_a_terminal() {
    let lrun = Lrun::with_busybox();
    // The reader makes it take a while.
    let slow = ["sh", "-c", "\"$@\" | { sleep 1; cat; } > archive", "sh"];
    let (shown, code) = lrun.pty_in(&slow, &["save", "busybox"]).finish();
    assert!(code == 0 && shown.contains("Saving") && shown.ends_with("\r\x1b[K"), "{shown:?}");
    let (shown, code) = lrun.pty_in(&slow, &["save", "-q", "busybox"]).finish();
    assert_eq!((shown.as_str(), code), ("", 0));
    assert_eq!(lrun.ok(&["load", "-i", "archive"]), "Loaded image: busybox:latest");
}

/// Only what the receiver lacks; one that lacks more is told what.
#[test]
fn since_an_image() {
    let lrun = Lrun::new();
    base(&lrun);
    let layers = lrun.inspect("base:v2", "{{range .RootFS.Layers}}{{println .}}{{end}}");
    let layers: Vec<&str> = layers.split_whitespace().collect();
    for format in ["docker-archive", "oci-archive"] {
        let archive = saved(&lrun, &["--format", format, "--since", "base:v1", "base:v2"]);
        assert!(archive.len() < 200_000, "{} bytes", archive.len());
        let other = Lrun::new();
        let refused = other.run_with(&archive, &["load"]);
        assert_eq!((refused.code, refused.stdout.as_str()), (1, ""));
        assert!(refused.stderr.contains(&format!("layer {} is missing", layers[0])), "{}", refused.stderr);
        assert_eq!(contents(&other)["layers"], 0);
        assert_eq!(other.run_with(&saved(&lrun, &["base:v1"]), &["load"]).code, 0);
        let loaded = other.run_with(&archive, &["load"]);
        assert_eq!((loaded.code, loaded.stdout.as_str()), (0, "Loaded image: base:v2\n"), "{}", loaded.stderr);
        assert_eq!(read(&other, "base:v2", "etc/three"), "two\n");
    }
}

/// A manifest that came in goes out again as it was, if its layers do.
#[test]
fn a_manifest_is_kept() {
    let lrun = Lrun::new();
    let one = layer("one", "1");
    let config = config(&[&one], "");
    let files = oci("r.io/x:v1", &config, &[("", &one)]);
    // A field that lrun does not know, and spaces that it would not write.
    let manifest = files.0.iter().find(|(path, _)| path.starts_with("blobs/")).expect("a manifest").0.clone();
    let mut bytes = Vec::new();
    let files = files.change(&manifest, |data| {
        *data = String::from_utf8_lossy(data).replacen('{', "{ \"annotations\": {\"a\": \"b\"}, ", 1).into_bytes();
        bytes.clone_from(data);
    });
    let files = files.without(&manifest).blob(&bytes);
    let index =
        serde_json::json!({"schemaVersion": 2, "manifests": [crate::made::descriptor(crate::made::MANIFEST, &bytes)]});
    let archive = lrun.file("x.tar", files.json("index.json", &index).tar());
    lrun.ok(&["load", "-i", archive.to_str().expect("UTF-8")]);
    let out = saved(&lrun, &["--format", "oci-archive", &digest(&config)]);
    let member = format!("blobs/sha256/{}", hex(&bytes));
    assert!(filtered(&["tar", "-xO", &member], &out) == bytes);
}

/// A damaged layer is named, and no file gets the archive's name.
#[test]
fn a_damaged_layer_leaves_no_archive() {
    let lrun = Lrun::new();
    let tar = Tar::new().file("f", b"content").finish();
    lrun.import_bytes(&tar, "x");
    let layer = lrun.inspect("x", "{{index .RootFS.Layers 0}}");
    let file = lrun.store().join("layers").join(&layer[7..]).join("diff/f");
    fs::write(&file, "CONTENT").expect("damage a file");
    let target = lrun.file("out.tar", "before");
    let path = target.to_str().expect("UTF-8");
    for format in ["docker-archive", "oci-archive"] {
        let error = lrun.fails(1, &["save", "--format", format, "-o", path, "x"]);
        assert!(error.contains(&format!("layer {layer}: file f: the content was changed")), "{error}");
    }
    let folder = lrun.folder().join("dir");
    lrun.fails(1, &["save", "--format", "oci-dir", "-o", folder.to_str().expect("UTF-8"), "x"]);
    assert!(!folder.exists() && fs::read(&target).expect("the file") == b"before");
    let left: Vec<_> = fs::read_dir(lrun.folder())
        .expect("the folder")
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.contains(".part").then_some(name)
        })
        .collect();
    assert!(left.is_empty(), "{left:?}");
    fs::write(&file, "content").expect("mend a file");
    lrun.ok(&["save", "-o", path, "x"]);
    assert!(Command::new("tar").arg("-tf").arg(path).output().expect("tar").status.success());
}
