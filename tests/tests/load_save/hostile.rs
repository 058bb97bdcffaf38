//! Archives that lie, are damaged, or reach for what is not theirs: each refused with one line that says why, and with
//! nothing of it left in the store.

use std::fs;

use lrun_tests::{Entry, Lrun, Tar};
use serde_json::json;

use crate::made::{
    CONFIG, Files, INDEX, LAYER, MANIFEST, blob, config, contents, descriptor, digest, docker, filtered, hex, layer,
    oci,
};

/// Loads bytes, which must fail with these words; nothing may be left.
#[track_caller]
fn refused(lrun: &Lrun, archive: &[u8], wanted: &str) {
    let before = contents(lrun);
    let output = lrun.run_with(archive, &["load"]);
    assert_eq!((output.code, output.stdout.as_str()), (1, ""), "{wanted}: {}", output.stderr);
    let first = output.stderr.lines().next().unwrap_or_default();
    assert!(first.starts_with("lrun: load standard input: ") && first.contains(wanted), "{wanted}: {}", output.stderr);
    assert_eq!(contents(lrun), before, "{wanted}");
}

/// An archive, and the same as a folder.
#[track_caller]
fn refused_both(lrun: &Lrun, files: &Files, wanted: &str) {
    refused(lrun, &files.tar(), wanted);
    let folder = files.folder(lrun, "folder");
    let error = lrun.fails(1, &["load", "-i", folder.to_str().expect("UTF-8")]);
    assert!(error.contains(wanted), "{wanted}: {error}");
    fs::remove_dir_all(folder).expect("remove a folder");
}

#[test]
fn digests_sizes_and_numbers_are_checked_on_the_bytes() {
    let lrun = Lrun::new();
    let (one, two) = (layer("one", "1"), layer("two", "2"));
    let fine = config(&[&one, &two], "");
    let forms: [(&str, &[u8]); 2] = [("", &one), ("", &two)];
    let files = oci("r.io/x:1", &fine, &forms);
    let index = |change: &dyn Fn(&mut serde_json::Value)| {
        files.clone().change("index.json", |bytes| {
            let mut value = serde_json::from_slice(bytes).expect("JSON");
            change(&mut value);
            *bytes = value.to_string().into_bytes();
        })
    };
    let manifest = files.0.iter().find(|(path, _)| path.starts_with("blobs/")).expect("the manifest").0.clone();
    refused_both(&lrun, &files.clone().change(&manifest, |bytes| bytes.push(b' ')), "bytes, and is listed with");
    let flipped = files.clone().change(&manifest, |bytes| {
        *bytes = String::from_utf8_lossy(bytes)
            .replace(": 2", ":  2")
            .replace("\"schemaVersion\":2", "\"schemaVersion\":3")
            .into_bytes()
    });
    refused_both(&lrun, &flipped, "has the digest sha256:");
    refused_both(&lrun, &files.clone().change(&blob(&fine), |bytes| bytes[30] ^= 1), "has the digest sha256:");
    refused_both(&lrun, &files.clone().change(&blob(&two), |bytes| bytes[512] = b'3'), "the config says");
    refused_both(&lrun, &index(&|value| value["manifests"][0]["size"] = json!(1)), "is listed with 1");
    refused_both(&lrun, &index(&|value| value["manifests"][0]["size"] = json!(-1)), "a damaged document");
    refused_both(&lrun, &index(&|value| value["manifests"][0]["mediaType"] = json!(INDEX)), "listed as");
    refused_both(
        &lrun,
        &index(&|value| value["manifests"][0]["digest"] = json!("sha256:../../etc/passwd")),
        "not 64 hex",
    );
    refused_both(&lrun, &index(&|value| value["manifests"] = json!([])), "there is no image for linux/");
    refused_both(&lrun, &files.clone().without(&blob(&two)), &format!("{} is missing", digest(&two)));
    refused_both(&lrun, &files.clone().without(&blob(&fine)), &format!("{} is missing", digest(&fine)));
    refused_both(&lrun, &files.without(&manifest), "is missing");
    // A config that lies of a layer's content, or has more layers than listed.
    refused_both(&lrun, &oci("r.io/x:1", &config(&[&one, &one], ""), &forms), "and the config says");
    refused_both(&lrun, &oci("r.io/x:1", &config(&[&one], ""), &forms), "the config has 1 layers, and 2 are listed");
    refused_both(&lrun, &docker("x:1", &config(&[&one, &one], ""), &[&one, &two]), "and the config says");
    refused_both(
        &lrun,
        &docker("x:1", &config(&[&one], ""), &[&one, &two]),
        "the config has 1 layers, and 2 are listed",
    );
    let files = docker("x:1", &fine, &[&one, &two]);
    refused_both(
        &lrun,
        &files.clone().change(&format!("{}.json", hex(&fine)), |bytes| bytes.push(b' ')),
        "has the digest",
    );
    refused_both(&lrun, &files.without(&format!("{}/layer.tar", hex(&[b"id", &two[..]].concat()))), &digest(&two));
    assert_eq!(contents(&lrun)["layers"], 0);
}

