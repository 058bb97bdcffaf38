//! What was true before a reboot, or by another clock: records of processes that are gone, numbers that others have now,
//! times from ten years ahead or behind, and what a killed machine leaves in a container's folder.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Command};

use lrun_tests::Lrun;
use serde_json::{Value, json};

const YEARS: i64 = 10 * 365 * 24 * 3600;

fn folder(lrun: &Lrun, name: &str) -> PathBuf {
    lrun.store().join("containers").join(lrun.inspect(name, "{{.Id}}"))
}

/// Changes a container's record; one without a checksum is taken as it is.
fn change(lrun: &Lrun, name: &str, change: impl FnOnce(&mut Value)) {
    let path = folder(lrun, name).join("record.json");
    let mut record: Value = serde_json::from_slice(&fs::read(&path).expect("the record")).expect("JSON");
    change(&mut record);
    record.as_object_mut().expect("an object").remove("xxh3");
    fs::write(path, record.to_string()).expect("write");
}

/// A stranger's process; ended when dropped.
struct Stranger(Child);

impl Stranger {
    fn start() -> Self {
        Self(Command::new("sleep").arg("1000").spawn().expect("sleep"))
    }

    fn start_time(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).expect("stat");
        stat.rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(19))
            .and_then(|t| t.parse().ok())
            .expect("22")
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("the boot id").trim().to_owned()
}

/// A record says that the container runs, with a process number that a stranger has now.
#[test]
fn strangers_with_the_numbers_of_processes_before_are_left_alone() {
    let lrun = Lrun::with_busybox();
    let mut stranger = Stranger::start();
    let (pid, time) = (stranger.0.id(), stranger.start_time());
    let forged = [
        ("another boot", json!({"pid": pid, "start_time": time, "boot_id": "00000000-0000-4000-8000-000000000000"})),
        ("an empty boot id", json!({"pid": pid, "start_time": time, "boot_id": ""})),
        ("another start", json!({"pid": pid, "start_time": time - 1, "boot_id": boot_id()})),
        ("a start to come", json!({"pid": pid, "start_time": u64::MAX, "boot_id": boot_id()})),
        ("the first process", json!({"pid": 1, "start_time": 0, "boot_id": boot_id()})),
        ("no process", json!({"pid": 0, "start_time": 0, "boot_id": boot_id()})),
        ("a group", json!({"pid": -1, "start_time": 0, "boot_id": boot_id()})),
    ];
    let commands: [&[&str]; 5] =
        [&["kill", "box"], &["stop", "-t", "0", "box"], &["exec", "box", "true"], &["rm", "-f", "box"], &["ps", "-a"]];
    for (what, init) in forged {
        for command in commands {
            lrun.ok(&["run", "--name", "box", "--network", "none", "busybox", "true"]);
            change(&lrun, "box", |record| {
                let state = &mut record["state"];
                (state["status"], state["init"], state["monitor_pid"]) = (json!("running"), init.clone(), json!(pid));
            });
            let output = lrun.run(command);
            assert!(!output.stderr.contains("panicked"), "{what}: {command:?}: {output:?}");
            assert!(stranger.0.try_wait().expect("wait").is_none(), "{what}: {command:?} ended a stranger's process");
            if command[0] != "rm" {
                assert_eq!(
                    lrun.inspect("box", "{{.State.Status}} {{.State.ExitCode}}"),
                    "exited 255",
                    "{what}: {command:?}"
                );
                lrun.ok(&["start", "-a", "box"]);
                lrun.ok(&["rm", "--no-trash", "box"]);
            }
        }
    }
}

/// Sockets, locks and half-made files of processes that are gone are in nobody's way.
#[test]
fn a_stale_folder_of_a_container_is_no_obstacle() {
    let lrun = Lrun::with_busybox();
    lrun.ok(&["run", "--name", "box", "--network", "none", "busybox", "sh", "-c", "echo ran"]);
    let path = folder(&lrun, "box");
    // Its own path would be too long.
    drop(UnixListener::bind(lrun.folder().join("s")).expect("a socket"));
    fs::rename(lrun.folder().join("s"), path.join("attach")).expect("rename");
    for name in ["restart.lock", "record.lock", ".tmp-0123456789abcdef"] {
        fs::write(path.join(name), "stale").expect("write");
    }
    fs::create_dir_all(path.join("work/stale/more")).expect("a folder");
    fs::create_dir_all(path.join("files")).expect("a folder");
    fs::write(path.join("files/hosts"), "stale").expect("write");
    change(&lrun, "box", |record| record["state"]["status"] = json!("running"));
    assert_eq!(lrun.ok(&["ps", "-a", "--format", "{{.Names}}"]), "box");
    assert_eq!(lrun.ok(&["start", "-a", "box"]), "ran");
    assert_eq!(lrun.ok(&["logs", "box"]), "ran\nran");
    lrun.ok(&["commit", "box"]);
    lrun.ok(&["rm", "box"]);
    let staging = lrun.store().join("staging/0123456789abcdef0123456789abcdef");
    fs::create_dir(&staging).expect("a folder");
    fs::write(staging.join("lock"), "").expect("a lock");
    lrun.ok(&["ps"]);
    assert!(!staging.exists(), "it is swept");
}

