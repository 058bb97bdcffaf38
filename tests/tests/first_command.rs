//! The first command of a user decides what all later ones find: where the store is and with which id mapping. A call that
//! fails meanwhile must not decide.

use lrun_tests::disturb::{Scenario, fail_every_call, kill_at_every_call, words};
use lrun_tests::{Lrun, Mode, Output, mode, skip, victim};

/// Calls by which lrun and `newuidmap` find out what there is, and try it.
const LOOKING: [&str; 14] = [
    "clone3", "execve", "fork", "fsconfig", "fsmount", "fsopen", "getxattr", "openat", "pipe2", "read", "statfs",
    "statx", "vfork", "wait4",
];

/// The store is the user's usual one with the user's ids, or there is none.
fn nothing_wrong_was_decided(lrun: &Lrun, output: &Output) {
    let format = std::fs::read_to_string(lrun.store().join("format"));
    if output.code == 0 {
        assert!(format.as_ref().is_ok_and(|format| format.contains("\"subids\"")), "{format:?} {output:?}");
    }
    assert_eq!(lrun.ok(&["images", "-q"]), "", "after {output:?}");
    let format = std::fs::read_to_string(lrun.store().join("format")).expect("a store");
    assert!(format.contains("\"subids\""), "{format}");
}

fn the_first_command() -> Scenario {
    Scenario { name: "the first command", args: words(&["images"]), prepare: |_| {}, check: nothing_wrong_was_decided }
}

#[test]
fn calls_fail_while_ids_are_found_out() {
    fail_every_call(&the_first_command(), &LOOKING);
}

#[test]
fn processes_are_killed_while_ids_are_found_out() {
    kill_at_every_call(&the_first_command());
}

/// Every file that tells of a user's ids, and each way to look at it, fails once.
#[test]
fn what_cannot_be_read_once_is_an_error_and_nothing_is_made() {
    let Some(user) = victim().filter(|_| mode() == Mode::Root) else { skip!("strace has to be run by root") };
    let cases = [
        ("/etc/passwd", "openat"),
        ("/etc/subuid", "openat"),
        ("/etc/subuid", "read"),
        ("/etc/subgid", "openat"),
        ("/etc/nsswitch.conf", "openat"),
        ("/usr/bin/newuidmap", "statx"),
        ("/usr/bin/newgidmap", "statx"),
        ("/usr/bin/newuidmap", "statfs"),
        ("/usr/bin/newuidmap", "execve"),
    ];
    for (path, call) in cases {
        let lrun = Lrun::as_user(&user);
        // lrun's own calls alone, but for the program that it starts.
        let inject = format!("inject={call}:error=EIO:when=1");
        let (follow, trace) = (if call == "execve" { "-f" } else { "-qq" }, format!("trace={call}"));
        let wrapper =
            ["strace", "-u", &user, follow, "-qq", "-P", path, "-e", &trace, "-e", &inject, "-o", "/dev/null"];
        let output = lrun.run_in(&wrapper, &["images"]);
        assert_eq!((output.code, output.stdout.as_str()), (1, ""), "{path} {call}: {}", output.stderr);
        assert!(output.stderr.contains(path), "{path} {call}: {}", output.stderr);
        assert!(output.stderr.contains("input/output error"), "{path} {call}: {}", output.stderr);
        assert!(call == "execve" || output.stderr.contains("  hint: try again"), "{path} {call}: {}", output.stderr);
        assert!(!lrun.store().exists(), "{path} {call}");
        nothing_wrong_was_decided(&lrun, &output);
    }
}

/// Another place is taken for the store where the usual one cannot hold it, not where ids could not be mapped this once.
#[test]
fn a_killed_newuidmap_moves_no_store() {
    let Some(user) = victim().filter(|_| mode() == Mode::Root) else { skip!("strace has to be run by root") };
    let mut lrun = Lrun::as_user(&user);
    let (usual, elsewhere) = (lrun.folder().join("home/.local/share/lrun"), lrun.folder().join("home/elsewhere"));
    lrun.set_env("LRUN_ROOT", "");
    lrun.set_env("LRUN_SCRATCH", elsewhere.to_str().expect("UTF-8"));
    let newuidmap = ["strace", "-u", &user, "-f", "-qq", "-P", "/usr/bin/newuidmap", "-o", "/dev/null"];
    let killed = ["-e", "trace=execve", "-e", "inject=execve:signal=KILL"];
    let output = lrun.run_in(&[&newuidmap[..], &killed].concat(), &["images"]);
    assert!(output.code == 1 && output.stderr.contains("newuidmap: signal: 9"), "{output:?}");
    assert!(!usual.exists() && !elsewhere.exists(), "{output:?}");
    assert_eq!(lrun.ok(&["images", "-q"]), "");
    assert!(usual.join("format").exists() && !elsewhere.exists());
}
