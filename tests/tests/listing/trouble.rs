//! Listing where the store is damaged, full or read-only: what can be told is told.

use std::fs;

use lrun_tests::{Lrun, Mode, Output, eventually, mode, skip};

use crate::{names, short};

#[test]
fn a_damaged_record_hides_only_its_container() {
    let lrun = Lrun::with_busybox();
    let id = lrun.ok(&["create", "--name", "broken", "busybox", "true"]);
    lrun.ok(&["create", "--name", "fine", "busybox", "true"]);
    fs::write(lrun.store().join(format!("containers/{id}/record.json")), "{\"version\":1,").expect("damage the record");
    let output = lrun.run(&["ps", "-a", "--format", "{{.Names}}"]);
    assert_eq!((output.code, output.stdout.as_str()), (0, "fine\n"));
    let repair = "lrun system check --repair mends what can be mended";
    let hint = format!("  hint: {repair}, else remove it with \"lrun rm -f {}\"\n", short(&id));
    assert!(output.stderr.starts_with(&format!("WARNING: container {} cannot be listed: ", short(&id))), "{output:?}");
    assert!(output.stderr.ends_with(&hint), "{output:?}");
    let inspected = lrun.run(&["inspect", "broken", "fine", "-f", "{{.Name}}"]);
    assert_eq!((inspected.code, inspected.stdout.as_str()), (1, "/fine\n"));
    assert!(inspected.stderr.contains("damaged"), "{inspected:?}");
    let refused = lrun.fails(1, &["rmi", "busybox"]);
    assert!(refused.contains(repair), "{refused}");
    assert!(refused.contains(&format!("lrun rm -f {}", short(&id))), "what it uses is not known: {refused}");
    lrun.ok(&["rm", "-f", &id]);
    assert_eq!(names(&lrun, &[]), ["fine"]);
}

#[test]
fn a_damaged_image_hides_only_itself() {
    let lrun = Lrun::with_busybox();
    let id = lrun.import_bytes(&lrun_tests::Tar::new().file("f", b"x").finish(), "broken");
    fs::write(lrun.store().join(format!("images/{}.json", &id["sha256:".len()..])), "{\"version\":1,")
        .expect("damage it");
    let output = lrun.run(&["images", "--format", "{{.Repository}}"]);
    assert_eq!((output.code, output.stdout.as_str()), (0, "busybox\n"));
    assert!(output.stderr.starts_with(&format!("WARNING: image {} cannot be listed: ", short(&id))), "{output:?}");
    assert!(lrun.fails(1, &["rmi", "busybox"]).contains(&format!("lrun rmi -f {}", short(&id))));
    assert_eq!(lrun.ok(&["rmi", "-f", short(&id)]), format!("Untagged: broken:latest\nDeleted: {id}"));
    assert!(lrun.ok(&["rmi", "busybox"]).starts_with("Untagged: busybox:latest\nDeleted: "));
}

