//! Row 2: descriptors and working directories that leak from the host (CVE-2024-21626, CVE-2015-3627).

use std::fs;
use std::path::PathBuf;

use lrun_tests::{Running, long, skip};

use crate::host::Host;

/// lrun with the canary's folder open on the numbers 3 to 24, and with it as its working directory.
pub fn with_descriptors(host: &Host, args: &[&str]) -> Running {
    let canary = host.canary("");
    let opens = format!("cd {canary}; for n in {{3..24}}; do eval \"exec $n< {canary}\"; done; exec \"$@\"");
    host.lrun.spawn_in(&["bash", "-c", &opens, "bash"], args)
}

/// What a process on the host has open: numbers and targets.
pub fn open_in(pid: u32) -> Vec<(String, PathBuf)> {
    let folder = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut open: Vec<_> = folder
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, fs::read_link(entry.path()).ok()?)))
        .collect();
    open.sort();
    open
}

/// Row 2, leaked descriptors: what lrun inherits stops at lrun. A container's processes start with their three streams
/// alone, the monitor and the network helper have nothing of the caller's.
#[test]
fn inherited_descriptors_stop_at_lrun() {
    let host = Host::new();
    let Some(weapon) = host.weapon() else { skip!("no gcc to compile the attacker's program") };
    for options in [&["--network", "none"][..], &["--network", "none", "--init"], &[]] {
        let start = ["run", "-d", "--name", "open", "-v", &weapon];
        assert_eq!(with_descriptors(&host, &[&start, options, &["busybox", "sleep", "1000"]].concat()).wait().code, 0);
        let init: u32 = host.lrun.inspect("open", "{{.State.Pid}}").parse().expect("a process id");
        let numbers: Vec<String> = open_in(init).into_iter().map(|(number, _)| number).collect();
        assert_eq!(numbers, ["0", "1", "2"], "{options:?}");
        for (pid, why) in host.lrun.processes() {
            let leaked: Vec<_> =
                open_in(pid).into_iter().filter(|(_, to)| to.starts_with(host.canary.path())).collect();
            assert!(leaked.is_empty(), "{why}: {leaked:?}");
        }
        for exec in [&["exec", "open"][..], &["exec", "-i", "open"], &["exec", "-u", "1000", "open"]] {
            let output = with_descriptors(&host, &[exec, &["/attack", "descriptors"]].concat()).wait();
            assert_eq!((output.code, output.stdout.as_str()), (0, "0 1 2 \n"), "{exec:?}: {}", output.stderr);
        }
        host.lrun.ok(&["rm", "-f", "open"]);
    }
    host.unharmed();
}

/// Row 2, leaked descriptors: a process on a terminal has it and nothing else.
#[test]
fn a_process_on_a_terminal_has_only_that() {
    let host = Host::new();
    let Some(weapon) = host.weapon() else { skip!("no gcc to compile the attacker's program") };
    let alone = ("0 1 2 \r\n".to_owned(), 0);
    let run = ["run", "-ti", "--rm", "--network", "none", "-v", &weapon, "busybox", "/attack", "descriptors"];
    assert_eq!(host.lrun.pty(&run).finish(), alone);
    host.lrun.ok(&["run", "-d", "--name", "open", "--network", "none", "-v", &weapon, "busybox", "sleep", "1000"]);
    assert_eq!(host.lrun.pty(&["exec", "-ti", "open", "/attack", "descriptors"]).finish(), alone);
    host.unharmed();
}

/// Row 2, leaked working directory: whatever number a descriptor of lrun's or of its caller's has, a working directory
/// of `/proc/self/fd/N` never leads to the host.
#[test]
fn no_working_directory_leads_out() {
    let host = Host::new();
    host.lrun.ok(&["run", "-d", "--name", "open", "--network", "none", "busybox", "sleep", "1000"]);
    let numbers: Vec<u32> = if long() { (0..=64).collect() } else { vec![3, 4, 5, 6, 7, 8, 9, 24, 32, 33, 40] };
    let mut directories: Vec<String> = numbers.iter().map(|n| format!("/proc/self/fd/{n}")).collect();
    directories.extend(
        ["/proc/self/cwd", "/proc/1/root", "/proc/self/fd/5/../../../..", "/proc/self/task/1/cwd"].map(str::to_owned),
    );
    // The canary's folder, seen by its names; `.` and `..` of an outside directory.
    let script = "for d in . .. ../.. ../../../../..; do [ -e $d/private ] && echo ESCAPED; [ -e $d/canary ] && echo ESCAPED; done; /bin/pwd";
    for directory in &directories {
        let run = ["run", "--rm", "--network", "none", "-w", directory, "busybox", "sh", "-c", script];
        for args in [&run[..], &["exec", "-w", directory, "open", "sh", "-c", script]] {
            let output = with_descriptors(&host, args).wait();
            let inside = output.code == 0 && output.stdout.lines().all(|line| line.starts_with('/'));
            assert!(inside || !output.stderr.is_empty(), "{args:?}: {output:?}");
            assert!(!output.stdout.contains("ESCAPED"), "{args:?}: {output:?}");
        }
    }
    host.unharmed();
}

/// Row 2, leaked working directory: nor does the one that an image asks for, directly or through a link of its own.
#[test]
fn no_working_directory_of_an_image_leads_out() {
    let host = Host::with(|tar| tar.symlink("./work", "/proc/self/fd/5").symlink("./up", "../../../../../.."));
    let archive = fs::read(lrun_tests::images("busybox.tar")).expect("busybox.tar");
    let script = "[ -e private ] || [ -e canary ] && echo ESCAPED; /bin/pwd";
    for number in [3, 4, 5, 6, 7, 8] {
        let change = format!("WORKDIR /proc/self/fd/{number}");
        assert_eq!(host.lrun.run_with(&archive, &["import", "-c", &change, "-", "evil"]).code, 0);
        let output = with_descriptors(&host, &["run", "--rm", "--network", "none", "evil", "sh", "-c", script]).wait();
        assert!(!output.stdout.contains("ESCAPED"), "{change}: {output:?}");
    }
    for directory in ["/work", "/up", "/work/..", "/work/new"] {
        let run = ["run", "--rm", "--network", "none", "-w", directory, "hostile", "sh", "-c", script];
        let output = with_descriptors(&host, &run).wait();
        assert!(!output.stdout.contains("ESCAPED"), "{directory}: {output:?}");
    }
    host.unharmed();
}
