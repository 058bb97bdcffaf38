//! The default profile.

use super::*;

/// Refused whatever the arguments with the default capabilities, written down independently of the profile.
#[cfg(target_arch = "x86_64")]
const NEVER: &str = include_str!("refused.txt");

#[test]
#[cfg(target_arch = "x86_64")]
fn every_native_call_is_allowed_refused_or_absent() {
    let filter = default_filter(&[]);
    let never: Vec<&str> = NEVER.split_whitespace().collect();
    for number in all_numbers() {
        let expected = match Sysno::new(number as usize) {
            Some(call) if never.contains(&call.name()) => REFUSED,
            Some(Sysno::clone3 | Sysno::file_getattr | Sysno::file_setattr) | None => ABSENT,
            Some(_) => ALLOW, // those judged by their arguments as well, with arguments of 0
        };
        assert_eq!(judge(&filter, NATIVE, number, &[0; 6]), expected, "{number} {:?}", Sysno::new(number as usize));
    }
}

#[test]
fn foreign_abis_are_absent_whatever_the_capabilities() {
    for filter in [default_filter(&[]), default_filter(&["ALL"]), Filter { emulate_root: true, ..default_filter(&[]) }]
    {
        let programs = filter.programs();
        for number in all_numbers() {
            for arch in [I386, 0, 0xc000_00f3, u32::MAX] {
                assert_eq!(judge_by(&programs, arch, number, &[0; 6]), ABSENT, "{number} of {arch:#x}");
            }
            if number >= 0x4000_0000 {
                assert_eq!(judge_by(&programs, NATIVE, number, &[0; 6]), ABSENT, "{number:#x}");
            }
        }
    }
}

#[test]
fn the_upper_half_of_an_argument_changes_nothing() {
    let samples = [
        0,
        1,
        8,
        9,
        16,
        17,
        38,
        39,
        40,
        41,
        0x2000,
        0x5411,
        0x5412,
        0x5413,
        0x541c,
        0x541d,
        0x6000,
        0x2_0000,
        0x2_0008,
        0x1000_0011,
        0x7e02_0000,
        0xffff_ffff,
    ];
    for filter in [default_filter(&[]), Filter { emulate_root: true, ..default_filter(&["AUDIT_WRITE"]) }] {
        let programs = filter.programs();
        for number in 0..500 {
            for (first, second) in samples.iter().flat_map(|first| samples.map(|second| (*first, second))) {
                let plain = [first, second, second, first, 0, 0];
                let dirty = plain.map(|argument| argument | GARBAGE);
                let expected = judge_by(&programs, NATIVE, number, &plain);
                assert_eq!(judge_by(&programs, NATIVE, number, &dirty), expected, "{number} {plain:x?}");
            }
        }
    }
}

#[test]
fn arguments_are_judged() {
    let mut table: Vec<(&str, [u64; 3], u32)> = vec![
        ("clone", [0x11, 0, 0], ALLOW),
        ("clone", [0x003d_0f00, 0, 0], ALLOW), // a thread
        ("clone", [0x4011, 0, 0], ALLOW),      // vfork's
        ("personality", [0, 0, 0], ALLOW),
        ("personality", [8, 0, 0], ALLOW),
        ("personality", [0x20000, 0, 0], ALLOW),
        ("personality", [0x20008, 0, 0], ALLOW),
        ("personality", [0xffff_ffff, 0, 0], ALLOW),
        ("personality", [0x40000, 0, 0], REFUSED), // ADDR_NO_RANDOMIZE
        ("personality", [1, 0, 0], REFUSED),
        ("socket", [16, 3, 9], ERRNO | 22),
        ("socket", [16, 3, 0], ALLOW),
        ("ioctl", [0, 0x5401, 0], ALLOW),
        ("ioctl", [0, 0x5412, 0], REFUSED),
        ("ioctl", [0, 0x541c, 0], REFUSED),
        ("ioctl", [0, 0x8004_5430, 0], ALLOW),
    ];
    for flag in [0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000] {
        table.push(("clone", [flag | 0x11, 0, 0], REFUSED));
    }
    for family in 0..64 {
        table.push(("socket", [family, 1, 0], if family == 38 || family == 40 { REFUSED } else { ALLOW }));
    }
    for request in 0x5400..0x5430 {
        let expected = if request == 0x5412 || request == 0x541c { REFUSED } else { ALLOW };
        table.push(("ioctl", [0, request, 0], expected));
    }
    for (name, arguments, expected) in table {
        let verdict = judge(&default_filter(&[]), NATIVE, number(name), &arguments);
        assert_eq!(verdict, expected, "{name} {arguments:x?}");
    }
}

