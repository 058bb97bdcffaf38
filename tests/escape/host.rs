//! The host under attack: lrun on a store of its own, what must not change, and the attacker's tools.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use lrun_tests::{Canary, Lrun, Tar, images};

/// lrun with the image `busybox`, and what must be the same after the attack.
pub struct Host {
    pub lrun: Lrun,
    pub canary: Canary,
    binary: PathBuf,
    before: (u64, Vec<String>),
}

impl Host {
    /// With the image `busybox`.
    pub fn new() -> Self {
        let host = Self::empty();
        host.lrun.import("busybox.tar", "busybox");
        host
    }

    /// With an empty store.
    pub fn empty() -> Self {
        let mut lrun = Lrun::new();
        let binary = lrun.own_binary();
        let canary = Canary::new(lrun.folder());
        let before = state(&binary);
        Self { lrun, canary, binary, before }
    }

    /// With a hostile image called `hostile`: busybox and what `change` adds to it.
    pub fn with(change: impl FnOnce(Tar) -> Tar) -> Self {
        let host = Self::empty();
        host.import("hostile", change);
        host
    }

    /// One more image: busybox and what `change` adds.
    pub fn import(&self, name: &str, change: impl FnOnce(Tar) -> Tar) {
        let busybox = fs::read(images("busybox.tar")).expect("busybox.tar");
        self.lrun.import_bytes(&change(Tar::on(&busybox)).finish(), name);
    }

    /// Imports a hostile archive; lrun may refuse with one clear line. Nothing around the store has changed after it.
    /// Whether it was taken, under the name `attack`.
    #[track_caller]
    pub fn attack(&self, archive: &[u8], what: &str) -> bool {
        let output = self.lrun.run_with(archive, &["import", "-", "attack"]);
        let refused = output.code == 1 && output.stdout.is_empty() && output.stderr.starts_with("lrun: import -: ");
        assert!(refused || output.code == 0, "{what}: {output:?}");
        self.canary.check();
        let around = fs::read_dir(self.lrun.folder()).expect("the folder").flatten().map(|entry| entry.file_name());
        let known = ["attack", "canary", "home", "lrun", "store"];
        let new: Vec<_> = around.filter(|name| !known.iter().any(|known| name == known)).collect();
        assert!(new.is_empty(), "{what} made {new:?} beside the store");
        !refused
    }

    /// The lrun binary, which belongs to the user of the test.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// A path of the canary, as text.
    pub fn canary(&self, name: &str) -> String {
        self.canary.path().join(name).to_str().expect("a UTF-8 path").to_owned()
    }

    /// The attacker's program as a volume: `-v` and this; see `attack.c`. `None` without a compiler.
    pub fn weapon(&self) -> Option<String> {
        let path = self.lrun.folder().join("attack");
        if !path.exists() {
            fs::write(&path, weapon().as_ref()?).expect("write the attacker's program");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
        }
        Some(format!("{}:/attack:ro", path.display()))
    }

    /// Ends the test: nothing outside the containers has changed. Dropping `lrun` checks for processes and mounts.
    #[track_caller]
    pub fn unharmed(self) {
        self.canary.check();
        assert_eq!(state(&self.binary), self.before, "lrun's binary or the host's devices have changed");
    }
}

/// Compiles the attacker's program, once.
fn weapon() -> &'static Option<Vec<u8>> {
    static PROGRAM: OnceLock<Option<Vec<u8>>> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let source = folder.path().join("attack.c");
        fs::write(&source, include_str!("attack.c")).expect("write the source");
        let program = folder.path().join("attack");
        let mut gcc = Command::new("gcc");
        gcc.args(["-static", "-O1", "-Wall", "-Werror", "-o"]).args([&program, &source]);
        match gcc.output() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => panic!("gcc: {error}"),
            Ok(output) => {
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                Some(fs::read(&program).expect("the program"))
            }
        }
    })
}

/// A hash of the binary, and mode and owner of the host's devices.
fn state(binary: &Path) -> (u64, Vec<String>) {
    let mut hasher = DefaultHasher::new();
    fs::read(binary).expect("lrun's binary").hash(&mut hasher);
    let devices = fs::read_dir("/dev").expect("/dev").filter_map(|entry| {
        let (path, meta) = entry.ok().and_then(|e| Some((e.path(), fs::symlink_metadata(e.path()).ok()?)))?;
        let known = ["null", "zero", "full", "random", "urandom", "tty", "kmsg"];
        let wanted = meta.file_type().is_char_device() && known.iter().any(|name| path.ends_with(name));
        wanted.then(|| format!("{} {:o} {}:{}", path.display(), meta.mode(), meta.uid(), meta.gid()))
    });
    let mut devices: Vec<String> = devices.collect();
    devices.sort();
    (hasher.finish(), devices)
}
