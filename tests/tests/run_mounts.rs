//! What a container sees of files: binds, tmpfs, the root, `/dev`, `/proc`, `/sys`, and what of it shows in `diff`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use lrun_tests::{Canary, Entry, Lrun, Mode, Tar, eventually, images, mode, skip};

/// `run --rm --network none FLAGS busybox sh -c SCRIPT`.
fn words<'a>(flags: &[&'a str], script: &'a str) -> Vec<&'a str> {
    [&["run", "--rm", "--network", "none"][..], flags, &["busybox", "sh", "-c", script]].concat()
}

#[track_caller]
fn sh(lrun: &Lrun, flags: &[&str], script: &str) -> String {
    lrun.ok(&words(flags, script))
}

/// A folder of the test's with a file in it; everybody may write.
fn shared(lrun: &Lrun, name: &str) -> PathBuf {
    let folder = lrun.folder().join(name);
    fs::create_dir(&folder).expect("a folder");
    fs::set_permissions(&folder, PermissionsExt::from_mode(0o777)).expect("chmod");
    fs::write(folder.join("file"), "of the host\n").expect("a file");
    folder
}

fn flag(source: &Path, target: &str) -> String {
    format!("{}:{target}", source.display())
}

/// The type and options of a mount, without what depends on the file system and the ids.
fn mount_of(table: &str, target: &str) -> String {
    let line = table.lines().rfind(|line| line.split(' ').nth(1) == Some(target));
    let line = line.unwrap_or_else(|| panic!("{target} is not mounted:\n{table}"));
    let fields: Vec<&str> = line.split(' ').collect();
    let generic = ["ro", "rw", "nosuid", "nodev", "noexec", "relatime", "noatime", "nodiratime"];
    let own = |option: &&str| {
        generic.contains(option) || ["size=", "mode=", "ptmxmode=", "nr_inodes="].iter().any(|o| option.starts_with(o))
    };
    let options: Vec<&str> = fields[3].split(',').filter(own).collect();
    format!("{} {}", fields[2], options.join(","))
}

#[test]
fn what_is_mounted_is_what_docker_mounts() {
    let lrun = Lrun::with_busybox();
    let table = sh(&lrun, &[], "cat /proc/mounts");
    assert!(table.starts_with("overlay / overlay rw,"), "{table}");
    for (target, expected) in [
        ("/proc", "proc rw,nosuid,nodev,noexec,relatime"),
        ("/dev", "tmpfs rw,nosuid,size=65536k,mode=755"),
        ("/dev/pts", "devpts rw,nosuid,noexec,relatime,mode=620,ptmxmode=666"),
        ("/dev/mqueue", "mqueue rw,nosuid,nodev,noexec,relatime"),
        ("/dev/shm", "tmpfs rw,nosuid,nodev,noexec,relatime,size=65536k"),
        ("/sys", "sysfs ro,nosuid,nodev,noexec,relatime"),
        ("/sys/fs/cgroup", "cgroup2 ro,nosuid,nodev,noexec,relatime"),
        ("/proc/sys", "proc ro,nosuid,nodev,noexec,relatime"),
        ("/proc/bus", "proc ro,nosuid,nodev,noexec,relatime"),
    ] {
        if target == "/sys/fs/cgroup" && !table.contains(" /sys/fs/cgroup ") {
            continue; // without cgroup v2 on the host there is none to show
        }
        assert_eq!(mount_of(&table, target), expected, "{target}");
    }
    assert_eq!(sh(&lrun, &[], "stat -c %a /dev/shm /dev/pts /tmp"), "1777\n755\n1777");
    let devices = "cd /dev; stat -c '%n %a %t:%T' full null random tty urandom zero; for l in fd stdin stdout stderr ptmx; do readlink $l; done";
    assert_eq!(
        sh(&lrun, &[], devices),
        "full 666 1:7\nnull 666 1:3\nrandom 666 1:8\ntty 666 5:0\nurandom 666 1:9\n\
        zero 666 1:5\n/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx"
    );
}

