//! Rows 3, 5, 6 and 42: what is mounted where a hostile image, or a hostile container with a shared volume, has put a
//! link.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use lrun_tests::{Entry, Lrun, Output, long, skip};

use crate::host::Host;

/// Where links of a hostile image point to: the canary by its absolute path, by `..`, through `/proc`.
fn targets(host: &Host, name: &str) -> Vec<String> {
    let absolute = host.canary(name);
    let upwards = format!("../../../../../../../../../..{absolute}");
    vec![absolute, upwards, "/proc/self/fd/5".into(), "/proc/1/root".into(), "/proc/self/cwd".into(), "/nowhere".into()]
}

/// Runs in the image and shows the container's own files; lrun may also refuse.
fn run(lrun: &Lrun, image: &str, options: &[&str], script: &str) -> Output {
    lrun.run(&[&["run", "--rm", "--network", "none"], options, &[image, "sh", "-c", script]].concat())
}

/// Row 3, links at the engine's mount points: where an image has made `/proc`, `/sys`, `/dev` or `/etc` a link, a file or
/// a FIFO, lrun refuses or mounts inside the image, and `/proc` is either right or not there.
#[test]
fn mount_points_that_are_links_lead_nowhere() {
    let host = Host::empty();
    for point in ["proc", "sys", "dev", "etc", "bin/../proc"] {
        for (n, target) in targets(&host, "private").iter().enumerate() {
            let name = format!("link{n}");
            host.import(&name, |tar| tar.symlink(&format!("./{point}"), target));
            let output = run(&host.lrun, &name, &[], "stat -f -c %T /proc; [ -e /dev/null ] && echo dev");
            let refused = output.code == 125 && output.stderr.starts_with("lrun: ");
            assert!(refused || output.stdout == "proc\ndev\n", "{point} -> {target}: {output:?}");
            host.canary.check();
        }
    }
    for (n, kind) in [b'0', b'6'].into_iter().enumerate() {
        for point in ["./proc", "./sys", "./dev"] {
            let name = format!("other{n}");
            host.import(&name, |tar| tar.entry(Entry { name: point.as_bytes(), kind, ..Entry::default() }));
            let output = run(&host.lrun, &name, &[], "true");
            assert!(output.code == 125 && output.stderr.contains(&point[1..]), "{point}: {output:?}");
        }
    }
    host.unharmed();
}

/// Row 3, links at the engine's mount points: a terminal is asked for as well, which needs `/dev/pts` and `/dev/console`.
#[test]
fn a_terminal_is_the_containers_own_whatever_the_image_has_in_dev() {
    let host = Host::with(|tar| {
        let tar = tar.dir("./dev").symlink("./dev/pts", "/").symlink("./dev/console", "/etc/passwd");
        let tar =
            tar.symlink("./dev/ptmx", "/etc/passwd").file("./dev/null", b"fake").symlink("./dev/tty", "/etc/passwd");
        tar.entry(Entry { name: b"./dev/zero", kind: b'6', ..Entry::default() })
    });
    let script =
        "stat -c '%n %t:%T' /dev/null /dev/zero /dev/tty; stat -f -c %T /dev/pts; stat -c %t /dev/console; tty";
    let (shown, code) =
        host.lrun.pty(&["run", "-ti", "--rm", "--network", "none", "hostile", "sh", "-c", script]).finish();
    let expected = "/dev/null 1:3\r\n/dev/zero 1:5\r\n/dev/tty 5:0\r\ndevpts\r\n88\r\n/dev/pts/0\r\n";
    assert_eq!((shown.as_str(), code), (expected, 0));
    host.unharmed();
}

