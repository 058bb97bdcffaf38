//! passwd and group files of a container's root file system, and `-u`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lrun_runtime::sandbox::user::resolve_in;

fuzz_target!(|input: (&str, Vec<String>, &str, &str)| {
    let (user, groups, passwd, group) = input;
    if let Ok(ids) = resolve_in(user, &groups, passwd, group) {
        assert!(ids.uid != u32::MAX && ids.gid != u32::MAX && !ids.groups.contains(&u32::MAX));
        assert!(ids.home.starts_with('/') && !ids.home.chars().any(char::is_control));
    }
});
