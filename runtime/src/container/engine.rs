//! What every command works with: the store, and the id mapping of the containers in it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode as FileMode, OFlags};

use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::file;
use crate::idmap::{IdMap, Mode, helper};
use crate::image::store::Store;
use crate::paths::Root;

/// An opened store with its mapping.
#[derive(Debug)]
pub struct Engine {
    /// Layers, images, containers.
    pub store: Store,
    /// How ids are mapped in it.
    pub map: IdMap,
}

impl Engine {
    /// The paths of the store.
    pub fn root(&self) -> &Root {
        self.store.root()
    }

    /// Deletes a tree in which files may belong to mapped ids. What the user may delete is deleted directly; the rest in
    /// the storage helper.
    pub fn remove_tree(&self, path: &Path) -> Result<()> {
        if file::remove_tree(path).is_ok() {
            return Ok(());
        }
        let parent = path.parent().unwrap_or(Path::new("/"));
        let name = path.file_name().map(std::ffi::OsStr::to_owned).unwrap_or_default();
        let directory = file::open_dir(parent)?;
        helper::run(&self.map, directory.as_fd(), &mut |_| {}, |_| file::remove_tree(&Path::new("/").join(&name)))
            .context(|| format!("in {}", parent.display()))
    }

    /// Removes what interrupted commands left behind. Best effort: the next command tries again.
    pub fn sweep(&self) {
        let _ = file::Staging::sweep(self.root(), &mut |path| self.remove_tree(path));
    }

    /// The read-only layers of a container as paths relative to the store, topmost first, the engine's own included.
    pub fn lowers(&self, stack: &[Digest]) -> Result<Vec<String>> {
        let layer = |digest: &Digest| format!("layers/{}/diff", digest.hex());
        let mut lowers: Vec<String> = stack.iter().rev().map(layer).collect();
        self.base_layer()?;
        if self.map.mode == Mode::Single && stack.iter().any(|digest| self.has_apt(digest)) {
            lowers.push("engine/single-1".to_owned());
        }
        lowers.push("engine/base-1".to_owned());
        Ok(lowers)
    }

    fn has_apt(&self, digest: &Digest) -> bool {
        self.root().layer_diff(digest).join("etc/apt/apt.conf.d").is_dir()
    }

    /// Makes the engine's layers where they are missing: mount points for what every container gets, and for `single`
    /// the setting without which apt checks in vain that it could drop root.
    fn base_layer(&self) -> Result<()> {
        let engine = self.root().engine();
        if engine.join("base-1").is_dir() && engine.join("single-1").is_dir() {
            return Ok(());
        }
        file::ensure_dir(&engine)?;
        let staging = file::Staging::new(self.root())?;
        let base = staging.path().join("base-1");
        for directory in ["", "dev", "proc", "sys", "etc"] {
            make_old_dir(&base.join(directory))?;
        }
        for name in ["hosts", "hostname", "resolv.conf"] {
            make_old_file(&base.join("etc").join(name), "")?;
        }
        std::os::unix::fs::symlink("/proc/mounts", base.join("etc/mtab"))?;
        let single = staging.path().join("single-1");
        for directory in ["", "etc", "etc/apt", "etc/apt/apt.conf.d"] {
            make_old_dir(&single.join(directory))?;
        }
        make_old_file(&single.join("etc/apt/apt.conf.d/99lrun"), "APT::Sandbox::User \"root\";\n")?;
        for (made, name) in [(&base, "base-1"), (&single, "single-1")] {
            age_tree(made)?;
            match std::fs::rename(made, engine.join(name)) {
                // Another process was first.
                Err(error) if error.raw_os_error() == Some(libc::ENOTEMPTY) => {}
                other => other.context(|| format!("publish the engine's layer {name}"))?,
            }
        }
        file::fsync_dir(&engine)?;
        staging.remove(&mut |path| self.remove_tree(path))
    }

    /// A descriptor of the store's directory, for init.
    pub fn directory(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(self.root().path(), flags, FileMode::empty()).context(|| "open the store")
    }
}

fn make_old_dir(path: &Path) -> Result<()> {
    std::fs::create_dir(path).context(|| format!("make {}", path.display()))?;
    rustix::fs::chmod(path, FileMode::from_raw_mode(0o755))?;
    Ok(())
}

fn make_old_file(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).context(|| format!("write {}", path.display()))?;
    rustix::fs::chmod(path, FileMode::from_raw_mode(0o644))?;
    Ok(())
}

/// A copied-up directory carries its times into a commit: they are the epoch, not the day of the first run.
fn age_tree(path: &Path) -> Result<()> {
    if path.symlink_metadata()?.is_dir() {
        for entry in std::fs::read_dir(path)? {
            age_tree(&entry?.path())?;
        }
    }
    let epoch = rustix::fs::Timespec { tv_sec: 0, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: epoch, last_modification: epoch };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}
