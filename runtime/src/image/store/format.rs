//! Making and opening a store.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rustix::fs::{Mode as FileMode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::{Extra, Store};
use crate::error::{Context as _, Error, ErrorKind, REPAIR, Result};
use crate::file::{self, Durability, Lock};
use crate::idmap::Mode;
use crate::paths::Root;

const VERSION: u32 = 1;
const FORMAT_MAX: usize = 64 << 10;
const OTHER_ROOT: &str = "choose another store with --root or LRUN_ROOT";
/// What a directory may hold and still become a store: our own, half made, or a fresh file system's.
const EXPECTED: [&str; 18] = [
    "format",
    "lock",
    "refs.lock",
    "names.lock",
    // What a maker at the same time tries out, and what is made soon after.
    ".probe",
    "engine",
    "blobs",
    "images",
    "layers",
    "refs",
    "containers",
    "names",
    "staging",
    "trash",
    "cache",
    "mounts",
    "lists",
    "lost+found",
];

/// The content of `format`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Format {
    /// Layout of the store; another one is refused.
    pub version: u32,
    /// How ids on disk are to be read.
    pub idmap: Mode,
    /// What the file system can do.
    pub features: Features,
    /// Fields of later versions.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What the file system of a store can do, found out once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Features {
    /// Its name.
    pub file_system: String,
    /// Whether files can share blocks (FICLONE).
    #[serde(default)]
    pub reflink: bool,
    /// Whatever else the prober found.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Whether a kind of file system can hold a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It can.
    Good(&'static str),
    /// Some versions or settings of it can: try.
    Probe(&'static str),
    /// It cannot.
    Refused {
        /// Its name.
        name: &'static str,
        /// Why.
        reason: &'static str,
    },
}

/// Judges a file system by its magic number; statfs(2), linux/magic.h.
pub fn fs_verdict(f_type: i64) -> Verdict {
    const NETWORK: &str = "overlayfs cannot write to a network file system";
    const PLAIN: &str = "it has no extended attributes or no Unix owners";
    const FIXED: &str = "it is read-only";
    let refused = |name, reason| Verdict::Refused { name, reason };
    // Some numbers have the top bit of 32 set and arrive sign-extended on 32-bit machines.
    match f_type & 0xffff_ffff {
        0xef53 => Verdict::Good("ext4"),
        0x9123_683e => Verdict::Good("btrfs"),
        0xf2f5_2010 => Verdict::Good("f2fs"),
        0xca45_1a4e => Verdict::Good("bcachefs"),
        0x5846_5342 => Verdict::Probe("xfs"),
        0x0102_1994 => Verdict::Probe("tmpfs"),
        0x2fc1_2fc1 => Verdict::Probe("zfs"),
        0x6573_5546 => Verdict::Probe("fuse"),
        0x794c_7630 => refused("overlayfs", "an overlay cannot be written through another one"),
        0x6969 => refused("NFS", NETWORK),
        0x0bd0_0bd0 => refused("Lustre", NETWORK),
        0x4750_4653 => refused("GPFS", NETWORK),
        0x1983_0326 => refused("BeeGFS", NETWORK),
        0x00c3_6400 => refused("CephFS", NETWORK),
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => refused("SMB", NETWORK),
        0x5346_414f | 0x6b41_4653 => refused("AFS", NETWORK),
        0x0102_1997 => refused("9p", NETWORK),
        0x0116_1970 => refused("GFS2", NETWORK),
        0x7461_636f => refused("OCFS2", NETWORK),
        0xf15f => refused("eCryptfs", "overlayfs cannot write to a stacked file system"),
        0x4d44 => refused("vfat", PLAIN),
        0x2011_bab0 => refused("exfat", PLAIN),
        0x5346_544e | 0x7366_746e => refused("NTFS", PLAIN),
        0x8584_58f6 => refused("ramfs", PLAIN),
        0x7371_7368 => refused("squashfs", FIXED),
        0xe0f5_e1e2 => refused("EROFS", FIXED),
        0x9660 => refused("iso9660", FIXED),
        _ => Verdict::Probe("unknown"),
    }
}

fn dirs(root: &Root) -> [std::path::PathBuf; 8] {
    [
        root.path().join("blobs"),
        root.blobs(),
        root.images(),
        root.layers(),
        root.refs(),
        root.containers(),
        root.names(),
        root.staging(),
    ]
}

/// The names of those of its directories that a store has not. A copy of it may be without those that were empty.
fn missing(root: &Root) -> Vec<String> {
    let missing = dirs(root).into_iter().filter(|dir| !dir.is_dir());
    missing.filter_map(|dir| Some(dir.strip_prefix(root.path()).ok()?.display().to_string())).collect()
}

/// Makes the directories that the store at `path` has lost; their names.
pub fn mend_directories(path: &Path) -> Result<Vec<String>> {
    let missing = missing(&Root::new(path));
    for dir in &missing {
        let dir = path.join(dir);
        file::ensure_dir(&dir)?;
        if !dir.is_dir() {
            let message = format!("{} is no directory", dir.display());
            return Err(Error::new(ErrorKind::Corrupt, message).hint("move it away, and repair again"));
        }
        let above = std::fs::File::open(dir.parent().unwrap_or(path));
        above.and_then(|above| above.sync_all()).context(|| format!("flush {}", dir.display()))?;
    }
    Ok(missing)
}

/// See [`Store::open`]. A good store costs thirteen system calls and a close.
pub(super) fn open(path: &Path, create: bool, idmap: Mode, probe: &dyn Fn(&Path) -> Result<Features>) -> Result<Store> {
    match open_existing(path, idmap) {
        Err(error) if error.kind() == ErrorKind::NotFound && create => {
            make(path, idmap, probe).map_err(|e| e.context(format!("create store {}", path.display())))?;
            open_existing(path, idmap)
        }
        other => other,
    }
}

fn open_existing(path: &Path, idmap: Mode) -> Result<Store> {
    // The path itself may be a symlink: the user chose it.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(path, flags, FileMode::empty()).map_err(|errno| open_error(path, errno))?;
    let stat = rustix::fs::fstat(&dir).context(|| format!("open store {}", path.display()))?;
    check_owner(path, stat.st_uid)?;
    let bytes = match file::read_small_at(&dir, Path::new("format"), FORMAT_MAX) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Error::new(ErrorKind::NotFound, format!("{} is no lrun store", path.display())));
        }
        other => other.context(|| format!("open store {}", path.display()))?,
    };
    let format = check_format(path, &bytes, idmap)?;
    if stat.st_mode & 0o077 != 0 {
        // Setuid files of images must be out of other users' reach.
        rustix::fs::fchmod(&dir, FileMode::from_bits_truncate(0o700))
            .context(|| format!("close {} to other users", path.display()))?;
    }
    let root = Root::new(path);
    let missing = missing(&root);
    if !missing.is_empty() {
        let message = format!("store {} has lost directories: {}", path.display(), missing.join(", "));
        return Err(Error::new(ErrorKind::Corrupt, message).hint(REPAIR));
    }
    Ok(Store { root, format })
}