#[test]
fn system_paths_are_masked_and_read_only_unless_unconfined() {
    let lrun = Lrun::with_busybox();
    let masked = "for p in acpi asound kcore keys latency_stats sched_debug scsi timer_list timer_stats interrupts; do
        p=/proc/$p; if [ -d $p ]; then ls -A $p; elif [ -e $p ]; then head -c 1 $p | wc -c; fi; done; ls -A /sys/firmware";
    assert_eq!(sh(&lrun, &[], masked).replace(['0', '\n'], ""), "", "a masked path shows something");
    let write = "for p in /proc/sys/kernel/hostname /proc/sys/vm/overcommit_memory /proc/sysrq-trigger /sys/kernel/uevent_helper; do
        if [ -e $p ]; then sh -c \"echo 1 > $p\" 2>/dev/null && echo wrote $p; fi; done; true";
    assert_eq!(sh(&lrun, &["--cap-add", "ALL"], write), "");
    let count = |flags: &[&str]| sh(&lrun, flags, "grep -c -E ' /(proc|sys)/' /proc/mounts || true");
    assert!(count(&[]).parse::<u32>().expect("a number") > 4);
    let open = count(&["--security-opt", "systempaths=unconfined"]).parse::<u32>().expect("a number");
    assert!(open <= 1, "only /sys/fs/cgroup is left, not {open}");
}

#[test]
fn a_folder_of_the_host_is_shared() {
    let lrun = Lrun::with_busybox();
    let folder = shared(&lrun, "shared");
    let bind = flag(&folder, "/data");
    assert_eq!(sh(&lrun, &["-v", &bind], "cat /data/file; echo new > /data/new"), "of the host");
    assert_eq!(fs::read_to_string(folder.join("new")).expect("the new file"), "new\n");
    let relative = lrun.ok(&words(&["-v", "./shared:/data"], "ls /data"));
    assert_eq!(relative, "file\nnew");
    for flags in
        [["-v", &format!("{bind}:ro")], ["--mount", &format!("type=bind,src={},dst=/data,readonly", folder.display())]]
    {
        let script =
            "grep -o ' /data [^ ]* ro,' /proc/mounts | wc -l; touch /data/x 2>&1; rm /data/file 2>&1; cat /data/file";
        let denied = "1\ntouch: /data/x: Read-only file system\nrm: can't remove '/data/file': Read-only file system\nof the host";
        assert_eq!(sh(&lrun, &flags, script), denied, "{flags:?}");
    }
    let user = sh(&lrun, &["-v", &bind, "-u", "alice"], "id -u > /data/who; cat /data/who");
    assert_eq!(user, "1000");
}

#[test]
fn files_and_links_are_bound_by_what_they_are() {
    let lrun = Lrun::with_busybox();
    let folder = shared(&lrun, "shared");
    symlink("file", folder.join("link")).expect("a link");
    let bind = |source: &str, target: &str| flag(&folder.join(source), target);
    assert_eq!(sh(&lrun, &["-v", &bind("file", "/etc/passwd:ro")], "cat /etc/passwd"), "of the host");
    let deep = sh(&lrun, &["-v", &bind("link", "/deep/er/copy")], "cat /deep/er/copy; stat -c %F /deep/er/copy");
    assert_eq!(deep, "of the host\nregular file");
    for (source, target, complaint) in [
        ("file", "/etc", "mount /etc: a file is mounted there, but in the image /etc is a directory"),
        (
            "",
            "/etc/group",
            "mount /etc/group: a directory is mounted there, but in the image /etc/group is no directory",
        ),
    ] {
        assert_eq!(lrun.fails(125, &words(&["-v", &bind(source, target)], "true")), format!("lrun: {complaint}\n"));
    }
}