#[test]
fn media_types_and_bodies_agree() {
    let lrun = Lrun::new();
    let one = layer("one", "1");
    let gzip = filtered(&["gzip", "-nc"], &one);
    let fine = config(&[&one], "");
    refused_both(&lrun, &oci("r.io/x:1", &fine, &[("+gzip", &one)]), "and is uncompressed");
    refused_both(&lrun, &oci("r.io/x:1", &fine, &[("", &gzip)]), "and is gzip");
    refused_both(&lrun, &oci("r.io/x:1", &fine, &[("+zstd", &gzip)]), "and is gzip");
    refused_both(&lrun, &oci("r.io/x:1", &fine, &[("+lzma", &gzip)]), "which lrun does not read");
    let manifest = |value: serde_json::Value| {
        let bytes = value.to_string().into_bytes();
        let index = json!({"schemaVersion": 2, "manifests": [descriptor(MANIFEST, &bytes)]});
        Files::default().json("index.json", &index).blob(&bytes).blob(&fine).blob(&one)
    };
    let both = json!({"schemaVersion": 2, "config": descriptor(CONFIG, &fine), "layers": [descriptor(LAYER, &one)], "manifests": []});
    refused_both(&lrun, &manifest(both), "a manifest and an index at once");
    let other = json!({"schemaVersion": 2, "config": descriptor("text/plain", &fine), "layers": []});
    refused_both(&lrun, &manifest(other), "of no container image");
    refused_both(&lrun, &manifest(json!({"schemaVersion": 1, "layers": []})), "schema version 2");
    // Two documents that say different things of one name.
    let other = config(&[&one], "other");
    let files = oci("r.io/x:1", &fine, &[("", &one)]).file("other.json", other);
    let document = json!([{"Config": "other.json", "RepoTags": ["r.io/x:1"], "Layers": [blob(&one)]}]);
    refused_both(&lrun, &files.json("manifest.json", &document), "two different images are called r.io/x:1");
    // What skopeo writes to dir:.
    let files = Files::default()
        .json("manifest.json", &json!({"schemaVersion": 2, "layers": []}))
        .file("version", "Directory Transport Version: 1.1\n");
    refused_both(&lrun, &files, "\"docker-dir\" or \"dir:\"");
}