fn open_error(path: &Path, errno: Errno) -> Error {
    let error = Error::from(errno).context(format!("open store {}", path.display()));
    match errno {
        Errno::ACCESS | Errno::PERM | Errno::NOTDIR => error.hint(OTHER_ROOT),
        _ => error,
    }
}

fn check_owner(path: &Path, owner: u32) -> Result<()> {
    let user = rustix::process::geteuid().as_raw();
    if owner == user {
        return Ok(());
    }
    let message = format!("store {} belongs to user id {owner}, not to {user}", path.display());
    let hint = match user {
        0 => format!("run lrun as that user, without sudo, or {OTHER_ROOT}"),
        _ => OTHER_ROOT.to_owned(),
    };
    Err(Error::new(ErrorKind::Permission, message).hint(hint))
}

fn check_format(path: &Path, bytes: &[u8], idmap: Mode) -> Result<Format> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let damaged = |error: Error| error.context(format!("{}/format is damaged", path.display())).hint(REPAIR);
    let bytes = file::unseal(bytes.to_vec()).map_err(damaged)?;
    let Version { version } = file::from_json(bytes.clone()).map_err(damaged)?;
    if version != VERSION {
        let message = format!("store {} has format version {version}, this lrun knows {VERSION}", path.display());
        return Err(Error::new(ErrorKind::Unsupported, message).hint(OTHER_ROOT));
    }
    let format: Format = file::from_json(bytes).map_err(damaged)?;
    if format.idmap != idmap {
        let (theirs, ours) = (format.idmap.name(), idmap.name());
        let message = format!("store {} was made with id mapping {theirs}, not {ours}", path.display());
        let hint = format!("use --idmap {theirs}, or a store of its own for {ours}: {OTHER_ROOT}");
        return Err(Error::new(ErrorKind::Unsupported, message).hint(hint));
    }
    Ok(format)
}