#[test]
fn a_missing_source_is_made_for_v_and_refused_for_mount() {
    let lrun = Lrun::with_busybox();
    let canary = Canary::new(lrun.folder());
    let missing = lrun.folder().join("not/there");
    let mount = format!("type=bind,src={},dst=/data", missing.display());
    let refused = lrun.fails(125, &["run", "--name", "web", "--mount", &mount, "busybox", "true"]);
    let line = format!(
        "lrun: invalid mount config for type \"bind\": bind source path does not exist: {}\n",
        missing.display()
    );
    assert!(refused.starts_with(&line), "{refused}");
    assert!(!missing.exists() && lrun.ok(&["ps", "-aq"]).is_empty(), "something was made");
    assert_eq!(sh(&lrun, &["-v", &flag(&missing, "/data")], "echo x > /data/x; stat -c %U /data"), "root");
    assert!(missing.join("x").exists());
    fs::remove_dir_all(lrun.folder().join("not")).expect("remove it");
    sh(&lrun, &["--mount", &format!("{mount},bind-create-src")], "true");
    assert!(missing.is_dir());
    // A container whose source has gone meanwhile gets it again, or says so.
    lrun.ok(&[
        "create",
        "--network",
        "none",
        "--name",
        "made",
        "-v",
        &flag(&missing, "/data"),
        "busybox",
        "ls",
        "/data",
    ]);
    lrun.ok(&["create", "--network", "none", "--name", "strict", "--mount", &mount, "busybox", "ls", "/data"]);
    fs::remove_dir(&missing).expect("remove it");
    lrun.fails(1, &["start", "-a", "strict"]);
    assert_eq!(lrun.ok(&["start", "-a", "made"]), "");
    assert!(missing.is_dir());
    symlink("nowhere", lrun.folder().join("dangling")).expect("a link");
    let dangling = lrun.fails(125, &words(&["-v", &flag(&lrun.folder().join("dangling"), "/data")], "true"));
    assert!(dangling.contains("bind source path does not exist"), "{dangling}");
    canary.check();
}

#[test]
fn mounts_nest_in_any_order() {
    let lrun = Lrun::with_busybox();
    let (outer, inner) = (shared(&lrun, "outer"), shared(&lrun, "inner"));
    let (outer_flag, inner_flag) = (flag(&outer, "/a"), flag(&inner, "/a/b"));
    for flags in [["-v", &outer_flag, "-v", &inner_flag], ["-v", &inner_flag, "-v", &outer_flag]] {
        let flags = [&flags[..], &["--tmpfs", "/a/b/c"]].concat();
        assert_eq!(
            sh(&lrun, &flags, "echo x > /a/b/new; touch /a/b/c/gone; ls /a /a/b"),
            "/a:\nb\nfile\n\n/a/b:\nc\nfile\nnew"
        );
    }
    assert!(outer.join("b").is_dir() && !outer.join("b/new").exists(), "the mount point was made in the outer folder");
    let twice = lrun.fails(125, &words(&["-v", &outer_flag, "--tmpfs", "/a/"], "true"));
    assert_eq!(twice, "lrun: Duplicate mount point: /a\n");
    let sizes = ["--tmpfs", "/t:size=64k", "--tmpfs", "/t/:size=128k"];
    assert_eq!(sh(&lrun, &sizes, "df -k /t | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2"), "128", "the last wins");
    assert_eq!(sh(&lrun, &["-v", &outer_flag, "-v", &outer_flag], "ls /a"), "b\nfile");
}

#[test]
fn mounts_below_a_source_come_along_and_are_read_only_too() {
    if mode() != Mode::Root {
        skip!("only root can mount something on the host");
    }
    let lrun = Lrun::with_busybox();
    let folder = shared(&lrun, "shared");
    fs::create_dir(folder.join("below")).expect("a folder");
    let lrun_with = |mount: &str, script: &str| {
        let prepare = format!("mount -t tmpfs below {}/below && exec \"$@\"", folder.display());
        let wrapper = ["unshare", "--mount", "sh", "-c", &prepare, "sh"];
        let mount = format!("type=bind,src={},dst=/data,{mount}", folder.display());
        lrun.spawn_in(&wrapper, &words(&["--mount", &mount], script)).wait()
    };
    let script = "touch /data/below/x 2>/dev/null && echo below; touch /data/x 2>/dev/null && echo top; true";
    for (options, expected) in [
        ("readonly=false", "below\ntop\n"),
        ("readonly", ""),
        ("readonly,bind-recursive=writable", "below\n"),
        ("readonly,bind-recursive=readonly", ""),
    ] {
        let output = lrun_with(options, script);
        assert_eq!((output.code, output.stdout.as_str()), (0, expected), "{options}: {}", output.stderr);
    }
    // In a user namespace nothing that a mount hides can be uncovered.
    let alone = lrun_with("bind-recursive=disabled", script);
    assert_eq!(alone.code, 125);
    assert!(alone.stderr.contains("cannot be bound without the mounts below it"), "{}", alone.stderr);
    let plain = format!("type=bind,src={},dst=/data,bind-nonrecursive", folder.display());
    assert_eq!(sh(&lrun, &["--mount", &plain], "ls /data"), "below\nfile\nx");
}