#[test]
fn indexes_end() {
    let lrun = Lrun::new();
    let one = layer("one", "1");
    let fine = config(&[&one], "");
    let manifest =
        json!({"schemaVersion": 2, "config": descriptor(CONFIG, &fine), "layers": [descriptor(LAYER, &one)]});
    let manifest = manifest.to_string().into_bytes();
    let nested = |depth: usize| {
        let mut files = Files::default().blob(&manifest).blob(&fine).blob(&one);
        let mut entry = descriptor(MANIFEST, &manifest);
        for _ in 0..depth {
            let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string().into_bytes();
            entry = descriptor(INDEX, &index);
            files = files.blob(&index);
        }
        files.json("index.json", &json!({"schemaVersion": 2, "manifests": [entry]}))
    };
    refused_both(&lrun, &nested(5), "deeper than 4, the limit");
    let archive = lrun.file("four.tar", nested(4).tar());
    assert!(lrun.ok(&["load", "-i", archive.to_str().expect("UTF-8")]).starts_with("Loaded image ID: "));
    // Ten thousand entries that are no image for this machine: few documents, and each is read.
    let index = json!({"schemaVersion": 2, "manifests": []}).to_string().into_bytes();
    let many: Vec<_> = (0..10_000).map(|_| descriptor(INDEX, &index)).collect();
    let outer = json!({"schemaVersion": 2, "manifests": many}).to_string().into_bytes();
    let files = Files::default().blob(&index).blob(&outer);
    let files = files.json("index.json", &json!({"schemaVersion": 2, "manifests": [descriptor(INDEX, &outer)]}));
    refused_both(&lrun, &files, "documents, the limit");
}

#[test]
fn large_documents_and_damaged_archives() {
    let lrun = Lrun::new();
    let one = layer("one", "1");
    let fine = config(&[&one], "");
    let files = docker("x:1", &fine, &[&one]);
    let huge = [b"[".to_vec(), vec![b' '; 5 << 20], b"]".to_vec()].concat();
    refused_both(&lrun, &files.clone().file("manifest.json", huge), "4194304 bytes, the limit");
    let values = format!("[{}0]", "0,".repeat(400_000));
    refused_both(&lrun, &files.clone().file("manifest.json", values), "300000 values, the limit");
    refused_both(&lrun, &files.clone().file("manifest.json", "[{\"Config\":"), "a damaged document");
    refused_both(&lrun, &files.clone().without("manifest.json"), "neither manifest.json nor index.json");
    let tar = files.tar();
    refused(&lrun, &tar[..tar.len() / 2], "the archive ends inside");
    refused(&lrun, b"", "not a tar archive");
    refused(&lrun, b"#!/bin/sh\n", "not a tar archive");
    refused(&lrun, &filtered(&["gzip", "-c"], b"no archive"), "not a tar archive");
    let gzip = filtered(&["gzip", "-c"], &tar);
    refused(&lrun, &gzip[..gzip.len() - 10], "the gzip data ends early");
    let id = hex(&[b"id", &one[..]].concat());
    // Without padding it could be whole, and is not what the config says.
    refused_both(&lrun, &files.clone().file(format!("{id}/layer.tar"), &one[..700]), "has the diff ID");
    refused(
        &lrun,
        &files
            .clone()
            .without("repositories")
            .0
            .iter()
            .chain(&files.0)
            .cloned()
            .fold(Files::default(), |mut all, item| {
                all.0.push(item);
                all
            })
            .tar(),
        "it is in the archive twice",
    );
    assert_eq!(lrun.fails(1, &["load", "-i", "absent.tar"]), "lrun: open absent.tar: no such file or directory\n");
}