/// Restores the `format` of the store at `path` after one byte of it was damaged; whether it could.
pub fn mend_format(path: &Path) -> Result<bool> {
    let format = Root::new(path).format();
    let Some(mended) = file::mend(file::read_small(&format, FORMAT_MAX)?) else { return Ok(false) };
    file::write_atomic(&format, &mended, Durability::Flushed)?;
    Ok(true)
}

/// Writes the `format` of the store at `path` anew, after more of it was damaged. `false`: what is left of it tells of
/// another id mapping than this one, whose files would have other owners.
pub fn renew_format(path: &Path, idmap: Mode, probe: &dyn Fn(&Path) -> Result<Features>) -> Result<bool> {
    let root = Root::new(path);
    let left = file::read_small(&root.format(), FORMAT_MAX).unwrap_or_default();
    let named = |mode: Mode| {
        let word = format!("\"{}\"", mode.name()).into_bytes();
        left.windows(word.len()).any(|window| window == word)
    };
    if [Mode::Subids, Mode::Single, Mode::Root].into_iter().any(|mode| mode != idmap && named(mode)) {
        return Ok(false);
    }
    let format = Format { version: VERSION, idmap, features: probe(path)?, extra: Extra::new() };
    file::write_atomic(&root.format(), &file::to_json(&format)?, Durability::Flushed)?;
    Ok(true)
}

fn make(path: &Path, idmap: Mode, probe: &dyn Fn(&Path) -> Result<Features>) -> Result<()> {
    let root = Root::new(path);
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).hint(|| OTHER_ROOT)?;
    if !path.exists() {
        check_fs(parent)?;
    }
    // Creating through a symlink or in a directory that is there already is fine.
    let made = match file::make_dir(path) {
        Ok(()) => true,
        Err(error) if error.errno() == Some(libc::EEXIST) => false,
        Err(error) => return Err(error.hint(OTHER_ROOT)),
    };
    let result = fill(&root, idmap, probe);
    if result.is_err() && made {
        // Leave nothing where the store cannot be; a second maker's content keeps the directory.
        let _ = std::fs::remove_file(root.lock());
        let _ = std::fs::remove_dir(path);
    }
    result?;
    file::fsync_dir(parent).or_else(|error| match error.errno() {
        // A symlink, or a directory that may be passed but not read.
        Some(libc::EACCES | libc::ELOOP | libc::ENOTDIR) => Ok(()),
        _ => Err(error),
    })
}

fn check_fs(path: &Path) -> Result<()> {
    let f_type = rustix::fs::statfs(path).context(|| format!("look at the file system of {}", path.display()))?.f_type;
    match fs_verdict(f_type as i64) {
        Verdict::Refused { name, reason } => {
            let message = format!("the file system {name} cannot hold a store: {reason}");
            Err(Error::new(ErrorKind::Unsupported, message).hint(OTHER_ROOT))
        }
        Verdict::Good(_) | Verdict::Probe(_) => Ok(()),
    }
}

fn fill(root: &Root, idmap: Mode, probe: &dyn Fn(&Path) -> Result<Features>) -> Result<()> {
    let path = root.path();
    // Where the root itself is a mount point or a symlink.
    check_fs(path)?;
    let owner = rustix::fs::stat(path).context(|| format!("look at {}", path.display()))?.st_uid;
    check_owner(path, owner)?;
    for entry in std::fs::read_dir(path).context(|| format!("list {}", path.display()))? {
        let name = entry?.file_name();
        if !EXPECTED.iter().any(|expected| name == *expected) && !file::is_temporary(name.as_encoded_bytes()) {
            let message = format!("{} is not empty and no lrun store", path.display());
            return Err(Error::new(ErrorKind::Conflict, message).hint(OTHER_ROOT));
        }
    }
    let _lock = Lock::exclusive(&root.lock())?;
    if file::exists(&root.format())? {
        return Ok(());
    }
    let features = probe(path)?;
    for dir in dirs(root) {
        file::ensure_dir(&dir)?;
    }
    file::fsync_dir(&path.join("blobs"))?;
    let format = Format { version: VERSION, idmap, features, extra: Extra::new() };
    // Last, and flushed with the directory: a root with `format` is complete.
    let dir = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, FileMode::empty())?;
    file::write_atomic_at(dir, "format", &file::to_json(&format)?, Durability::Flushed)
}
