//! passwd and group files of a container's root file system, and `-u`. Lines of the input: user, passwd, then group.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lrun_runtime::error;

#[allow(dead_code, reason = "a module of the library, which uses more of it")]
#[path = "../../src/sandbox/user.rs"]
mod user;

fuzz_target!(|input: (&str, Vec<String>, &str, &str)| {
    let (user, groups, passwd, group) = input;
    if let Ok(ids) = user::resolve_in(user, &groups, passwd, group) {
        assert!(ids.uid != u32::MAX && ids.gid != u32::MAX && !ids.groups.contains(&u32::MAX));
        assert!(ids.home.starts_with('/') && !ids.home.chars().any(char::is_control));
    }
});