#[test]
fn capabilities_open_their_calls_and_no_others() {
    let table = [
        ("DAC_READ_SEARCH", "open_by_handle_at"),
        (
            "SYS_ADMIN",
            "bpf clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr \
             lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree open_tree_attr \
             perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount2 unshare",
        ),
        ("SYS_BOOT", "reboot"),
        ("SYS_MODULE", "delete_module finit_module init_module"),
        ("SYS_PACCT", "acct"),
        ("SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
        ("SYS_TIME", "clock_settime settimeofday"),
        ("SYS_TTY_CONFIG", "vhangup"),
        ("SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
        ("SYSLOG", "syslog"),
        ("BPF", "bpf"),
        ("PERFMON", "perf_event_open"),
        ("NET_ADMIN", ""),
    ];
    let plain = default_filter(&[]);
    for (capability, opened) in table {
        let opened: Vec<u32> = opened.split_whitespace().map(number).collect();
        let filter = default_filter(&[capability]);
        for number in all_numbers() {
            let expected = if opened.contains(&number) { ALLOW } else { judge(&plain, NATIVE, number, &[0; 6]) };
            assert_eq!(judge(&filter, NATIVE, number, &[0; 6]), expected, "{capability}: {number}");
        }
    }
    let admin = default_filter(&["SYS_ADMIN"]);
    assert_eq!(judge(&admin, NATIVE, number("clone"), &[0x1000_0000]), ALLOW);
    assert_eq!(judge(&admin, NATIVE, number("ioctl"), &[0, 0x5412]), REFUSED);
    let audit = default_filter(&["AUDIT_WRITE"]);
    assert_eq!(judge(&audit, NATIVE, number("socket"), &[16, 3, 9]), ALLOW);
    let none = Filter { rules: Rules::Default(CapSet::EMPTY), emulate_root: false };
    assert_eq!(judge(&none, NATIVE, number("chroot"), &[0; 6]), REFUSED);
    assert_eq!(judge(&plain, NATIVE, number("chroot"), &[0; 6]), ALLOW);
}

#[test]
fn the_specification_carries_the_same_filter() {
    for set in [default_set(), CapSet::EMPTY, CapSet::ALL, held(&["AUDIT_WRITE"]), held(&["SYS_ADMIN", "SYSLOG"])] {
        let seccomp = default_linux_seccomp(set);
        assert_eq!(Rules::from_oci(Some(&seccomp), set).unwrap(), Rules::Default(set));
        let json = serde_json::to_string(&seccomp).unwrap();
        let seccomp: LinuxSeccomp = serde_json::from_str(&json).unwrap();
        let compiled = Filter { rules: Rules::Custom(compile(&seccomp).unwrap()), emulate_root: false };
        let built_in = Filter { rules: Rules::Default(set), emulate_root: false };
        let (compiled, built_in) = (compiled.programs(), built_in.programs());
        for number in all_numbers() {
            for value in [0, 8, 9, 15, 16, 17, 37, 38, 39, 40, 41, 0x5412, 0x5417, 0x541c, 0x1000_0011, 0xffff_ffff] {
                for arguments in [[value, 0, 0], [16, value, value], [value | GARBAGE, 3, 9], [0, value | GARBAGE, 0]] {
                    let expected = judge_by(&built_in, NATIVE, number, &arguments);
                    assert_eq!(judge_by(&compiled, NATIVE, number, &arguments), expected, "{number} {arguments:x?}");
                }
            }
        }
    }
}

#[test]
fn the_filter_made_in_advance_is_the_composed_one() {
    for emulate_root in [false, true] {
        let filter = Filter { rules: Rules::Default(default_set()), emulate_root };
        // Not the default set, but nothing depends on a capability without a name.
        let other = Rules::Default(default_set() | CapSet::from_bits(1 << 63));
        let composed = Filter { rules: other, emulate_root };
        assert!(matches!(filter.programs()[0], Cow::Borrowed(_)));
        assert!(matches!(composed.programs()[0], Cow::Owned(_)));
        assert_eq!(filter.programs(), composed.programs());
    }
}

#[test]
fn the_tree_is_small() {
    // Each allowed or refused call on its own, as libraries compile it, would be over 1,700 instructions.
    let filter = Filter { emulate_root: true, ..default_filter(&[]) };
    let lengths: Vec<usize> = filter.programs().iter().map(|program| program.len()).collect();
    assert!(lengths.len() == 1 && lengths[0] < 400, "{lengths:?} instructions");
}
