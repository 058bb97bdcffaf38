//! Rows 7, 8 and 9: what a process of a container may do and who it is, whatever the image's files say.

use lrun_tests::{Entry, Lrun, Mode, mode};

use crate::host::Host;

/// podman's eleven, the default set.
pub const DEFAULT: u64 = 0x8004_05fb;
const NET_RAW: u64 = 1 << 13;
const SYS_PTRACE: u64 = 1 << 19;

/// The capability lines of a status file: inheritable, permitted, effective, bounding, ambient.
#[track_caller]
pub fn capabilities(status: &str) -> [u64; 5] {
    ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
        u64::from_str_radix(line.unwrap_or_else(|| panic!("no {name} in {status:?}")), 16).expect("hexadecimal digits")
    })
}

/// Row 7, capabilities: the five sets of a process are those of the plan, for root and for another user, for the first
/// process and for what `exec` adds. Inheritable and ambient are empty unless a capability was added for another user.
#[test]
fn capability_sets_are_exact() {
    let host = Host::new();
    let cases: [(&[&str], u64, u64); 5] = [
        (&[], DEFAULT, 0),
        (&["--cap-drop", "ALL"], 0, 0),
        (&["--cap-add", "NET_RAW"], DEFAULT | NET_RAW, NET_RAW),
        (&["--cap-drop", "ALL", "--cap-add", "sys_ptrace"], SYS_PTRACE, SYS_PTRACE),
        (&["--init"], DEFAULT, 0),
    ];
    for (options, bounding, added) in cases {
        let start = ["run", "-d", "--name", "caps", "--network", "none"];
        host.lrun.ok(&[&start, options, &["busybox", "sleep", "1000"]].concat());
        for (user, own, kept) in [("0", bounding, 0), ("1000", added, added), ("7:8", added, added)] {
            let expected = [kept, own, own, bounding, kept];
            let show = ["cat", "/proc/self/status"];
            let run = ["run", "--rm", "--network", "none", "-u", user];
            let status = host.lrun.ok(&[&run, options, &["busybox"], &show[..]].concat());
            assert_eq!(capabilities(&status), expected, "run {options:?} as {user}");
            let status = host.lrun.ok(&[&["exec", "-u", user, "caps"], &show[..]].concat());
            assert_eq!(capabilities(&status), expected, "exec {options:?} as {user}");
        }
        host.lrun.ok(&["rm", "-f", "caps"]);
    }
    host.unharmed();
}

/// The image `hostile` with programs that carry privileges: file capabilities, all of them, effective or not, and the setuid bit.
pub fn privileged_programs(host: &Host) {
    let busybox = host.lrun.run(&["run", "--rm", "--network", "none", "busybox", "cat", "/bin/busybox"]).bytes;
    let all = |flags: u32| -> Vec<u8> {
        let words = [0x0200_0000 | flags, u32::MAX, u32::MAX, 0x1ff, 0x1ff];
        words.into_iter().flat_map(u32::to_le_bytes).collect()
    };
    host.import("hostile", |tar| {
        let program = |name: &'static [u8], mode| Entry { name, mode, data: &busybox, ..Entry::default() };
        let tar =
            tar.pax(&[("SCHILY.xattr.security.capability", &all(1))]).entry(program(b"./busybox-effective", 0o755));
        let tar =
            tar.pax(&[("SCHILY.xattr.security.capability", &all(0))]).entry(program(b"./busybox-permitted", 0o755));
        tar.entry(program(b"./busybox-setuid", 0o4755))
    });
}

/// Row 7, capabilities: a program with all file capabilities, or setuid root, gains nothing beyond the bounding set; with
/// no_new_privs nothing at all.
#[test]
fn privileged_programs_stay_in_the_bounding_set() {
    let host = Host::new();
    privileged_programs(&host);
    let run = |options: &[&str], program: &str| {
        let start = ["run", "--rm", "--network", "none", "-u", "1000"];
        host.lrun.run(&[&start, options, &["hostile", program, "cat", "/proc/self/status"]].concat())
    };
    for program in ["/busybox-effective", "/busybox-permitted", "/busybox-setuid"] {
        for (options, most) in
            [(&[][..], DEFAULT), (&["--security-opt", "no-new-privileges"], 0), (&["--cap-drop", "ALL"], 0)]
        {
            let output = run(options, program);
            // The kernel does not execute a program that could not have all that it says it needs.
            let refused = output.code == 126 && output.stderr.contains("operation not permitted");
            assert_eq!(refused, program == "/busybox-effective", "{options:?} {program}: {output:?}");
            if !refused {
                let [_, permitted, effective, _, ambient] = capabilities(&output.stdout);
                assert_eq!([permitted & !most, effective & !most, ambient], [0; 3], "{options:?} {program}");
            }
        }
    }
    // The attack works where it may: a setuid program and file capabilities do give what is in the bounding set.
    assert_ne!(capabilities(&run(&[], "/busybox-permitted").stdout)[1], 0);
    host.unharmed();
}

