//! What tests of `build` have in common.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Lrun, Output};

/// A context with this Dockerfile and these files, below the test's folder.
pub fn context(lrun: &Lrun, name: &str, dockerfile: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = lrun.folder().join(name);
    fs::create_dir_all(&folder).expect("a folder");
    for (path, content) in files.iter().chain(&[("Dockerfile", dockerfile)]) {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
        fs::write(path, content).expect("a file");
    }
    folder
}

/// Builds it with these flags, without a network.
#[track_caller]
pub fn build(lrun: &Lrun, folder: &Path, flags: &[&str]) -> Output {
    let folder = folder.to_str().expect("UTF-8");
    lrun.run(&[&["build", "--network", "none"], flags, &[folder]].concat())
}

/// Builds it, which must succeed without a word; the image's id.
#[track_caller]
pub fn built(lrun: &Lrun, folder: &Path, flags: &[&str]) -> String {
    let output = build(lrun, folder, &[&["-q"], flags].concat());
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(output.stderr, "");
    output.stdout.trim_end().to_owned()
}

/// What a script prints in an image.
#[track_caller]
pub fn in_image(lrun: &Lrun, image: &str, script: &str) -> String {
    lrun.ok(&["run", "--rm", "--network", "none", "--entrypoint", "", image, "sh", "-c", script])
}

/// How many steps came from the cache.
pub fn cached(output: &Output) -> usize {
    output.stderr.matches("(Using cache)").count()
}
