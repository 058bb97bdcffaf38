//! What every command works with: the store, and the id mapping of the containers in it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode as FileMode, OFlags};

use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::file;
use crate::idmap::{IdMap, Mode, helper};
use crate::image::stack;
use crate::image::store::Store;
use crate::image::usage::disk_usage;
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

    /// Bytes that a directory takes on disk with everything in it. One with directories that only mapped ids may read is
    /// gone through in the storage helper.
    pub fn disk_usage(&self, path: &Path) -> Result<u64> {
        let directory = file::open_dir(path)?;
        match disk_usage(directory.as_fd()) {
            Err(error) if matches!(error.errno(), Some(libc::EACCES | libc::EPERM)) => {
                helper::run(&self.map, directory.as_fd(), &mut |_| {}, |work| disk_usage(work.root.as_fd()))
            }
            other => other,
        }
    }

    /// The same store and mapping as the build with this directory in `staging/` sees them.
    pub fn of_build(&self, name: &str) -> Self {
        Self { store: self.store.of_build(name), map: self.map.shared() }
    }

    /// Removes what interrupted commands left behind. Best effort: the next command tries again.
    pub fn sweep(&self) {
        let _ = file::Staging::sweep(self.root(), &mut |path| {
            super::pause::mend(self, path)?;
            self.remove_tree(path)
        });
        let _ = self.sweep_builds();
    }

    /// Removes the layers of builds that have ended without removing them: those that have no directory in `staging/`.
    fn sweep_builds(&self) -> Result<()> {
        for folder in file::list_dir(&self.root().layers())? {
            let Some(build) = Root::build_of(&folder) else { continue };
            if !file::exists(&self.root().staging().join(build))? {
                let grave = file::Staging::unused_path(self.root())?;
                rustix::fs::rename(self.root().layers().join(&folder), &grave)?;
                self.remove_tree(&grave)?;
            }
        }
        Ok(())
    }

    /// The read-only layers of a container as paths relative to the store, topmost first, the engine's own included.
    pub fn lowers(&self, stack: &[Digest]) -> Result<Vec<String>> {
        let mut lowers = self.image_lowers(stack)?;
        self.base_layer()?;
        // One layer in any case: an image has as many as the kernel's limit leaves.
        let single = self.map.mode == Mode::Single && stack.iter().any(|digest| self.has_apt(digest));
        lowers.push(format!("engine/{}", if single { SINGLE } else { BASE }));
        Ok(lowers)
    }

    /// The same without the engine's own.
    pub fn image_lowers(&self, stack: &[Digest]) -> Result<Vec<String>> {
        Ok(self.folders(stack)?.iter().map(|folder| format!("layers/{folder}/diff")).collect())
    }

    /// The folders in `layers/` that give a stack its files, topmost first.
    pub fn folders(&self, stack: &[Digest]) -> Result<Vec<String>> {
        stack::folders(&self.store, &self.map, stack, &mut |path| self.remove_tree(path))
    }

    fn has_apt(&self, digest: &Digest) -> bool {
        self.root().layer_diff(digest).join("etc/apt/apt.conf.d").is_dir()
    }

    /// Makes the engine's layers where they are missing: mount points for what every container gets, and for `single`
    /// the setting without which apt checks in vain that it could drop root.
    fn base_layer(&self) -> Result<()> {
        let engine = self.root().engine();
        if engine.join(BASE).is_dir() && engine.join(SINGLE).is_dir() {
            return Ok(());
        }
        file::ensure_dir(&engine)?;
        let staging = file::Staging::new(self.root())?;
        for (name, files) in OWN_LAYERS {
            let made = staging.path().join(name);
            files.iter().try_for_each(|(path, made_as)| made_as.make(&made.join(path)))?;
            age_tree(&made)?;
            match std::fs::rename(&made, engine.join(name)) {
                // Another process was first.
                Err(error) if error.raw_os_error() == Some(libc::ENOTEMPTY) => {}
                other => other.context(|| format!("publish the engine's layer {name}"))?,
            }
        }
        file::fsync_dir(&engine)?;
        staging.remove(&mut |path| self.remove_tree(path))
    }

    /// What is wrong in lrun's own layers; one that was never needed is not there.
    pub fn base_faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, files) in OWN_LAYERS {
            let layer = self.root().engine().join(name);
            if !file::exists(&layer).unwrap_or(true) {
                continue;
            }
            let mut extra = Vec::new();
            others(&layer, "", files, &mut extra);
            faults.extend(extra.into_iter().map(|path| format!("{name}/{path}: does not belong there")));
            let changed = files.iter().filter(|(path, made)| !made.is_at(&layer.join(path)));
            faults.extend(changed.map(|(path, _)| format!("{name}/{path}: was changed")));
        }
        faults
    }

    /// Makes lrun's own layers anew; containers that run keep the ones that they have.
    pub fn renew_base(&self) -> Result<()> {
        for (name, _) in OWN_LAYERS {
            let grave = file::Staging::unused_path(self.root())?;
            match rustix::fs::rename(self.root().engine().join(name), &grave) {
                Ok(()) => self.remove_tree(&grave)?,
                Err(rustix::io::Errno::NOENT) => {}
                Err(errno) => return Err(errno).context(|| format!("take away lrun's layer {name}")),
            }
        }
        self.base_layer()
    }

    /// A descriptor of the store's directory, for init.
    pub fn directory(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(self.root().path(), flags, FileMode::empty()).context(|| "open the store")
    }
}

