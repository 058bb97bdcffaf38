//! `cp`: docker's rules in both directions, for containers that run, have ended, or were never started.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use lrun_tests::{Entry, Lrun, Mode, Tar, mode};

/// Containers in the three states: `runs`, `ended`, `fresh`.
const STATES: [&str; 3] = ["runs", "ended", "fresh"];

fn containers(lrun: &Lrun, prepare: &str) {
    // What a container that was never started has, it has by its image.
    lrun.ok(&["run", "--name", "ended", "--network", "none", "busybox", "sh", "-c", prepare]);
    lrun.ok(&["commit", "ended", "prepared"]);
    let sleep = ["prepared", "sh", "-c", "trap exit TERM; sleep 1000 & wait"];
    lrun.ok(&[&["run", "-d", "--name", "runs", "--network", "none"], &sleep[..]].concat());
    lrun.ok(&[&["create", "--name", "fresh", "--network", "none"], &sleep[..]].concat());
}

/// What a shell in the container prints: in a running one by exec, else in a container of what commit makes of it.
#[track_caller]
fn shell(lrun: &Lrun, container: &str, script: &str) -> String {
    if container == "runs" {
        return lrun.ok(&["exec", container, "sh", "-c", script]);
    }
    let image = lrun.ok(&["commit", container]);
    lrun.ok(&["run", "--rm", "--network", "none", &image, "sh", "-c", script])
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).expect("a file")
}

/// Source files on the host: `f`, `s/` with a file and a folder, `l` to `s`, `lf` to `f`.
fn sources(folder: &Path) {
    let at = |name: &str| folder.join(name);
    fs::create_dir_all(at("s/sub")).expect("mkdir");
    fs::write(at("f"), "file\n").expect("write");
    fs::write(at("s/a"), "in s\n").expect("write");
    fs::write(at("s/sub/b"), "in sub\n").expect("write");
    symlink("s", at("l")).expect("link");
    symlink("f", at("lf")).expect("link");
}

const DESTINATIONS: &str =
    "mkdir -p /t/d /t/ro; echo old > /t/file; ln -s d /t/ld; ln -s file /t/lfile; ln -s gone /t/dangling";

