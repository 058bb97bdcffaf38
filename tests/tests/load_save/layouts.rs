//! Each layout that other programs write, from a file, a pipe and a folder, compressed or not.

use lrun_tests::Lrun;
use serde_json::json;

use crate::made::{
    CONFIG, Files, INDEX, LAYER, MANIFEST, architecture, config, contents, descriptor, digest, docker, filtered, hex,
    layer, load, oci, read,
};

fn two() -> (Vec<u8>, Vec<u8>) {
    (layer("etc/one", "1\n"), layer("etc/two", "2\n"))
}

/// docker before 25: two images in one archive that share a layer by a symbolic link.
#[test]
fn dockers_old_layout_with_linked_layers() {
    let lrun = Lrun::new();
    let (one, two) = two();
    let (first, second) = (config(&[&one, &two], "first"), config(&[&one], "second"));
    let files = docker("first:v1", &first, &[&one, &two]);
    let shared = format!("../{}/layer.tar", hex(&[b"id", &one[..]].concat()));
    let document = json!([
        {"Config": format!("{}.json", hex(&first)), "RepoTags": ["first:v1", "reg.io/first:v1"],
         "Layers": [format!("{}/layer.tar", hex(&[b"id", &one[..]].concat())), format!("{}/layer.tar", hex(&[b"id", &two[..]].concat()))]},
        {"Config": format!("{}.json", hex(&second)), "RepoTags": null, "Layers": ["linked/layer.tar"]},
    ]);
    let files = files.link("linked/layer.tar", &shared).file(format!("{}.json", hex(&second)), second.clone());
    let files = files.json("manifest.json", &document);
    let archive = lrun.file("old.tar", files.tar());
    let wanted = format!("Loaded image: first:v1\nLoaded image: reg.io/first:v1\nLoaded image ID: {}", digest(&second));
    assert_eq!(load(&lrun, &archive), wanted);
    assert_eq!(lrun.inspect("first:v1", "{{.Id}}"), digest(&first));
    assert_eq!(
        (read(&lrun, "first:v1", "etc/two"), read(&lrun, &digest(&second), "etc/one")),
        ("2\n".into(), "1\n".into())
    );
    assert_eq!(contents(&lrun)["layers"], 3, "two layers, and what completes them");
    // The same from what `tar x` makes of it.
    let other = Lrun::new();
    assert_eq!(load(&other, &files.folder(&other, "folder")), wanted);
    assert_eq!(read(&other, "first:v1", "etc/one"), "1\n");
}

/// podman's docker-archive: layers by diff ID, and links in docker's old places.
#[test]
fn podmans_docker_archive() {
    let lrun = Lrun::new();
    let (one, _) = two();
    let config = config(&[&one], "");
    let tar = format!("{}.tar", hex(&one));
    let document =
        json!([{"Config": format!("{}.json", hex(&config)), "RepoTags": ["localhost/x:latest"], "Layers": [tar]}]);
    let files = Files::default().file(tar.clone(), one.clone()).file(format!("{}.json", hex(&config)), config);
    let files = files.link("0123/layer.tar", &format!("../{tar}")).json("manifest.json", &document);
    let archive = lrun.file("podman.tar", files.tar());
    assert_eq!(load(&lrun, &archive), "Loaded image: localhost/x:latest");
    // Again: the layer is known by its name, and not unpacked; damage in it is not even seen.
    let damaged = files.change(&tar, |layer| layer[600] ^= 1).tar();
    let again = lrun.run_with(&damaged, &["load", "-q"]);
    assert_eq!((again.code, again.stdout.as_str()), (0, "Loaded image: localhost/x:latest\n"), "{}", again.stderr);
}

/// An OCI layout as a file, from a pipe, from a folder; compressed as a whole in four ways; its layers in three.
#[test]
fn oci_layouts_in_every_compression() {
    let (one, two) = two();
    let config = config(&[&one, &two], "");
    let gzip = |data: &[u8]| filtered(&["gzip", "-nc"], data);
    let zstd = |data: &[u8]| filtered(&["zstd", "-qc"], data);
    let forms = [
        oci("reg.io/x:v1", &config, &[("", &one), ("", &two)]),
        oci("reg.io/x:v1", &config, &[("+gzip", &gzip(&one)), ("+zstd", &zstd(&two))]),
    ];
    for files in forms {
        let tar = files.tar();
        for program in [&["cat"][..], &["gzip", "-c"], &["zstd", "-qc"], &["xz", "-c"], &["bzip2", "-c"]] {
            let lrun = Lrun::new();
            let output = lrun.run_with(&filtered(program, &tar), &["load"]);
            assert_eq!((output.code, output.stdout.as_str()), (0, "Loaded image: reg.io/x:v1\n"), "{}", output.stderr);
            assert_eq!(lrun.inspect("reg.io/x:v1", "{{.Id}}"), digest(&config));
            assert_eq!(read(&lrun, "reg.io/x:v1", "etc/two"), "2\n");
        }
        let lrun = Lrun::new();
        assert_eq!(load(&lrun, &files.folder(&lrun, "layout")), "Loaded image: reg.io/x:v1");
        assert_eq!(read(&lrun, "reg.io/x:v1", "etc/one"), "1\n");
        // Layers that are here are known by the digests of their compressed forms, too: their damage is not even seen.
        let last = files.0.last().expect("a layer").0.clone();
        let damaged = lrun.file("damaged.tar", files.change(&last, |layer| layer[20] ^= 1).tar());
        assert_eq!(load(&lrun, &damaged), "Loaded image: reg.io/x:v1");
    }
}

