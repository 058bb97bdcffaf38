//! Finds a path in the context as somebody would for whom the context's root is `/`.
//!
//! Links are read, not followed: each component is opened by itself, so that a name that is swapped meanwhile leads to
//! something else in the context at most.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2, readlinkat};
use rustix::io::Errno;

use crate::error::{Context, Error, Result};
use crate::image::tar::{invalid, join, shown, split};

/// As many links as the kernel follows in one path; `path_resolution(7)`.
const MOST_LINKS: usize = 40;
/// Longest path; the kernel takes no longer one at once.
const LONGEST: usize = 4095;

/// Something in the context.
pub(super) struct Found {
    /// Its path from the root, without links, `.` and `..`; empty for the root.
    pub(super) path: Vec<u8>,
    pub(super) stat: Stat,
    /// The links that led there.
    pub(super) links: Vec<Vec<u8>>,
}

/// A path as typed, from the context's root, cleaned by its text alone; one that leaves the root is refused.
pub(super) fn inside(typed: &[u8]) -> Result<Vec<u8>> {
    if typed.len() > LONGEST || typed.contains(&0) {
        return Err(invalid(format!("no path: {}", shown(typed))));
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in typed.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                let outside = || invalid(format!("forbidden path outside the build context: {}", shown(typed)));
                parts.pop().ok_or_else(|| {
                    outside().hint("what is copied must be in the context; --build-context adds another directory")
                })?;
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join(&b'/'))
}

/// Opens what is at a path without links, from the root on. A link on the way is an error (ELOOP).
pub(super) fn open(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, flags, Mode::empty(), beneath)
}

/// Finds a path that [`inside`] returned, all its links followed inside the root. `None`: it is not there.
pub(super) fn find(root: BorrowedFd<'_>, path: &[u8]) -> Result<Option<Found>> {
    let attempt = || format!("look for {} in the build context", shown(path));
    let names = |path: &[u8]| -> Vec<Vec<u8>> {
        path.split(|b| *b == b'/').filter(|name| !matches!(*name, b"" | b".")).map(<[u8]>::to_vec).collect()
    };
    let mut todo = VecDeque::from(names(path));
    let mut at = Vec::new();
    let mut here = open(root, b"", OFlags::PATH).context(attempt)?;
    let mut links = Vec::new();
    while let Some(name) = todo.pop_front() {
        if name == b".." {
            at = split(&at).map(|(parent, _)| parent.to_vec()).unwrap_or_default();
            here = open(root, &at, OFlags::PATH).context(attempt)?;
            continue;
        }
        let next =
            match openat(&here, name.as_slice(), OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
                Ok(next) => next,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG) => return Ok(None),
                Err(errno) => return Err(errno).context(attempt),
            };
        if FileType::from_raw_mode(fstat(&next).context(attempt)?.st_mode) != FileType::Symlink {
            at = join(&at, &name);
            here = next;
            continue;
        }
        links.push(join(&at, &name));
        if links.len() > MOST_LINKS {
            return Err(Error::from(std::io::Error::from(Errno::LOOP)).context(attempt()));
        }
        let target = readlinkat(&next, "", Vec::new()).context(attempt)?.into_bytes();
        if target.starts_with(b"/") {
            at = Vec::new();
            here = open(root, b"", OFlags::PATH).context(attempt)?;
        }
        for name in names(&target).into_iter().rev() {
            todo.push_front(name);
        }
    }
    let stat = fstat(here.as_fd()).context(attempt)?;
    Ok(Some(Found { path: at, stat, links }))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn found(root: &std::path::Path, path: &str) -> Option<String> {
        let root = fs::File::open(root).expect("a directory");
        let found = find(root.as_fd(), &inside(path.as_bytes()).expect("inside")).expect("it is looked for");
        found.map(|found| String::from_utf8(found.path).expect("UTF-8"))
    }

    #[test]
    fn links_lead_on_inside_only() {
        let root = tempfile::tempdir().expect("a directory");
        let at = |name: &str| root.path().join(name);
        fs::create_dir_all(at("a/b")).expect("directories");
        fs::create_dir(at("etc")).expect("a directory");
        fs::write(at("etc/passwd"), "own").expect("a file");
        fs::write(at("a/b/f"), "f").expect("a file");
        for (link, target) in [
            ("to-file", "/etc/passwd"),
            ("to-root", "/"),
            ("up", "../../../../etc"),
            ("a/b/up", "../../etc/passwd"),
            ("to-dir", "a/b"),
            ("loop", "loop"),
            ("dangling", "nowhere"),
            ("through-file", "etc/passwd/x"),
            ("shadow", "/etc/shadow"),
        ] {
            symlink(target, at(link)).expect("a link");
        }
        for (path, wanted) in [
            ("/", Some("")),
            ("a/../to-file", Some("etc/passwd")),
            ("up/passwd", Some("etc/passwd")),
            ("to-dir/up", Some("etc/passwd")),
            ("to-root/to-root/a/b/f", Some("a/b/f")),
            ("dangling", None),
            ("through-file", None),
            ("shadow", None),
            ("a/b/f/x", None),
            ("nothing", None),
        ] {
            assert_eq!(found(root.path(), path).as_deref(), wanted, "{path}");
        }
        let directory = fs::File::open(root.path()).expect("a directory");
        let error = find(directory.as_fd(), b"loop/x").err().expect("no end");
        assert_eq!(error.errno(), Some(libc::ELOOP));
        assert!(open(directory.as_fd(), b"to-file", OFlags::RDONLY).is_err());
        assert!(open(directory.as_fd(), b"to-dir/f", OFlags::RDONLY).is_err());
        assert!(open(directory.as_fd(), b"../x", OFlags::RDONLY).is_err());
    }

    #[test]
    fn paths_outside_are_refused() {
        for path in ["..", "../x", "a/../../x", "/../x", "a\0b"] {
            let error = inside(path.as_bytes()).expect_err(path);
            assert_eq!(error.kind(), crate::ErrorKind::Invalid);
        }
        assert!(inside(b"../x").expect_err("outside").to_string().contains("forbidden path outside the build context"));
        assert_eq!(inside(b"//a/./b/../c/").expect("inside"), b"a/c");
        assert!(inside(&[b'a'; 5000]).is_err());
    }
}