#[test]
fn into_a_container_by_dockers_rules() {
    let lrun = Lrun::with_busybox();
    sources(lrun.folder());
    containers(&lrun, DESTINATIONS);
    // Source, destination, a file that then is there and what it says.
    let good = [
        ("f", "/t/new", "/t/new", "file"),
        ("f", "t/relative", "/t/relative", "file"),
        ("f", "/t/file", "/t/file", "file"),
        ("f", "/t/d", "/t/d/f", "file"),
        ("f", "/t/d/", "/t/d/f", "file"),
        ("f", "/t/ld", "/t/d/f", "file"),
        ("f", "/t/lfile", "/t/file", "file"),
        ("f", "/t/dangling", "/t/gone", "file"),
        ("s", "/t/dir", "/t/dir/sub/b", "in sub"),
        ("s", "/t/dir2/", "/t/dir2/sub/b", "in sub"),
        ("s/.", "/t/dir3", "/t/dir3/a", "in s"),
        ("s", "/t/d", "/t/d/s/sub/b", "in sub"),
        ("s/", "/t/d/", "/t/d/s/a", "in s"),
        ("s/.", "/t/d", "/t/d/sub/b", "in sub"),
        ("l/", "/t/d", "/t/d/l/a", "in s"),
        ("./s/../f", "/t/d/../cleaned", "/t/cleaned", "file"),
    ];
    let bad = [
        ("f", "/t/new-dir/", "no such directory"),
        ("f", "/no/such/dir", "Could not find the file /no/such in container"),
        ("s", "/t/file", "cannot copy directory"),
        ("s", "/no/such/dir", "Could not find the file /no/such in container"),
        ("missing", "/t/x", "/missing: no such file or directory"),
        ("f/", "/t/x", "/f/: not a directory"),
        ("/dev/null", "/t/null", ""),
        ("f", "/t/file/x", "Could not find the file /t/file in container"),
    ];
    for container in STATES {
        for (from, to, _, _) in good {
            let name = format!("{container}:{to}");
            lrun.ok(&["cp", from, &name]);
        }
        let script: String =
            good.iter().map(|(from, to, file, _)| format!("echo \"{from} {to} $(cat {file})\"; ")).collect();
        let wanted: Vec<String> = good.iter().map(|(from, to, _, says)| format!("{from} {to} {says}")).collect();
        assert_eq!(shell(&lrun, container, &script), wanted.join("\n"), "{container}");
        for (from, to, why) in bad.iter().filter(|(_, _, why)| !why.is_empty()) {
            let said = lrun.fails(1, &["cp", from, &format!("{container}:{to}")]);
            assert!(said.contains(why), "{from} {to}: {said}");
        }
        // Links are copied as such, unless -L is given.
        lrun.ok(&["cp", "lf", &format!("{container}:/t/link")]);
        lrun.ok(&["cp", "-L", "lf", &format!("{container}:/t/d")]);
        lrun.ok(&["container", "cp", "-L", "l", &format!("{container}:/t/followed")]);
        let shown = shell(&lrun, container, "readlink /t/link; cat /t/d/lf /t/followed/a; ls -A /t | grep lrun; true");
        assert_eq!(shown, "f\nfile\nin s", "{container}");
    }
    // It is in the diff.
    let diff = lrun.ok(&["diff", "fresh"]);
    assert!(
        diff.contains("A /t/dir/sub/b") && diff.contains("C /t/file") && !diff.lines().any(|line| line == "C /"),
        "{diff}"
    );
    // A container that something was copied into starts with it.
    lrun.ok(&["start", "fresh"]);
    assert_eq!(lrun.ok(&["exec", "fresh", "cat", "/t/new"]), "file");
    for container in STATES {
        lrun.ok(&["rm", "-f", container]);
    }
}

#[test]
fn out_of_a_container_by_dockers_rules() {
    let lrun = Lrun::with_busybox();
    containers(
        &lrun,
        "mkdir -p /src/s/sub; cd /src; echo file > f; echo in s > s/a; echo in sub > s/sub/b; ln -s s l; ln -s f lf; ln -s /src/f s/abs",
    );
    let good = [
        ("/src/f", "new", "new", "file\n"),
        ("src/f", "relative", "relative", "file\n"),
        ("/src/f", "file", "file", "file\n"),
        ("/src/f", "d", "d/f", "file\n"),
        ("/src/f", "d/", "d/f", "file\n"),
        ("/src/f", "ld", "d/f", "file\n"),
        ("/src/f", "lfile", "file", "file\n"),
        ("/src/f", "dangling", "gone", "file\n"),
        ("/src/s", "dir", "dir/sub/b", "in sub\n"),
        ("/src/s", "dir2/", "dir2/sub/b", "in sub\n"),
        ("/src/s/.", "dir3", "dir3/a", "in s\n"),
        ("/src/s", "d", "d/s/sub/b", "in sub\n"),
        ("/src/s/", "d/", "d/s/a", "in s\n"),
        ("/src/s/.", "d", "d/sub/b", "in sub\n"),
        ("/src/l/", "d", "d/l/a", "in s\n"),
        ("/src/s/../f", "./d/../cleaned", "cleaned", "file\n"),
    ];
    let bad = [
        ("/src/f", "new-dir/", "no such directory"),
        ("/src/f", "no/such/dir", "invalid output path: directory"),
        ("/src/s", "file", "cannot copy directory"),
        ("/src/missing", "x", "Could not find the file /src/missing in container"),
        ("/src/f/", "x", "Could not find the file /src/f/ in container"),
        ("/src/f", "/dev/null", "must be a directory or a regular file: got a device"),
    ];
    for container in STATES {
        let folder = lrun.folder().join(container);
        fs::create_dir_all(folder.join("d")).expect("mkdir");
        fs::write(folder.join("file"), "old").expect("write");
        symlink("d", folder.join("ld")).expect("link");
        symlink("file", folder.join("lfile")).expect("link");
        symlink("gone", folder.join("dangling")).expect("link");
        let to = |name: &str| if name.starts_with('/') { name.to_owned() } else { format!("{container}/{name}") };
        for (from, name, file, says) in good {
            lrun.ok(&["cp", &format!("{container}:{from}"), &to(name)]);
            assert_eq!(text(folder.join(file)), says, "{container}: {from} {name}");
        }
        for (from, name, why) in bad {
            let said = lrun.fails(1, &["cp", &format!("{container}:{from}"), &to(name)]);
            assert!(said.contains(why), "{from} {name}: {said}");
        }
        lrun.ok(&["cp", &format!("{container}:/src/lf"), &to("link")]);
        assert_eq!(fs::read_link(folder.join("link")).expect("a link"), Path::new("f"));
        lrun.ok(&["cp", "-L", &format!("{container}:/src/s/abs"), &to("d")]);
        assert_eq!(text(folder.join("d/abs")), "file\n");
        assert_eq!(
            lrun.ok(&["diff", container]),
            if container == "ended" { lrun.ok(&["diff", "ended"]) } else { String::new() }
        );
    }
    lrun.ok(&["rm", "-f", "runs"]);
}

