//! Selections from trees on disk.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;

fn tree(paths: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a directory");
    for path in paths {
        let at = root.path().join(path);
        match path.split_once(" -> ") {
            Some((link, target)) => {
                let link = root.path().join(link);
                fs::create_dir_all(link.parent().expect("a parent")).expect("directories");
                symlink(target, link).expect("a link");
            }
            None if path.ends_with('/') => fs::create_dir_all(at).expect("directories"),
            None => {
                fs::create_dir_all(at.parent().expect("a parent")).expect("directories");
                fs::write(at, path).expect("a file");
            }
        }
    }
    root
}

fn select(root: &Path, ignore: &str, sources: &[&str], parents: bool, exclude: &[&str]) -> Result<Selection> {
    let context = Context::open(root)?.ignoring(Patterns::parse(ignore.as_bytes())?);
    let exclude = Patterns::new(exclude.iter().map(|p| p.as_bytes()))?;
    let sources: Vec<&[u8]> = sources.iter().map(|source| source.as_bytes()).collect();
    context.select(&Request { sources: &sources, parents, exclude: &exclude })
}

fn names(selection: &Selection) -> Vec<String> {
    let shown = |entry: &Entry| {
        let end = if entry.kind == Kind::Directory { "/" } else { "" };
        String::from_utf8_lossy(&entry.name).into_owned() + end
    };
    selection.entries.iter().map(shown).collect()
}

#[test]
fn what_sources_stand_for() {
    let root = tree(&[
        "a/b/f",
        "a/b/g.txt",
        "a/c/",
        "a/h",
        "a.txt",
        "b.txt",
        "x[y",
        "up -> a/b",
        "one -> /a/h",
        "a/b/inner -> ../h",
        "a/loose -> nowhere",
    ]);
    for (sources, wanted) in [
        (&["a"][..], &["b/", "b/f", "b/g.txt", "b/inner", "c/", "h", "loose"][..]),
        (&["/a/./"], &["b/", "b/f", "b/g.txt", "b/inner", "c/", "h", "loose"]),
        (&["a/b"], &["f", "g.txt", "inner"]),
        (&["a/c"], &[]),
        (&["a/b/f"], &["f"]),
        (&["x/../b.txt", "a.txt"], &["b.txt", "a.txt"]),
        (&["*.txt"], &["a.txt", "b.txt"]),
        (&["a/[!-i]"], &["f", "g.txt", "inner", "h"]),
        (&["?/?/[!-g]"], &["f"]),
        (&["a/*/g*"], &["g.txt"]),
        (&["x[[]y"], &["x[y"]),
        // Links are followed, and keep their name.
        (&["up"], &["f", "g.txt", "inner"]),
        (&["up/g.txt"], &["g.txt"]),
        (&["one"], &["one"]),
        (&["a/b/inne*"], &["inner"]),
    ] {
        let selection = select(root.path(), "", sources, false, &[]).expect("it is selected");
        assert_eq!(names(&selection), wanted, "{sources:?}");
    }
    let error = select(root.path(), "", &["a/l*"], false, &[]).expect_err("a link that leads nowhere");
    assert_eq!(error.to_string(), "match a/l*: a/loose leads nowhere");
    let one = select(root.path(), "", &["one"], false, &[]).expect("it is selected");
    assert_eq!((one.entries[0].path.as_slice(), &one.entries[0].kind), (&b"a/h"[..], &Kind::File));
    assert_eq!(one.sources, [Source { directory: false, entries: 0..1 }]);
    let all = select(root.path(), "", &["."], false, &[]).expect("it is selected");
    assert_eq!(names(&all)[..3], ["a/", "a/b/", "a/b/f"]);
    let link = all.entries.iter().find(|entry| entry.name == b"up").expect("it is there");
    assert_eq!(link.kind, Kind::Symlink(b"a/b".to_vec()));
    let some = select(root.path(), "", &["a.txt", "a/c", "a/b"], false, &[]).expect("it is selected");
    let directories = some.only(|source, _| source.directory);
    assert_eq!((names(&directories), directories.sources.len()), (names(&some)[1..].to_vec(), 2));
    assert_eq!(directories.sources[1].entries, 0..3);
    let nothing = select(root.path(), "", &["*.nope", "b.txt"], false, &[]).expect("it is selected");
    assert_eq!((names(&nothing), nothing.unmatched), (vec!["b.txt".to_owned()], 1));
}