/// What `id` says in a container as this user: user, group, all groups.
fn who(lrun: &Lrun, args: &[&str], image: &[&str]) -> String {
    lrun.ok(&[args, image, &["sh", "-c", "echo $(id -u) $(id -g) $(id -G)"]].concat())
}

/// Row 8, users and groups: numbers and names mean what they mean in the image; nobody gets a group of the caller's, and
/// what is no id is refused, not cut to 32 bits.
#[test]
fn users_and_groups_are_exact() {
    let host = Host::with(|tar| {
        let passwd =
            b"root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n7:x:70:71::/:/bin/sh\n4294967296:x:0:0::/:\n";
        let group = b"root:x:0:\nalice:x:1000:\nstaff:x:50:alice\n9:x:90:alice,7\nbad:x:4294967296:alice\n";
        tar.file("./etc/passwd", passwd).file("./etc/group", group)
    });
    host.lrun.ok(&["run", "-d", "--name", "ids", "--network", "none", "hostile", "sleep", "1000"]);
    // A single id leaves no supplementary groups to set: the own group is the only one.
    let single = mode() == Mode::Single;
    for (user, expected, groups) in [
        ("", "0 0 0", ""),
        ("1", "1 0 0", ""),
        ("1:", "1 0 0", ""),
        ("1:5", "1 5 5", ""),
        (":5", "0 5 5", ""),
        ("alice", "1000 1000 1000", " 50 90"),
        ("1000", "1000 1000 1000", " 50 90"),
        ("alice:staff", "1000 50 50", ""),
        // Digits are a number, whatever the image calls by them.
        ("7", "7 0 0", ""),
        ("7:9", "7 9 9", ""),
    ] {
        let expected = if single { expected.to_owned() } else { format!("{expected}{groups}") };
        let run = ["run", "--rm", "--network", "none", "-u", user];
        assert_eq!(who(&host.lrun, &run, &["hostile"]), expected, "run -u {user:?}");
        assert_eq!(who(&host.lrun, &["exec", "-u", user], &["ids"]), expected, "exec -u {user:?}");
    }
    for user in [
        "4294967295",
        "4294967296",
        "99999999999999999999",
        "-1",
        "nobody",
        "1:4294967296",
        "alice:bad",
        "0x10",
        "1:-1",
        "+1",
    ] {
        let user = format!("--user={user}");
        host.lrun.fails(125, &["run", "--rm", "--network", "none", &user, "hostile", "true"]);
        assert_ne!(host.lrun.run(&["exec", &user, "ids", "true"]).code, 0, "{user}");
    }
    host.unharmed();
}

/// Row 8, users and groups: groups that take rights away (a directory that all but its group may enter) do so; what the
/// caller's own groups are does not count.
#[test]
fn groups_that_take_rights_away_count() {
    let host = Host::with(|tar| {
        let denied = Entry { name: b"./denied/", kind: b'5', mode: 0o707, gid: 50, ..Entry::default() };
        tar.entry(denied).file("./denied/file", b"seen\n")
    });
    let run = |user: &[&str]| {
        let run = ["run", "--rm", "--network", "none"];
        host.lrun.run(&[&run, user, &["hostile", "cat", "/denied/file"]].concat()).stdout
    };
    // With a single id, everybody is the owner.
    let denied = if mode() == Mode::Single { "seen\n" } else { "" };
    assert_eq!(run(&["-u", "5"]), "seen\n");
    assert_eq!(run(&["-u", "alice"]), denied, "alice is in the group");
    assert_eq!(run(&["-u", "5:50"]), denied);
    if mode() != Mode::Single {
        assert_eq!(run(&["-u", "5", "--group-add", "50"]), "");
        assert_eq!(run(&["-u", "5", "--group-add", "staff"]), "");
    }
    if mode() == Mode::Root {
        let args = ["run", "--rm", "--network", "none", "hostile", "grep", "Groups", "/proc/self/status"];
        let output = host.lrun.spawn_in(&["setpriv", "--groups", "50,4242"], &args).wait();
        assert_eq!(
            output.stdout.split_whitespace().collect::<Vec<_>>(),
            ["Groups:", "0"],
            "the caller's groups stay out"
        );
    }
    host.unharmed();
}