/// What lrun's own layers have.
#[derive(Clone, Copy)]
enum Made {
    Directory,
    File(&'static str),
    Link(&'static str),
}

type Files = &'static [(&'static str, Made)];

/// Mount points for what every container gets.
const BASE: &str = "base-1";
/// The same with the setting without which apt checks in vain that it could drop root.
const SINGLE: &str = "single-2";

const OWN_LAYERS: [(&str, Files); 2] = [
    (
        BASE,
        &[
            ("", Made::Directory),
            ("dev", Made::Directory),
            ("proc", Made::Directory),
            ("sys", Made::Directory),
            ("etc", Made::Directory),
            ("etc/hosts", Made::File("")),
            ("etc/hostname", Made::File("")),
            ("etc/resolv.conf", Made::File("")),
            ("etc/mtab", Made::Link("/proc/mounts")),
        ],
    ),
    (
        SINGLE,
        &[
            ("", Made::Directory),
            ("dev", Made::Directory),
            ("proc", Made::Directory),
            ("sys", Made::Directory),
            ("etc", Made::Directory),
            ("etc/hosts", Made::File("")),
            ("etc/hostname", Made::File("")),
            ("etc/resolv.conf", Made::File("")),
            ("etc/mtab", Made::Link("/proc/mounts")),
            ("etc/apt", Made::Directory),
            ("etc/apt/apt.conf.d", Made::Directory),
            ("etc/apt/apt.conf.d/99lrun", Made::File("APT::Sandbox::User \"root\";\n")),
        ],
    ),
];

impl Made {
    fn mode(self) -> FileMode {
        FileMode::from_raw_mode(if matches!(self, Self::Directory) { 0o755 } else { 0o644 })
    }

    fn make(self, path: &Path) -> Result<()> {
        match self {
            Self::Directory => std::fs::create_dir(path),
            Self::File(text) => std::fs::write(path, text),
            Self::Link(target) => return Ok(std::os::unix::fs::symlink(target, path)?),
        }
        .context(|| format!("make {}", path.display()))?;
        Ok(rustix::fs::chmod(path, self.mode())?)
    }

    /// Whether the path is as it was made.
    fn is_at(self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let Ok(found) = path.symlink_metadata() else { return false };
        let is_it = match self {
            Self::Directory => found.is_dir(),
            Self::File(text) => found.is_file() && std::fs::read(path).is_ok_and(|bytes| bytes == text.as_bytes()),
            Self::Link(target) => std::fs::read_link(path).is_ok_and(|found| found == Path::new(target)),
        };
        let mode = found.is_symlink() || found.mode() & 0o7777 == self.mode().as_raw_mode();
        is_it && mode && (found.mtime(), found.mtime_nsec()) == (0, 0)
    }
}

/// Paths in a tree, relative to it, without those in `known`.
fn others(tree: &Path, below: &str, known: Files, found: &mut Vec<String>) {
    for name in file::list_dir(&tree.join(below)).unwrap_or_default() {
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        if known.iter().all(|(own, _)| *own != path) {
            found.push(path);
        } else if tree.join(&path).is_dir() {
            others(tree, &path, known, found);
        }
    }
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
