//! Row 40: copies between a container and the host while the container changes what they go through.

use std::fs;

use lrun_tests::{Tar, long, skip};

use crate::host::Host;

/// A running container in which folders and links are exchanged all the time: `/race/a` and `/race/b` are in turn a folder
/// with the file `open` and a link to where the canary is on the host, which in the container is a folder of its own.
fn racing(host: &Host) -> bool {
    let Some(weapon) = host.weapon() else { return false };
    let canary = host.canary("");
    let canary = canary.trim_end_matches('/');
    let prepare = format!(
        "mkdir -p /race/a/private {canary}/private; echo own > /race/a/open; echo own > /race/a/private/secret; \
         echo inside > {canary}/open; ln -s {canary} /race/b; ln -s ../../../../../../..{canary} /race/up; \
         exec /attack swap /race/a /race/b"
    );
    let run = ["run", "-d", "--name", "racer", "--network", "none", "-v", &weapon, "busybox", "sh", "-c", &prepare];
    host.lrun.ok(&run);
    lrun_tests::eventually("the race begins", || host.lrun.run(&["exec", "racer", "test", "-e", "/race/b"]).code == 0);
    true
}

fn times() -> usize {
    if long() { 2000 } else { 60 }
}

/// Out of a container: whatever the paths lead to, it is the container's; what arrives stays in its place.
#[test]
fn nothing_of_the_host_is_copied_out_or_written_beside_the_destination() {
    let host = Host::new();
    if !racing(&host) {
        skip!("no compiler for the attacker's program");
    }
    let secret = "canary private/secret";
    for round in 0..times() {
        let out = host.lrun.folder().join("out");
        fs::create_dir(&out).expect("mkdir");
        let path =
            ["/race/a/open", "/race/a", "/race/a/", "/race", "/race/a/private/secret", "/race/up/open"][round % 6];
        let from = format!("racer:{path}");
        let follow = if round % 4 == 3 { "-L" } else { "--follow-link=false" };
        let copied = host.lrun.run(&["cp", follow, &from, "out"]);
        assert!(copied.code < 2, "{path}: {copied:?}");
        let streamed = host.lrun.run(&["cp", follow, &from, "-"]);
        assert!(streamed.code < 2, "{path}: {streamed:?}");
        assert!(!String::from_utf8_lossy(&streamed.bytes).contains(secret), "{path} left the container");
        search(&out, secret);
        fs::remove_dir_all(&out).expect("remove the copy");
        if round % 20 == 0 {
            host.canary.check();
        }
    }
    host.lrun.ok(&["rm", "-f", "racer"]);
    host.unharmed();
}

fn search(folder: &std::path::Path, secret: &str) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let meta = fs::symlink_metadata(entry.path()).expect("an entry");
        if meta.is_dir() {
            search(&entry.path(), secret);
        } else if meta.is_file() {
            let text = fs::read_to_string(entry.path()).expect("a text");
            assert!(!text.contains(secret), "{} is the host's", entry.path().display());
        }
    }
}

/// Into a container: nothing is written on the host, wherever the links lead; neither of files nor of an archive.
#[test]
fn nothing_is_written_on_the_host() {
    let host = Host::new();
    if !racing(&host) {
        skip!("no compiler for the attacker's program");
    }
    fs::create_dir_all(host.lrun.folder().join("in/private")).expect("mkdir");
    for name in ["in/open", "in/plain", "in/private/secret"] {
        host.lrun.file(name, "overwritten");
    }
    let archive = Tar::new()
        .dir("a/")
        .file("a/open", b"overwritten")
        .file("a/private/secret", b"overwritten")
        .file("b/plain", b"overwritten")
        .file("up/open", b"overwritten")
        .finish();
    for round in 0..times() {
        let to = ["/race/a", "/race/a/open", "/race/a/private", "/race/up", "/race/up/open", "/race/b/new"][round % 6];
        let from = ["in/open", "in/.", "in"][round % 3];
        let copied = host.lrun.run(&["cp", from, &format!("racer:{to}")]);
        assert!(copied.code < 2, "{from} {to}: {copied:?}");
        let extracted = host.lrun.run_with(&archive, &["cp", "-", "racer:/race"]);
        assert!(extracted.code < 2, "{extracted:?}");
        if round % 20 == 0 {
            host.canary.check();
        }
    }
    host.lrun.ok(&["rm", "-f", "racer"]);
    host.unharmed();
}

