//! Seccomp profiles in docker's JSON: what is accepted compiles to a program that the kernel's limits allow.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lrun_runtime::sandbox::caps::default_set;
use lrun_runtime::sandbox::seccomp::{compile, parse_profile};

fuzz_target!(|json: &str| {
    let Ok(profile) = parse_profile(json) else { return };
    let Ok(seccomp) = profile.resolve(default_set(), (6, 18)) else { return };
    if let Ok(program) = compile(&seccomp) {
        assert!(!program.code.is_empty() && program.code.len() <= 4096);
    }
});