#[test]
fn the_hosts_later_mounts_show_only_with_slave_propagation() {
    if mode() != Mode::Root {
        skip!("only root can mount something on the host");
    }
    let lrun = Lrun::with_busybox();
    let folder = shared(&lrun, "shared");
    fs::create_dir(folder.join("later")).expect("a folder");
    let at = folder.display();
    let script = format!(
        "set -e; mount --bind {at} {at}; mount --make-shared {at}
         \"$@\" run -d --network none --name slave -v {at}:/data:rslave busybox sleep 1000
         \"$@\" run -d --network none --name private -v {at}:/data busybox sleep 1000
         mount -t tmpfs later {at}/later; touch {at}/later/x
         \"$@\" exec slave ls /data/later; \"$@\" exec private ls /data/later"
    );
    let output = lrun.spawn_in(&["unshare", "--mount", "sh", "-c", &script, "sh"], &[] as &[&str]).wait();
    assert_eq!(output.code, 0, "{}", output.stderr);
    let shown: Vec<&str> = output.stdout.lines().skip(2).collect();
    assert_eq!(shown, ["x"], "{}", output.stdout);
    let refused = lrun.fails(125, &words(&["-v", &format!("{at}:/data:rshared")], "true"));
    assert!(
        refused.starts_with("lrun: bind propagation rshared: mounts of a container cannot show on the host\n"),
        "{refused}"
    );
}

#[test]
fn tmpfs_takes_its_options() {
    let lrun = Lrun::with_busybox();
    let single = mode() == Mode::Single;
    for (flags, expected, modes) in [
        (["--tmpfs", "/t"], "tmpfs rw,nosuid,nodev,noexec,relatime", "1777 0"),
        (["--tmpfs", "/t:size=1m,mode=700"], "tmpfs rw,nosuid,nodev,noexec,relatime,size=1024k,mode=700", "700 0"),
        (["--tmpfs", "/t:exec,suid,dev,noatime"], "tmpfs rw,noatime", "1777 0"),
        (["--tmpfs", "/t:ro"], "tmpfs ro,nosuid,nodev,noexec,relatime", "1777 0"),
        (
            ["--tmpfs", "/t:uid=1000,mode=750"],
            "tmpfs rw,nosuid,nodev,noexec,relatime,mode=750",
            if single { "750 0" } else { "750 1000" },
        ),
        (
            ["--mount", "type=tmpfs,dst=/t,tmpfs-size=2m,tmpfs-mode=1770"],
            "tmpfs rw,nosuid,nodev,noexec,relatime,size=2048k,mode=1770",
            "1770 0",
        ),
        (["--mount", "type=tmpfs,dst=/t,readonly"], "tmpfs ro,nosuid,nodev,noexec,relatime", "1777 0"),
    ] {
        let found = sh(&lrun, &flags, "cat /proc/mounts; stat -c '%a %u' /t");
        let (table, found_modes) = found.rsplit_once('\n').expect("two parts");
        assert_eq!((mount_of(table, "/t").as_str(), found_modes), (expected, modes), "{flags:?}");
    }
    let full = lrun.run(&words(&["--tmpfs", "/t:size=4k"], "dd if=/dev/zero of=/t/x bs=10000 count=1"));
    assert!(full.code != 0 && full.stderr.contains("No space left on device"), "{}", full.stderr);
    for (value, complaint) in [("/t:shiny", "invalid tmpfs option [\"shiny\"]"), ("t", "mount path must be absolute")] {
        let refused = lrun.fails(125, &words(&["--tmpfs", value], "true"));
        assert!(refused.contains(complaint), "{refused}");
    }
    if mode() == Mode::Subids {
        let refused = lrun.fails(125, &["run", "--tmpfs", "/t:uid=2000000000", "busybox", "true"]);
        assert!(refused.starts_with("lrun: mount /t: uid=2000000000 is not among the ids"), "{refused}");
        assert_eq!(lrun.ok(&["ps", "-aq"]), "");
    }
}

