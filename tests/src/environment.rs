//! What the tests find around them: the binary, the images, the id mapping under test.

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The id mapping that the tests run under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// An ordinary user with subordinate ids.
    Subids,
    /// An ordinary user with one id.
    Single,
    /// Root.
    Root,
}

impl Mode {
    /// The name that `LRUN_IDMAP` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Subids => "subids",
            Self::Single => "single",
            Self::Root => "root",
        }
    }
}

/// The mapping that lrun chooses by itself for the user of this process.
pub fn natural_mode() -> Mode {
    if rustix::process::geteuid().is_root() {
        return Mode::Root;
    }
    let user = env::var("USER").unwrap_or_default();
    let uid = rustix::process::getuid().as_raw().to_string();
    let ranges = fs::read_to_string("/etc/subuid").unwrap_or_default();
    let has = ranges.lines().filter_map(|line| line.split(':').next()).any(|name| name == user || name == uid);
    let mapper = env::split_paths(&env::var_os("PATH").unwrap_or_default()).any(|d| d.join("newuidmap").exists());
    if has && mapper { Mode::Subids } else { Mode::Single }
}

/// The mapping under test.
pub fn mode() -> Mode {
    match env::var("LRUN_TEST_MODE").as_deref() {
        Ok("subids") => Mode::Subids,
        Ok("single") => Mode::Single,
        Ok("root") => Mode::Root,
        _ => natural_mode(),
    }
}

/// Whether every case shall run where otherwise a sample does.
pub fn long() -> bool {
    env::var_os("LRUN_TEST_LONG").is_some()
}

/// The user with subordinate ids as whom root runs traced commands.
pub fn victim() -> Option<String> {
    env::var("LRUN_TEST_VICTIM").ok()
}

/// The lrun binary.
pub fn binary() -> PathBuf {
    if let Some(path) = env::var_os("LRUN_BIN") {
        return path.into();
    }
    let test = env::current_exe().expect("the path of this test");
    let profile = test.parent().and_then(Path::parent).expect("target/<triple>/<profile>/deps/<test>");
    let path = profile.join("lrun");
    assert!(path.exists(), "{} does not exist: cargo build -p lrun, or set LRUN_BIN", path.display());
    path
}

/// An image archive by its file name, as in `stage0.tar`.
pub fn images(name: &str) -> PathBuf {
    let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".cache/lrun"));
    let folders = [env::var_os("LRUN_TEST_IMAGES").map(PathBuf::from), home(), Some("/var/cache/lrun".into())];
    let found = folders.into_iter().flatten().map(|folder| folder.join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is nowhere: run hack/test once, it makes the test images"))
}

/// Notes that the running test was skipped; use [`crate::skip!`].
pub fn record_skip(reason: &str) {
    let thread = std::thread::current();
    let line = format!("{} ({}): {reason}\n", thread.name().unwrap_or("test"), mode().name());
    print!("skipped: {line}");
    if let Some(path) = env::var_os("LRUN_TEST_SKIPS") {
        let file = fs::OpenOptions::new().append(true).create(true).open(path);
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("note the skipped test");
    }
}
