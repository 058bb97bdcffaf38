//! Row 24: archives that programs read differently. GNU tar is one of them, umoci, with Go's reader and writer, another.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use lrun_tests::{Entry, Tar, skip};

use crate::host::Host;

/// The names that GNU tar sees in an archive, directories without their slash; `None` where it complains.
fn names_by_tar(archive: &[u8]) -> Option<BTreeSet<String>> {
    let mut tar = Command::new("tar");
    let tar = tar
        .args(["-tf", "-", "--quoting-style=escape"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = tar.spawn().expect("tar");
    let mut stdin = child.stdin.take().expect("piped");
    let bytes = archive.to_owned();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&bytes)));
    let output = child.wait_with_output().expect("tar");
    writer.join().expect("the writer");
    let names = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|name| name.trim_start_matches("./").trim_end_matches('/').to_owned())
        .collect();
    output.status.success().then_some(names)
}

/// What lrun exports of an image.
fn exported(host: &Host, image: &str) -> Vec<u8> {
    let id = host.lrun.ok(&["create", image, "x"]);
    let exported = host.lrun.run(&["export", &id]).bytes;
    host.lrun.ok(&["rm", &id]);
    exported
}

/// What the engine itself adds to every container.
const ENGINE: [&str; 9] = ["", "dev", "proc", "sys", "etc", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab"];

/// The names in an image.
fn names_by_lrun(host: &Host, image: &str) -> BTreeSet<String> {
    let mut names = names_by_tar(&exported(host, image)).expect("a good archive");
    names.retain(|name| !ENGINE.contains(&name.as_str()));
    names
}

fn good(data: &[u8]) -> Entry<'_> {
    Entry { name: b"good", data, ..Entry::default() }
}