#[test]
fn owners_and_modes() {
    let lrun = Lrun::with_busybox();
    let script = "mkdir /src; echo x > /src/f; chmod 6755 /src/f; cp /src/f /src/alice; chown 1000:50 /src/alice; chmod 640 /src/alice";
    containers(&lrun, script);
    let file = lrun.file("mine", "mine");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o4710)).expect("chmod");
    let me = fs::metadata(&file).expect("the file");
    for container in STATES {
        // Into a container: root's, or with -a those of the source.
        lrun.ok(&["cp", "mine", &format!("{container}:/plain")]);
        let kept = lrun.run(&["cp", "-a", "mine", &format!("{container}:/kept")]);
        assert_eq!(kept.code, 0, "{}", kept.stderr);
        let single = mode() == Mode::Single;
        assert_eq!(kept.stderr.contains("WARNING: 1 owners were not kept"), single, "{}", kept.stderr);
        let shown = shell(&lrun, container, "stat -c '%u:%g %a' /plain /kept");
        let kept = if single { "0:0 710".to_owned() } else { format!("{}:{} 4710", me.uid(), me.gid()) };
        assert_eq!(shown, format!("0:0 4710\n{kept}"), "{container}");
        // Out of it: the caller's, without setuid.
        lrun.ok(&["cp", &format!("{container}:/src/f"), "out"]);
        let out = fs::metadata(lrun.folder().join("out")).expect("the copy");
        assert_eq!((out.uid(), out.gid(), out.mode() & 0o7777), (me.uid(), me.gid(), 0o755));
        let archived = lrun.run(&["cp", "-a", &format!("{container}:/src/alice"), "archived"]);
        assert_eq!(archived.code, 0, "{}", archived.stderr);
        let out = fs::metadata(lrun.folder().join("archived")).expect("the copy");
        match mode() {
            Mode::Root => assert_eq!((out.uid(), out.gid()), (1000, 50)),
            _ => assert_eq!(out.uid(), me.uid()),
        }
        // The stream has the true ones.
        let stream = lrun.run(&["cp", &format!("{container}:/src/."), "-"]);
        assert_eq!((stream.code, stream.stderr.as_str()), (0, ""));
        let listing = tar(&["-tv", "--numeric-owner", "-f", "-"], &stream.bytes);
        assert!(listing.contains("-rwsr-sr-x 0/0"), "{listing}");
        if !single {
            assert!(listing.contains("-rw-r----- 1000/50"), "{listing}");
        }
        // And they are kept on the way in.
        let archive = Tar::new().entry(Entry { name: b"alices", uid: 1000, gid: 50, ..Entry::default() }).finish();
        assert_eq!(lrun.run_with(&archive, &["cp", "-", &format!("{container}:/tmp")]).code, 0);
        let owner = shell(&lrun, container, "stat -c %u:%g /tmp/alices");
        assert_eq!(owner, if single { "0:0" } else { "1000:50" });
    }
    lrun.ok(&["rm", "-f", "runs"]);
}

