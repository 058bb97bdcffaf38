//! Which ids a process of the container gets: `user[:group]` resolved in the container's own passwd and group files.
//!
//! Runs inside the container's root, on files that the container controls: only regular files, opened without blocking
//! and without following links into `/proc/<pid>`, at most 1 MiB of each, and nothing of them is trusted beyond its
//! fields. `passwd(5)`, `group(5)`.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{FileType, Mode, OFlags};

use super::rootfs::open_as;
use crate::error::{Error, ErrorKind, Result};

const MOST: u64 = 1 << 20;

/// The ids of a process, and the home directory of its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids, ascending.
    pub groups: Vec<u32>,
    /// From passwd; `/` where the user has no entry.
    pub home: String,
}

/// Resolves `spec` (`""`, `user`, `user:group`, `:group`; names or numbers) and more groups against the files of the
/// current root.
pub fn resolve(spec: &str, more: &[String]) -> Result<Ids> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, Mode::empty())?;
    resolve_in(spec, more, &database(root.as_fd(), "/etc/passwd"), &database(root.as_fd(), "/etc/group"))
}

/// A file's text, or nothing where there is no acceptable file.
fn database(root: BorrowedFd<'_>, path: &str) -> String {
    let read = || -> std::io::Result<String> {
        let fd = open_as(root, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        if FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) != FileType::RegularFile {
            return Ok(String::new());
        }
        let mut bytes = Vec::new();
        std::fs::File::from(fd).take(MOST).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_default()
}

/// An id is at most 2³² - 2: the last one means "no change" to the kernel.
fn number(text: &str) -> Option<u32> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse::<u32>().ok().filter(|id| *id != u32::MAX)
}

/// The id that digits mean; `None` for a name.
fn id(text: &str) -> Result<Option<u32>> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    let range = || Error::new(ErrorKind::Invalid, format!("uids and gids must be in range 0-4294967294: {text}"));
    number(text).map(Some).ok_or_else(range)
}

struct Passwd<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn passwd_entries(text: &str) -> impl Iterator<Item = Passwd<'_>> {
    text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        match fields[..] {
            [name, _, uid, gid, _, home, ..] if !name.is_empty() => {
                Some(Passwd { name, uid: number(uid)?, gid: number(gid)?, home })
            }
            _ => None,
        }
    })
}

fn group_entries(text: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, gid) = (fields.next()?, fields.next()?, number(fields.next()?)?);
        Some((name, gid, fields.next().unwrap_or("")))
    })
}

/// The same on texts; pure.
pub fn resolve_in(spec: &str, more: &[String], passwd: &str, group: &str) -> Result<Ids> {
    let (user, wanted_group) = match spec.split_once(':') {
        Some((user, "")) => (user, None),
        Some((user, group)) => (user, Some(group)),
        None => (spec, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let id = id(user)?;
    // Digits are never looked up as a name: the image would decide whom a number means.
    let entry = passwd_entries(passwd).find(|entry| id.map_or(entry.name == user, |uid| entry.uid == uid));
    let uid = match (&entry, id) {
        (_, Some(uid)) => uid,
        (Some(entry), None) => entry.uid,
        (None, None) => {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("unable to find user {user}: no matching entries in passwd file"),
            ));
        }
    };
    let gid = match wanted_group {
        Some(name) => find_group(name, group)?,
        None => entry.as_ref().map_or(0, |entry| entry.gid),
    };
    // Without its own group among them, a process that gives up that group could pass where the group is denied.
    let mut groups = vec![gid];
    if let (Some(entry), None) = (&entry, wanted_group) {
        let member = |members: &str| members.split(',').any(|m| m == entry.name);
        groups.extend(group_entries(group).filter(|(_, _, members)| member(members)).map(|(_, gid, _)| gid));
    }
    for name in more {
        groups.push(find_group(name, group)?);
    }
    groups.sort_unstable();
    groups.dedup();
    let home = entry.as_ref().map_or("", |entry| entry.home);
    let usable = home.starts_with('/') && !home.chars().any(char::is_control);
    Ok(Ids { uid, gid, groups, home: if usable { home.to_owned() } else { "/".to_owned() } })
}

fn find_group(name: &str, group: &str) -> Result<u32> {
    if let Some(gid) = id(name)? {
        return Ok(gid);
    }
    let found = group_entries(group).find(|(entry, _, _)| *entry == name).map(|(_, gid, _)| gid);
    found.ok_or_else(|| {
        Error::new(ErrorKind::Invalid, format!("unable to find group {name}: no matching entries in group file"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbad\nmail:x:8:12::/var/mail:/bin/sh\n7:x:70:71::/seven:/s\n\
                          tricky:x:9:9::relative:/s\nnohome:x:10:10::/a\u{1}b:/s\n";
    const GROUP: &str = "root:x:0:\nmail:x:12:\nwheel:x:5:mail,root\nextra:x:6:mail\n7:x:70:\n";

    fn ids(spec: &str, more: &[&str]) -> Result<Ids> {
        resolve_in(spec, &more.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>(), PASSWD, GROUP)
    }

    #[test]
    fn users_and_groups_resolve_as_docker_does() {
        let got = |spec: &str| ids(spec, &[]).map(|i| (i.uid, i.gid, i.groups, i.home)).unwrap();
        assert_eq!(got(""), (0, 0, vec![0, 5], "/root".into()));
        assert_eq!(got("mail"), (8, 12, vec![5, 6, 12], "/var/mail".into()));
        assert_eq!(got("8"), (8, 12, vec![5, 6, 12], "/var/mail".into()));
        assert_eq!(got("mail:wheel"), (8, 5, vec![5], "/var/mail".into()));
        assert_eq!(got("1"), (1, 0, vec![0], "/".into()));
        assert_eq!(got("1:"), (1, 0, vec![0], "/".into()));
        assert_eq!(got(":12"), (0, 12, vec![12], "/root".into()));
        assert_eq!(got("7"), (7, 0, vec![0], "/".into()), "a number is never a name");
        assert_eq!(got("1:7").1, 7, "nor a group's");
        assert_eq!(got("tricky").3, "/");
        assert_eq!(got("nohome").3, "/");
        assert_eq!(ids("1", &["wheel", "77", "wheel"]).unwrap().groups, [0, 5, 77]);
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for spec in
            ["4294967295", "4294967296", "99999999999999999999", "nobody", "-1", "mail:none", "1:4294967296", "+1"]
        {
            assert_eq!(ids(spec, &[]).unwrap_err().kind(), ErrorKind::Invalid, "{spec}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(spec in ".{0,20}", passwd in "(?s).{0,200}", group in "(?s).{0,200}") {
            let _ = resolve_in(&spec, &[], &passwd, &group);
        }
    }
}
