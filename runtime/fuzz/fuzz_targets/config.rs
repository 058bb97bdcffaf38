//! Image configs: what is read is written again without loss, unknown fields included.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lrun_runtime::image::config::ImageConfig;

fuzz_target!(|data: &[u8]| {
    let Ok(config) = ImageConfig::from_bytes(data) else { return };
    let bytes = config.to_bytes().expect("a config that was read can be written");
    assert_eq!(ImageConfig::from_bytes(&bytes).expect("lrun's own config"), config);
    let _ = (config.chain_ids(), config.created_at());
});
