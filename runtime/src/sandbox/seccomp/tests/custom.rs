//! Docker's profiles, and what is compiled from them.

use super::*;
use crate::error::ErrorKind;
use proptest::prelude::*;

fn resolve(json: &str, held: CapSet) -> Result<Program> {
    compile(&parse_profile(json)?.resolve(held, (6, 1))?)
}

fn filter_of(json: &str) -> Filter {
    let rules = Rules::Custom(resolve(json, default_set()).unwrap_or_else(|error| panic!("{json}: {error}")));
    Filter { rules, emulate_root: false }
}

fn with_rules(default: &str, rules: &str) -> Filter {
    filter_of(&format!(r#"{{"defaultAction": "{default}", "syscalls": [{rules}]}}"#))
}

#[test]
fn actions_have_the_kernels_values() {
    let table = [
        ("SCMP_ACT_KILL", 0),
        ("SCMP_ACT_KILL_THREAD", 0),
        ("SCMP_ACT_KILL_PROCESS", 0x8000_0000),
        ("SCMP_ACT_TRAP", 0x0003_0000),
        ("SCMP_ACT_ERRNO", 0x0005_0001),
        ("SCMP_ACT_TRACE", 0x7ff0_0001),
        ("SCMP_ACT_LOG", 0x7ffc_0000),
        ("SCMP_ACT_ALLOW", ALLOW),
    ];
    for (name, value) in table {
        let default = if value == ALLOW { "SCMP_ACT_ERRNO" } else { "SCMP_ACT_ALLOW" };
        let filter = with_rules(default, &format!(r#"{{"names": ["getpid", "no_such_call"], "action": "{name}"}}"#));
        assert_eq!(judge(&filter, NATIVE, number("getpid"), &[]), value, "{name}");
    }
}

#[test]
fn unknown_calls_are_absent_unless_the_default_permits() {
    let json = r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 13, "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [{"names": ["read", "landlock_create_ruleset"], "action": "SCMP_ACT_ALLOW"}]}"#;
    let refusing = filter_of(json);
    let newest = number("landlock_create_ruleset");
    for call in all_numbers() {
        let known = Sysno::new(call as usize).is_some();
        let expected = match call {
            call if call == number("read") || call == newest => ALLOW,
            call if known && call < newest => ERRNO | 13,
            _ => ABSENT,
        };
        assert_eq!(judge(&refusing, NATIVE, call, &[]), expected, "{call}");
        assert_eq!(judge(&refusing, I386, call, &[]), ABSENT, "{call}");
    }
    for permissive in ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"] {
        let filter = with_rules(permissive, r#"{"names": ["read"], "action": "SCMP_ACT_ERRNO"}"#);
        let other = judge(&filter, NATIVE, number("write"), &[]);
        assert_ne!(other & 0xffff_0000, ERRNO);
        assert_eq!(judge(&filter, NATIVE, 600, &[]), other);
        assert_eq!(judge(&filter, NATIVE, 0x4000_0000, &[]), ABSENT);
        assert_eq!(judge(&filter, I386, 3, &[]), ABSENT);
    }
}

#[test]
fn comparisons_hold_over_64_bits() {
    // mmap's length is a 64-bit argument.
    let big = 0x1_0000_0005u64;
    type Holds = fn(u64, u64) -> bool;
    let table: [(&str, Holds); 6] = [
        ("SCMP_CMP_EQ", |a, b| a == b),
        ("SCMP_CMP_NE", |a, b| a != b),
        ("SCMP_CMP_LT", |a, b| a < b),
        ("SCMP_CMP_LE", |a, b| a <= b),
        ("SCMP_CMP_GT", |a, b| a > b),
        ("SCMP_CMP_GE", |a, b| a >= b),
    ];
    for (op, holds) in table {
        let rule = format!(
            r#"{{"names": ["mmap"], "action": "SCMP_ACT_ALLOW", "args": [{{"index": 1, "value": {big}, "op": "{op}"}}]}}"#
        );
        let filter = with_rules("SCMP_ACT_ERRNO", &rule);
        for argument in [0, 4, 5, 6, big - 1, big, big + 1, 2 << 32, u64::MAX] {
            let expected = if holds(argument, big) { ALLOW } else { REFUSED };
            assert_eq!(judge(&filter, NATIVE, number("mmap"), &[0, argument]), expected, "{op} {argument:#x}");
        }
    }
    let rule = r#"{"names": ["mmap"], "action": "SCMP_ACT_ALLOW", "args": [
        {"index": 1, "value": 4294967297, "valueTwo": 4294967296, "op": "SCMP_CMP_MASKED_EQ"}]}"#;
    let filter = with_rules("SCMP_ACT_ERRNO", rule);
    for (argument, expected) in [(1 << 32, ALLOW), (3 << 32, ALLOW), (0x1_0000_0001, REFUSED), (0, REFUSED)] {
        assert_eq!(judge(&filter, NATIVE, number("mmap"), &[0, argument]), expected, "{argument:#x}");
    }
}

#[test]
fn arguments_of_32_bits_are_compared_as_such() {
    let rule = r#"{"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [
        {"index": 0, "value": 40, "op": "SCMP_CMP_NE"}]}"#;
    let filter = with_rules("SCMP_ACT_ERRNO", rule);
    assert_eq!(judge(&filter, NATIVE, number("socket"), &[40 | GARBAGE]), REFUSED);
    assert_eq!(judge(&filter, NATIVE, number("socket"), &[2 | GARBAGE]), ALLOW);
    // -1 as a profile may write it.
    let rule = r#"{"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [
        {"index": 0, "value": 18446744073709551615, "op": "SCMP_CMP_EQ"}]}"#;
    let filter = with_rules("SCMP_ACT_ERRNO", rule);
    assert_eq!(judge(&filter, NATIVE, number("personality"), &[0xffff_ffff]), ALLOW);
}

