//! Files that people write: `config.toml` and docker's `config.json`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lrun_runtime::registry::credentials::AuthFile;
use lrun_runtime::settings::Settings;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Settings::parse(text);
    }
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("config.json");
    std::fs::write(&path, data).expect("a file");
    if let Ok(file) = AuthFile::read(&path) {
        let _ = file.helper("registry.example");
    }
});
