//! What tests of `build` have in common.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Lrun, Mode, Output, mode};

/// A folder with these files, below the test's folder.
pub fn folder(lrun: &Lrun, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = lrun.folder().join(name);
    for (path, content) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
        fs::write(path, content).expect("a file");
    }
    folder
}

/// A context with this Dockerfile and these files.
pub fn context(lrun: &Lrun, name: &str, dockerfile: &str, files: &[(&str, &str)]) -> PathBuf {
    folder(lrun, name, &[files, &[("Dockerfile", dockerfile)]].concat())
}

/// Builds a context, a folder or an address, with these flags, without a network.
#[track_caller]
pub fn build(lrun: &Lrun, context: &(impl AsRef<Path> + ?Sized), flags: &[&str]) -> Output {
    let context = context.as_ref().to_str().expect("UTF-8");
    lrun.run(&[&["build", "--network", "none"], flags, &[context]].concat())
}

/// Builds it, which must succeed.
#[track_caller]
pub fn build_ok(lrun: &Lrun, context: &(impl AsRef<Path> + ?Sized), flags: &[&str]) -> Output {
    let output = build(lrun, context, flags);
    assert_eq!(output.code, 0, "{}", output.stderr);
    output
}

/// Builds it, which must succeed without a word; the image's id.
#[track_caller]
pub fn built(lrun: &Lrun, context: &(impl AsRef<Path> + ?Sized), flags: &[&str]) -> String {
    let output = build_ok(lrun, context, &[&["-q"], flags].concat());
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

/// Whether a process with this command line runs.
pub fn runs(command: &[&str]) -> bool {
    let wanted: Vec<u8> = command.iter().flat_map(|word| word.bytes().chain([0])).collect();
    let processes = fs::read_dir("/proc").expect("/proc").filter_map(|entry| Some(entry.ok()?.path().join("cmdline")));
    processes.into_iter().any(|path| fs::read(path).is_ok_and(|line| line == wanted))
}

/// What builds have in the store that is not published.
pub fn unpublished(lrun: &Lrun) -> Vec<String> {
    let names = |folder: &str| {
        let entries = fs::read_dir(lrun.store().join(folder)).expect("a folder of the store");
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect::<Vec<_>>()
    };
    let layers = names("layers").into_iter().filter(|name| name.starts_with("build-"));
    names("staging").into_iter().chain(layers).collect()
}

/// An owner as the containers of this mapping show it.
pub fn owner(numbers: &str) -> &str {
    if mode() == Mode::Single { "0:0" } else { numbers }
}

/// What the commands wrote, without what the build tells.
#[track_caller]
pub fn written(lrun: &Lrun, folder: &Path, flags: &[&str]) -> Vec<String> {
    let told = build_ok(lrun, folder, flags).stderr;
    let own =
        |line: &&str| line.starts_with("Step ") || line.starts_with(" ---> ") || line.starts_with("Successfully ");
    told.lines().filter(|line| !own(line)).map(str::to_owned).collect()
}

/// Runs `git` in a folder, with a user and nothing else configured; what it wrote.
#[track_caller]
pub fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "protocol.file.allow=always"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .expect("git runs");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