#[test]
fn what_is_ignored_is_not_there() {
    let root =
        tree(&["src/keep/a", "src/drop/b", "src/c.log", "node/deep/x", "f", "l -> src/c.log", "hidden -> f", "d/e/"]);
    type Case<'a> = (&'a str, &'a [&'a str], Option<&'a [&'a str]>);
    let cases: &[Case<'_>] = &[
        ("src/*.log\nnode\n", &["src"], Some(&["drop/", "drop/b", "keep/", "keep/a"])),
        ("*.log\n", &["src"], Some(&["c.log", "drop/", "drop/b", "keep/", "keep/a"])),
        ("**/*.log\nnode\n", &["src"], Some(&["drop/", "drop/b", "keep/", "keep/a"])),
        ("*\n!src/keep\n", &["."], Some(&["src/", "src/keep/", "src/keep/a"])),
        ("*\n!src/keep\n", &["src"], Some(&["keep/", "keep/a"])),
        ("*\n!src/keep\n", &["s*"], Some(&["keep/", "keep/a"])),
        ("*\n!src/keep\n", &["node"], None),
        ("*\n!src/none\n", &["src"], None),
        ("*\n!src/none\n", &["s*"], Some(&[])),
        ("*\n!d/e\n", &["."], Some(&["d/", "d/e/"])),
        ("**", &["."], Some(&[])),
        ("f", &["f"], None),
        ("f", &["f*"], Some(&[])),
        // Neither a link to what is ignored nor one that is ignored leads anywhere.
        ("**/*.log", &["l"], None),
        ("hidden", &["hidden"], None),
        ("hidden", &["h*"], Some(&[])),
    ];
    for (ignore, sources, wanted) in cases {
        match (select(root.path(), ignore, sources, false, &[]), wanted) {
            (Ok(selection), Some(wanted)) => assert_eq!(names(&selection), *wanted, "{ignore:?} {sources:?}"),
            (Err(error), None) => {
                assert_eq!(error.kind(), ErrorKind::NotFound);
                let text = "file not found in build context or excluded by .dockerignore: ";
                assert_eq!(error.to_string(), format!("{text}{}", sources[0]), "{ignore:?}");
            }
            (other, _) => panic!("{ignore:?} {sources:?}: {other:?}"),
        }
    }
    let error = select(root.path(), "f\n", &["f"], false, &[]).expect_err("ignored");
    assert_eq!(error.hint_text(), Some("the pattern \"f\" excludes it"));
    let stage = Context::open(root.path()).expect("it opens").named("stage \"base\"");
    let request = Request { sources: &[b"gone"], parents: false, exclude: &Patterns::default() };
    assert_eq!(stage.select(&request).expect_err("not there").to_string(), "file not found in stage \"base\": gone");
}

#[test]
fn ignored_directories_are_not_opened() {
    use std::os::unix::fs::PermissionsExt as _;
    let root = tree(&["secret/x", "f"]);
    let secret = root.path().join("secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).expect("a mode");
    let selection = select(root.path(), "secret", &["."], false, &[]).expect("it is selected");
    assert_eq!(names(&selection), ["f"]);
    if !rustix::process::geteuid().is_root() {
        let error = select(root.path(), "", &["."], false, &[]).expect_err("it cannot be read");
        assert!(error.to_string().contains("secret"), "{error}");
    }
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o755)).expect("a mode");
}

#[test]
fn exclude_is_about_names_below_the_destination() {
    let root = tree(&["d/a.png", "d/b.txt", "d/e/c.png", "d/e/f.txt", "x.png", "y.txt"]);
    for (sources, exclude, wanted) in [
        (&["."][..], &["*/*.png"][..], &["d/", "d/b.txt", "d/e/", "d/e/c.png", "d/e/f.txt", "x.png", "y.txt"][..]),
        (&["d"], &["*.png"], &["b.txt", "e/", "e/c.png", "e/f.txt"]),
        (&["d"], &["**/*.png"], &["b.txt", "e/", "e/f.txt"]),
        (&["d"], &["e", "!e/f.txt"], &["a.png", "b.txt", "e/", "e/f.txt"]),
        (&["d"], &["*"], &[]),
        (&["*"], &["*.png"], &["b.txt", "e/", "e/c.png", "e/f.txt", "y.txt"]),
        // A file that is named is copied.
        (&["x.png"], &["*.png"], &["x.png"]),
    ] {
        let selection = select(root.path(), "", sources, false, exclude).expect("it is selected");
        assert_eq!(names(&selection), wanted, "{sources:?} {exclude:?}");
    }
}

#[test]
fn parents_are_kept_from_the_pivot_on() {
    let root = tree(&[
        "t/a/b/c/d/foo",
        "t/a/b/c/d/e/bay",
        "t/a/b2/c/d/e/bar",
        "t/a/b/c2/d/e/baz",
        "t/a/b/c2/d/e2/baz",
        "link -> t/a",
    ]);
    let whole = &["t/", "t/a/", "t/a/b/", "t/a/b/c/", "t/a/b/c/d/", "t/a/b/c/d/e/", "t/a/b/c/d/e/bay", "t/a/b/c/d/foo"];
    for (sources, wanted) in [
        (&["t/a/b/c/d"][..], &whole[..]),
        (&["./t/a/b/c/d"], whole),
        (&["/t/a/b/c/d/."], whole),
        (&["t/a/b/./c/d"], &["c/", "c/d/", "c/d/e/", "c/d/e/bay", "c/d/foo"]),
        (&["link/b/./c/d/foo"], &["c/", "c/d/", "c/d/foo"]),
        (&["t/a/./b/./c/d/foo"], &["b/", "b/c/", "b/c/d/", "b/c/d/foo"]),
        (&["t/a/./b2/c"], &["b2/", "b2/c/", "b2/c/d/", "b2/c/d/e/", "b2/c/d/e/bar"]),
        (&["t/a/b*/./c/**/e"], &["c/", "c/d/", "c/d/e/", "c/d/e/bay", "c/", "c/d/", "c/d/e/", "c/d/e/bar"]),
        (
            &["t/a/b/c*/./d/**/baz", "t/a/b*/./c/**/bar"],
            &["d/", "d/e/", "d/e/baz", "d/e2/", "d/e2/baz", "c/", "c/d/", "c/d/e/", "c/d/e/bar"],
        ),
        (&["t/a/b3*/c"], &[]),
        (&["t/a/b/./c3*"], &[]),
    ] {
        let selection = select(root.path(), "", sources, true, &[]).expect("it is selected");
        assert_eq!(names(&selection), wanted, "{sources:?}");
    }
    let error = select(root.path(), "", &["t/nothing"], true, &[]).expect_err("not there");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let excluded = select(root.path(), "", &["t/a/b/./c"], true, &["c/d/e"]).expect("it is selected");
    assert_eq!(names(&excluded), ["c/", "c/d/", "c/d/foo"]);
    assert!(select(root.path(), "t/a/b", &["t/a/b/c"], true, &[]).is_err());
}