#[test]
fn a_read_only_root_is_read_only_and_complete() {
    let lrun = Lrun::with_busybox();
    let folder = shared(&lrun, "shared");
    let bind = flag(&folder, "/made/for/it");
    let script = "pwd; ls /made/for/it; for f in /x /tmp/x /etc/hosts /w/x; do echo > $f; done 2>&1; touch /run/x /dev/shm/x /made/for/it/x && echo rest";
    let shown = sh(&lrun, &["--read-only", "-w", "/w", "-v", &bind, "--tmpfs", "/run"], script);
    let denied = ["/x", "/tmp/x", "/etc/hosts", "/w/x"].map(|f| format!("sh: can't create {f}: Read-only file system"));
    assert_eq!(shown, format!("/w\nfile\n{}\nrest", denied.join("\n")));
    let script = "id -u; pwd; echo > /x; mount -o remount,rw / || umount /proc/sys || echo kept";
    let user = sh(&lrun, &["--read-only", "-u", "1000", "-w", "/made"], &format!("({script}) 2>&1"));
    assert!(user.starts_with("1000\n/made\nsh: can't create /x: Read-only file system\n"), "{user}");
    assert!(user.ends_with("\nkept"), "{user}");
}

#[test]
fn shared_memory_has_the_size_asked_for() {
    let lrun = Lrun::with_busybox();
    let small = sh(&lrun, &["--shm-size", "1m"], "grep ' /dev/shm ' /proc/mounts");
    assert!(small.starts_with("shm /dev/shm tmpfs ") && small.contains("size=1024k"), "{small}");
    assert!(sh(&lrun, &["--shm-size", "0"], "grep ' /dev/shm ' /proc/mounts").contains("size=65536k"));
    let wrong = lrun.fails(125, &words(&["--shm-size", "much"], "true"));
    assert!(wrong.contains("invalid argument \"much\" for \"--shm-size\" flag"), "{wrong}");
}

#[test]
fn devices_are_given_by_path_and_nothing_else_is() {
    let lrun = Lrun::with_busybox();
    let script = "stat -c %t:%T /dev/none /else/zero; echo x > /dev/none; head -c 2 /else/zero | od -An -tx1";
    let shown = sh(&lrun, &["--device", "/dev/null:/dev/none", "--device", "/dev/zero:/else/zero:rw"], script);
    assert_eq!(shown, "1:3\n1:5\n 00 00");
    let file = lrun.file("file", "x");
    let folder = shared(&lrun, "shared");
    for (device, complaint) in [
        (file.to_str().expect("UTF-8"), "not a device node"),
        (folder.to_str().expect("UTF-8"), "no device nodes in it"),
        ("/dev/missing", "no such file or directory"),
    ] {
        let refused = lrun.fails(125, &words(&["--device", device], "true"));
        let line =
            format!("lrun: error gathering device information while adding custom device \"{device}\": {complaint}\n");
        assert_eq!(refused, line);
    }
    let less = lrun.fails(125, &words(&["--device", "/dev/null:r"], "true"));
    assert!(less.contains("cannot be given for less than reading and writing"), "{less}");
    if Path::new("/dev/net/tun").exists() {
        assert_eq!(sh(&lrun, &["--device", "/dev/net:/dev/mine"], "ls /dev/mine"), "tun");
    }
}

#[test]
fn only_what_the_user_did_shows_in_diff() {
    let lrun = Lrun::with_busybox();
    let folder = shared(&lrun, "shared");
    let quiet =
        ["run", "--network", "none", "--name", "quiet", "-v", &flag(&folder, "/tmp"), "--tmpfs", "/opt", "busybox"];
    lrun.ok(&[&quiet[..], &["sh", "-c", "echo >> /etc/hosts; touch /tmp/x /opt/x /dev/shm/x"]].concat());
    assert_eq!(lrun.ok(&["diff", "quiet"]), "");
    let made = [
        "run",
        "--network",
        "none",
        "--name",
        "made",
        "-v",
        &flag(&folder, "/srv/a"),
        "--tmpfs",
        "/t",
        "busybox",
        "true",
    ];
    lrun.ok(&made);
    assert_eq!(lrun.ok(&["diff", "made"]), "A /srv\nA /srv/a\nA /t");
}

