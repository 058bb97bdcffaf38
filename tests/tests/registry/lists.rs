//! `manifest create`, `annotate`, `push`, `rm`: images for several platforms become one name at a registry.

use std::fs;

use lrun_tests::Lrun;
use serde_json::Value;

use crate::docker::{Registry, pushed};

/// Pushes an image for another machine; its manifest's digest.
fn image_for(lrun: &Lrun, architecture: &str, name: &str) -> String {
    fs::create_dir_all(lrun.folder().join(architecture)).expect("a folder");
    lrun.file(&format!("{architecture}/f"), architecture);
    lrun.file(&format!("{architecture}/Dockerfile"), "FROM scratch\nCOPY f /f\n");
    let folder = lrun.folder().join(architecture);
    let platform = format!("linux/{architecture}");
    lrun.ok(&["build", "-q", "--platform", &platform, "-t", name, folder.to_str().expect("UTF-8")]);
    pushed(lrun, name).0
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn a_list_is_made_and_pushed() {
    needs_registry!();
    let lrun = Lrun::new();
    let registry = Registry::used_by(&lrun);
    let name = |rest: &str| format!("{}/{rest}", registry.name);
    let (list, intel, arm, other) = (name("app:1"), name("app:amd64"), name("app:arm"), name("other/app:riscv"));
    let digests =
        [("amd64", &intel), ("arm", &arm), ("riscv64", &other)].map(|(arch, name)| image_for(&lrun, arch, name));
    assert_eq!(lrun.ok(&["manifest", "create", &list, &intel, &arm]), format!("Created manifest list {list}"));
    assert!(lrun.fails(1, &["manifest", "create", &list, &other]).contains("no --amend flag"));
    lrun.ok(&["manifest", "annotate", &list, &arm, "--variant", "v7", "--os-features", "a,b"]);
    lrun.ok(&["manifest", "create", "--amend", &list, &arm, &other]);

    let shown = json(&lrun.ok(&["manifest", "inspect", &list]));
    assert_eq!(shown["mediaType"], "application/vnd.oci.image.index.v1+json");
    let of = |entry: &Value| (entry["digest"].as_str().unwrap_or_default().to_owned(), entry["platform"].clone());
    let entries: Vec<(String, Value)> = shown["manifests"].as_array().expect("a list").iter().map(of).collect();
    let amd64 = json("{\"architecture\":\"amd64\",\"os\":\"linux\"}");
    let v7 = json("{\"architecture\":\"arm\",\"os\":\"linux\",\"os.features\":[\"a\",\"b\"],\"variant\":\"v7\"}");
    let riscv = json("{\"architecture\":\"riscv64\",\"os\":\"linux\"}");
    let wanted: Vec<(String, Value)> = digests.into_iter().zip([amd64, v7, riscv]).collect();
    assert_eq!(entries, wanted);
    let one = json(&lrun.ok(&["manifest", "inspect", "-v", &list, &arm]));
    assert_eq!((&one["Ref"], &one["Descriptor"]["platform"]["variant"]), (&arm.clone().into(), &"v7".into()));
    assert_eq!(one["OCIManifest"], json(&lrun.ok(&["manifest", "inspect", &list, &arm])));
    assert_eq!(lrun.ok(&["system", "check"]), "");

    let said = lrun.ok(&["manifest", "push", &list]);
    let lines: Vec<&str> = said.lines().collect();
    let taken = format!("Pushed ref {}@{}", name("app"), wanted[2].0);
    assert!(lines.len() == 2 && lines[0].starts_with(&taken) && lines[1].starts_with("sha256:"), "{said}");
    lrun.ok(&["manifest", "rm", &list]);
    // From here on it is the registry's, which has it under that digest.
    assert_eq!(json(&lrun.ok(&["manifest", "inspect", &list])), shown);
    for (platform, file) in [("linux/arm/v7", "arm"), ("linux/riscv64", "riscv64"), ("linux/amd64", "amd64")] {
        let output = lrun.run(&["pull", "--platform", platform, &list]);
        assert!(output.code == 0 && output.stdout.contains(&format!("Digest: {}\n", lines[1])), "{output:?}");
        lrun.ok(&["create", "--platform", platform, "--name", file, &list, "/f"]);
        lrun.ok(&["cp", &format!("{file}:/f"), "found"]);
        assert_eq!(fs::read_to_string(lrun.folder().join("found")).expect("it is copied"), file);
        lrun.ok(&["rm", file]);
    }
}

#[test]
fn lists_that_cannot_be_are_refused() {
    needs_registry!();
    let lrun = Lrun::new();
    let registry = Registry::used_by(&lrun);
    let (list, image) = (format!("{}/app:1", registry.name), format!("{}/app:x", registry.name));
    image_for(&lrun, "amd64", &image);
    let none = format!("{}/app:none", registry.name);
    for (args, said) in [
        (&["create", &list, &none][..], "no such manifest"),
        (&["create", &list, "elsewhere.example/app"], "different registry"),
        (&["annotate", &list, &image], "does not exist in"),
        (&["push", &list], "No such manifest"),
        (&["rm", &list], "No such manifest"),
        (&["inspect", &list, &image], "No such manifest"),
    ] {
        assert!(lrun.fails(1, &[&["manifest"], args].concat()).contains(said), "{args:?}");
    }
    assert!(lrun.fails(1, &["manifest", "inspect", &list]).contains("manifest unknown"), "nothing is half made");
    lrun.ok(&["manifest", "create", &list, &image]);
    let annotate = ["manifest", "annotate", &list, &image, "--arch", "bad"];
    assert!(lrun.fails(1, &annotate).contains("unsupported os/arch combination: linux/bad"));
    lrun.ok(&["manifest", "push", "--purge", &list]);
    assert!(lrun.fails(1, &["manifest", "push", &list]).contains("No such manifest"));
    assert!(lrun.fails(1, &["manifest", "create", &image, &list]).contains("is a manifest list itself"));
}

/// A changed byte is found, mended, and named where it cannot be.
#[test]
fn a_damaged_list_is_found() {
    needs_registry!();
    let lrun = Lrun::new();
    let registry = Registry::used_by(&lrun);
    let (list, image) = (format!("{}/app:1", registry.name), format!("{}/app:x", registry.name));
    image_for(&lrun, "amd64", &image);
    lrun.ok(&["manifest", "create", &list, &image]);
    let file = fs::read_dir(lrun.store().join("lists")).expect("lists").next().expect("one").expect("one").path();
    let whole = fs::read(&file).expect("it is there");
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    fs::write(&file, &changed).expect("write");
    assert!(lrun.fails(1, &["manifest", "push", &list]).contains("damaged"));
    assert!(lrun.run(&["system", "check"]).stdout.contains("lists/"));
    assert_eq!(lrun.run(&["system", "check", "--repair"]).code, 0);
    assert_eq!(fs::read(&file).expect("it is there"), whole);
    fs::write(&file, &whole[..whole.len() / 2]).expect("write");
    assert_eq!(lrun.run(&["system", "check", "--repair"]).code, 1);
    lrun.ok(&["manifest", "rm", &list]);
    assert_eq!(lrun.ok(&["system", "check"]), "");
}
