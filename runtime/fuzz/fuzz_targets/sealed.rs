//! Records: whatever a file of the store has become, it is read or refused, and a changed byte is never taken for the
//! truth. The first two bytes say which byte of a sealed file is changed, and how.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lrun_runtime::file::{seal, unseal};

fuzz_target!(|data: &[u8]| {
    let _ = unseal(data.to_vec());
    let [at, mask, rest @ ..] = data else { return };
    let object = [b"{", rest, b"}"].concat();
    let mut sealed = seal(object.clone());
    assert_eq!(unseal(sealed.clone()).expect("lrun's own file"), object);
    let at = usize::from(*at) * sealed.len() / 256;
    if *mask != 0 {
        sealed[at] ^= mask;
        assert!(unseal(sealed).is_err(), "byte {at} ^ {mask:#x}");
    }
});