/// Gives what is in the trash another time of removal.
fn removed_at(lrun: &Lrun, shift: i64) {
    let trash = lrun.store().join("trash");
    for entry in fs::read_dir(&trash).expect("the trash") {
        let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        let (time, rest) = name.split_once('-').expect("a time");
        let time: i64 = time.parse().expect("a number");
        fs::rename(trash.join(&name), trash.join(format!("{}-{rest}", time + shift * 1_000_000))).expect("rename");
    }
}

/// The clock is ten years ahead or behind: nothing is deleted for that, and what is removed then comes back.
#[test]
fn a_clock_that_jumps_deletes_nothing() {
    let lrun = Lrun::with_busybox();
    let trashed = || lrun.ok(&["undelete", "--list", "--format", "{{.Names}}"]);
    for shift in [-YEARS, YEARS] {
        lrun.ok(&["create", "--name", "before", "busybox", "true"]);
        lrun.ok(&["rm", "before"]);
        removed_at(&lrun, shift);
        for args in [
            &["ps", "-a"][..],
            &["images"],
            &["container", "prune", "-f", "--filter", "label=none"],
            &["image", "prune", "-f"],
        ] {
            lrun.ok(args);
        }
        assert_eq!(trashed(), "before", "{shift}");
        lrun.ok(&["create", "--name", "after", "busybox", "true"]);
        lrun.ok(&["rm", "after"]);
        assert_eq!(trashed(), "after\nbefore", "what was removed last comes first");
        lrun.ok(&["undelete"]);
        assert_eq!(lrun.ok(&["ps", "-a", "--format", "{{.Names}}"]), "after");
        lrun.ok(&["undelete", "before"]);
        lrun.ok(&["rm", "--no-trash", "after", "before"]);
    }
}

/// More than the trash holds from a time to come do not push out what is removed now.
#[test]
fn a_full_trash_of_a_clock_that_was_ahead_keeps_what_is_removed_now() {
    let lrun = Lrun::with_busybox();
    let names: Vec<String> = (0..20).map(|number| format!("c{number}")).collect();
    for name in &names {
        lrun.ok(&["create", "--name", name, "busybox", "true"]);
        lrun.ok(&["rm", name]);
    }
    removed_at(&lrun, YEARS);
    lrun.ok(&["create", "--name", "now", "busybox", "true"]);
    lrun.ok(&["rm", "now"]);
    let left = lrun.ok(&["undelete", "--list", "--format", "{{.Names}}"]);
    assert_eq!((left.lines().next(), left.lines().count()), (Some("now"), 20), "{left}");
}

/// Records with times to come, or of long ago, are listed, started, committed and kept by prunes.
#[test]
fn records_of_other_times_are_as_good_as_others() {
    let lrun = Lrun::with_busybox();
    let times = ["1970-01-01T00:00:01Z", "2016-01-01T00:00:00Z", "2036-12-31T23:59:60Z", "9999-12-30T00:00:00Z"];
    for time in times {
        lrun.ok(&["run", "--name", "box", "--network", "none", "busybox", "sh", "-c", "echo data >> /opt/kept"]);
        change(&lrun, "box", |record| {
            record["created"] = json!(time);
            (record["state"]["started"], record["state"]["finished"]) = (json!(time), json!(time));
        });
        assert_eq!(lrun.ok(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]), "box exited", "{time}");
        for args in [&["ps", "-a"][..], &["inspect", "box"], &["image", "prune", "-f"], &["system", "df", "-v"]] {
            lrun.ok(args);
        }
        lrun.ok(&["start", "-a", "box"]);
        let image = lrun.ok(&["commit", "box"]);
        assert_eq!(lrun.ok(&["run", "--rm", "--network", "none", &image, "cat", "/opt/kept"]), "data\ndata", "{time}");
        lrun.ok(&["rm", "box"]);
        lrun.ok(&["undelete", "box"]);
        lrun.ok(&["rm", "--no-trash", "box"]);
        lrun.ok(&["rmi", &image]);
    }
}
