//! Row 28, bombs: archives that are small and become large, or that ask for more memory than there is. What lrun takes,
//! it takes with a bounded amount of memory; what it refuses, it refuses with one line and leaves nothing.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use lrun_tests::{Entry, Output, Tar, long};

use crate::host::Host;

/// Memory that any import may use, in KiB.
const MOST_KIB: u64 = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(600);
/// Runs its arguments; says on the last line of standard error how much memory they and their children used at most.
const MEASURED: &str = "import os, sys
pid = os.fork()
if pid == 0: os.execvp(sys.argv[1], sys.argv[1:])
_, status, usage = os.wait4(pid, 0)
print('peak', usage.ru_maxrss, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))";

/// Imports an archive with its memory measured: what lrun said, and that it stayed within the limit.
#[track_caller]
fn import(host: &Host, archive: &Path, what: &str) -> Output {
    let archive = archive.to_str().expect("a UTF-8 path");
    let running = host.lrun.spawn_in(&["python3", "-c", MEASURED], &["import", archive, "bomb"]);
    let mut output = running.wait_for(PATIENCE);
    let (before, peak) = output.stderr.rsplit_once("peak ").expect("a measure");
    let peak: u64 = peak.trim().parse().expect("a number");
    assert!(peak < MOST_KIB, "{what}: {peak} KiB of memory, more than {MOST_KIB}");
    output.stderr = before.to_owned();
    host.canary.check();
    output
}

/// The output of a compressor fed with `parts`, in a file of the test.
fn compressed(host: &Host, program: &[&str], parts: impl Iterator<Item = Vec<u8>>) -> std::path::PathBuf {
    let path = host.lrun.folder().join("home/archive");
    let out = fs::File::create(&path).expect("a file");
    let mut command = Command::new(program[0]);
    let mut child = command.args(&program[1..]).stdin(Stdio::piped()).stdout(out).spawn().expect("a compressor");
    let mut stdin = child.stdin.take().expect("piped");
    parts.for_each(|part| stdin.write_all(&part).expect("compress"));
    drop(stdin);
    assert!(child.wait().expect("a compressor").success());
    path
}

/// A file of zeros of this size, as the pieces of an archive.
fn zeros(mebibytes: usize) -> impl Iterator<Item = Vec<u8>> {
    let size = (mebibytes << 20).to_string();
    let tar = Tar::new().pax(&[("size", size.as_bytes())]);
    let head = tar.entry(Entry { name: b"zeros", ..Entry::default() }).unfinished();
    std::iter::once(head).chain(std::iter::repeat_n(vec![0; 1 << 20], mebibytes)).chain([vec![0; 1024]])
}

/// Disk space below a folder, in bytes.
fn space(folder: &Path) -> u64 {
    let output = Command::new("du").args(["-s", "-B1"]).arg(folder).output().expect("du");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("du: {text}"))
}

/// Ten gibibytes of zeros out of a few megabytes: taken, since they are what the archive says, but they take neither
/// memory nor space. (A sample without `--long`: two.)
#[test]
fn gibibytes_of_zeros_take_no_memory_and_no_space() {
    let mebibytes = if long() { 10 << 10 } else { 2 << 10 };
    for program in [&["gzip", "-1"][..], &["zstd", "-q", "-1"]] {
        let host = Host::empty();
        let archive = compressed(&host, program, zeros(mebibytes));
        let output = import(&host, &archive, program[0]);
        assert_eq!(output.code, 0, "{output:?}");
        assert_eq!(host.lrun.ok(&["image", "inspect", "--format", "{{.Size}}", "bomb"]), (mebibytes << 20).to_string());
        // Whoever owns the files: du asks for sizes only.
        let used = space(&host.lrun.store());
        assert!(used < 64 << 20, "{program:?}: {used} bytes on disk");
        fs::remove_file(archive).expect("remove the archive");
        host.unharmed();
    }
}

/// 20 GiB out of half a megabyte are refused once 16 GiB have come, with one line, and nothing stays. Without `--long` a
/// layer like that is made of a tenth: taken.
#[test]
fn what_becomes_too_many_times_as_large_is_refused() {
    let host = Host::empty();
    let mebibytes = if long() { 20 << 10 } else { 2 << 10 };
    // A frame of 256 MiB as often as is needed.
    let mut parts = zeros(mebibytes);
    let head = fs::read(compressed(&host, &["zstd", "-q"], parts.by_ref().take(1))).expect("the head");
    let path = compressed(&host, &["zstd", "-q"], parts.take(256));
    let frame = fs::read(&path).expect("a frame");
    let end = compressed(&host, &["zstd", "-q"], std::iter::once(vec![0; 1024]));
    let end = fs::read(end).expect("the end");
    fs::write(&path, [head, frame.repeat(mebibytes / 256), end].concat()).expect("write the archive");
    let output = import(&host, &path, "zstd");
    if long() {
        assert_eq!((output.code, output.stdout.as_str()), (1, ""), "{output:?}");
        let limit = "more than 2048 times as many, the limit beyond 17179869184";
        assert!(output.stderr.contains("the zstd data becomes 1") && output.stderr.contains(limit), "{output:?}");
        assert!(output.stderr.contains("  hint: uncompress it on the way: zstd -d --long=31 < FILE"), "{output:?}");
    } else {
        assert_eq!(output.code, 0, "{output:?}");
    }
    host.unharmed();
}

