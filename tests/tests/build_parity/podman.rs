//! podman as the caller has it, with a store of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lrun_tests::images;

/// It, with the image `busybox`.
pub struct Podman {
    folder: PathBuf,
    /// What it keeps while it runs, its `--runroot`: it takes no path of more than 50 bytes, and the tests' may be longer.
    runtime: tempfile::TempDir,
}

impl Podman {
    pub fn new(folder: &Path) -> Self {
        let folder = folder.join("podman");
        fs::create_dir(&folder).expect("a folder");
        let this = Self { folder, runtime: tempfile::tempdir_in("/tmp").expect("a folder") };
        this.have_base();
        this
    }

    /// Has the base image again after a build that failed: it may have taken it along.
    pub fn have_base_again(&self) {
        if !self.run(&["image", "exists", "busybox"]).status.success() {
            self.have_base();
        }
    }

    fn have_base(&self) {
        let archive = images("busybox.tar");
        let import = self.command(&["import", "-q", archive.to_str().expect("UTF-8"), "busybox"]).output();
        let import = import.expect("podman: hack/test installs it");
        assert!(import.status.success(), "podman import: {}", String::from_utf8_lossy(&import.stderr));
    }

    /// podman with these words, not started.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command.arg("--root").arg(self.folder.join("root")).arg("--runroot").arg(self.runtime.path().join("run"));
        command.args(["--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "none"]);
        command.args(words).env("XDG_RUNTIME_DIR", self.runtime.path());
        // It keeps the caches of mounts there.
        command.env("TMPDIR", self.runtime.path());
        // Those of the machine's outer network are no part of what is compared.
        for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "no_proxy", "NO_PROXY"] {
            command.env_remove(name);
        }
        command
    }

    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("podman")
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // Ends the process that keeps the user's namespace; files of its ids are deleted in one.
        let _ = self.run(&["system", "migrate"]);
        let root = rustix::process::geteuid().is_root();
        let words: &[&str] = if root { &[] } else { &["unshare", "--map-auto", "--map-root-user"] };
        let words = [words, &["rm", "-rf"]].concat();
        let _ = Command::new(words[0]).args(&words[1..]).arg(&self.folder).arg(self.runtime.path()).status();
    }
}