#[test]
fn the_strictest_matching_rule_decides_in_any_order() {
    let allow = r#"{"names": ["ioctl"], "action": "SCMP_ACT_ALLOW"}"#;
    let deny = r#"{"names": ["ioctl"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5,
        "args": [{"index": 1, "value": 21522, "op": "SCMP_CMP_EQ"}]}"#;
    for rules in [format!("{allow}, {deny}"), format!("{deny}, {allow}")] {
        let filter = with_rules("SCMP_ACT_KILL", &rules);
        assert_eq!(judge(&filter, NATIVE, number("ioctl"), &[0, 21522]), ERRNO | 5);
        assert_eq!(judge(&filter, NATIVE, number("ioctl"), &[0, 21523]), ALLOW);
    }
    // Two arguments must both match; one argument twice means either.
    let both = r#"{"names": ["mmap"], "action": "SCMP_ACT_ALLOW", "args": [
        {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 2, "op": "SCMP_CMP_EQ"}]}"#;
    let filter = with_rules("SCMP_ACT_ERRNO", both);
    for (arguments, expected) in [([1, 2], ALLOW), ([1, 0], REFUSED), ([0, 2], REFUSED)] {
        assert_eq!(judge(&filter, NATIVE, number("mmap"), &arguments), expected);
    }
    let either = both.replace(r#""index": 1"#, r#""index": 0"#);
    let filter = with_rules("SCMP_ACT_ERRNO", &either);
    for (argument, expected) in [(1, ALLOW), (2, ALLOW), (3, REFUSED)] {
        assert_eq!(judge(&filter, NATIVE, number("mmap"), &[argument]), expected);
    }
}