/// Row 42, generated files: where an image has links (also dangling ones, to itself, to the host's paths) for
/// `/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf` and `/etc/mtab`, they are covered, never written through.
#[test]
fn generated_files_are_mounted_over_links_not_through_them() {
    let host = Host::empty();
    for (n, target) in targets(&host, "open").iter().enumerate() {
        let name = format!("files{n}");
        host.import(&name, |tar| {
            let link = |tar: lrun_tests::Tar, name: &str| tar.symlink(&format!("./etc/{name}"), target);
            ["hosts", "hostname", "resolv.conf", "mtab"].into_iter().fold(tar, link)
        });
        let script = "grep -c localhost /etc/hosts; cat /etc/hostname; echo more >> /etc/hosts; echo more > /etc/resolv.conf; \
                      for f in hosts hostname resolv.conf; do [ -L /etc/$f ] && echo link; done; true";
        let output = run(&host.lrun, &name, &["-h", "inside"], script);
        let expected = "2\ninside\n";
        assert_eq!((output.code, output.stdout.as_str()), (0, expected), "{target}: {}", output.stderr);
        // What was mounted over is not part of the container's changes.
        host.lrun.ok(&["run", "--name", "kept", "--network", "none", &name, "true"]);
        assert_eq!(host.lrun.ok(&["diff", "kept"]), "", "{target}");
        host.lrun.ok(&["rm", "kept"]);
        host.canary.check();
    }
    host.unharmed();
}

/// Row 42, generated files: nor through a link in place of `/etc`.
#[test]
fn generated_files_stay_inside_where_etc_is_a_link() {
    let host = Host::empty();
    for (n, target) in
        targets(&host, "private").iter().chain([&"/dev".into(), &"/tmp".into(), &"etc".into()]).enumerate()
    {
        let name = format!("etc{n}");
        host.import(&name, |tar| tar.symlink("./etc", target));
        let output = run(&host.lrun, &name, &[], "cat /etc/hosts");
        let refused = output.code == 125 && output.stderr.starts_with("lrun: ");
        assert!(refused || output.stdout.contains("localhost"), "{target}: {output:?}");
        host.canary.check();
    }
    host.unharmed();
}

/// Row 5, redirected writes to procfs: nothing of the user's can be mounted over `/proc` or in it, said directly or by a
/// link of the image.
#[test]
fn nothing_is_mounted_over_proc() {
    let host = Host::with(|tar| {
        let tar = tar.symlink("./data", "/proc/sys").symlink("./all", "proc").symlink("./self", "/proc/self/attr");
        tar.symlink("./deep", "data/kernel")
    });
    let volume = host.lrun.folder().join("volume");
    fs::create_dir_all(volume.join("self/fd")).expect("a volume");
    fs::write(volume.join("self/uid_map"), "").expect("a fake file");
    for target in
        ["/data", "/all", "/self", "/deep", "/data/net", "/proc", "/proc/sys", "/proc/self", "/proc/../proc/sys"]
    {
        let bind = format!("{}:{target}", volume.display());
        let tmpfs = format!("type=tmpfs,target={target}");
        for mount in [["-v", &bind], ["--mount", &tmpfs], ["--tmpfs", target]] {
            let output = run(&host.lrun, "hostile", &mount, "true");
            assert_eq!(output.code, 125, "{mount:?}: {output:?}");
            assert!(output.stderr.contains("proc"), "{mount:?}: {output:?}");
        }
    }
    assert_eq!(fs::read_dir(&volume).expect("the volume").count(), 1, "nothing was made in the volume");
    host.unharmed();
}