/// Archives that programs read differently, with the attack's name `evil` behind a confusion. Each with what it is.
fn confusing() -> Vec<(&'static str, Vec<u8>)> {
    let evil = Tar::new().file("evil", b"").unfinished();
    let evil = evil.as_slice();
    // A header whose size field is this text.
    let with_size = |size: &[u8], data: &[u8]| {
        let mut bytes = Tar::new().entry(good(data)).unfinished();
        bytes[124..124 + size.len()].copy_from_slice(size);
        bytes[148..156].fill(b' ');
        let sum: u32 = bytes[..512].iter().map(|b| u32::from(*b)).sum();
        bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        bytes
    };
    let end = |bytes: Vec<u8>| [bytes, vec![0; 1024]].concat();
    let raw_pax = |records: &[u8]| {
        Tar::new().entry(Entry { name: b"PaxHeaders/x", kind: b'x', data: records, ..Entry::default() })
    };
    vec![
        (
            "a PAX size beyond the header's",
            Tar::new().pax(&[("size", b"512")]).entry(good(b"")).finish().splice_after(evil),
        ),
        ("a PAX size below the header's", Tar::new().pax(&[("size", b"0")]).entry(good(evil)).finish()),
        ("two PAX sizes", Tar::new().pax(&[("size", b"512"), ("size", b"0")]).entry(good(evil)).finish()),
        ("a PAX size that is no number", Tar::new().pax(&[("size", b"0x200")]).entry(good(evil)).finish()),
        ("a negative PAX size", Tar::new().pax(&[("size", b"-512")]).entry(good(evil)).finish()),
        ("two PAX headers", Tar::new().pax(&[("path", b"evil")]).pax(&[("path", b"other")]).entry(good(b"")).finish()),
        ("a PAX record of the wrong length", raw_pax(b"99 path=evil\n").entry(good(b"")).finish()),
        ("a PAX record without an end", raw_pax(b"13 path=evil\0").entry(good(b"")).finish()),
        ("a PAX path with a zero byte", Tar::new().pax(&[("path", b"evil\0good")]).entry(good(b"")).finish()),
        (
            "a PAX path and a GNU name",
            Tar::new()
                .pax(&[("path", b"one")])
                .entry(Entry { name: b"././@LongLink", kind: b'L', data: b"evil\0", ..Entry::default() })
                .entry(good(b""))
                .finish(),
        ),
        (
            "a GNU name, then a PAX path",
            Tar::new()
                .entry(Entry { name: b"././@LongLink", kind: b'L', data: b"evil\0", ..Entry::default() })
                .pax(&[("path", b"one")])
                .entry(good(b""))
                .finish(),
        ),
        (
            "a global PAX path",
            Tar::new()
                .entry(Entry { name: b"g", kind: b'g', data: b"13 path=evil\n", ..Entry::default() })
                .entry(good(b""))
                .finish(),
        ),
        (
            "a global PAX size",
            Tar::new()
                .entry(Entry { name: b"g", kind: b'g', data: b"12 size=512\n", ..Entry::default() })
                .entry(good(b""))
                .finish(),
        ),
        ("a size in base 256", end(with_size(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0], evil))),
        ("a negative size in base 256", end(with_size(&[0xff; 12], evil))),
        (
            "a huge size in base 256",
            end(with_size(&[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], evil)),
        ),
        ("a size with spaces", end(with_size(b"      1000 \0", evil))),
        ("a size that is no number", end(with_size(b"0000000x000\0", evil))),
        ("an empty size", end(with_size(b"\0\0\0\0\0\0\0\0\0\0\0\0", evil))),
        ("a directory with content", Tar::new().entry(Entry { kind: b'5', ..good(evil) }).finish()),
        ("a symbolic link with content", Tar::new().entry(Entry { kind: b'2', link: b"x", ..good(evil) }).finish()),
        (
            "a hard link with content",
            Tar::new().file("x", b"").entry(Entry { kind: b'1', link: b"x", ..good(evil) }).finish(),
        ),
        ("a FIFO with content", Tar::new().entry(Entry { kind: b'6', ..good(evil) }).finish()),
        ("an unknown type with content", Tar::new().entry(Entry { kind: b'Z', ..good(evil) }).finish()),
        ("a volume label", Tar::new().entry(Entry { kind: b'V', ..good(evil) }).finish()),
        ("a multi-volume part", Tar::new().entry(Entry { kind: b'M', ..good(evil) }).finish()),
        ("an old sparse file", Tar::new().entry(Entry { kind: b'S', ..good(evil) }).finish()),
        (
            "a sparse name",
            Tar::new()
                .pax(&[
                    ("GNU.sparse.major", b"1"),
                    ("GNU.sparse.minor", b"0"),
                    ("GNU.sparse.name", b"evil"),
                    ("GNU.sparse.realsize", b"0"),
                ])
                .entry(good(&[b"0\n".as_slice(), &[0; 510]].concat()))
                .finish(),
        ),
        (
            "one block of zeros, then more",
            end([Tar::new().entry(good(b"")).unfinished(), vec![0; 512], evil.to_vec()].concat()),
        ),
        ("more after the end", end([Tar::new().entry(good(b"")).finish(), evil.to_vec()].concat())),
        ("no end", Tar::new().entry(good(b"")).unfinished()),
        ("an end in the middle of a header", [Tar::new().entry(good(b"")).unfinished(), evil[..200].to_vec()].concat()),
        ("a wrong checksum", {
            let mut bytes = Tar::new().entry(good(b"")).finish();
            bytes[0] = b'f';
            bytes
        }),
        ("a name with a newline", Tar::new().file("good\nevil", b"").finish()),
        ("a directory by its slash alone", Tar::new().file("good/", b"").finish()),
        ("a file in place of a directory", Tar::new().dir("good/").file("good", b"").finish()),
    ]
}

trait Splice {
    fn splice_after(self, more: &[u8]) -> Self;
}

