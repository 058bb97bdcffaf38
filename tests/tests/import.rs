//! `import`: from a file and from standard input, compressed or not, and what it says of archives that are none.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use lrun_tests::server::{Response, Server};
use lrun_tests::{Entry, Lrun, Mode, Tar, images, mode};

/// A version 2 capability set: `cap_net_raw+ep`.
const NET_RAW: &[u8] = &[1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const COMPRESSORS: [&str; 4] = ["gzip", "zstd", "xz", "bzip2"];

fn compressed(program: &str, data: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program);
    let mut child = command.arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect(program);
    let (mut stdin, data) = (child.stdin.take().expect("piped"), data.to_owned());
    let writer = std::thread::spawn(move || stdin.write_all(&data).expect("compress"));
    let output = child.wait_with_output().expect(program);
    writer.join().expect("the writer");
    output.stdout
}

/// What a store holds: images, and whatever lies in its folders for layers, blobs and work in progress.
fn contents(lrun: &Lrun) -> (String, Vec<usize>) {
    let folders = ["layers", "blobs/sha256", "images", "staging"];
    let count = |folder| fs::read_dir(lrun.store().join(folder)).map_or(0, Iterator::count);
    (lrun.ok(&["images", "-aq", "--no-trunc"]), folders.map(count).to_vec())
}

/// Files and standard input, plain and in four compressions, told by their content and not by their name: one layer.
#[test]
fn every_source_and_compression_gives_the_same_layer() {
    let lrun = Lrun::new();
    let busybox = fs::read(images("busybox.tar")).expect("busybox.tar");
    let layer = |name: &str| lrun.ok(&["image", "inspect", "--format", "{{index .RootFS.Layers 0}}", name]);
    lrun.import_bytes(&busybox, "plain");
    let wanted = layer("plain");
    for program in COMPRESSORS {
        let data = compressed(program, &busybox);
        lrun.import_bytes(&data, "stdin");
        assert_eq!(layer("stdin"), wanted, "{program}");
        // Several members, and a name that says something else.
        let (one, two) = busybox.split_at(busybox.len() / 3);
        let members = [compressed(program, one), compressed(program, two)].concat();
        let path = lrun.file("archive.jpeg", members);
        let output = lrun.run(&["import", path.to_str().expect("UTF-8"), "file"]);
        assert_eq!(output.code, 0, "{program}: {}", output.stderr);
        assert_eq!(layer("file"), wanted, "{program}");
    }
    assert_eq!(lrun.ok(&["run", "--rm", "--network", "none", "file", "ls", "/var/lib/files/40"]), "/var/lib/files/40");
    assert_eq!(contents(&lrun).1[0], 1, "equal layers are kept once");
}

