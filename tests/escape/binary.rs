//! Row 1: overwriting the runtime's binary (CVE-2019-5736), and reaching a process that is on its way into the container
//! (CVE-2016-9962).

use std::fs;

use lrun_tests::{Entry, eventually, long, skip};

use crate::host::Host;

/// Commands executed while the attacker is at work.
fn rounds() -> usize {
    if long() { 500 } else { 50 }
}

/// A container with the attacker's program at work in it, on every process called `prey`.
fn hunt(host: &Host, weapon: &str, image: &str, prey: &str, options: &[&str]) {
    let start = ["run", "-d", "--name", "hunter", "--network", "none", "-v", weapon];
    let script = format!("/attack hunt {prey} > /tmp/found 2>&1; sleep 1000");
    host.lrun.ok(&[&start[..], options, &[image, "sh", "-c", &script]].concat());
}

/// Ends the hunt: how often the attacker saw its prey, and what it did, each once.
fn found(host: &Host) -> (u64, Vec<String>) {
    host.lrun.ok(&["exec", "hunter", "touch", "/tmp/stop"]);
    let mut lines: Vec<String> = Vec::new();
    eventually("the attacker reports", || {
        lines = host.lrun.ok(&["exec", "hunter", "cat", "/tmp/found"]).lines().map(str::to_owned).collect();
        lines.last().is_some_and(|line| line.starts_with("saw "))
    });
    host.lrun.ok(&["rm", "-f", "hunter"]);
    let seen = lines.pop().and_then(|line| line.strip_prefix("saw ")?.parse().ok()).expect("a number");
    lines.sort();
    lines.dedup();
    (seen, lines)
}

fn achieved(lines: &[String]) -> Vec<&String> {
    lines.iter().filter(|line| line.starts_with(|first: char| first.is_uppercase())).collect()
}

/// Row 1, binary overwrite: commands are executed in a container whose root traces all it may. No process of lrun's can
/// be traced before it is confined, none of its descriptors is reached, and its program never opens for writing.
#[test]
fn a_process_that_joins_cannot_be_taken_over() {
    let host = Host::new();
    let Some(weapon) = host.weapon() else { skip!("no gcc to compile the attacker's program") };
    let ptrace = ["--cap-add", "SYS_PTRACE"];
    for options in [&[][..], &ptrace, &["--cap-add", "ALL"], &["--init", ptrace[0], ptrace[1]]] {
        hunt(&host, &weapon, "busybox", "lrun", options);
        for _ in 0..rounds() {
            host.lrun.ok(&["exec", "hunter", "true"]);
            host.lrun.ok(&["exec", "-u", "1000", "hunter", "true"]);
            host.lrun.ok(&["cp", "hunter:/bin/busybox", "copied"]);
            host.lrun.ok(&["cp", "copied", "hunter:/tmp/copied"]);
        }
        let (seen, lines) = found(&host);
        assert!(seen > 0, "the attacker never saw its prey");
        assert!(achieved(&lines).is_empty(), "{options:?}: {lines:?}, prey seen {seen} times");
    }
    host.unharmed();
}

/// Row 1, binary overwrite: a program that is a link to the runtime's own (`#!/proc/self/exe`) makes lrun's binary run as
/// a process of the container. The container's root reaches it there, and cannot write it, now or when it has ended.
#[test]
fn an_entrypoint_that_is_the_runtime_itself_cannot_be_written() {
    let evil = Entry { name: b"./evil", mode: 0o755, data: b"#!/proc/self/exe\n", ..Entry::default() };
    let host = Host::with(|tar| tar.entry(evil));
    let Some(weapon) = host.weapon() else { skip!("no gcc to compile the attacker's program") };
    for options in [&[][..], &["--cap-add", "ALL"], &["--init"]] {
        hunt(&host, &weapon, "hostile", "evil", options);
        for _ in 0..rounds() {
            host.lrun.run(&["exec", "hunter", "/evil"]);
            host.lrun.run(&["exec", "hunter", "/evil", "run", "busybox"]);
        }
        let (seen, lines) = found(&host);
        assert!(seen > 0, "the attacker never saw its prey");
        assert!(lines.contains(&"reached program".to_owned()), "the attack reached nothing: {lines:?}");
        assert!(achieved(&lines).is_empty(), "{options:?}: {lines:?}");
    }
    let output = host.lrun.run(&["run", "--rm", "--network", "none", "hostile", "/evil"]);
    assert_ne!(output.code, 0, "{output:?}");
    host.unharmed();
}

/// Row 1, binary overwrite: where the binary's path is gone, a copy in memory takes its place, which cannot be written
/// either.
#[test]
fn a_binary_that_was_deleted_while_it_ran_is_protected_by_a_copy() {
    let evil = Entry { name: b"./evil", mode: 0o755, data: b"#!/proc/self/exe\n", ..Entry::default() };
    let host = Host::with(|tar| tar.entry(evil));
    let Some(weapon) = host.weapon() else { skip!("no gcc to compile the attacker's program") };
    // The shell runs a copy of which nothing is left but a descriptor.
    let gone = |args: &str| {
        let copy = host.lrun.folder().join("gone");
        fs::copy(host.binary(), &copy).expect("copy the binary");
        let script = format!("exec 9< {0}; rm {0}; exec /proc/self/fd/9 {args}", copy.display());
        host.lrun.spawn_in(&["sh", "-c", &script], &[""; 0]).wait()
    };
    let volume = format!("-v {weapon}");
    let hunter = "'/attack hunt evil > /tmp/found 2>&1; sleep 1000'";
    let started = gone(&format!("run -d --name hunter --network none {volume} hostile sh -c {hunter}"));
    assert_eq!(started.code, 0, "{}", started.stderr);
    for _ in 0..rounds() {
        gone("exec hunter /evil");
    }
    let (seen, lines) = found(&host);
    assert!(seen > 0 && lines.contains(&"reached program".to_owned()), "the attack reached nothing: {lines:?}");
    assert!(achieved(&lines).iter().all(|line| *line == "CHANGED MODE"), "{lines:?}");
    host.unharmed();
}
