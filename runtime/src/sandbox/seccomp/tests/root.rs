//! Root emulation, with the default profile, with custom ones, and alone.

use super::*;

const ALWAYS: [&str; 9] =
    ["chown", "fchown", "lchown", "fchownat", "setgroups", "setregid", "setresgid", "setresuid", "setreuid"];

fn filters() -> [Filter; 3] {
    let mut permissive = LinuxSeccomp::default();
    permissive.set_default_action(oci_spec::runtime::LinuxSeccompAction::ScmpActAllow);
    [Rules::Default(default_set()), Rules::Custom(compile(&permissive).unwrap()), Rules::Unconfined]
        .map(|rules| Filter { rules, emulate_root: true })
}

#[test]
fn changes_of_owner_and_user_are_answered() {
    for filter in filters() {
        for name in ALWAYS {
            for arguments in [[0; 6], [1000; 6], [0xffff_ffff; 6]] {
                assert_eq!(judge(&filter, NATIVE, number(name), &arguments), ANSWERED, "{name}");
            }
        }
        for name in ["setuid", "setgid"] {
            for (id, expected) in
                [(0, ANSWERED), (1000, ANSWERED), (0xffff_ffff, ALLOW), (0xffff_ffff | GARBAGE, ALLOW)]
            {
                assert_eq!(judge(&filter, NATIVE, number(name), &[id]), expected, "{name} {id:#x}");
            }
        }
        for name in ["setfsuid", "setfsgid", "capset", "chmod", "fchmodat", "setxattr"] {
            assert_eq!(judge(&filter, NATIVE, number(name), &[1000; 6]), ALLOW, "{name}");
        }
    }
}

#[test]
fn only_devices_are_answered_not_made() {
    const DEVICE: u64 = 0x103;
    for filter in filters() {
        for (mode, device, expected) in [
            (0o020_666, DEVICE, ANSWERED),
            (0o060_660, DEVICE, ANSWERED),
            (0o060_660, 0, ANSWERED),
            (0o020_000, 0, ALLOW), // a whiteout
            (0o010_644, 0, ALLOW),
            (0o010_644, DEVICE, ALLOW),
            (0o140_755, 0, ALLOW),
            (0o100_644, DEVICE, ALLOW),
            (0o000_644, DEVICE, ALLOW),
            (0o160_644, DEVICE, ALLOW),                  // no such type: EINVAL
            (0xffff_0000 | 0o020_666, DEVICE, ANSWERED), // the kernel reads 16 bits
        ] {
            let mknod = judge(&filter, NATIVE, number("mknod"), &[0, mode | GARBAGE, device | GARBAGE]);
            let mknodat = judge(&filter, NATIVE, number("mknodat"), &[3, 0, mode | GARBAGE, device | GARBAGE]);
            assert_eq!([mknod, mknodat], [expected; 2], "{mode:o} {device:#x}");
        }
    }
}

#[test]
fn everything_else_is_judged_as_without() {
    let answered: Vec<u32> = ALWAYS.into_iter().chain(["setuid", "setgid", "mknod", "mknodat"]).map(number).collect();
    for filter in filters() {
        let plain = Filter { emulate_root: false, ..filter.clone() };
        for number in all_numbers().filter(|number| !answered.contains(number)) {
            for arch in [NATIVE, I386] {
                let expected = judge(&plain, arch, number, &[0; 6]);
                assert_eq!(judge(&filter, arch, number, &[0; 6]), expected, "{number}");
            }
        }
    }
}

#[test]
fn a_custom_refusal_beats_the_emulation() {
    let json = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["chown"], "action": "SCMP_ACT_ERRNO", "errnoRet": 30}]}"#;
    let profile = parse_profile(json).unwrap().resolve(default_set(), (6, 1)).unwrap();
    let filter = Filter { rules: Rules::Custom(compile(&profile).unwrap()), emulate_root: true };
    assert_eq!(judge(&filter, NATIVE, number("chown"), &[0; 6]), ERRNO | 30);
    assert_eq!(judge(&filter, NATIVE, number("fchown"), &[0; 6]), ANSWERED);
}