#[test]
fn a_lost_monitor_is_noticed() {
    let lrun = Lrun::with_busybox();
    let id = lrun.ok(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"]);
    kill_monitor(&lrun, &id);
    lrun_tests::eventually("the end is told", || {
        lrun.ok(&["ps", "-a", "--format", "{{.Status}}"]).starts_with("Exited (255) ")
    });
    assert_eq!(lrun.inspect("c1", "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}"), "exited 255 monitor lost");
}

fn kill_monitor(lrun: &Lrun, id: &str) {
    let record = fs::read(lrun.store().join(format!("containers/{id}/record.json"))).expect("the record");
    let record: serde_json::Value = serde_json::from_slice(&record).expect("JSON");
    let pid = record["state"]["monitor_pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a pid");
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill the monitor");
    let status = format!("/proc/{}/status", pid.as_raw_nonzero());
    eventually("the monitor has ended", || fs::read_to_string(&status).map_or(true, |text| text.contains("State:\tZ")));
}

/// Runs lrun in a mount namespace of its own, after `script` has changed the mounts; `$STORE` is the store.
fn in_mounts(lrun: &Lrun, script: &str, args: &[&str]) -> Output {
    let script = format!("set -e; STORE='{}'; {script}; exec \"$@\"", lrun.store().display());
    lrun.spawn_in(&["unshare", "-m", "sh", "-c", &script, "sh"], args).wait()
}

#[test]
fn a_read_only_store_is_read() {
    if mode() != Mode::Root {
        skip!("mounting needs root");
    }
    let lrun = Lrun::with_busybox();
    lrun.ok(&["create", "--name", "made", "busybox", "true"]);
    let id = lrun.ok(&["run", "-d", "--name", "lost", "busybox", "sleep", "1000"]);
    kill_monitor(&lrun, &id);
    let read_only = "mount --bind \"$STORE\" \"$STORE\"; mount -o remount,bind,ro \"$STORE\"";
    let ask = |args: &[&str]| {
        let output = in_mounts(&lrun, read_only, args);
        assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{args:?}: {output:?}");
        output.stdout
    };
    let listed = ask(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]);
    assert_eq!(listed, "lost exited\nmade created\n", "what cannot be recorded is told");
    assert_eq!(ask(&["ps", "-as", "-q"]).lines().count(), 2);
    assert_eq!(ask(&["inspect", "-f", "{{.State.ExitCode}}", "lost"]), "255\n");
    assert_eq!(ask(&["images", "-q"]).lines().count(), 1);
    assert_eq!(ask(&["history", "-q", "busybox"]).lines().count(), 1);
    ask(&["info", "-f", "{{.Containers}}"]);
    for args in [&["tag", "busybox", "x"][..], &["rmi", "busybox"]] {
        let output = in_mounts(&lrun, read_only, args);
        assert_eq!((output.code, output.stdout.as_str()), (1, ""), "{args:?}");
        assert!(output.stderr.contains("read-only file system"), "{output:?}");
    }
    assert_eq!(lrun.inspect("lost", "{{.State.ExitCode}}"), "255");
}

#[test]
fn a_full_disk_is_listed_and_made_room_on() {
    if mode() != Mode::Root {
        skip!("mounting needs root");
    }
    let lrun = Lrun::new();
    let tar = lrun_tests::images("busybox.tar");
    fs::create_dir(lrun.store()).expect("a mount point");
    // All in one mount namespace: the small file system goes with it.
    let script = format!(
        "set -e; mount -t tmpfs -o size=6m none \"$LRUN_ROOT\"; L=\"$1\"; \"$L\" import '{}' busybox; \
         \"$L\" create --name c1 busybox true; \"$L\" tag busybox second; \
         head -c 10m /dev/zero > \"$LRUN_ROOT/.fill\" 2>/dev/null || true; echo full; \
         \"$L\" ps -a --format '{{{{.Names}}}}'; \"$L\" ps -as --format '{{{{.Names}}}}'; \"$L\" images -q | wc -l; \
         \"$L\" inspect -f '{{{{.Name}}}}' c1; \"$L\" info -f '{{{{.Images}}}}'; \"$L\" tag busybox third || echo refused; \
         \"$L\" rm c1; \"$L\" rmi second; \"$L\" rmi busybox | head -n 1; \"$L\" ps -aq; \"$L\" images -aq",
        tar.display()
    );
    let output = lrun.spawn_in(&["unshare", "-m", "sh", "-c", &script, "sh"], &[] as &[&str]).wait();
    let (_, told) = output.stdout.split_once("full\n").unwrap_or_else(|| panic!("{output:?}"));
    assert_eq!(
        told, "c1\nc1\n2\n/c1\n1\nrefused\nc1\nUntagged: second:latest\nUntagged: busybox:latest\n",
        "{output:?}"
    );
    assert!(output.stderr.contains("no space left on device"), "{output:?}");
}
