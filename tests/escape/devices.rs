//! Row 4: fake and raced devices, console, terminal and standard streams (CVE-2025-31133, CVE-2025-52565).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use lrun_tests::build::{built, context, in_image};
use lrun_tests::{Entry, Listing, Tar, images, long, skip};
use serde_json::json;

use crate::host::Host;
use crate::made::{Made, archive};

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
        own_terminal_or_none(&host, &shared);
    }
    host.unharmed();
}

/// A container with this folder as its `/dev` has a terminal of its own, or does not start.
#[track_caller]
fn own_terminal_or_none(host: &Host, dev: &Path) {
    let volume = format!("{}:/dev", dev.display());
    let look = ["busybox", "stat", "-f", "-c", "%T", "/proc/self/fd/0"];
    let run = [&["run", "-ti", "--rm", "--network", "none", "-v", &volume][..], &look].concat();
    let (shown, code) = host.lrun.pty(&run).finish();
    let own = (code, shown.as_str()) == (0, "devpts\r\n");
    assert!(own || code == 125 && shown.starts_with("lrun: "), "{}: {code}: {shown}", dev.display());
}

/// What an image may have in place of a device.
const FAKES: [&str; 3] = ["link", "file", "fifo"];

/// A layer with these in place of `/dev/null`, `/dev/console` and `/dev/ptmx`.
fn fake_devices(host: &Host, kinds: [&str; 3]) -> Vec<u8> {
    let open = host.canary("open");
    let add = |tar: Tar, (name, kind): (&str, &str)| {
        let name = format!("./dev/{name}");
        match kind {
            "link" => tar.symlink(&name, &open),
            "file" => tar.file(&name, b"fake"),
            _ => tar.entry(Entry { name: name.as_bytes(), kind: b'6', mode: 0o666, ..Entry::default() }),
        }
    };
    ["null", "console", "ptmx"].into_iter().zip(kinds).fold(Tar::new().dir("./dev/"), add).finish()
}

/// Row 4, devices: whatever an image has for `/dev/null`, `/dev/console` and `/dev/ptmx`, in every combination of a link
/// to the host, a regular file and a FIFO, a container has the real ones, with a terminal and without, and a step of a
/// build has; masks are real, nothing waits for the FIFO, and what the image has there is as it was.
#[test]
fn devices_are_real_whatever_the_image_has_for_them() {
    let host = Host::new();
    let kinds: Vec<[&str; 3]> = (0..27).map(|n| [FAKES[n / 9], FAKES[n / 3 % 3], FAKES[n % 3]]).collect();
    let busybox = fs::read(images("busybox.tar")).expect("busybox.tar");
    let layers: Vec<Vec<u8>> = kinds.iter().map(|kinds| fake_devices(&host, *kinds)).collect();
    let made: Vec<Made<'_>> = kinds
        .iter()
        .zip(&layers)
        .map(|(kinds, layer)| Made {
            name: format!("{}:1", kinds.join("-")),
            config: json!({}),
            layers: vec![&busybox, layer],
        })
        .collect();
    assert_eq!(host.lrun.run_with(&archive(&made), &["load", "-q"]).code, 0);
    let null = "echo x > /dev/null; stat -c %t:%T /dev/null; stat -c '%a %s' /dev/null | cut -d' ' -f2; \
                for f in /proc/keys /proc/timer_list; do [ ! -e $f ] || [ \"$(stat -c %t:%T $f)\" = 1:3 ] || echo fake $f; done; ";
    let terminal = format!("{null} readlink /dev/ptmx; stat -f -c %T /dev/ptmx; stat -c %t /dev/console; tty");
    let (mut stages, mut copies) = (String::new(), "FROM busybox\n".to_owned());
    for (n, made) in made.iter().enumerate() {
        let name = made.name.as_str();
        let run = ["run", "-ti", "--name", "fakes", "--network", "none", name, "sh", "-c", &terminal];
        let shown = host.lrun.pty(&run).finish();
        let expected = "1:3\r\n0\r\npts/ptmx\r\ndevpts\r\n88\r\n/dev/pts/0\r\n";
        assert_eq!((shown.0.as_str(), shown.1), (expected, 0), "{name}");
        assert_eq!(host.lrun.ok(&["diff", "fakes"]), "", "{name}");
        host.lrun.ok(&["rm", "fakes"]);
        stages += &format!(
            "FROM {name} AS s{n}\nRUN ( {null} cat /dev/console; readlink /dev/ptmx ) > /out 2>&1 < /dev/null\n"
        );
        copies += &format!("COPY --from=s{n} /out /out/{n}\n");
        host.canary.check();
    }
    // Without a terminal there is no console to open.
    let folder = context(&host.lrun, "context", &format!("{stages}{copies}"), &[]);
    let built = built(&host.lrun, &folder, &[]);
    let kinds = in_image(&host.lrun, &built, "cat /out/* | sort | uniq -c | sed 's/^ *//'");
    assert_eq!(kinds, "27 0\n27 1:3\n27 cat: can't open '/dev/console': No such file or directory\n27 pts/ptmx");
    host.unharmed();
}

/// Row 4, devices: nor does a terminal lead anywhere where the directory that is mounted at `/dev` has these.
#[test]
fn a_terminal_needs_no_device_of_a_mounted_dev() {
    let host = Host::new();
    for kind in FAKES {
        let dev = host.lrun.folder().join(kind);
        let layer = host.lrun.file("layer.tar", fake_devices(&host, [kind; 3]));
        fs::create_dir_all(dev.join("pts")).expect("a directory");
        let tar = std::process::Command::new("tar")
            .arg("-xf")
            .arg(layer)
            .arg("-C")
            .arg(&dev)
            .arg("--strip-components=2")
            .status();
        assert!(tar.expect("tar").success());
        let before = Listing::of(&dev);
        own_terminal_or_none(&host, &dev);
        before.check(&dev, "a start");
        host.canary.check();
    }
    host.unharmed();
}