/// Zeros without an entry are an empty archive and too much behind it.
#[test]
fn zeros_instead_of_an_archive_are_refused() {
    let host = Host::empty();
    let archive = compressed(&host, &["gzip", "-1"], std::iter::repeat_n(vec![0; 1 << 20], 100));
    let output = import(&host, &archive, "zeros");
    assert_eq!((output.code, output.stdout.as_str()), (1, ""));
    assert!(output.stderr.contains("more than 16777216 bytes follow the archive's end"), "{}", output.stderr);
    host.unharmed();
}

/// A million entries: directories, which are finished last, and empty files. (A sample without `--long`: 100,000.)
#[test]
fn a_million_entries_take_no_memory() {
    let count = if long() { 1_000_000 } else { 100_000 };
    for kind in [b'5', b'0'] {
        let host = Host::empty();
        let parts = (0..count).map(|n| {
            let name = format!("d{}/{n}", n % 500);
            Tar::new().entry(Entry { name: name.as_bytes(), kind, mode: 0o755, ..Entry::default() }).unfinished()
        });
        let archive = compressed(&host, &["zstd", "-q", "-1"], parts.chain([vec![0; 1024]]));
        let output = import(&host, &archive, "entries");
        assert_eq!(output.code, 0, "{output:?}");
        fs::remove_file(archive).expect("remove the archive");
        host.unharmed();
    }
}

/// Names and headers: as long and as deep as a path may be is taken, more is refused; all of it can be removed again.
#[test]
fn long_names_deep_paths_and_large_headers_are_bounded() {
    let host = Host::empty();
    let name = "n".repeat(256);
    let (path, deep) = ("d/".repeat(2048), "d/".repeat(2044));
    let (wide, wide_name) = (vec![b'x'; 2 << 20], vec![b'x'; 1_000_000]);
    let bad_xattr = vec![0xff; 60_000];
    let file = || Entry { name: b"f", ..Entry::default() };
    let pax = |records: &[(&str, &[u8])]| Tar::new().pax(records).entry(file()).finish();
    for (what, archive, wanted) in [
        ("long name", pax(&[("path", name.as_bytes())]), Some("a file name has 256 bytes")),
        ("long path", pax(&[("path", format!("{path}f").as_bytes())]), Some("4097 bytes, more than the limit of 4090")),
        ("file with a slash", pax(&[("path", &[wide_name.as_slice(), b"/"].concat())]), Some("ends with a slash")),
        // As long as a path may be.
        ("deep file", pax(&[("path", format!("{deep}ff").as_bytes())]), None),
        ("large header", pax(&[("comment", &wide)]), Some("extended headers of more than 1048576 bytes")),
        ("long link", pax(&[("linkpath", &wide[..5000])]), None),
        ("bad attribute", pax(&[("SCHILY.xattr.user.x", &bad_xattr)]), None),
        ("attribute without a name", pax(&[("SCHILY.xattr.", b"x")]), None),
    ] {
        let file = host.lrun.folder().join("home/archive");
        fs::write(&file, archive).expect("write the archive");
        let output = import(&host, &file, what);
        match wanted {
            Some(wanted) => {
                assert_eq!((output.code, output.stdout.as_str()), (1, ""), "{what}");
                assert!(output.stderr.starts_with("lrun: import ") && output.stderr.contains(wanted), "{output:?}");
                assert!(output.stderr.lines().next().is_some_and(|line| line.len() < 1000), "{what}");
            }
            None => {
                assert_eq!(output.code, 0, "{what}: {output:?}");
                // What came in can be read again.
                let output = host.lrun.run(&["system", "check"]);
                assert!(!output.stdout.contains("cannot be"), "{what}: {output:?}");
                host.lrun.ok(&["save", "-o", "saved", "bomb"]);
            }
        }
    }
    host.lrun.ok(&["rmi", "-f", "bomb"]);
    assert_eq!(host.lrun.ok(&["images", "-aq"]).lines().filter(|line| !line.is_empty()).count(), 3);
    host.unharmed();
}

/// Windows: what a decompressor would have to remember is bounded, and the way out is named.
#[test]
fn decompression_with_large_windows_is_refused() {
    let host = Host::empty();
    let noise = || {
        (0..80u64).map(|n| {
            (0..1 << 17)
                .flat_map(|m: u64| (n << 20 ^ m).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
                .collect::<Vec<u8>>()
        })
    };
    let archive = compressed(&host, &["zstd", "-q", "-1", "--long=27"], noise());
    let output = import(&host, &archive, "zstd");
    assert_eq!((output.code, output.stdout.as_str()), (1, ""));
    assert!(output.stderr.contains("the zstd data needs a window of more than 32 MiB, the limit"), "{}", output.stderr);
    assert!(output.stderr.contains("zstd -d --long=31"), "{}", output.stderr);
    host.unharmed();
}
