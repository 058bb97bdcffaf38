//! Rows 25 to 27: whiteouts and orders to overlayfs that an archive or a container smuggles into a layer.

use std::fs;
use std::path::Path;

use lrun_tests::{Entry, Tar, skip};

use crate::host::Host;

/// Row 25, whiteouts: names that hide nothing or something else are refused; none goes through a link; a device 0:0 is
/// not one; ever so many in one directory take no time.
#[test]
fn whiteouts_hide_only_what_they_may() {
    let host = Host::empty();
    let whiteout = |name: &str| Tar::new().dir("d/").symlink("l", "/").file(name, b"");
    for name in [
        ".wh.",
        ".wh..",
        ".wh...",
        "d/.wh.",
        "d/.wh..",
        "d/.wh...",
        ".wh..wh.x",
        "d/.wh./x",
        ".wh.d/x",
        "d/.wh..wh..opq/x",
    ] {
        let taken = host.attack(&whiteout(name).finish(), name);
        // AUFS's own files at the root are skipped.
        assert!(!taken || name.starts_with(".wh..wh."), "{name} was taken");
    }
    for kind in [b'2', b'5', b'6'] {
        let entry = Entry { name: b"d/.wh.x", kind, link: b"/", ..Entry::default() };
        assert!(!host.attack(&Tar::new().entry(entry).finish(), "a whiteout that is no file"));
    }
    // Through a link in the image, and of things that are there: the same layer's are never hidden.
    host.import("hostile", |tar| {
        let tar = tar
            .symlink("./l", "/etc")
            .file("./l/.wh.passwd", b"")
            .file("./etc/.wh.group", b"")
            .file("./var/lib/files/.wh..wh..opq", b"");
        tar.entry(Entry { name: b"./etc/hosts", kind: b'3', ..Entry::default() }).entry(Entry {
            name: b"./proc",
            kind: b'3',
            ..Entry::default()
        })
    });
    let script = "cat /etc/passwd /etc/group | wc -l; ls /var/lib/files | wc -l; grep -c localhost /etc/hosts; stat -f -c %T /proc";
    assert_eq!(host.lrun.ok(&["run", "--rm", "--network", "none", "hostile", "sh", "-c", script]), "6\n40\n2\nproc");
    let many = (0..100_000).fold(Tar::new().dir("d/"), |tar, _| tar.file("d/.wh..wh..opq", b""));
    assert!(host.attack(&many.finish(), "100,000 opaque markers"));
    host.unharmed();
}

/// Extended attributes below a folder that overlayfs would obey, by path. Opacity is the engine's own to set.
fn orders_to_overlayfs(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for path in fs::read_dir(&next).into_iter().flatten().flatten().map(|entry| entry.path()) {
            let mut names = [0u8; 4096];
            let length = rustix::fs::llistxattr(&path, &mut names[..]).unwrap_or(0);
            let names = names[..length].split(|byte| *byte == 0).map(|name| String::from_utf8_lossy(name).into_owned());
            let orders = names.filter(|name| name.starts_with("user.overlay.") || name.starts_with("trusted."));
            found.extend(orders.map(|name| format!("{}: {name}", path.display())));
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            }
        }
    }
    found
}

/// Row 26, smuggled overlay attributes: what an archive says to overlayfs never reaches the disk, in no form.
#[test]
fn no_archive_speaks_to_overlayfs() {
    let host = Host::empty();
    let busybox = fs::read(lrun_tests::images("busybox.tar")).expect("busybox.tar");
    let mut tar = Tar::on(&busybox);
    let names = [
        "opaque",
        "redirect",
        "metacopy",
        "whiteout",
        "whiteouts",
        "origin",
        "upper",
        "impure",
        "nlink",
        "protattr",
        "uuid",
        "overlay.opaque",
    ];
    for prefix in ["user.overlay.", "trusted.overlay.", "user.overlay.overlay."] {
        for (n, name) in names.iter().enumerate() {
            let key = format!("SCHILY.xattr.{prefix}{name}");
            let value: &[u8] = if *name == "redirect" { b"/etc" } else { b"y" };
            tar = tar
                .pax(&[(&key, value)])
                .dir(&format!("./smuggled{n}/"))
                .pax(&[(&key, value)])
                .file(&format!("./smuggled{n}/file"), b"x");
            tar = tar.pax(&[(&format!("LIBARCHIVE.xattr.{prefix}{name}"), b"eQ==")]).dir("./etc/");
        }
    }
    tar = tar.pax(&[("SCHILY.xattr.user.overlay.opaque", b"y")]).dir("./");
    host.lrun.import_bytes(&tar.finish(), "smuggler");
    assert_eq!(orders_to_overlayfs(&host.lrun.store().join("layers")), Vec::<String>::new());
    let script = "cat /etc/passwd | wc -l; ls /smuggled0 /smuggled1; ls -d /proc /bin/sh";
    assert_eq!(
        host.lrun.ok(&["run", "--rm", "--network", "none", "smuggler", "sh", "-c", script]),
        "2\n/smuggled0:\nfile\n\n/smuggled1:\nfile\n/bin/sh\n/proc"
    );
    host.unharmed();
}

/// Rows 26 and 27, injection by a container: what it leaves cannot become a whiteout or an order to overlayfs in a commit,
/// or in what is exported and imported again.
#[test]
fn a_commit_hides_nothing_that_the_container_did_not_remove() {
    let host = Host::new();
    let Some(weapon) = host.weapon() else { skip!("no gcc to compile the attacker's program") };
    let script = "rm /etc/group; /attack smuggle /etc; touch /etc/.wh.passwd /etc/.wh..wh..opq; mkdir /opt/.wh.x; ls -A /etc | wc -l";
    for options in [&[][..], &["--cap-add", "ALL", "--security-opt", "seccomp=unconfined"]] {
        let run = ["run", "--name", "injector", "--network", "none", "-v", &weapon];
        let output = host.lrun.run(&[&run, options, &["busybox", "sh", "-c", script]].concat());
        assert!(output.code == 0 && !output.stdout.contains("WHITEOUT"), "{output:?}");
        let complaint = host.lrun.fails(1, &["commit", "injector", "injected"]);
        assert!(complaint.contains(".wh."), "{complaint}");
        let exported = host.lrun.run(&["export", "injector"]).bytes;
        if host.lrun.run_with(&exported, &["import", "-", "again"]).code == 0 {
            assert_eq!(
                host.lrun.ok(&["run", "--rm", "--network", "none", "again", "head", "-n", "1", "/etc/passwd"]),
                "root:x:0:0:root:/root:/bin/sh"
            );
        }
        host.lrun.ok(&["rm", "injector"]);

        let clean = "rm /etc/group; /attack smuggle /etc";
        host.lrun.run(&[&run, options, &["busybox", "sh", "-c", clean]].concat());
        host.lrun.ok(&["commit", "injector", "injected"]);
        let look = [
            "run",
            "--rm",
            "--network",
            "none",
            "injected",
            "sh",
            "-c",
            "cat /etc/passwd | wc -l; ls /etc/group; ls -d /etc/hosts",
        ];
        let output = host.lrun.run(&look);
        assert_eq!(output.stdout, "2\n/etc/hosts\n", "{}", output.stderr);
        host.lrun.ok(&["rm", "injector"]);
    }
    host.unharmed();
}
