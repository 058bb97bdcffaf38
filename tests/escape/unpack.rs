//! Rows 19 to 23: archives that write outside of the image, or would.

use std::collections::BTreeSet;
use std::fs;

use lrun_tests::{Entry, Tar, long};
use serde_json::json;

use crate::host::Host;
use crate::made::{Made, archive};

/// File, hard link, symbolic link, character and block device, directory, FIFO.
const KINDS: [u8; 7] = *b"0123456";

/// Row 19, `..`, absolute paths and writing through links: every pair of entry types, the first of which may plant a
/// link to the outside, the second of which uses its name or goes through it.
#[test]
fn no_pair_of_entries_writes_outside() {
    let host = Host::empty();
    let canary = host.canary("");
    let canary = canary.trim_end_matches('/');
    let upwards = format!("../../../../../../../../../../../..{canary}");
    let seconds = ["x", "x/open", "x/new", "y/../x/private/secret"];
    let mut imported = 0;
    for first in KINDS {
        for second in KINDS {
            for (n, name) in seconds.iter().enumerate() {
                let target = if n % 2 == 0 { canary } else { &upwards };
                // A link to a file of the canary where the link itself is replaced, else to its folder.
                let planted = if *name == "x" { format!("{target}/open") } else { target.to_owned() };
                let plant = Entry {
                    name: b"x",
                    kind: first,
                    link: planted.as_bytes(),
                    mode: 0o777,
                    data: data(first),
                    ..Entry::default()
                };
                let used = format!("{target}/open");
                let (name, link) = (name.as_bytes(), used.as_bytes());
                let us = Entry { name, kind: second, link, mode: 0o6777, uid: 5, gid: 6, data: data(second) };
                let tar =
                    Tar::new().dir("y/").entry(plant).pax(&[("SCHILY.xattr.user.owned", b"1")]).entry(us).entry(us);
                let what =
                    format!("{} then {} at {}", char::from(first), char::from(second), String::from_utf8_lossy(name));
                imported += u32::from(host.attack(&tar.finish(), &what));
            }
        }
    }
    assert!(imported > 20, "nearly everything was refused: the attacks prove little ({imported} imported)");
    host.unharmed();
}

fn data(kind: u8) -> &'static [u8] {
    if kind == b'0' { b"owned\n" } else { b"" }
}

/// Row 19: names that go up, that are absolute, or that are hidden in a longer form; in the header and in PAX records.
#[test]
fn no_name_leads_outside() {
    let host = Host::empty();
    let new = format!("{}/owned", host.canary("").trim_end_matches('/'));
    let up = "../".repeat(12);
    let names = [
        new.clone(),
        format!("/{new}"),
        format!("{up}{new}"),
        format!("x/{up}{new}"),
        format!("./{up}{new}"),
        format!("x/./../{up}{new}"),
        "../owned".into(),
        "../../owned".into(),
        "..".into(),
        "x/..".into(),
        "../".into(),
        "diff/../../owned".into(),
        "../index".into(),
        "../kept/0".into(),
    ];
    for name in &names {
        for kind in [b'0', b'5', b'2', b'6'] {
            let entry = |name| Entry { name, kind, link: b"target", mode: 0o777, data: data(kind), ..Entry::default() };
            host.attack(&Tar::new().entry(entry(&name.as_bytes()[..name.len().min(100)])).finish(), name);
            host.attack(&Tar::new().pax(&[("path", name.as_bytes())]).entry(entry(b"short")).finish(), name);
            let long_name = Tar::new().entry(Entry {
                name: b"././@LongLink",
                kind: b'L',
                data: &[name.as_bytes(), b"\0"].concat(),
                ..Entry::default()
            });
            host.attack(&long_name.entry(entry(b"short")).finish(), name);
            let hidden = [b"good\0", name.as_bytes()].concat();
            host.attack(&Tar::new().pax(&[("path", &hidden)]).entry(entry(b"short")).finish(), name);
        }
        for (key, value) in [("linkpath", name), ("GNU.sparse.name", name)] {
            let link = Entry { name: b"link", kind: b'1', link: b"x", ..Entry::default() };
            host.attack(&Tar::new().file("x", b"").pax(&[(key, value.as_bytes())]).entry(link).finish(), name);
        }
    }
    host.unharmed();
}

