//! Row 29: programs and libraries of an image that the engine itself would run or load (CVE-2019-14271): decompressors,
//! archivers, name services.

use std::fs;
use std::path::Path;
use std::process::Command;

use lrun_tests::build::{build, context};
use lrun_tests::{Entry, Mode, Tar, images, mode, skip};
use serde_json::json;

use crate::host::Host;
use crate::made::{Made, archive_of};

/// Programs that an engine may look for by name.
const PROGRAMS: [&str; 22] = [
    "xz",
    "unxz",
    "unpigz",
    "pigz",
    "gzip",
    "gunzip",
    "zcat",
    "zstd",
    "unzstd",
    "bzip2",
    "bunzip2",
    "lbzip2",
    "tar",
    "bsdtar",
    "git",
    "pasta",
    "passt",
    "slirp4netns",
    "newuidmap",
    "newgidmap",
    "getent",
    "ssh",
];

/// Programs with a format that lrun reads.
const COMPRESSORS: [&str; 4] = ["gzip", "xz", "zstd", "bzip2"];

/// Where a dynamic loader looks without being told to.
const LIBRARY_FOLDERS: [&str; 7] = [
    "lib",
    "lib64",
    "usr/lib",
    "lib/x86_64-linux-gnu",
    "lib/aarch64-linux-gnu",
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
];

/// Leaves a mark wherever it is loaded or run: in the root that it sees, and on the host, if that is within reach.
const MARKER: &str = r#"
#include <fcntl.h>
#include <unistd.h>
static void mark(const char *path) {
  int fd = open(path, O_CREAT | O_WRONLY | O_APPEND, 0666);
  if (fd >= 0 && write(fd, "ran\n", 4) == 4) close(fd);
}
__attribute__((constructor)) static void loaded(void) { mark("/marked"); mark("/tmp/marked"); mark(CANARY); }
"#;

/// Asks the name service, by whatever library the image has for it.
const ASKS: &str = "#include <pwd.h>\nint main(void) { return getpwnam(\"nobody-there\") != 0; }\n";

/// Compiles a program or library for the host's C library. `None` without a compiler.
fn compiled(folder: &Path, source: &str, flags: &[&str]) -> Option<Vec<u8>> {
    let (input, output) = (folder.join("source.c"), folder.join("compiled"));
    fs::write(&input, source).expect("write the source");
    let gcc = Command::new("gcc").args(["-O1", "-Wall", "-Werror", "-o"]).args([&output, &input]).args(flags).output();
    let gcc = gcc.ok()?;
    assert!(gcc.status.success(), "{}", String::from_utf8_lossy(&gcc.stderr));
    Some(fs::read(output).expect("what was compiled"))
}