impl Splice for Vec<u8> {
    /// Puts `more` before the archive's two closing blocks.
    fn splice_after(mut self, more: &[u8]) -> Self {
        let end = self.len() - 1024;
        self.splice(end..end, more.iter().copied());
        self
    }
}

/// Row 24, parser differentials: of an archive that programs read differently, lrun either sees what GNU tar sees or
/// refuses it; compressed with something behind it, too.
#[test]
fn archives_mean_what_they_mean_to_tar_or_nothing() {
    let host = Host::empty();
    let mut taken = 0;
    for (what, archive) in confusing() {
        if !host.attack(&archive, what) {
            continue;
        }
        let by_tar = names_by_tar(&archive);
        let names = names_by_lrun(&host, "attack");
        let Some(mut by_tar) = by_tar else { panic!("{what}: GNU tar refuses what lrun takes for {names:?}") };
        by_tar.retain(|name| !name.is_empty());
        assert_eq!(names, by_tar, "{what}");
        taken += 1;
    }
    assert!(taken > 5, "nearly everything was refused ({taken} taken)");
    for (what, tail) in
        [("zeros", vec![0; 512]), ("another archive", Tar::new().file("evil", b"").finish()), ("rubbish", vec![7; 600])]
    {
        for compressor in ["gzip", "zstd", "xz", "bzip2"] {
            let archive = compressed(compressor, &Tar::new().file("good", b"x").finish());
            let with_tail = [archive.clone(), tail.clone()].concat();
            host.attack(&with_tail, &format!("{what} after {compressor}"));
            host.attack(&archive[..archive.len() - 5], &format!("{compressor} cut off"));
            host.attack(
                &[archive, compressed(compressor, &tail)].concat(),
                &format!("{what} as a second member of {compressor}"),
            );
        }
    }
    host.unharmed();
}

fn compressed(program: &str, data: &[u8]) -> Vec<u8> {
    let mut child =
        Command::new(program).arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect(program);
    child.stdin.take().expect("piped").write_all(data).expect("write");
    child.wait_with_output().expect(program).stdout
}

/// umoci in the test's folder, as a user without privileges; whether it succeeded.
fn umoci(host: &Host, args: &[&str]) -> bool {
    let output = Command::new("umoci").args(args).current_dir(host.lrun.folder()).output().expect("umoci");
    output.status.success()
}

/// The names below a folder, as GNU tar would print them.
fn names_below(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for path in fs::read_dir(&next).into_iter().flatten().flatten().map(|entry| entry.path()) {
            let name = path.strip_prefix(folder).expect("below the folder").to_string_lossy().replace('\n', "\\n");
            found.insert(name);
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            }
        }
    }
    found
}

/// Row 24, parser differentials: what lrun takes of those archives, Go's reader sees in the same way or refuses.
#[test]
fn archives_mean_what_they_mean_to_go_or_nothing() {
    if Command::new("umoci").arg("--version").output().is_err() {
        skip!("umoci is not installed");
    }
    let host = Host::empty();
    assert!(umoci(&host, &["init", "--layout", "go"]) && umoci(&host, &["new", "--image", "go:empty"]));
    let (mut same, mut refused) = (0, Vec::new());
    for (n, (what, archive)) in confusing().into_iter().enumerate() {
        let taken = host.lrun.run_with(&archive, &["import", "-", "attack"]).code == 0;
        if !taken {
            continue;
        }
        host.lrun.file("layer.tar", &archive);
        let (tag, image, root) = (format!("t{n}"), format!("go:t{n}"), format!("root{n}"));
        let by_go = umoci(&host, &["raw", "add-layer", "--image", "go:empty", "--tag", &tag, "layer.tar"])
            && umoci(&host, &["raw", "unpack", "--rootless", "--image", &image, &root]);
        if by_go {
            assert_eq!(names_by_lrun(&host, "attack"), names_below(&host.lrun.folder().join(&root)), "{what}");
            same += 1;
        } else {
            refused.push(what);
        }
    }
    assert!(same > 5, "Go took {same}, and refused {refused:?}");
    host.unharmed();
}