/// Row 5: what is asked for read-only is read-only: the root, a volume with what is mounted below it, and the host's
/// `/sys` where its network is shared.
#[test]
fn read_only_is_read_only() {
    let host = Host::new();
    let volume = host.lrun.folder().join("volume");
    fs::create_dir(&volume).expect("a volume");
    fs::set_permissions(&volume, fs::Permissions::from_mode(0o777)).expect("chmod");
    let script = "for f in /new /etc/new /bin/new /etc/hosts /etc/resolv.conf /etc/hostname /proc/sys/kernel/hostname /sys/new; do \
                  (echo x > $f) 2>/dev/null && echo wrote $f; done; mkdir /sys/fs/cgroup/new 2>/dev/null && echo wrote; true";
    let output = run(&host.lrun, "busybox", &["--read-only"], script);
    assert_eq!((output.code, output.stdout.as_str()), (0, ""), "{}", output.stderr);

    let script = "(echo x > /v/new) 2>/dev/null && echo wrote; chmod 700 /v 2>/dev/null && echo changed; true";
    for options in [
        ["-v", &format!("{}:/v:ro", volume.display())],
        ["--mount", &format!("type=bind,source={},target=/v,readonly", volume.display())],
    ] {
        let output = run(&host.lrun, "busybox", &options, script);
        assert_eq!((output.code, output.stdout.as_str()), (0, ""), "{options:?}: {}", output.stderr);
    }
    let script = "awk '$5 ~ \"^/sys\" && $6 !~ /^ro/' /proc/self/mountinfo";
    for network in ["none", "host"] {
        let output = host.lrun.run(&["run", "--rm", "--network", network, "busybox", "sh", "-c", script]);
        assert_eq!(
            (output.code, output.stdout.as_str()),
            (0, ""),
            "writable with network {network}: {}",
            output.stderr
        );
    }
    host.unharmed();
}

/// Row 6, races for mount targets: while a container swaps a directory of a shared volume with a link, others are
/// started with a volume below it. Nothing is ever mounted or made outside of the new container.
#[test]
fn a_mount_target_that_is_swapped_stays_inside() {
    let host = Host::new();
    let Some(weapon) = host.weapon() else { skip!("no gcc to compile the attacker's program") };
    let shared = host.lrun.folder().join("shared");
    fs::create_dir_all(shared.join("a/b")).expect("a shared volume");
    let links = ["/", "../../../../../../../..", "/etc", &host.canary("private"), "/proc/self", "/sys/../tmp"];
    for (n, link) in links.iter().enumerate() {
        let other = format!("link{n}");
        symlink(link, shared.join(&other)).expect("a link");
        let volume = format!("{}:/shared", shared.display());
        let swap = ["/attack", "swap", "/shared/a", &format!("/shared/{other}")];
        let racer = ["run", "-d", "--name", "racer", "--network", "none", "-v", &weapon, "-v", &volume, "busybox"];
        host.lrun.ok(&[&racer[..], &swap].concat());
        let canary = host.canary("");
        for round in 0..if long() { 400 } else { 12 } {
            let nested = format!("{canary}:/v/a/b{}:ro", if round % 2 == 0 { "" } else { "/new" });
            let file = format!("{}:/v/a/file{round}:ro", host.canary("plain"));
            let options = ["-v", &volume.replace(":/shared", ":/v"), "-v", &nested, "-v", &file];
            let output = run(&host.lrun, "busybox", &options, "true");
            assert!(output.code == 0 || output.stderr.starts_with("lrun: "), "{link}: {output:?}");
        }
        host.lrun.ok(&["rm", "-f", "racer"]);
        host.canary.check();
        // The targets are made in the volume, as the user asked; nowhere else.
        for name in fs::read_dir(&shared).expect("the volume").flatten().map(|entry| entry.file_name()) {
            let name = name.to_string_lossy().into_owned();
            assert!(name == "a" || name.starts_with("link"), "{link}: {name} was made in the volume");
        }
        restore(&shared, &other);
    }
    host.unharmed();
}

/// The swapper may have stopped with the link at the directory's name.
fn restore(shared: &std::path::Path, other: &str) {
    if shared.join("a").is_symlink() {
        fs::remove_file(shared.join("a")).expect("remove the link");
        fs::rename(shared.join(other), shared.join("a")).expect("put the directory back");
    } else {
        fs::remove_file(shared.join(other)).expect("remove the link");
    }
}
