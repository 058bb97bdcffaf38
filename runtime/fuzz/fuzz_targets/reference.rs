//! Names of images: what is accepted is the same when its familiar form is read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lrun_runtime::reference::{Lookup, Reference};

fuzz_target!(|text: &str| {
    let _ = Lookup::parse(text);
    let Ok(reference) = Reference::parse(text) else { return };
    assert!(!reference.repository().split('/').any(|part| matches!(part, "" | "." | "..")), "{reference:?}");
    assert_eq!(Reference::parse(&reference.familiar_with_tag()).expect("lrun's own form"), reference);
});
