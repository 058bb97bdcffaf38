//! `.dockerignore`, and paths that it is asked for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lrun_runtime::build::context::Patterns;

fuzz_target!(|data: &[u8]| {
    let (path, file) = data.split_at(data.len().min(40));
    if let Ok(patterns) = Patterns::parse(file) {
        let matched = patterns.of(path);
        let _ = (patterns.reason(&matched), patterns.may_except_below(path), patterns.may_match_below(path));
    }
});