#[test]
fn a_folder_over_etc_or_dev_gets_no_files_of_the_engines() {
    let lrun = Lrun::with_busybox();
    for target in ["/etc", "/dev"] {
        let folder = lrun.folder().join(&target[1..]);
        fs::create_dir(&folder).expect("a folder");
        fs::set_permissions(&folder, PermissionsExt::from_mode(0o777)).expect("chmod");
        assert_eq!(sh(&lrun, &["-v", &flag(&folder, target)], &format!("ls -A {target}")), "");
        assert_eq!(fs::read_dir(&folder).expect("the folder").count(), 0, "{target}");
    }
    // Those that are there are covered.
    fs::write(lrun.folder().join("etc/hosts"), "untouched\n").expect("a file");
    let hosts = sh(&lrun, &["-v", &flag(&lrun.folder().join("etc"), "/etc")], "head -n 1 /etc/hosts; ls /etc");
    assert_eq!(hosts, "127.0.0.1\tlocalhost\nhosts");
    assert_eq!(fs::read_to_string(lrun.folder().join("etc/hosts")).expect("hosts"), "untouched\n");
    // The host's devices, and terminals of the container's own.
    let terminal =
        lrun.pty(&words(&["-ti", "-v", "/dev:/dev"], "tty; echo x > /dev/null; test -c /dev/full && echo full"));
    assert_eq!(terminal.finish(), ("/dev/pts/0\r\nfull\r\n".to_owned(), 0));
}

/// The busybox image with these entries on top.
fn image_with(lrun: &Lrun, name: &str, entries: Tar) {
    let mut archive = fs::read(images("busybox.tar")).expect("the image");
    let end = archive.chunks(512).rposition(|block| block.iter().any(|byte| *byte != 0)).expect("an entry") + 1;
    archive.truncate(end * 512);
    archive.extend(entries.finish());
    lrun.import_bytes(&archive, name);
}

#[test]
fn targets_that_are_links_stay_inside() {
    let lrun = Lrun::new();
    let canary = Canary::new(lrun.folder());
    let outside = canary.path().to_str().expect("UTF-8");
    let entries = Tar::new()
        .symlink("out", outside)
        .symlink("up", "../../../../opt")
        .symlink("etc/resolv.conf", "../run/resolv.conf")
        .symlink("etc/hosts", &format!("{outside}/open"))
        .symlink("etc/hostname", "/proc/self/fd/0");
    image_with(&lrun, "links", entries);
    let folder = shared(&lrun, "shared");
    let run = |flags: &[&str], script: &str| {
        lrun.ok(
            &[&["run", "--rm", "--network", "none", "-h", "box"][..], flags, &["links", "sh", "-c", script]].concat()
        )
    };
    assert_eq!(run(&["-v", &flag(&folder, "/up/x")], "ls /opt/x"), "file", "a link is followed inside the root");
    assert_eq!(run(&["-v", &flag(&folder, "/out/x")], &format!("ls {outside}/x")), "file");
    let script =
        "cat /etc/hostname; tail -n 1 /etc/hosts; for f in hosts hostname resolv.conf; do stat -c %F /etc/$f; done";
    assert_eq!(run(&[], script), "box\n127.0.1.1\tbox\nregular file\nregular file\nregular file");
    lrun.ok(&["run", "--network", "none", "--name", "web", "links", "true"]);
    assert_eq!(lrun.ok(&["diff", "web"]), "", "mount points made are no change");
    canary.check();
}