/// Row 19 as a container sees it: what was written through an absolute link landed inside the image.
#[test]
fn links_are_resolved_inside_the_image() {
    let host = Host::with(|tar| {
        let tar = tar.symlink("./out", "/opt").symlink("./up", "../../../../opt").symlink("./deep", "out/a");
        tar.dir("./opt/a/").file("./out/one", b"1").file("./up/two", b"2").file("./deep/three", b"3")
    });
    let list = ["run", "--rm", "--network", "none", "hostile", "find", "/opt", "-type", "f"];
    assert_eq!(
        host.lrun.ok(&list).lines().collect::<BTreeSet<_>>(),
        BTreeSet::from(["/opt/one", "/opt/two", "/opt/a/three"])
    );
    host.unharmed();
}

/// Row 20, hard links to the outside or through a link, which are then overwritten, get another mode, or are removed.
#[test]
fn hard_links_stay_inside() {
    let host = Host::empty();
    let open = host.canary("open");
    let up = format!("{}{open}", "../".repeat(12));
    for target in
        [open.as_str(), &up, "link", "link/open", "./link", "/link", "dir/../link", "self", ".", "..", "dir", "/", ""]
    {
        let tar = Tar::new().dir("dir/").symlink("link", &open).hardlink("self", "self").hardlink("hard", target);
        let again = Entry { name: b"hard", mode: 0o6777, uid: 7, gid: 7, data: b"owned\n", ..Entry::default() };
        host.attack(&tar.entry(again).dir("hard/").symlink("hard", &open).finish(), target);
        let tar = Tar::new().symlink("link", &open).hardlink("hard", target);
        let touched = Entry { name: b"hard", kind: b'1', link: b"hard", mode: 0o777, uid: 7, ..Entry::default() };
        host.attack(&tar.entry(touched).finish(), target);
    }
    host.unharmed();
}

/// Row 21, a replaced root: the root of an image is a directory, in whatever notation an entry says otherwise.
#[test]
fn the_root_cannot_be_replaced() {
    let host = Host::empty();
    let canary = host.canary("private");
    for name in ["./", ".", "/", "//", "././", "x/..", "./x/../", ""] {
        for kind in KINDS {
            let root = Entry {
                name: name.as_bytes(),
                kind,
                link: canary.as_bytes(),
                mode: 0o777,
                data: data(kind),
                ..Entry::default()
            };
            let tar = Tar::new().dir("x/").entry(root).file("secret", b"owned\n").dir("x/private/");
            let what = format!("{name:?} of kind {}", char::from(kind));
            let taken = host.attack(&tar.finish(), &what);
            assert!(!taken || kind == b'5' || !["./", ".", "/"].contains(&name), "{what} was taken");
        }
    }
    host.unharmed();
}

/// Row 21, a replaced root: nor does one layer of an image replace the root for another, or a directory that the other
/// writes into, whichever of the two has the link; a container on such an image writes in its own.
#[test]
fn no_layer_replaces_the_root_for_another() {
    let host = Host::new();
    let busybox = fs::read(lrun_tests::images("busybox.tar")).expect("busybox.tar");
    let private = host.canary("private");
    let names =
        if long() { &["./", ".", "/", "//", "././", "x/..", "./x/../", "", "x"][..] } else { &[".", "x/..", "x"] };
    let mut taken = 0;
    for name in names {
        for kind in KINDS {
            let entry = Entry {
                name: name.as_bytes(),
                kind,
                link: private.as_bytes(),
                mode: 0o777,
                data: data(kind),
                ..Entry::default()
            };
            let planted = Tar::new().entry(entry).finish();
            let writes = Tar::new().file("secret", b"owned\n").file("./x/secret", b"owned\n").file("x/new", b"owned\n");
            let removes = Tar::new().file(".wh.secret", b"").file("x/.wh.secret", b"").file(".wh..wh..opq", b"");
            let (writes, removes) = (writes.finish(), removes.finish());
            for layers in [[&planted, &writes], [&writes, &planted], [&planted, &removes]] {
                let layers = [&[busybox.as_slice()], &layers.map(Vec::as_slice)[..]].concat();
                let made = Made { name: "stacked:1".into(), config: json!({}), layers };
                let what = format!("{name:?} of kind {}", char::from(kind));
                let output = host.lrun.run_with(&archive(&[made]), &["load", "-q"]);
                assert!(output.code == 0 || output.stderr.starts_with("lrun: load "), "{what}: {output:?}");
                host.canary.check();
                if output.code != 0 {
                    continue;
                }
                taken += 1;
                let opaque = [
                    "run",
                    "--rm",
                    "--network",
                    "none",
                    "stacked:1",
                    "sh",
                    "-c",
                    "echo owned | tee /secret > /x/secret",
                ];
                let output = host.lrun.run(&opaque);
                assert!(output.code < 3 || output.code > 124, "{what}: {output:?}");
                host.canary.check();
            }
        }
    }
    assert!(taken > 5, "nearly everything was refused ({taken} taken)");
    host.unharmed();
}