/// Row 9, malicious passwd and group files: a FIFO, a device, an endless or a huge sparse file, a link out or into
/// lrun's own descriptors neither block nor exhaust nor leak; a start goes on as if they were not there.
#[test]
fn files_of_users_that_are_no_files_are_ignored() {
    let host = Host::empty();
    let secret = host.lrun.file("secret", "spy:x:0:0::/stolen:/bin/sh\n");
    let upwards = format!("/proc/self/fd/5/../../../../../../..{}", secret.display());
    for (n, link) in [
        "/dev/zero",
        "/dev/tty",
        "/proc/self/fd/0",
        "/proc/self/mem",
        "/proc/kmsg",
        "/etc",
        "passwd",
        secret.to_str().expect("UTF-8"),
        &upwards,
        "/proc/1/root/etc/passwd",
    ]
    .iter()
    .enumerate()
    {
        let name = format!("link{n}");
        host.import(&name, |tar| tar.symlink("./etc/passwd", link).symlink("./etc/group", link));
        check_no_users(&host, &name, link);
    }
    let fifo = |name| Entry { name, kind: b'6', ..Entry::default() };
    host.import("fifo", |tar| tar.entry(fifo(b"./etc/passwd")).entry(fifo(b"./etc/group")));
    check_no_users(&host, "fifo", "a FIFO");
    host.import("sparse", |tar| {
        let mut data = b"1\n8589934000\n24\n".to_vec();
        data.resize(512, 0);
        data.extend_from_slice(b"spy:x:0:0::/stolen:/bin\n");
        let sparse = |tar: lrun_tests::Tar, name: &str| {
            let records: [(&str, &[u8]); 4] = [
                ("GNU.sparse.major", b"1"),
                ("GNU.sparse.minor", b"0"),
                ("GNU.sparse.name", name.as_bytes()),
                ("GNU.sparse.realsize", b"8589934592"),
            ];
            tar.pax(&records).file("GNUSparseFile.0/x", &data)
        };
        sparse(sparse(tar, "etc/passwd"), "etc/group")
    });
    check_no_users(&host, "sparse", "8 GiB");
    host.unharmed();
}

#[track_caller]
fn check_no_users(host: &Host, image: &str, what: &str) {
    let run = ["run", "--rm", "--network", "none"];
    for (user, uid, gid) in [("0", "0", "0"), ("5:6", "5", "6")] {
        let run = [&run, &["-u", user, image][..]].concat();
        let status = host.lrun.ok(&[&run[..], &["cat", "/proc/self/status"]].concat());
        for (name, id) in [("Uid:", uid), ("Gid:", gid)] {
            let ids: Vec<&str> =
                status.lines().find_map(|line| line.strip_prefix(name)).expect(name).split_whitespace().collect();
            assert_eq!(ids, [id; 4], "{what}: {name}");
        }
        let env = host.lrun.ok(&[&run[..], &["env"]].concat());
        assert!(env.lines().any(|line| line == "HOME=/"), "{what}: {env}");
    }
    let complaint = host.lrun.fails(125, &[&run[..], &["-u", "spy", image, "true"]].concat());
    assert!(complaint.contains("unable to find user spy"), "{what}: {complaint}");
}

/// Row 9, malicious passwd files: a home directory cannot bring control characters, other variables or a relative path
/// into the environment.
#[test]
fn a_home_directory_is_one_clean_path() {
    let host = Host::with(|tar| {
        let passwd = b"root:x:0:0::/root\rLD_PRELOAD=/evil:/bin/sh\nesc:x:1:1::/\x1b[31m:/bin/sh\nrel:x:2:2::../../etc:/bin/sh\n\
                       nul:x:3:3::/a\0b:/bin/sh\nutf:x:4:4::/\xff\xfe:/bin/sh\nlong:x:5:5::/home/long:/bin/sh\n";
        tar.file("./etc/passwd", passwd)
    });
    for (user, expected) in [("root", "/"), ("esc", "/"), ("rel", "/"), ("nul", "/"), ("5", "/home/long")] {
        let env = host.lrun.ok(&["run", "--rm", "--network", "none", "-u", user, "hostile", "env"]);
        let home: Vec<&str> = env.lines().filter(|line| line.starts_with("HOME=")).collect();
        assert_eq!(home, [format!("HOME={expected}")], "{user}");
        assert!(!env.contains("LD_PRELOAD"), "{user}: {env:?}");
    }
    host.unharmed();
}