#[test]
fn nothing_outside_is_reached() {
    let outside = tree(&["secret/key"]);
    let away = outside.path().display();
    let absolute = format!("abs -> {away}/secret");
    let root = tree(&["f", &absolute, "d/up -> ../../../../../../../..", "etc -> /etc", "passwd -> /etc/passwd"]);
    for source in ["abs", "abs/key", "d/up/etc/passwd", "etc/passwd", "passwd", "etc", "etc/pass*"] {
        match select(root.path(), "", &[source], false, &[]) {
            Err(error) => assert!(matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Io), "{source}: {error}"),
            Ok(selection) => assert!(selection.entries.is_empty(), "{source}: {selection:?}"),
        }
    }
    // For such a link, the root is the context's.
    let up = select(root.path(), "", &["d/up"], false, &[]).expect("it is selected");
    assert_eq!(names(&up), names(&select(root.path(), "", &["."], false, &[]).expect("it is selected")));
    for source in ["../f", "/../f", "d/../../f", "x/../../.."] {
        let error = select(root.path(), "", &[source], false, &[]).expect_err("it leaves the context");
        assert!(error.to_string().starts_with("forbidden path outside the build context: "), "{error}");
    }
    let copied = select(root.path(), "", &["."], false, &[]).expect("it is selected");
    let link = copied.entries.iter().find(|entry| entry.name == b"passwd").expect("it is there");
    assert_eq!(link.kind, Kind::Symlink(b"/etc/passwd".to_vec()));
}

#[test]
fn sockets_are_left_out_and_bad_patterns_refused() {
    let root = tree(&["f"]);
    let _socket = std::os::unix::net::UnixListener::bind(root.path().join("socket")).expect("a socket");
    rustix::fs::mknodat(rustix::fs::CWD, root.path().join("fifo"), FileType::Fifo, 0o600.into(), 0).expect("a FIFO");
    let selection = select(root.path(), "", &["."], false, &[]).expect("it is selected");
    assert_eq!(names(&selection), ["f", "fifo"]);
    assert_eq!(selection.entries[1].kind, Kind::Fifo);
    assert!(select(root.path(), "", &["socket"], false, &[]).is_err());
    assert_eq!(select(root.path(), "", &["a[*"], false, &[]).expect_err("bad").kind(), ErrorKind::Invalid);
    // A context on a file system with devices.
    let error = select(Path::new("/dev"), "*\n!null", &["."], false, &[]).expect_err("a device");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("null is a device"), "{error}");
}

/// Names in the context that are swapped with links to the outside while it is selected and opened.
#[test]
fn swapped_names_lead_nowhere_else() {
    let outside = tree(&["secret"]);
    let root = tree(&["d/a/secret", "d/a/sub/x"]);
    let (a, b) = (root.path().join("d/a"), root.path().join("d/b"));
    symlink(outside.path(), &b).expect("a link");
    let inside = fs::metadata(a.join("secret")).expect("it is there");
    let wanted = std::os::unix::fs::MetadataExt::ino(&inside);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let exchange = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(rustix::fs::CWD, &a, rustix::fs::CWD, &b, exchange).expect("it is swapped");
            }
        });
        let context = Context::open(root.path()).expect("it opens");
        let exclude = Patterns::default();
        let mut read = 0;
        for _ in 0..2000 {
            for source in [&b"d"[..], b"d/a/secret", b"d/b/secr*"] {
                let request = Request { sources: &[source], parents: false, exclude: &exclude };
                let Ok(selection) = context.select(&request) else { continue };
                for entry in selection.entries.iter().filter(|entry| entry.name.ends_with(b"secret")) {
                    assert_eq!(entry.seen.ino, wanted);
                    if let Ok(file) = context.open_entry(entry) {
                        assert_eq!(fstat(&file).expect("it is there").st_ino, wanted);
                        read += 1;
                    }
                }
            }
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(read > 100, "the test saw something: {read}");
    });
}
