//! Archives that `cp` writes to the host: whatever they say, nothing outside of the folder is made or changed, and what
//! is made carries no setuid bit.
#![no_main]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use lrun_runtime::image::files::{Ownership, Receiver, Target};

/// Everything below a folder has to be the receiver's to make.
fn look(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let meta = entry.metadata().expect("metadata of an entry");
        assert!(meta.is_symlink() || meta.permissions().mode() & 0o6000 == 0, "{:?}", entry.path());
        if meta.is_dir() {
            look(&entry.path());
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, mut archive)) = data.split_first() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let (to, outside) = (dir.path().join("to"), dir.path().join("outside"));
    fs::create_dir(&to).expect("a folder");
    fs::write(&outside, "outside").expect("a file");
    std::os::unix::fs::symlink("../outside", to.join("link")).expect("a link");
    let target = Target {
        directory: fs::File::open(&to).expect("the folder").into(),
        name: (choice & 1 != 0).then(|| b"name".to_vec()),
        shown: b"/to",
        ownership: Ownership::Own,
        follow: choice & 2 != 0,
    };
    let mut progress = |_| {};
    let _ = Receiver::new(&mut archive, &mut progress).run(target);
    look(&to);
    assert_eq!(fs::read(&outside).expect("the file outside"), b"outside");
    assert_eq!(fs::read_dir(dir.path()).expect("the folder").count(), 2, "something was made outside");
});