/// A file of the host's C library.
fn of_the_c_library(name: &str) -> Vec<u8> {
    let output = Command::new("gcc").arg(format!("-print-file-name={name}")).output().expect("gcc");
    fs::read(String::from_utf8_lossy(&output.stdout).trim()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A layer of programs and libraries that leave marks, and of a program that does ask the name service.
fn hostile_layer(host: &Host) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().expect("a folder");
    let source = format!("#define CANARY \"{}\"\n{MARKER}", host.canary("open"));
    let library = compiled(folder.path(), &source, &["-shared", "-fPIC"])?;
    let asks = compiled(folder.path(), ASKS, &["-Wl,--dynamic-linker=/loader"])?;
    let program = compiled(folder.path(), &format!("{source}int main(void) {{ return 0; }}\n"), &["-static"])?;
    let loader = if cfg!(target_arch = "aarch64") { "ld-linux-aarch64.so.1" } else { "ld-linux-x86-64.so.2" };
    let (loader, library_c) = (of_the_c_library(loader), of_the_c_library("libc.so.6"));
    let add = |tar: Tar, name: &str, data: &[u8]| {
        tar.entry(Entry { name: name.as_bytes(), mode: 0o755, data, ..Entry::default() })
    };
    let mut tar = add(add(Tar::new(), "loader", &loader), "bin/asks", &asks);
    for name in PROGRAMS {
        tar = add(tar, &format!("bin/{name}"), &program)
            .dir("usr/")
            .dir("usr/bin/")
            .symlink(&format!("usr/bin/{name}"), &format!("/bin/{name}"));
    }
    for folder in LIBRARY_FOLDERS {
        tar = add(tar, &format!("{folder}/libc.so.6"), &library_c);
        for name in ["libnss_files.so.2", "libnss_evil.so.2", "libnss_dns.so.2", "libnss_compat.so.2"] {
            tar = add(tar, &format!("{folder}/{name}"), &library);
        }
    }
    let services = b"passwd: evil files\ngroup: evil files\nhosts: evil files dns\n";
    Some(tar.file("etc/nsswitch.conf", services).file("etc/ld.so.preload", b"/lib/libnss_evil.so.2\n").finish())
}

/// What a program makes of these bytes.
fn compressed(host: &Host, program: &str, data: &[u8]) -> Vec<u8> {
    let input = host.lrun.file("plain", data);
    Command::new(program).arg("-c").stdin(fs::File::open(input).expect("a file")).output().expect(program).stdout
}

/// No mark in a container's root.
#[track_caller]
fn unmarked(host: &Host, container: &str, what: &str) {
    let changes = host.lrun.ok(&["diff", container]);
    assert!(!changes.contains("marked"), "{what}: {changes}");
}

/// Row 29, helpers from the root file system: whatever an image has for a decompressor, an archiver, a network helper or a
/// name service, none of it is run or loaded by the engine, on the way in, at work or on the way out.
#[test]
fn the_engine_runs_and_loads_nothing_of_an_image() {
    let host = Host::empty();
    let Some(hostile) = hostile_layer(&host) else { skip!("no gcc to compile the attacker's programs") };
    let busybox = fs::read(images("busybox.tar")).expect("busybox.tar");
    // Layers in every compression above the hostile one.
    let form = |program: &&str| {
        let layer = Tar::new().file(&format!("from-{program}"), b"x").finish();
        let form = compressed(&host, program, &layer);
        (layer, form)
    };
    let forms: Vec<(Vec<u8>, Vec<u8>)> = COMPRESSORS.iter().map(form).collect();
    let mut layers = vec![busybox.as_slice(), &hostile];
    layers.extend(forms.iter().map(|(layer, _)| layer.as_slice()));
    let made = Made { name: "helpers:1".into(), config: json!({}), layers };
    let loaded = host.lrun.run_with(&archive_of(&[made], &forms), &["load", "-q"]);
    assert_eq!(loaded.code, 0, "{}", loaded.stderr);
    for program in COMPRESSORS {
        let all = compressed(&host, program, &Tar::on(&busybox).finish());
        assert_eq!(host.lrun.run_with(&all, &["import", "-", "imported"]).code, 0, "{program}");
    }
    for network in ["none", "pasta"] {
        let run = ["run", "-d", "--name", "box", "-u", "alice:staff", "-h", "inside", "--network", network];
        host.lrun.ok(&[&run[..], &["helpers:1", "sleep", "1000"]].concat());
        host.lrun.ok(&["exec", "-u", "alice:staff", "box", "true"]);
        unmarked(&host, "box", "run and exec");
        let file = host.lrun.file("copied", "x");
        host.lrun.ok(&["cp", file.to_str().expect("UTF-8"), "box:/tmp/copied"]);
        host.lrun.ok(&["cp", "box:/etc/passwd", "passwd"]);
        assert_eq!(host.lrun.run_with(&Tar::new().file("f", b"x").finish(), &["cp", "-", "box:/tmp"]).code, 0);
        host.lrun.ok(&["top", "box"]);
        host.lrun.ok(&["commit", "box", "committed"]);
        assert_eq!(host.lrun.run(&["export", "box"]).code, 0);
        unmarked(&host, "box", "cp, top, commit and export");
        host.lrun.ok(&["rm", "-f", "box"]);
    }
    host.canary.check();
    build_in_the_image(&host);
    // The attack works where it may: for a program of the container's own, started by the container.
    for words in [&["xz"][..], &["asks"]] {
        host.lrun.run(&[&["run", "--name", "own", "--network", "none", "helpers:1"], words].concat());
        let changes = host.lrun.ok(&["diff", "own"]);
        assert!(changes.contains("A /marked"), "{words:?} proves nothing: {changes}");
        host.lrun.ok(&["rm", "own"]);
    }
    host.unharmed();
}

/// Row 29 for a build on that image: unpacked archives, owners by name, users by name, links.
fn build_in_the_image(host: &Host) {
    let mut dockerfile = "FROM helpers:1\nUSER alice\nWORKDIR /w\nCOPY --chown=alice:staff file /w/\n".to_owned();
    let folder = context(&host.lrun, "context", "", &[("file", "x")]);
    for program in COMPRESSORS {
        let data = compressed(host, program, &Tar::new().file(&format!("of-{program}"), b"x").finish());
        fs::write(folder.join(program), data).expect("an archive");
        dockerfile += &format!("ADD --chown=alice {program} /w/\n");
    }
    dockerfile += "RUN ls / /tmp /w | sed 's/^/> /'; stat -c '> %u:%g' /w/file\n";
    fs::write(folder.join("Dockerfile"), dockerfile).expect("a Dockerfile");
    let output = build(&host.lrun, &folder, &["-t", "built"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(!output.stderr.contains("> marked"), "{}", output.stderr);
    for name in ["> of-gzip", "> of-xz", "> of-zstd", "> of-bzip2", "> from-zstd"] {
        assert!(output.stderr.lines().any(|line| line == name), "{name}: {}", output.stderr);
    }
    let owner = if mode() == Mode::Single { "> 1000:1000" } else { "> 1000:50" };
    assert!(output.stderr.lines().any(|line| line == owner), "{}", output.stderr);
    host.canary.check();
}