/// What GNU tar says of an archive.
fn tar(args: &[&str], archive: &[u8]) -> String {
    use std::io::Write;
    let child = Command::new("tar").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.expect("tar");
    let (mut stdin, archive) = (child.stdin.take().expect("piped"), archive.to_owned());
    let writer = std::thread::spawn(move || stdin.write_all(&archive).expect("write to tar"));
    let output = child.wait_with_output().expect("tar");
    writer.join().expect("the writer");
    assert!(output.status.success());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn archives_both_ways() {
    let lrun = Lrun::with_busybox();
    containers(
        &lrun,
        "mkdir -p /src/s; echo a > /src/s/a; ln -s /usr /lib-of; mkdir -p /usr/x; ln -s ../busybox /src/s/l",
    );
    for container in STATES {
        let from = |path: &str| format!("{container}:{path}");
        let names = |path: &str| {
            let output = lrun.run(&["cp", &from(path), "-"]);
            assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{path}");
            tar(&["-tf", "-"], &output.bytes)
        };
        assert_eq!(names("/src/s"), "s/\ns/a\ns/l\n");
        assert_eq!(names("/src/s/"), "s/\ns/a\ns/l\n");
        assert_eq!(names("/src/s/."), "./\na\nl\n");
        assert_eq!(names("/src/s/a"), "a\n");
        assert_eq!(names("/src/s/l"), "l\n");

        let archive = Tar::new().dir("x/").file("x/new", b"new").file("implicit/y", b"y").finish();
        for bytes in [archive.clone(), gzip(&archive)] {
            let output = lrun.run_with(&bytes, &["cp", "-", &from("/src")]);
            assert_eq!((output.code, output.stderr.as_str()), (0, ""));
        }
        // A link of the container leads on, inside of it.
        let through = Tar::new().file("lib-of/x/through", b"through").finish();
        assert_eq!(lrun.run_with(&through, &["cp", "-", &from("/")]).code, 0);
        let shown =
            shell(&lrun, container, "cat /src/x/new /src/implicit/y /usr/x/through; stat -c %a:%u /src/implicit");
        assert_eq!(shown, "newythrough755:0", "{container}");

        let refused = |bytes: &[u8], path: &str| {
            let output = lrun.run_with(bytes, &["cp", "-", &from(path)]);
            assert_eq!((output.code, output.stdout.as_str()), (1, ""));
            output.stderr
        };
        assert!(refused(&archive, "/src/s/a").contains("must be a directory"));
        assert!(refused(&archive, "/nowhere").contains("must be a directory"));
        assert!(refused(b"no archive, but long enough to be taken for one", "/src").contains("archive"));
        let outside = Tar::new().file("../../../evil", b"").finish();
        assert!(refused(&outside, "/src").contains("leaves the root"));
    }
    lrun.ok(&["rm", "-f", "runs"]);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut child = Command::new("gzip").arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("gzip");
    child.stdin.take().expect("piped").write_all(bytes).expect("write");
    child.wait_with_output().expect("gzip").stdout
}

#[test]
fn special_files_holes_links_and_attributes() {
    let lrun = Lrun::with_busybox();
    let script = "mkdir /src; cd /src; mkfifo fifo; echo x > a; ln a b; truncate -s 1G hole; echo end >> hole; mkdir -m 700 private; touch -d @86400 old; \
                  mkdir s; ln -s x s/l; mkfifo s/p; cp -al s t";
    containers(&lrun, script);
    for container in STATES {
        let output = lrun.run(&["cp", &format!("{container}:/src"), container]);
        assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{container}");
        let at = |name: &str| lrun.folder().join(container).join(name);
        assert!(fs::symlink_metadata(at("fifo")).expect("the FIFO").file_type().is_fifo());
        assert_eq!(fs::metadata(at("a")).expect("a").ino(), fs::metadata(at("b")).expect("b").ino());
        for name in ["l", "p"] {
            let inode = |folder: &str| fs::symlink_metadata(at(folder).join(name)).expect("it is there").ino();
            assert_eq!(inode("s"), inode("t"), "{name}");
        }
        let hole = fs::metadata(at("hole")).expect("the file with a hole");
        assert!(hole.len() == (1 << 30) + 4 && hole.blocks() < 1000, "{hole:?}");
        assert_eq!(fs::metadata(at("private")).expect("a folder").mode() & 0o7777, 0o700);
        assert_eq!(fs::metadata(at("old")).expect("an old file").mtime(), 86400);
        let back = lrun.run(&["cp", container, &format!("{container}:/back")]);
        assert_eq!((back.code, back.stderr.as_str()), (0, ""), "{container}");
        let script = "cd /back; stat -c '%F %h %s %Y' fifo a hole old; tail -c 4 hole; [ $(stat -c %b hole) -lt 1000 ] && echo sparse";
        let shown = shell(&lrun, container, script);
        assert!(shown.starts_with("fifo 1 0 ") && shown.contains("regular file 2 2 "), "{shown}");
        assert!(shown.contains("regular file 1 1073741828 ") && shown.ends_with(" 86400\nend\nsparse"), "{shown}");
        let same = "cd /back; [ s/p -ef t/p ] && stat -c %h s/l t/l";
        assert_eq!(shell(&lrun, container, same), "2\n2");
        // Nothing of it blocks.
        lrun.ok(&["cp", &format!("{container}:/src/fifo"), &format!("{container}/fifo2")]);
        lrun.ok(&["cp", &format!("{container}/fifo"), &format!("{container}:/tmp/fifo")]);
        lrun.ok(&["cp", &format!("{container}/a"), &format!("{container}:/src/fifo")]);
    }
    let kernel = lrun.fails(1, &["cp", "runs:/proc/version", "version"]);
    assert!(kernel.contains("/proc/version is the kernel's"), "{kernel}");
    let proc = lrun.run(&["cp", "runs:/proc", "proc"]);
    assert_eq!(proc.code, 0, "{}", proc.stderr);
    assert!(proc.stderr.contains("1 directories of the kernel's file systems were copied empty"), "{}", proc.stderr);
    let null = lrun.fails(1, &["cp", "runs/a", "runs:/dev/null"]);
    assert!(
        null.contains("destination \"runs:/dev/null\" must be a directory or a regular file: got a device"),
        "{null}"
    );
    lrun.ok(&["rm", "-f", "runs"]);
}

#[test]
fn mounts_are_seen_and_read_only_is_read_only() {
    let lrun = Lrun::with_busybox();
    let shared = lrun.folder().join("shared");
    fs::create_dir(&shared).expect("mkdir");
    fs::write(shared.join("f"), "of the host\n").expect("write");
    lrun.file("f", "new\n");
    lrun.file("single", "single\n");
    let options = [
        "-v".to_owned(),
        format!("{}:/shared", shared.display()),
        "-v".to_owned(),
        format!("{}:/locked:ro", shared.display()),
        "-v".to_owned(),
        format!("{}/single:/single", lrun.folder().display()),
        "--tmpfs=/memory".to_owned(),
        "--network=none".to_owned(),
    ];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let make = |name: &str, more: &[&str]| {
        let start = [&["run", "-d", "--name", name], &options[..], more].concat();
        lrun.ok(&[&start[..], &["busybox", "sh", "-c", "trap exit TERM; sleep 1000 & wait"]].concat());
    };
    make("plain", &[]);
    make("sealed", &["--read-only"]);
    for state in ["running", "stopped"] {
        for container in ["plain", "sealed"] {
            let path = |path: &str| format!("{container}:{path}");
            lrun.ok(&["cp", &path("/shared/f"), "seen"]);
            assert_eq!(text(lrun.folder().join("seen")), "of the host\n");
            lrun.ok(&["cp", "f", &path("/shared/written")]);
            assert_eq!(text(shared.join("written")), "new\n");
            fs::remove_file(shared.join("written")).expect("the file is the caller's");
            assert!(lrun.fails(1, &["cp", "f", &path("/locked/x")]).contains("mounted volume is marked read-only"));
            // A file that is mounted is written where it is.
            lrun.ok(&["cp", "f", &path("/single")]);
            assert_eq!(text(lrun.folder().join("single")), "new\n");
            lrun.file("single", "single\n");
            match state {
                "running" => {
                    lrun.ok(&["cp", "f", &path("/memory/f")]);
                    assert_eq!(lrun.ok(&["exec", container, "cat", "/memory/f"]), "new");
                }
                _ => {
                    let said = lrun.fails(1, &["cp", "f", &path("/memory/f")]);
                    assert!(said.contains("tmpfs") && said.contains("hint: "), "{said}");
                }
            }
        }
        lrun.ok(&["cp", "f", "plain:/root/f"]);
        let said = lrun.fails(1, &["cp", "f", "sealed:/root/f"]);
        assert!(said.contains("container rootfs is marked read-only"), "{said}");
        lrun.ok(&["stop", "plain", "sealed"]);
    }
}

/// What is mounted is there also where the image has no place for it, and so are the files that the engine makes; the
/// first copy leaves the container as startable as it was.
#[test]
fn mounts_of_containers_that_do_not_run() {
    let lrun = Lrun::with_busybox();
    fs::create_dir(lrun.folder().join("shared")).expect("mkdir");
    lrun.file("shared/f", "of the host\n");
    let shared = format!("{}/shared:/new/place", lrun.folder().display());
    lrun.ok(&["create", "--name", "fresh", "--network", "none", "-v", &shared, "busybox", "cat", "/new/place/f"]);
    lrun.ok(&["cp", "fresh:/new/place/f", "seen"]);
    assert_eq!(text(lrun.folder().join("seen")), "of the host\n");
    let archive = lrun.run(&["cp", "fresh:/new", "-"]);
    assert_eq!(tar(&["-xO", "new/place/f"], &archive.bytes), "of the host\n");
    assert_eq!(lrun.ok(&["start", "-a", "fresh"]), "of the host");
    let flags = ["--network", "none", "-h", "box.example", "--add-host", "peer:192.0.2.7"];
    lrun.ok(&[&["run", "--name", "ended"], &flags[..], &["busybox", "true"]].concat());
    let file = |path: &str| tar(&["-xO"], &lrun.run(&["cp", &format!("ended:{path}"), "-"]).bytes);
    assert_eq!(file("/etc/hostname"), "box.example\n");
    assert!(file("/etc/hosts").contains("192.0.2.7\tpeer\n"));
    // What is copied over one of them is not in the way of the next start.
    lrun.file("hosts", "10.0.0.1 mine\n");
    lrun.ok(&["cp", "hosts", "ended:/etc/hosts"]);
    lrun.ok(&["start", "-a", "ended"]);
    assert_eq!(lrun.ok(&["diff", "ended"]), "");
}

#[test]
fn words_and_wrong_uses() {
    let lrun = Lrun::with_busybox();
    lrun.ok(&["create", "--name", "c1", "busybox", "true"]);
    let file = fs::File::create(lrun.file("f", "")).expect("the file");
    std::io::Write::write_all(&mut &file, b"0123456789").expect("write");
    // A fraction of a second takes a header of its own.
    file.set_modified(std::time::UNIX_EPOCH).expect("a time");
    lrun.file("with:colon", "x");
    for (args, why) in [
        (&["f", "g"][..], "must specify at least one container source"),
        (&["c1:/x", "c2:/x"], "copying between containers is not supported"),
        (&["", "c1:/x"], "source can not be empty"),
        (&["c1:/x", ""], "destination can not be empty"),
        (&["nobody:/x", "y"], "No such container: nobody"),
        (&["f", "nobody:/x"], "No such container: nobody"),
        (&["c1:", "y"], "bad parameter: path cannot be empty"),
        (&["with:colon", "g"], "No such container: with"),
        (&["-", "g"], "must specify at least one container source"),
    ] {
        let said = lrun.fails(1, &[&["cp"], args].concat());
        assert!(said.contains(why), "{args:?}: {said}");
    }
    assert!(lrun.fails(1, &["cp", "f"]).contains("requires"));
    lrun.ok(&["cp", "./with:colon", "c1:/tmp"]);
    // Docker is quiet where standard output is no terminal, unless it is told not to be.
    let told = lrun.run(&["cp", "--quiet=false", "f", "c1:/tmp/x"]);
    assert_eq!((told.code, told.stdout.as_str()), (0, ""));
    assert_eq!(told.stderr, "Successfully copied 10B (transferred 2.05kB) to c1:/tmp/x\n");
    let told = lrun.run(&["cp", "--quiet=false", "c1:/tmp/x", "got"]);
    let place = lrun.folder().join("got");
    assert_eq!(told.stderr, format!("Successfully copied 10B (transferred 2.05kB) to {}\n", place.display()));
    let mut terminal = lrun.pty(&["cp", "f", "c1:/tmp/y"]);
    terminal.expect("Successfully copied 10B");
    assert_eq!(terminal.finish().1, 0);
    let terminal = lrun.pty(&["cp", "-q", "f", "c1:/tmp/z"]);
    let (shown, code) = terminal.finish();
    assert_eq!((shown.trim(), code), ("", 0));
    let mut terminal = lrun.pty(&["cp", "c1:/etc", "-"]);
    terminal.expect("standard output is a terminal");
    assert_eq!(terminal.finish().1, 1);
    let said = lrun.fails(1, &["cp", "/nonexistent/x", "c1:/tmp"]);
    assert!(said.contains("lstat /nonexistent/x: no such file or directory"), "{said}");
}

/// A copy holds nothing up: with the container ends what copies into it, and with the client what copies into a stopped one.
#[test]
fn ends_on_either_side_end_the_copy() {
    use std::io::Write;
    let lrun = Lrun::with_busybox();
    containers(&lrun, "true");
    let archive = Tar::new().file("first", b"first").file("second", &[b'x'; 5000]).finish();
    let started = |container: &str| {
        let mut copy = lrun.spawn(&["cp", "-", &format!("{container}:/tmp")]);
        let mut stdin = copy.stdin();
        stdin.write_all(&archive[..1500]).expect("write");
        (copy, stdin)
    };
    let (copy, stdin) = started("runs");
    lrun_tests::eventually("the first file is there", || lrun.run(&["exec", "runs", "cat", "/tmp/first"]).code == 0);
    lrun.ok(&["kill", "runs"]);
    assert_eq!(lrun.ok(&["wait", "runs"]), "137");
    let copy = copy.wait();
    assert_eq!((copy.code, copy.stdout.as_str()), (1, ""));
    assert!(copy.stderr.contains("the container ended while files were copied"), "{}", copy.stderr);
    drop(stdin);

    let (mut copy, stdin) = started("fresh");
    lrun_tests::eventually("the copy holds the container", || !lrun.processes().is_empty());
    copy.child.kill().expect("kill");
    copy.child.wait().expect("reap");
    drop(stdin);
    lrun.ok(&["start", "fresh"]);
    lrun.ok(&["exec", "fresh", "true"]);
    lrun.ok(&["rm", "-f", "fresh"]);

    // One that is cut off brings what it had, and says so.
    let output = lrun.run_with(&archive[..2500], &["cp", "-", "ended:/tmp"]);
    assert_eq!(output.code, 1);
    assert!(output.stderr.contains("the archive ends inside the content"), "{}", output.stderr);
    assert_eq!(shell(&lrun, "ended", "cat /tmp/first; ls -A /tmp"), "firstfirst");
}

/// What a copy reads or writes is still there when the container has ended under it.
#[test]
fn a_copy_goes_on_when_the_container_ends() {
    use rustix::process::Signal;
    let lrun = Lrun::with_busybox();
    containers(&lrun, "mkdir /d; echo first > /d/first; dd if=/dev/zero of=/d/second bs=1M count=48 2>/dev/null");
    fs::create_dir(lrun.folder().join("d")).expect("mkdir");
    lrun.file("d/first", "first\n");
    lrun.file("d/second", vec![b'x'; 48 << 20]);
    for (from, to) in [("runs:/d", "got"), ("d", "runs:/got")] {
        lrun.ok(&["start", "runs"]);
        let copy = lrun.spawn(&["cp", from, to]);
        lrun_tests::eventually("the first file is there", || match to {
            "got" => lrun.folder().join("got/first").exists(),
            _ => lrun.run(&["exec", "runs", "test", "-e", "/got/first"]).code == 0,
        });
        copy.signal(Signal::STOP);
        lrun.ok(&["kill", "runs"]);
        copy.signal(Signal::CONT);
        let copy = copy.wait();
        assert_eq!((copy.code, copy.stderr.as_str()), (0, ""), "{from}");
    }
    assert_eq!(text(lrun.folder().join("got/first")), "first\n");
    assert_eq!(fs::metadata(lrun.folder().join("got/second")).expect("a file").len(), 48 << 20);
    assert_eq!(shell(&lrun, "ended", "ls /d"), "first\nsecond", "the source is what it was");
    let image = lrun.ok(&["commit", "runs"]);
    let found = lrun.ok(&["run", "--rm", "--network", "none", &image, "sh", "-c", "ls /got; wc -c < /got/second"]);
    assert_eq!(found, "first\nsecond\n50331648");
}

/// Whenever a container ends: its files are there before, and after. (What comes as an archive cannot be taken twice.)
#[test]
fn a_copy_beside_the_end_of_a_container_is_whole() {
    let lrun = Lrun::with_busybox();
    lrun.ok(&["create", "--name", "short", "--network", "none", "busybox", "true"]);
    lrun.file("new", "new");
    for _ in 0..12 {
        for words in
            [&["cp", "short:/etc/passwd", "-"][..], &["cp", "short:/etc/passwd", "got"], &["cp", "new", "short:/"]]
        {
            lrun.ok(&["start", "short"]);
            let output = lrun.run(words);
            // Of what went to stdout already nothing can be taken back.
            let cut = words[2] == "-" && output.stderr == "lrun: the container ended while files were copied\n";
            assert!(cut || (output.code, output.stderr.as_str()) == (0, ""), "{words:?}: {output:?}");
        }
    }
}

/// A full disk gives the reason, and leaves no part of the file that did not fit.
#[test]
fn a_full_disk_is_named() {
    let lrun = Lrun::with_busybox();
    let run = ["run", "-d", "--name", "runs", "--network", "none", "--tmpfs", "/small:size=64k", "busybox"];
    lrun.ok(&[&run[..], &["sh", "-c", "trap exit TERM; sleep 1000 & wait"]].concat());
    lrun.file("large", vec![b'x'; 1 << 20]);
    let said = lrun.fails(1, &["cp", "large", "runs:/small"]);
    assert!(said.contains("copy to runs:/small: large: no space left on device"), "{said}");
    assert_eq!(lrun.ok(&["exec", "runs", "ls", "-A", "/small"]), "");
    lrun.ok(&["rm", "-f", "runs"]);
}