#[test]
fn entries_depend_on_capabilities_architecture_and_kernel() {
    let applies = |condition: &str, held: CapSet| {
        let json = format!(
            r#"{{"defaultAction": "SCMP_ACT_ERRNO", "archMap": null, "syscalls": [
                {{"names": ["getpid"], "action": "SCMP_ACT_ALLOW", "args": null, "comment": "", {condition}}}]}}"#
        );
        let rules = Rules::Custom(resolve(&json, held).unwrap());
        judge(&Filter { rules, emulate_root: false }, NATIVE, number("getpid"), &[]) == ALLOW
    };
    let native = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    for (condition, plain, admin) in [
        (r#""includes": {}, "excludes": {}"#.to_owned(), true, true),
        (r#""includes": {"caps": ["CAP_SYS_ADMIN"]}"#.to_owned(), false, true),
        (r#""includes": {"caps": ["CAP_SYS_ADMIN", "CAP_BPF"]}"#.to_owned(), false, false),
        (r#""includes": {"caps": ["CAP_FROM_THE_FUTURE"]}"#.to_owned(), false, false),
        (r#""excludes": {"caps": ["CAP_SYS_ADMIN", "CAP_BPF"]}"#.to_owned(), true, false),
        (format!(r#""includes": {{"arches": ["s390", "{native}"]}}"#), true, true),
        (r#""includes": {"arches": ["s390"]}"#.to_owned(), false, false),
        (format!(r#""excludes": {{"arches": ["{native}"]}}"#), false, false),
        (r#""includes": {"minKernel": "6.1"}"#.to_owned(), true, true),
        (r#""includes": {"minKernel": "6.2"}"#.to_owned(), false, false),
        (r#""includes": {"minKernel": "4.8"}"#.to_owned(), true, true),
        (r#""excludes": {"minKernel": "4.8"}"#.to_owned(), false, false),
    ] {
        assert_eq!(applies(&condition, default_set()), plain, "{condition}");
        assert_eq!(applies(&condition, held(&["SYS_ADMIN"])), admin, "{condition} with SYS_ADMIN");
    }
}

#[test]
fn what_cannot_be_honoured_is_refused_with_its_name() {
    let rule = |rest: &str| format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{{{rest}}}]}}"#);
    let arg = |arg: &str| rule(&format!(r#""names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [{{{arg}}}]"#));
    let table = [
        ("".to_owned(), "EOF"),
        ("[]".to_owned(), "not a seccomp profile"),
        ("{}".to_owned(), "defaultAction"),
        (r#"{"defaultAction": "SCMP_ACT_PANIC"}"#.to_owned(), r#"unknown action "SCMP_ACT_PANIC""#),
        (r#"{"defaultAction": "SCMP_ACT_ALLOW", "sysCalls": []}"#.to_owned(), "sysCalls"),
        (r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["X"]}"#.to_owned(), r#"unknown flag "X""#),
        (r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["VAX"]}"#.to_owned(), "VAX"),
        (r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096}"#.to_owned(), "4096"),
        (r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": -1}"#.to_owned(), "-1"),
        (r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": "ENOSYS"}"#.to_owned(), "defaultErrnoRet"),
        (rule(r#""action": "SCMP_ACT_ALLOW""#), "names"),
        (rule(r#""names": ["read"], "name": "read", "action": "SCMP_ACT_ALLOW""#), "names"),
        (rule(r#""names": ["read"]"#), "action"),
        (rule(r#""names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 65536"#), "seccomp rule for read"),
        (rule(r#""names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "new"}"#), "new"),
        (arg(r#""index": 6, "value": 0, "op": "SCMP_CMP_EQ""#), "not 6"),
        (arg(r#""index": 0, "value": 0, "op": "SCMP_CMP_LIKE""#), "SCMP_CMP_LIKE"),
        (arg(r#""index": 0, "value": 4294967296, "op": "SCMP_CMP_EQ""#), "has 32 bits"),
    ];
    for (json, reason) in table {
        let error = resolve(&json, default_set()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{json}: {error}");
        assert!(error.to_string().contains(reason), "{json}: {error}");
    }
    for json in [
        rule(r#""names": ["read"], "action": "SCMP_ACT_NOTIFY""#),
        r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#.to_owned(),
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/x"}"#.to_owned(),
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}"#.to_owned(),
    ] {
        let error = resolve(&json, default_set()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{json}: {error}");
    }
}

#[test]
fn a_profile_beyond_the_kernels_limit_is_refused() {
    let rules: Vec<String> = (0..1000)
        .map(|value| {
            format!(
                r#"{{"names": ["mmap"], "action": "SCMP_ACT_ALLOW", "args": [{{"index": 0, "value": {value}, "op": "SCMP_CMP_EQ"}}]}}"#
            )
        })
        .collect();
    let json =
        |count: usize| format!(r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{}]}}"#, rules[..count].join(", "));
    assert!(resolve(&json(1000), default_set()).unwrap_err().to_string().contains("at most 4096"));
    // Long enough that the search tree needs its long jumps.
    let filter = filter_of(&json(400));
    assert_eq!(judge(&filter, NATIVE, number("mmap"), &[399]), ALLOW);
    assert_eq!(judge(&filter, NATIVE, number("mmap"), &[400]), REFUSED);
    assert_eq!(judge(&filter, NATIVE, number("read"), &[0]), REFUSED);
    assert_eq!(judge(&filter, NATIVE, 600, &[0]), ABSENT);
}

#[test]
fn the_log_flag_is_kept() {
    let json =
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"]}"#;
    assert!(resolve(json, default_set()).unwrap().log);
    assert!(!resolve(r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#, default_set()).unwrap().log);
}

/// Values of a kind that a profile could have, with some that it could not.
fn one_of(values: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::sample::select(values).prop_map(str::to_owned)
}

fn any_rule() -> impl Strategy<Value = String> {
    let number = prop_oneof![0..64u64, any::<u64>()].prop_map(|number| number.to_string());
    let op = one_of(&[
        "SCMP_CMP_NE",
        "SCMP_CMP_LT",
        "SCMP_CMP_LE",
        "SCMP_CMP_EQ",
        "SCMP_CMP_GE",
        "SCMP_CMP_GT",
        "SCMP_CMP_MASKED_EQ",
    ]);
    let argument = (0..7usize, number.clone(), number.clone(), op).prop_map(|(index, value, second, op)| {
        format!(r#"{{"index": {index}, "value": {value}, "valueTwo": {second}, "op": "{op}"}}"#)
    });
    let name = one_of(&["read", "socket", "mmap", "clone3", "ioctl", "file_setattr", "nonsense", ""]);
    let action = one_of(&["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"]);
    let arguments = proptest::collection::vec(argument, 0..8);
    (proptest::collection::vec(name, 0..4), action, arguments, 0..5000u32).prop_map(|(names, action, args, errno)| {
        format!(r#"{{"names": {names:?}, "action": "{action}", "errnoRet": {errno}, "args": [{}]}}"#, args.join(", "))
    })
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}") {
        let _ = resolve(&text, default_set());
    }

    #[test]
    fn every_profile_is_refused_or_gives_a_sound_program(
        rules in proptest::collection::vec(any_rule(), 0..12),
        default in one_of(&["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"]),
        numbers in proptest::collection::vec(prop_oneof![0..500u32, any::<u32>()], 1..50),
        arguments in any::<[u64; 6]>(),
    ) {
        let json = format!(r#"{{"defaultAction": "{default}", "syscalls": [{}]}}"#, rules.join(", "));
        if let Ok(program) = resolve(&json, default_set()) {
            prop_assert!(program.code.len() <= 4096);
            for number in numbers {
                // The interpreter fails on a jump beyond the end.
                run(&program.code, NATIVE, number, &arguments);
                prop_assert_eq!(run(&program.code, I386, number, &arguments), ABSENT);
            }
        }
    }
}
