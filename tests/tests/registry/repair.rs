//! `system check --repair` brings from its registry what nothing in the store can mend; and only then is anybody asked.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lrun_tests::{Lrun, images};

use crate::fake::{Content, architecture, insecure, layer};
use crate::server::{Response, Server};

/// A registry with an image of busybox and a layer more, which can be silenced, and a store that pulled it.
fn pulled() -> (Lrun, Server, Arc<AtomicBool>) {
    let mut content = Content::default();
    let busybox = fs::read(images("busybox.tar")).expect("busybox.tar");
    content.image("latest", architecture(), &[busybox, layer("noise", 20_000)]);
    let silent = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&silent);
    let server = Server::start("127.0.0.1", move |request| match asked.load(Ordering::Relaxed) {
        true => Response::new(404, "{}"),
        false => content.answer(request),
    });
    let lrun = Lrun::new();
    insecure(&lrun, &[&server.name()]);
    let output = lrun.run(&["pull", "-q", &name(&server)]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    (lrun, server, silent)
}

fn name(server: &Server) -> String {
    format!("{}/x", server.name())
}

fn layer_with(lrun: &Lrun, below: &str) -> PathBuf {
    let layers = fs::read_dir(lrun.store().join("layers")).expect("layers");
    let mut layers = layers.map(|layer| layer.expect("a layer").path());
    layers.find(|layer| layer.join("diff").join(below).exists()).expect("a layer that has it")
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0);
    fs::write(path, bytes).expect("write");
}

#[test]
fn what_is_damaged_or_missing_comes_from_the_registry_and_only_in_a_repair() {
    let (lrun, server, silent) = pulled();
    let id = lrun.inspect(&name(&server), "{{.Id}}").trim_start_matches("sha256:").to_owned();
    let noise = layer_with(&lrun, "d/noise");
    let before = fs::read(noise.join("diff/d/noise")).expect("read");
    let said = |output: &lrun_tests::Output| output.stderr.contains(&format!("Asking {} for ", server.name()));
    let cases: [(&str, &dyn Fn()); 4] = [
        ("a file", &|| flip(&noise.join("diff/d/noise"))),
        ("a layer", &|| fs::rename(&noise, lrun.folder().join("away")).expect("rename")),
        ("facts, index and a file", &|| {
            flip(&noise.join("meta.json"));
            flip(&noise.join("index"));
            flip(&noise.join("diff/d/noise"));
        }),
        ("the config", &|| flip(&lrun.store().join("blobs/sha256").join(&id))),
    ];
    for (what, damage) in cases {
        damage();
        let asked = server.requests().len();
        let found = lrun.run(&["system", "check"]);
        assert_eq!((found.code, server.requests().len()), (1, asked), "{what}: {found:?}");
        // A registry that has it no more is named, and nothing is worse afterwards.
        silent.store(true, Ordering::Relaxed);
        let failed = lrun.run(&["system", "check", "--repair"]);
        assert!(failed.code == 1 && said(&failed), "{what}: {failed:?}");
        assert!(failed.stderr.contains("  hint: ") && failed.stderr.contains("404"), "{what}: {failed:?}");
        silent.store(false, Ordering::Relaxed);
        let repaired = lrun.run(&["system", "check", "--repair"]);
        assert!(repaired.code == 0 && said(&repaired), "{what}: {repaired:?}");
        assert!(repaired.stdout.lines().all(|line| line.ends_with(" (mended)")), "{what}: {repaired:?}");
        let sound = lrun.run(&["system", "check"]);
        assert_eq!((sound.code, sound.stdout.as_str()), (0, ""), "{what}");
        assert_eq!(fs::read(noise.join("diff/d/noise")).expect("read"), before, "{what}");
    }
    lrun.ok(&["run", "--rm", "--network", "none", &name(&server)]);
}

