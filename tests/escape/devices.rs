//! Row 4: fake and raced devices, console, terminal and standard streams (CVE-2025-31133, CVE-2025-52565).

use std::fs;
use std::os::unix::fs::symlink;

use lrun_tests::{Listing, long, skip};

use crate::host::Host;

/// Row 4, devices: the host's nodes are shown in the container, and cannot be changed there by a root that may own them:
/// not by name, not as a mask over a file of `/proc`, not by the descriptor of a standard stream.
#[test]
fn the_hosts_devices_cannot_be_changed() {
    let host = Host::new();
    let script = "for f in /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /proc/keys /proc/timer_list \
                  /proc/self/fd/0 /proc/self/fd/1; do chmod 600 $f; chown 1:1 $f; touch -d 2001-01-01 $f; done 2>/dev/null; true";
    host.lrun.ok(&["run", "--rm", "--network", "none", "busybox", "sh", "-c", script]);
    host.lrun.ok(&["run", "-d", "--name", "devices", "--network", "none", "busybox", "sleep", "1000"]);
    host.lrun.ok(&["exec", "devices", "sh", "-c", script]);
    host.lrun.ok(&["exec", "-d", "devices", "sh", "-c", &format!("{script}; touch /tmp/done")]);
    lrun_tests::eventually("the detached command ends", || {
        host.lrun.run(&["exec", "devices", "ls", "/tmp/done"]).code == 0
    });
    host.unharmed();
}

/// Row 4, devices: they are the real ones, also where a mask needs `/dev/null`, and they work.
#[test]
fn devices_and_masks_are_real() {
    let host = Host::new();
    let script = "for f in null zero full random urandom tty; do stat -c '%n %t:%T' /dev/$f; done
        for f in /proc/keys /proc/timer_list; do [ ! -e $f ] || [ \"$(stat -c %t:%T $f)\" = 1:3 ] || echo fake $f; done
        echo x > /dev/null && head -c 3 /dev/zero | od -An -tx1; (echo x > /dev/full) 2>&1; head -c 4 /dev/urandom | wc -c
        for f in fd stdin stdout stderr ptmx; do readlink /dev/$f; done; readlink -f /dev/stdin";
    let shown = host.lrun.ok(&["run", "--rm", "--network", "none", "busybox", "sh", "-c", script]);
    let expected = "/dev/null 1:3\n/dev/zero 1:5\n/dev/full 1:7\n/dev/random 1:8\n/dev/urandom 1:9\n/dev/tty 5:0\n \
                    00 00 00\nsh: write error: No space left on device\n4\n/proc/self/fd\n/proc/self/fd/0\n\
                    /proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n/dev/null";
    assert_eq!(shown, expected);
    host.unharmed();
}

/// Row 4, devices: a directory of the host's in place of `/dev` is taken as it is; nothing is made in it.
#[test]
fn nothing_is_made_in_a_dev_of_the_hosts() {
    let host = Host::new();
    let dev = host.lrun.folder().join("dev");
    fs::create_dir(&dev).expect("a directory");
    symlink(host.canary("open"), dev.join("null")).expect("a link");
    symlink(host.canary("open"), dev.join("stdin")).expect("a link");
    let before = Listing::of(&dev);
    for options in [&[][..], &["--init"], &["-u", "1000"]] {
        let volume = format!("{}:/dev", dev.display());
        let run = [&["run", "--rm", "--network", "none", "-v", &volume], options, &["busybox", "ls", "/dev"]].concat();
        assert_eq!(host.lrun.ok(&run), "null\nstdin");
        before.check(&dev, "a start");
    }
    host.unharmed();
}

/// Row 4, device races: a container that shares its `/dev` with others swaps what a start there looks for.
#[test]
fn a_shared_dev_that_is_swapped_is_no_way_out() {
    let host = Host::new();
    let Some(weapon) = host.weapon() else { skip!("no gcc to compile the attacker's program") };
    let shared = host.lrun.folder().join("shared");
    fs::create_dir_all(shared.join("pts")).expect("a shared volume");
    symlink(host.canary("open"), shared.join("pts/ptmx")).expect("a link");
    symlink("/dev", shared.join("link")).expect("a link");
    let volume = format!("{}:/shared", shared.display());
    let racer = ["run", "-d", "--name", "racer", "--network", "none", "-v", &weapon, "-v", &volume, "busybox"];
    host.lrun.ok(&[&racer[..], &["/attack", "swap", "/shared/pts", "/shared/link"]].concat());
    for _ in 0..if long() { 2000 } else { 25 } {
        let volume = format!("{}:/dev", shared.display());
        let run = [
            "run",
            "-ti",
            "--rm",
            "--network",
            "none",
            "-v",
            &volume,
            "busybox",
            "stat",
            "-f",
            "-c",
            "%T",
            "/proc/self/fd/0",
        ];
        let (shown, code) = host.lrun.pty(&run).finish();
        let own = (code, shown.as_str()) == (0, "devpts\r\n");
        assert!(own || code == 125 && shown.starts_with("lrun: "), "{code}: {shown}");
    }
    host.unharmed();
}