#[test]
fn an_image_of_one_file_has_all_mount_points() {
    let lrun = Lrun::new();
    let archive = fs::read(images("busybox.tar")).expect("the image");
    let busybox = entry_of(&archive, "./bin/busybox");
    let entry = Entry { name: b"busybox", mode: 0o755, data: &busybox, ..Entry::default() };
    lrun.import_bytes(&Tar::new().entry(entry).finish(), "bare");
    let script = "/busybox ls / /etc; /busybox head -n 1 /etc/hosts; echo ok > /dev/null; /busybox ls /proc/self/fd | /busybox wc -l";
    let shown = lrun.ok(&["run", "--network", "none", "--name", "web", "bare", "/busybox", "sh", "-c", script]);
    assert_eq!(
        shown,
        "/:\nbusybox\ndev\netc\nproc\nsys\n\n/etc:\nhostname\nhosts\nmtab\nresolv.conf\n127.0.0.1\tlocalhost\n4"
    );
    assert_eq!(lrun.ok(&["diff", "web"]), "");
}

/// Mount points that an image hides are not made among the container's changes, and the directories above them stay as
/// they are.
#[test]
fn an_image_that_hides_the_mount_points_gets_them_back() {
    let lrun = Lrun::new();
    let opaque = Tar::new()
        .entry(Entry { name: b"etc/", kind: b'5', mode: 0o751, ..Entry::default() })
        .file("etc/.wh..wh..opq", b"")
        .file("etc/kept", b"kept\n")
        .file(".wh.proc", b"")
        .file(".wh.sys", b"");
    image_with(&lrun, "hiding", opaque);
    let script =
        "ls /etc; stat -c '%a %Y %u' /etc; head -n 1 /etc/hosts; test -e /proc/self && test -d /sys/class && echo both";
    let shown = lrun.ok(&["run", "--network", "none", "--name", "web", "hiding", "sh", "-c", script]);
    let names = "group\nhostname\nhosts\nkept\npasswd\nresolv.conf";
    assert_eq!(shown, format!("{names}\n751 1700000000 0\n127.0.0.1\tlocalhost\nboth"));
    assert_eq!(lrun.ok(&["diff", "web"]), "");
    // What is changed beside them is a change, also in a second run, and all that a commit has.
    lrun.ok(&["run", "--network", "none", "--name", "own", "hiding", "sh", "-c", "echo own >> /etc/kept"]);
    assert_eq!(lrun.ok(&["start", "-a", "own"]), "");
    assert_eq!(lrun.ok(&["diff", "own"]), "C /etc\nC /etc/kept");
    lrun.ok(&["commit", "own", "after"]);
    assert_eq!(lrun.ok(&["run", "--rm", "--network", "none", "after", "cat", "/etc/kept"]), "kept\nown\nown");
    let readonly =
        ["run", "--rm", "--network", "none", "--read-only", "hiding", "sh", "-c", "touch /etc/x; ls /etc/hosts"];
    assert_eq!(lrun.run(&readonly).stdout, "/etc/hosts\n");
}

/// A file's content from a ustar archive.
fn entry_of(archive: &[u8], name: &str) -> Vec<u8> {
    let mut at = 0;
    loop {
        let header = &archive[at..at + 512];
        let text = |range: std::ops::Range<usize>| {
            String::from_utf8_lossy(&header[range]).trim_matches(['\0', ' ']).to_owned()
        };
        let size = usize::from_str_radix(&text(124..136), 8).expect("a size");
        if text(0..100) == name {
            return archive[at + 512..at + 512 + size].to_vec();
        }
        at += 512 + size.next_multiple_of(512);
    }
}

#[test]
fn volumes_do_not_exist_yet_and_what_an_image_declares_is_kept() {
    let lrun = Lrun::new();
    let archive = images("busybox.tar");
    lrun.ok(&["import", "-c", "VOLUME /var/lib/files", archive.to_str().expect("UTF-8"), "busybox"]);
    for (flags, what) in [
        (["-v", "data:/x"], "named volume \"data\""),
        (["-v", "/x"], "anonymous volume at /x"),
        (["--mount", "type=volume,src=data,dst=/x"], "mount of type volume (data)"),
    ] {
        let refused = lrun.fails(125, &words(&flags, "true"));
        assert!(
            refused.starts_with(&format!("lrun: {what}: this version of lrun has no volumes\n  hint: ")),
            "{refused}"
        );
    }
    lrun.ok(&[
        "run",
        "--network",
        "none",
        "--name",
        "web",
        "busybox",
        "sh",
        "-c",
        "rm /var/lib/files/*; echo kept > /var/lib/files/new",
    ]);
    lrun.ok(&["commit", "web", "after"]);
    assert_eq!(
        lrun.ok(&[
            "run",
            "--rm",
            "--network",
            "none",
            "after",
            "sh",
            "-c",
            "ls /var/lib/files; cat /var/lib/files/new"
        ]),
        "new\nkept"
    );
}