/// What is cut off or damaged anywhere is refused with one line that says so, and nothing of it is left.
#[test]
fn damaged_archives_leave_nothing() {
    let lrun = Lrun::new();
    let text = (0..40_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect::<Vec<u8>>();
    let tar = Tar::new().dir("d/").file("d/f", &text).file("d/g", b"end").finish();
    lrun.import_bytes(&tar, "good");
    let before = contents(&lrun);
    let refused = |data: &[u8], wanted: &str, what: &str| {
        let output = lrun.run_with(data, &["import", "-", "bad"]);
        assert_eq!((output.code, output.stdout.as_str()), (1, ""), "{what}: {}", output.stderr);
        let first = output.stderr.lines().next().unwrap_or_default();
        assert!(first.starts_with("lrun: import -: ") && first.contains(wanted), "{what}: {}", output.stderr);
        assert_eq!(contents(&lrun), before, "{what} left something");
    };
    for program in COMPRESSORS {
        let whole = compressed(program, &tar);
        for cut in [whole.len() / 2, whole.len() - 1] {
            refused(&whole[..cut], &format!("the {program} data"), &format!("{program} cut at {cut}"));
        }
        // The last bytes of each format are a checksum or lengths.
        for at in [whole.len() / 2, whole.len() - 3] {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            refused(&flipped, &format!("the {program} data"), &format!("{program} damaged at {at}"));
        }
        refused(&[&whole[..], b"trailing garbage"].concat(), program, &format!("{program} and more"));
        refused(&compressed(program, b"no archive\n"), "not a tar archive", program);
    }
    for cut in [100, 512 + 100, 512 + 512 + 4000, tar.len() - 1024 - 512 + 100] {
        refused(&tar[..cut], if cut < 512 { "not a tar archive" } else { "the archive ends inside" }, "cut tar");
    }
    let mut flipped = tar.clone();
    flipped[512 + 10] ^= 1;
    refused(&flipped, "after entry d: a damaged header (wrong checksum)", "damaged header");
    refused(b"", "not a tar archive (it is empty)", "nothing");
    refused(b"#!/bin/sh\necho hello\n", "not a tar archive", "a script");
    refused(b"PK\x03\x04 and so on", "compressed in a way that lrun does not read", "zip");
}

/// A label of the host's is in the archive that leaves again, and on no file: a check misses none.
#[test]
fn labels_of_a_host_stay_in_the_index() {
    let lrun = Lrun::new();
    let archive = Tar::new().pax(&[("SCHILY.xattr.security.selinux", b"x")]).file("f", b"f").finish();
    let output = lrun.run_with(&archive, &["import", "-", "labelled"]);
    assert!(output.code == 0 && output.stderr.contains("1 extended attributes cannot be stored"), "{output:?}");
    assert_eq!(lrun.ok(&["system", "check"]), "");
}

/// Owners, times, links, attributes and capabilities are the archive's when they leave again.
#[test]
fn what_an_archive_says_of_its_files_comes_out_again() {
    let lrun = Lrun::new();
    let busybox = fs::read(images("busybox.tar")).expect("busybox.tar");
    let pax: [(&str, &[u8]); 3] =
        [("SCHILY.xattr.security.capability", NET_RAW), ("SCHILY.xattr.user.note", b"a=b"), ("mtime", b"1.5")];
    let archive = Tar::on(&busybox)
        .pax(&pax)
        .entry(Entry { name: b"./opt/tool", mode: 0o2755, uid: 1000, gid: 50, data: b"tool", ..Entry::default() })
        .entry(Entry {
            name: b"./opt/hard",
            kind: b'1',
            link: b"./opt/tool",
            mode: 0o2755,
            uid: 1000,
            gid: 50,
            ..Entry::default()
        })
        .entry(Entry { name: b"./opt/stranger", uid: 3_000_000, data: b"s", ..Entry::default() });
    let output = lrun.run_with(&archive.finish(), &["import", "-", "facts"]);
    assert_eq!(output.code, 0, "{output:?}");
    let shown = lrun.ok(&[
        "run",
        "--rm",
        "--network",
        "none",
        "facts",
        "sh",
        "-c",
        "stat -c '%n %a %u:%g %Y %h' /opt/tool /opt/hard /opt/stranger",
    ]);
    let tool = match mode() {
        // One id: what belongs to others is shown as root's, without its setgid bit.
        Mode::Single => "755 0:0 1 2",
        _ => "2755 1000:50 1 2",
    };
    let stranger = if mode() == Mode::Root { "644 3000000:0" } else { "644 0:0" };
    let wanted = format!("/opt/tool {tool}\n/opt/hard {tool}\n/opt/stranger {stranger} 1700000000 1");
    assert_eq!(shown, wanted);
    lrun.ok(&["create", "--name", "kept", "facts", "true"]);
    let path = lrun.folder().join("out.tar");
    lrun.ok(&["export", "-o", path.to_str().expect("UTF-8"), "kept"]);
    let script = "import sys, tarfile
for m in tarfile.open(sys.argv[1]):
    if m.name.lstrip('./').startswith('opt/'):
        caps = m.pax_headers.get('SCHILY.xattr.security.capability', '').encode('utf8', 'surrogateescape').hex()
        note = m.pax_headers.get('SCHILY.xattr.user.note', '')
        print(m.name.lstrip('./'), oct(m.mode), m.uid, m.gid, m.mtime, m.linkname.lstrip('./'), caps, note)";
    let output = Command::new("python3").args(["-c", script]).arg(&path).output().expect("Python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let caps: String = NET_RAW.iter().map(|byte| format!("{byte:02x}")).collect();
    // The true owners are known to the store and leave with the file, in every mapping.
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let wanted = [
        format!("opt/hard 0o2755 1000 50 1.5  {caps} a=b"),
        "opt/stranger 0o644 3000000 0 1700000000  ".to_owned(),
        "opt/tool 0o2755 1000 50 1.5 opt/hard  ".to_owned(),
    ];
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let wanted: Vec<&str> = wanted.iter().map(|line| line.trim_end()).collect();
    assert_eq!(lines, wanted);
}

/// An address is downloaded, and what is kept of it has no password.
#[test]
fn an_address_is_downloaded() {
    let tar = Tar::new().file("file", b"x").finish();
    let server = Server::start("127.0.0.1", move |request| match request.path.as_str() {
        "/moved" => Response::new(302, "").header("Location", "/root.tgz"),
        "/root.tgz" => Response::new(200, compressed("gzip", &tar)),
        "/page" => Response::new(200, "<html>"),
        _ => Response::new(404, ""),
    });
    let (lrun, host) = (Lrun::new(), server.name());
    let id = lrun.ok(&["import", &format!("http://ada:secret@{host}/moved"), "remote"]);
    assert_eq!(lrun.inspect("remote", "{{.Id}} {{.Comment}}"), format!("{id} Imported from http://{host}/moved"));
    for (path, why) in [("page", "not a tar archive"), ("missing", "invalid response status 404")] {
        let error = lrun.fails(1, &["import", &format!("http://ada:secret@{host}/{path}")]);
        assert!(error.contains(&format!("http://{host}/{path}: ")) && error.contains(why), "{error}");
    }
    assert_eq!((contents(&lrun).0, contents(&lrun).1[3]), (id, 0));
}

/// Sources that are no archive, or that never end.
#[test]
fn sources_that_cannot_be_read_are_named() {
    let lrun = Lrun::new();
    let folder = lrun.folder().to_str().expect("UTF-8").to_owned();
    assert_eq!(lrun.fails(1, &["import", "absent.tar"]), "lrun: open absent.tar: no such file or directory\n");
    let error = lrun.fails(1, &["import", &folder]);
    assert_eq!(error, format!("lrun: {folder} is a directory: an archive is expected\n"));
    let error = lrun.fails(1, &["import", "ftp://example.org/x.tar"]);
    assert_eq!(error, "lrun: open ftp://example.org/x.tar: no such file or directory\n");
    let error = lrun.fails(1, &["import", "/dev/null"]);
    assert_eq!(error, "lrun: import /dev/null: not a tar archive (it is empty)\n");
    let error = lrun.fails(1, &["import", "/dev/zero"]);
    assert_eq!(error, "lrun: import /dev/zero: more than 16777216 bytes follow the archive's end, the limit\n");
    assert_eq!(contents(&lrun).0, "");
}

/// Files of another machine's: the config says so, as docker's does.
#[test]
fn the_platform_of_the_files_is_noted() {
    let lrun = Lrun::new();
    let tar = Tar::new().file("x", b"x").finish();
    for (platform, shown) in
        [("linux/arm64", "linux arm64 "), ("linux/arm/v6", "linux arm v6"), ("s390x", "linux s390x ")]
    {
        let output = lrun.run_with(&tar, &["import", "--platform", platform, "-", "other"]);
        assert_eq!(output.code, 0, "{}", output.stderr);
        assert_eq!(lrun.inspect("other", "{{.Os}} {{.Architecture}} {{.Variant}}"), shown, "{platform}");
    }
    let output = lrun.run_with(&tar, &["import", "--platform", "windows/amd64", "-", "other"]);
    assert!(output.code == 1 && output.stderr.contains("images are for linux, not windows"), "{}", output.stderr);
}
