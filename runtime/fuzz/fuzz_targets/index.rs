//! Layer indexes: a damaged one is an error, never a panic and never much memory. The first byte says whether the rest
//! is a whole file or what is inside the compression.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lrun_runtime::error::ErrorKind;
use lrun_runtime::image::index::Entries;

const MAGIC: &[u8] = b"lrun-index 1\n";

fuzz_target!(|data: &[u8]| {
    let Some((framed, rest)) = data.split_first() else { return };
    let file = match framed {
        0 => rest.to_vec(),
        _ => [MAGIC, &zstd::encode_all(rest, 1).expect("compression of bytes in memory")].concat(),
    };
    match Entries::new(file.as_slice()) {
        Ok(entries) => entries.take(10_000).for_each(drop),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt),
    }
});