/// An index of several platforms inside another: the machine's is taken, another one on demand, attestations never.
#[test]
fn a_platform_of_an_index() {
    let lrun = Lrun::new();
    let (one, _) = two();
    let make = |platform: &str| {
        let mut value: serde_json::Value = serde_json::from_slice(&config(&[&one], platform)).expect("JSON");
        value["architecture"] = json!(platform);
        let config = value.to_string().into_bytes();
        let manifest =
            json!({"schemaVersion": 2, "config": descriptor(CONFIG, &config), "layers": [descriptor(LAYER, &one)]});
        let manifest = manifest.to_string().into_bytes();
        let mut entry = descriptor(MANIFEST, &manifest);
        entry["platform"] = json!({"os": "linux", "architecture": platform});
        (config, manifest, entry)
    };
    let (own, other) = (make(architecture()), make("mips64le"));
    let mut attestation = own.2.clone();
    attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    attestation["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
    attestation["digest"] = json!(digest(b"not here"));
    let inner = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [attestation, other.2, own.2]}).to_string();
    let mut entry = descriptor(INDEX, inner.as_bytes());
    entry["annotations"] =
        json!({"io.containerd.image.name": "docker.io/library/many:v1", "org.opencontainers.image.ref.name": "v1"});
    let files = Files::default().json("index.json", &json!({"schemaVersion": 2, "manifests": [entry]}));
    let files = files.blob(inner.as_bytes()).blob(&own.0).blob(&own.1).blob(&other.0).blob(&other.1).blob(&one);
    let archive = lrun.file("many.tar", files.tar());
    let archive = archive.to_str().expect("UTF-8");
    assert_eq!(lrun.ok(&["image", "load", "-i", archive]), "Loaded image: many:v1");
    assert_eq!(lrun.inspect("many:v1", "{{.Id}}"), digest(&own.0));
    let moved = format!(
        "The image many:v1 already exists, renaming the old one with ID {} to empty string\nLoaded image: many:v1",
        digest(&own.0)
    );
    assert_eq!(lrun.ok(&["load", "--platform", "linux/mips64le", "-i", archive]), moved);
    assert_eq!(lrun.inspect("many:v1", "{{.Id}}"), digest(&other.0));
    let error = lrun.fails(1, &["load", "--platform", "linux/sparc", "-i", archive]);
    assert!(error.contains("there is no image for linux/sparc in it"), "{error}");
    let error = lrun.fails(1, &["load", "--platform", "linux/a/b/c", "-i", archive]);
    assert!(error.contains("\"linux/a/b/c\" is no platform"), "{error}");
}

/// Names that are bare tags name no repository; images without a name are told by their id.
#[test]
fn names_come_from_annotations_if_they_are_names() {
    let lrun = Lrun::new();
    let (one, _) = two();
    let config = config(&[&one], "");
    let archive = lrun.file("tag.tar", oci("latest", &config, &[("", &one)]).tar());
    assert_eq!(load(&lrun, &archive), format!("Loaded image ID: {}", digest(&config)));
    for bad in ["reg.io/UPPER:1", "a b:1", "x:../y", "reg.io//x:1"] {
        let archive = lrun.file("bad.tar", oci(bad, &config, &[("", &one)]).tar());
        let error = lrun.fails(1, &["load", "-i", archive.to_str().expect("UTF-8")]);
        assert!(error.contains("invalid reference format"), "{bad}: {error}");
        let archive = lrun.file("bad.tar", docker(bad, &config, &[&one]).tar());
        let error = lrun.fails(1, &["load", "-i", archive.to_str().expect("UTF-8")]);
        assert!(error.contains("invalid reference format"), "{bad}: {error}");
    }
    assert_eq!(lrun.ok(&["images", "-q"]).lines().count(), 1);
}

/// A directory may have more layers than a process may have files open.
#[test]
fn a_directory_of_many_layers() {
    let lrun = Lrun::new();
    let layers: Vec<Vec<u8>> = (0..250).map(|number| layer("etc/number", &number.to_string())).collect();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    let folder = docker("many:1", &config(&layers, ""), &layers).folder(&lrun, "folder");
    let output = lrun.run_in(&["prlimit", "--nofile=230"], &["load", "-i", folder.to_str().expect("UTF-8")]);
    assert_eq!((output.code, output.stdout.as_str()), (0, "Loaded image: many:1\n"), "{}", output.stderr);
    assert_eq!(read(&lrun, "many:1", "etc/number"), "249");
}