#[test]
fn a_detached_container_keeps_its_mounts() {
    let lrun = Lrun::with_busybox();
    let folder = shared(&lrun, "shared");
    lrun.ok(&[
        "run",
        "-d",
        "--network",
        "none",
        "--name",
        "web",
        "-v",
        &flag(&folder, "/data"),
        "busybox",
        "sh",
        "-c",
        "while [ ! -e /data/go ]; do sleep 0.02; done; touch /data/went; sleep 1000",
    ]);
    fs::write(folder.join("go"), "").expect("a file");
    eventually("the container sees the host's file, and the host the container's", || folder.join("went").exists());
    lrun.ok(&["rm", "-f", "web"]);
    assert!(folder.join("file").exists(), "removal leaves the host's files alone");
}

/// What an image names as volumes is there and is written, also where the root is not; in an image that is built on it, and in
/// a directory of the host that is mounted above, nothing is made.
#[test]
fn an_images_volumes_are_made_and_written() {
    let lrun = Lrun::with_busybox();
    let text = "FROM busybox\nRUN mkdir /data && echo seed >/data/seed\nVOLUME /data /made/for/it relative\n";
    assert_eq!(lrun.run_with(text.as_bytes(), &["build", "-q", "-t", "base", "-"]).code, 0);
    let run = ["run", "--rm", "--read-only", "--network", "none", "base", "sh", "-c"];
    let script = "cat /data/seed; echo x >/data/x; echo y >/made/for/it/y; ls /relative; touch /made/no || echo sealed";
    assert_eq!(lrun.run(&[&run[..], &[script]].concat()).stdout, "seed\nsealed\n");

    lrun.ok(&["run", "--name", "box", "--network", "none", "base", "sh", "-c", "echo x >/made/for/it/x"]);
    assert_eq!(lrun.ok(&["diff", "box"]), "A /made\nA /made/for\nA /made/for/it\nA /made/for/it/x\nA /relative");
    let text = "FROM base\nRUN test ! -e /made && touch /ran\n";
    assert_eq!(lrun.run_with(text.as_bytes(), &["build", "-q", "-t", "above", "-"]).code, 0);
    fs::create_dir(lrun.folder().join("made")).expect("a directory");
    let volume = format!("{}:/made", lrun.folder().join("made").display());
    lrun.ok(&["run", "--rm", "-v", &volume, "--network", "none", "base", "true"]);
    assert_eq!(fs::read_dir(lrun.folder().join("made")).expect("a directory").count(), 0);

    // Before the first start, too, and so is the working directory.
    lrun.ok(&[
        "create",
        "--name",
        "new",
        "-w",
        "/work/here",
        "--network",
        "none",
        "base",
        "cat",
        "a",
        "/made/for/it/b",
    ]);
    lrun.ok(&["cp", "-q", lrun.file("a", "a\n").to_str().expect("UTF-8"), "new:/work/here/"]);
    lrun.ok(&["cp", "-q", lrun.file("b", "b\n").to_str().expect("UTF-8"), "new:/made/for/it/"]);
    assert_eq!(lrun.ok(&["start", "-a", "new"]), "a\nb");
    let sealed = ["create", "--name", "sealed", "--read-only", "-w", "/work/here", "--network", "none", "base"];
    lrun.ok(&[&sealed[..], &["cat", "/data/a", "/data/b"]].concat());
    lrun.ok(&["cp", "-q", "a", "sealed:/data/"]);
    assert!(lrun.fails(1, &["cp", "-q", "a", "sealed:/work/here/"]).contains("container rootfs is marked read-only"));
    lrun.run(&["start", "-a", "sealed"]);
    lrun.ok(&["cp", "-q", "b", "sealed:/data/"]);
    assert_eq!(lrun.ok(&["start", "-a", "sealed"]), "a\nb");
}