/// What Go's writer puts into PAX records: long and odd names and targets, times before 1970 and with fractions; and
/// links, a hole, a FIFO, modes.
const TREE: &str = r"
    long=$(printf 'n%.0s' $(seq 120)); mkdir -p d $long/$long/$long empty; echo 1 > d/f; ln d/f g; ln -s f d/l
    truncate -s 1M hole; echo x >> hole; echo 2 > $long/$long/$long/f; ln $long/$long/$long/f linked; mkfifo fifo
    ln -s $long/$long/$long/f target; ln -s gone $long/dangling; printf x > ' x '; printf x > -x
    printf x > $(printf '\303\251\\\nx'); printf x > $(printf '\377\376'); chmod 4755 d/f; chmod 1777 empty; chmod 0 ./-x
    touch -d '1960-01-01 00:00:00.5' old; touch -d 2030-01-01 new; touch -d '2020-01-01 00:00:00.123456789' fraction";

/// What GNU tar lists of an archive but for the root: modes, sizes, times, names and targets. Owners are the mapping's.
fn listed(host: &Host, archive: &[u8]) -> BTreeSet<String> {
    let mut tar = Command::new("tar");
    tar.args(["-tv", "--full-time", "--quoting-style=escape", "-f"]).arg(host.lrun.file("listed.tar", archive));
    let output = tar.env("TZ", "UTC").output().expect("tar");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line = |line: &str| {
        let mut words = line.split(' ');
        let (mode, _) = (words.next()?, words.next()?);
        let rest: Vec<&str> = words.skip_while(|word| word.is_empty()).collect();
        (rest.get(3).is_some_and(|name| !["./", "."].contains(name))).then(|| format!("{mode} {}", rest.join(" ")))
    };
    String::from_utf8_lossy(&output.stdout).lines().filter_map(line).collect()
}

/// Row 24, parser differentials: a layer that Go wrote is to lrun, which exports it again, what it is to GNU tar.
#[test]
fn what_go_writes_means_the_same() {
    if Command::new("umoci").arg("--version").output().is_err() {
        skip!("umoci is not installed");
    }
    let host = Host::empty();
    assert!(umoci(&host, &["init", "--layout", "go"]) && umoci(&host, &["new", "--image", "go:empty"]));
    assert!(umoci(&host, &["unpack", "--rootless", "--image", "go:empty", "bundle"]));
    let root = host.lrun.folder().join("bundle/rootfs");
    let tree = Command::new("sh").args(["-ec", TREE]).current_dir(root).output().expect("sh");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    assert!(umoci(&host, &["repack", "--image", "go:full", "bundle"]));
    assert!(umoci(&host, &["rm", "--image", "go:empty"]) && umoci(&host, &["gc", "--layout", "go"]));
    let loaded = host.lrun.ok(&["load", "-i", "go"]);
    let id = loaded.strip_prefix("Loaded image ID: ").expect("an image without a name").to_owned();
    let blobs = fs::read_dir(host.lrun.folder().join("go/blobs/sha256")).expect("the layout").flatten();
    let layer = blobs.map(|blob| blob.path()).find(|blob| fs::read(blob).expect("a blob").starts_with(&[0x1f, 0x8b]));
    let layer = Command::new("gzip").arg("-dc").stdin(fs::File::open(layer.expect("a layer")).expect("it")).output();
    let by_tar = listed(&host, &layer.expect("gzip").stdout);
    assert_eq!(by_tar.len(), 21, "{by_tar:#?}");
    assert_eq!(listed(&host, &exported(&host, &id)), by_tar);
    host.canary.check();
    assert!(
        Command::new("chmod")
            .args(["-R", "u+rwX"])
            .arg(host.lrun.folder().join("bundle"))
            .status()
            .expect("chmod")
            .success()
    );
    host.unharmed();
}