/// A destination that the container shares: what is exchanged in it while the copy arrives leads nowhere.
#[test]
fn a_shared_destination_leads_nowhere() {
    let host = Host::new();
    let Some(weapon) = host.weapon() else { skip!("no compiler for the attacker's program") };
    let shared = host.lrun.folder().join("shared");
    fs::create_dir_all(shared.join("d/private")).expect("mkdir");
    std::os::unix::fs::symlink(host.canary.path(), shared.join("away")).expect("link");
    let volume = format!("{}:/shared", shared.display());
    let prepare = "mkdir -p /src/d/private; for f in open plain private/secret; do echo overwritten > /src/d/$f; done; \
                   exec /attack swap /shared/d /shared/away";
    let run = ["run", "-d", "--name", "racer", "--network", "none", "-v", &weapon, "-v", &volume];
    host.lrun.ok(&[&run[..], &["busybox", "sh", "-c", prepare]].concat());
    lrun_tests::eventually("the race begins", || {
        host.lrun.run(&["exec", "racer", "test", "-e", "/src/d/private/secret"]).code == 0
    });
    for round in 0..times() {
        let copied = host.lrun.run(&["cp", "racer:/src/d", "shared"]);
        assert!(copied.code < 2, "{copied:?}");
        if round % 20 == 0 {
            host.canary.check();
        }
    }
    host.lrun.ok(&["rm", "-f", "racer"]);
    host.unharmed();
}

/// What a hostile image has at a path: links, devices, FIFOs and whiteouts that are files; and setuid files do not become
/// the user's.
#[test]
fn what_an_image_has_does_nothing_to_the_host() {
    let host = Host::empty();
    let target = host.canary("open");
    host.import("hostile", |tar| {
        let link = |tar: Tar, name: &str, to: &str| {
            tar.entry(lrun_tests::Entry {
                name: name.as_bytes(),
                kind: b'2',
                link: to.as_bytes(),
                ..Default::default()
            })
        };
        let tar = link(tar.dir("x/"), "x/link", &target);
        let tar = link(tar, "x/up", "../../../../../../../../etc");
        tar.entry(lrun_tests::Entry { name: b"x/suid", mode: 0o6755, data: b"#!", ..Default::default() })
            .entry(lrun_tests::Entry { name: b"x/fifo", kind: b'6', ..Default::default() })
    });
    host.lrun.ok(&["create", "--name", "c1", "hostile", "true"]);
    host.lrun.file("f", "overwritten");
    // The second copy goes over the links that the first one brought.
    for _ in 0..2 {
        let copied = host.lrun.run(&["cp", "c1:/x/.", "brought"]);
        assert_eq!(copied.code, 0, "{copied:?}");
    }
    let mode = |name: &str| {
        use std::os::unix::fs::PermissionsExt;
        fs::symlink_metadata(host.lrun.folder().join("brought").join(name)).expect("a file").permissions().mode()
    };
    assert_eq!(mode("suid") & 0o7777, 0o755);
    assert!(host.lrun.folder().join("brought/link").is_symlink());
    // A link that was brought is where the next copy goes; that is for its user to say, and to no other place.
    assert_eq!(host.lrun.run(&["cp", "-L", "c1:/x/link", "followed"]).code, 1);
    assert_eq!(host.lrun.run(&["cp", "f", "c1:/x/link"]).code, 1);
    assert_eq!(host.lrun.run(&["cp", "f", "c1:/x/up/f"]).code, 0);
    assert!(!std::path::Path::new("/etc/f").exists());
    host.lrun.ok(&["rm", "c1"]);
    host.unharmed();
}