/// Row 22, attributes through links: a directory entry, owners, times, modes and extended attributes for a name that is a
/// link, before and after it is a directory.
#[test]
fn attributes_never_go_through_a_link() {
    let host = Host::empty();
    let capability: &[u8] = &[1, 0, 0, 2, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for target in ["open", "private", "", "link"] {
        let target = host.canary(target);
        for kind in KINDS {
            let attributes: [(&str, &[u8]); 4] = [
                ("SCHILY.xattr.user.owned", b"1"),
                ("SCHILY.xattr.security.capability", capability),
                ("mtime", b"1000000000.5"),
                ("LIBARCHIVE.xattr.user.owned", b"MQ=="),
            ];
            let entry =
                Entry { name: b"l", kind, link: target.as_bytes(), mode: 0o4777, uid: 9, gid: 9, data: data(kind) };
            let link = Tar::new().symlink("l", &target);
            let tar = link
                .pax(&attributes)
                .entry(entry)
                .pax(&attributes)
                .symlink("l", &target)
                .pax(&attributes)
                .entry(Entry { name: b"l/", ..entry });
            host.attack(&tar.finish(), &format!("{target} as {}", char::from(kind)));
        }
    }
    host.unharmed();
}

/// Row 23, unpack races: hostile archives and a good one are imported at once, again and again; the good image is always
/// whole, and the attacks never reach what is not theirs.
#[test]
fn imports_at_once_do_not_meet() {
    let host = Host::empty();
    let canary = host.canary("");
    let busybox = fs::read(lrun_tests::images("busybox.tar")).expect("busybox.tar");
    let swap = |n: usize| {
        let tar = (0..40).fold(Tar::new(), |tar, i| {
            let name = format!("d{}", (i + n) % 3);
            tar.symlink(&name, &canary)
                .file(&format!("{name}/open"), b"owned\n")
                .dir(&format!("{name}/"))
                .file(&format!("{name}/new"), b"owned\n")
        });
        tar.finish()
    };
    let mut ids = BTreeSet::new();
    for _ in 0..if long() { 20 } else { 2 } {
        std::thread::scope(|scope| {
            let hostile: Vec<_> = (0..15)
                .map(|n| {
                    let (lrun, archive) = (&host.lrun, swap(n));
                    scope.spawn(move || lrun.run_with(&archive, &["import", "-", &format!("swap{n}")]))
                })
                .collect();
            let good = scope.spawn(|| host.lrun.import_bytes(&busybox, "good"));
            for output in hostile.into_iter().map(|thread| thread.join().expect("an import")) {
                assert!(output.code == 0 || output.stderr.starts_with("lrun: import -: "), "{output:?}");
            }
            ids.insert(good.join().expect("the good import"));
        });
        let count = ["run", "--rm", "--network", "none", "good", "sh", "-c", "ls /var/lib/files | wc -l"];
        assert_eq!(host.lrun.ok(&count), "40");
        host.canary.check();
    }
    host.unharmed();
}