/// A container that runs keeps the files that it stands on, whatever takes their place.
#[test]
fn a_running_container_survives_the_replacement_of_its_layers() {
    let (lrun, server, _) = pulled();
    let script = "exec sleep 1000";
    lrun.ok(&["run", "-d", "--name", "runs", "--network", "none", &name(&server), "sh", "-c", script]);
    flip(&layer_with(&lrun, "d/noise").join("diff/d/noise"));
    flip(&layer_with(&lrun, "bin/busybox").join("diff/var/lib/files/7"));
    let repaired = lrun.run(&["system", "check", "--repair"]);
    assert_eq!(repaired.code, 0, "{repaired:?}");
    lrun.ok(&["system", "prune", "-f"]);
    // Files that it never opened before, among them programs.
    let replaced = || {
        let names = fs::read_dir(lrun.store().join("layers")).expect("layers");
        names
            .filter(|name| name.as_ref().is_ok_and(|name| name.file_name().to_string_lossy().starts_with("replaced-")))
            .count()
    };
    assert_eq!(replaced(), 2);
    assert_eq!(lrun.ok(&["exec", "runs", "cat", "/var/lib/files/40"]), "file 40");
    assert_eq!(lrun.ok(&["exec", "runs", "sh", "-c", "ls /var/lib/files | wc -l"]), "40");
    lrun.ok(&["rm", "-f", "--no-trash", "runs"]);
    lrun.ok(&["system", "prune", "-f"]);
    assert_eq!((lrun.ok(&["system", "check"]), replaced()), (String::new(), 0));
}

/// `pull`, too, replaces what a repair could not mend.
#[test]
fn a_pull_replaces_what_is_known_to_be_damaged() {
    let (lrun, server, silent) = pulled();
    flip(&layer_with(&lrun, "d/noise").join("diff/d/noise"));
    silent.store(true, Ordering::Relaxed);
    assert_eq!(lrun.run(&["system", "check", "--repair"]).code, 1);
    silent.store(false, Ordering::Relaxed);
    assert_eq!(lrun.run(&["pull", "-q", &name(&server)]).code, 0);
    lrun.ok(&["system", "prune", "-f"]);
    assert_eq!(lrun.ok(&["system", "check"]), "");
}

/// What goes out is what it was, or does not go out.
#[test]
fn no_wrong_byte_goes_out() {
    let (lrun, server, _) = pulled();
    let image = name(&server);
    lrun.ok(&["run", "--name", "box", "--network", "none", &image, "sh", "-c", "echo mine > /mine"]);
    let file = layer_with(&lrun, "d/noise").join("diff/d/noise");
    flip(&file);
    // It has nothing, and takes everything.
    let other = Server::start("127.0.0.1", |request| match request.method.as_str() {
        "POST" | "PATCH" => Response::new(202, "").header("Location", "/v2/other/blobs/uploads/1"),
        "PUT" | "DELETE" => Response::new(201, ""),
        _ if request.path == "/v2/" => Response::new(200, "{}"),
        _ => Response::new(404, "{}"),
    });
    insecure(&lrun, &[&server.name(), &other.name()]);
    let to = format!("{}/other", other.name());
    lrun.ok(&["tag", &image, &to]);
    for args in [
        &["export", "-o", "out.tar", "box"][..],
        &["save", "-o", "out.tar", &image],
        &["push", &to],
        &["commit", "--squash", "box", "squashed"],
    ] {
        let output = lrun.run(args);
        assert_ne!(output.code, 0, "{args:?}: {output:?}");
        let words = ["d/noise", "lrun system check --repair"];
        assert!(words.iter().all(|word| output.stderr.contains(word)), "{args:?}: {output:?}");
        assert!(!lrun.folder().join("out.tar").exists(), "{args:?}");
    }
    let published = |request: &crate::server::Request| request.method == "PUT" && request.path.contains("/manifests/");
    assert!(!other.requests().iter().any(published), "a manifest was pushed");
    let streamed = lrun.run(&["export", "box"]);
    assert!(streamed.code == 1 && streamed.stderr.contains("d/noise"), "{:?}", streamed.stderr);
    // An attribute that was changed would go out, too.
    let (sound, whole) =
        (layer_with(&lrun, "bin/busybox").join("diff/etc/group"), lrun.run(&["system", "check", "--repair"]));
    assert_eq!(whole.code, 0, "{whole:?}");
    fs::set_permissions(&sound, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("chmod");
    let error = lrun.fails(1, &["export", "-o", "out.tar", "box"]);
    assert!(error.contains("etc/group: its mode is 0777"), "{error}");
    assert_eq!(lrun.run(&["system", "check", "--repair"]).code, 0);
    lrun.ok(&["export", "-o", "out.tar", "box"]);
}