/// Names and links that lead out of the archive or the folder.
#[test]
fn nothing_outside_is_read() {
    let lrun = Lrun::new();
    let one = layer("one", "1");
    let fine = config(&[&one], "");
    let secret = lrun.file("secret.tar", &one);
    let outside = lrun.file("config.json", &fine);
    let (secret, outside) = (secret.to_str().expect("UTF-8"), outside.to_str().expect("UTF-8"));
    let document = |config: &str, layer: &str| {
        Files::default().json("manifest.json", &json!([{"Config": config, "RepoTags": ["x:1"], "Layers": [layer]}]))
    };
    refused_both(&lrun, &document("../config.json", "../secret.tar"), "leaves the root");
    refused_both(&lrun, &document(outside, secret), "is missing");
    let files = document("config.json", "layer.tar").file("config.json", fine.clone());
    refused_both(&lrun, &files.clone().link("layer.tar", "../../secret.tar"), "le");
    refused_both(&lrun, &files.clone().link("layer.tar", secret), "out of the");
    refused_both(&lrun, &files.clone().link("layer.tar", "layer.tar"), "o many");
    // An OCI layout with a blob, or the folder of all blobs, that is a link.
    let oci = oci("r.io/x:1", &fine, &[("", &one)]);
    refused_both(&lrun, &oci.clone().without(&blob(&one)).link(&blob(&one), secret), "out of the");
    let folder = oci.folder(&lrun, "moved");
    fs::rename(folder.join("blobs"), lrun.folder().join("elsewhere")).expect("move");
    std::os::unix::fs::symlink("../elsewhere", folder.join("blobs")).expect("a link");
    let error = lrun.fails(1, &["load", "-i", folder.to_str().expect("UTF-8")]);
    assert!(error.contains("leads out of the directory"), "{error}");
    // A FIFO does not stall it.
    let folder = files.folder(&lrun, "fifo");
    rustix::fs::mknodat(rustix::fs::CWD, folder.join("layer.tar"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .expect("a FIFO");
    let error = lrun.fails(1, &["load", "-i", folder.to_str().expect("UTF-8")]);
    assert!(error.contains("layer.tar is no regular file"), "{error}");
    // Entries of the archive that name other places are entries, and nothing else.
    let tar = Tar::new().file("../../evil", b"{}").finish();
    refused(&lrun, &tar, "leaves the root");
    let tar = Tar::on(&docker("x:1", &fine, &[&one]).tar());
    let tar = tar.entry(Entry { name: b"/etc/evil", data: b"{\"layers\":[]}", ..Entry::default() }).finish();
    let output = lrun.run_with(&tar, &["load"]);
    assert_eq!((output.code, output.stdout.as_str()), (0, "Loaded image: x:1\n"), "{}", output.stderr);
    // A hostile layer is the unpacker's to refuse.
    let evil = Tar::new().file("../../evil", b"x").finish();
    refused_both(&lrun, &docker("y:1", &config(&[&evil], ""), &[&evil]), "leaves the root");
}

/// Of two images of which one is damaged none comes in.
#[test]
fn all_images_of_an_archive_or_none() {
    let lrun = Lrun::new();
    let (one, two) = (layer("one", "1"), layer("two", "2"));
    let (first, second) = (config(&[&one], ""), config(&[&two, &two], ""));
    let document = json!([
        {"Config": "a.json", "RepoTags": ["a:1"], "Layers": ["a.tar"]},
        {"Config": "b.json", "RepoTags": ["b:1"], "Layers": ["b.tar", "a.tar"]},
    ]);
    let files = Files::default().file("a.tar", one).file("b.tar", two).file("a.json", first).file("b.json", second);
    refused_both(&lrun, &files.json("manifest.json", &document), "and the config says");
}

/// What no longer is, or never was, a layout of images is refused with the way out.
#[test]
fn refusals_name_the_way_out() {
    let lrun = Lrun::new();
    let one = layer("one", "1");
    let old = Files::default().file("0123/layer.tar", one.clone()).json("0123/json", &json!({"id": "0123"}));
    let old = old.json("repositories", &json!({"x": {"1": "0123"}}));
    refused_both(&lrun, &old, "it has docker's layout before version 1.10");
    let output = lrun.run_with(&old.tar(), &["load"]);
    assert!(output.stderr.contains("\n  hint: docker 1.10 to 24 reads it"), "{}", output.stderr);
    let output = lrun.run_with(&one, &["load"]);
    assert!(output.stderr.contains("\n  hint: lrun import makes an image"), "{}", output.stderr);
    // A layer whose decoder would need too much memory.
    let large = filtered(&["zstd", "-qc", "--long=27"], &one);
    let files = oci("r.io/x:1", &config(&[&one], ""), &[("+zstd", &large)]);
    refused_both(&lrun, &files, "the zstd data needs a window of more than 32 MiB, the limit");
    let output = lrun.run_with(&files.tar(), &["load"]);
    assert!(output.stderr.contains("\n  hint: make an archive of uncompressed layers: skopeo"), "{}", output.stderr);
}
