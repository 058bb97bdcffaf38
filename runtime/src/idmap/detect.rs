//! Which id mapping this user gets on this machine, and why not a better one.
//!
//! [`HostIds::read`] collects what the machine says, [`decide`] is a pure function of it. Both run in the CLI, in the
//! host's namespaces, as the user, on every `run`: a few small files and three `stat`s, and another program only where
//! the files do not have the answer (accounts in a directory service). Whether `newuidmap` then really works is found
//! out by running it, see [`super::newidmap`].
//!
//! A store keeps the mode it was made with, so only what is known chooses one: a program that is not there, a user
//! without ranges. What could not be found out this once is an error, unless the caller names a mode that does without.

use super::ranges::{self, PasswdEntry, Range};
use super::{Extent, IdMap, Mode};
use crate::error::{Context, Error, ErrorKind, Result};
use rustix::fs::StatVfsMountFlags;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where programs that lrun runs on the host are looked for: fixed, so that nobody's `PATH` decides what gets the
/// user's ids. `/run/wrappers/bin` holds NixOS's setuid programs.
pub const TOOL_DIRS: [&str; 6] = ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin", "/run/wrappers/bin"];

/// The environment of programs that lrun runs on the host: messages in English, nothing inherited.
pub(crate) const TOOL_ENV: [(&str, &str); 2] = [("PATH", "/usr/bin:/bin:/usr/sbin:/sbin"), ("LC_ALL", "C")];

const UNKNOWN_WAY_OUT: &str = "try again; if it stays so, use --idmap single with a store of its own (--root)";

const SINGLE_WAY_OUT: &str = "use --idmap single (LRUN_IDMAP=single), which needs no subordinate ids";

/// Something that this machine lacks: what, how that shows, and how to get it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// What is missing or limited.
    pub what: String,
    /// How lrun knows.
    pub why: String,
    /// What can be done about it, and by whom.
    pub how: String,
}

impl Note {
    pub(crate) fn new(what: impl Into<String>, why: impl Into<String>, how: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into(), how: how.into() }
    }

    fn into_error(self, attempt: &str) -> Error {
        Error::new(ErrorKind::Unsupported, format!("{attempt}: {}", self.why)).hint(self.how)
    }
}

/// A program that is to gain privileges when executed: `newuidmap`, `newgidmap`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Helper {
    /// Not in any of [`TOOL_DIRS`].
    Missing,
    /// There, but neither setuid root nor with file capabilities.
    Unprivileged(PathBuf),
    /// On a file system mounted `nosuid`.
    Nosuid(PathBuf),
    /// Looks as if it worked.
    Usable(PathBuf),
}

/// What the machine says about this process's ids.
#[derive(Clone, Debug)]
pub struct HostIds {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// The ids of the surrounding user namespace, from `/proc/self/uid_map`.
    pub uid_map: Vec<Extent>,
    /// The same of groups.
    pub gid_map: Vec<Extent>,
    /// The user's account, where it is known.
    pub account: Option<PasswdEntry>,
    /// Subordinate user ids.
    pub subuids: Vec<Range>,
    /// Subordinate group ids.
    pub subgids: Vec<Range>,
    /// Whether no program that this process starts can gain privileges (`PR_SET_NO_NEW_PRIVS`).
    pub no_new_privs: bool,
    /// `newuidmap`.
    pub newuidmap: Helper,
    /// `newgidmap`.
    pub newgidmap: Helper,
    /// The first thing that could not be found out; what it would have told is empty or missing here.
    pub unknown: Option<Note>,
}

impl HostIds {
    /// Reads what [`decide`] needs. Files that do not exist count as empty.
    pub fn read() -> Result<Self> {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let mut host = Self {
            uid,
            gid,
            uid_map: ranges::parse_id_map(&fs::read("/proc/self/uid_map").context(|| "read /proc/self/uid_map")?),
            gid_map: ranges::parse_id_map(&fs::read("/proc/self/gid_map").context(|| "read /proc/self/gid_map")?),
            account: None,
            subuids: Vec::new(),
            subgids: Vec::new(),
            no_new_privs: rustix::thread::no_new_privs().unwrap_or(false),
            newuidmap: Helper::Missing,
            newgidmap: Helper::Missing,
            unknown: None,
        };
        if let Err(error) = host.find_out() {
            host.unknown = Some(Note::new("the user's ids", error.to_string(), UNKNOWN_WAY_OUT));
        }
        Ok(host)
    }

    fn find_out(&mut self) -> Result<()> {
        self.account = ranges::parse_passwd(&read_or_empty("/etc/passwd")?, self.uid);
        self.newuidmap = probe_helper("newuidmap", self.uid)?;
        self.newgidmap = probe_helper("newgidmap", self.uid)?;
        let (subuid, subgid) = (read_or_empty("/etc/subuid")?, read_or_empty("/etc/subgid")?);
        let from_nss = ranges::subids_from_nss(&read_or_empty("/etc/nsswitch.conf")?);
        // An account of a directory service: its name may still be in the files, or known to another source.
        if self.account.is_none() && (from_nss || !subuid.is_empty()) {
            self.account = ranges::parse_passwd(&output("getent", &["passwd", &self.uid.to_string()])?, self.uid);
        }
        let name = self.account.as_ref().map(|account| account.name.as_str());
        if let (true, Some(name)) = (from_nss, name) {
            self.subuids = ranges::parse_getsubids(&output("getsubids", &[name])?);
            self.subgids = ranges::parse_getsubids(&output("getsubids", &["-g", name])?);
        }
        if self.subuids.is_empty() && self.subgids.is_empty() {
            self.subuids = ranges::parse_subids(&subuid, name, self.uid);
            self.subgids = ranges::parse_subids(&subgid, name, self.uid);
        }
        Ok(())
    }

    /// The user's name, or its number where there is none.
    pub fn name(&self) -> String {
        self.account.as_ref().map_or_else(|| self.uid.to_string(), |account| account.name.clone())
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn read_or_empty(path: &str) -> Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if is_absent(&error) => Ok(Vec::new()),
        other => other.context(|| format!("read {path}")),
    }
}

/// The path of a program in one of [`TOOL_DIRS`].
pub fn find_tool(name: &str) -> Result<Option<PathBuf>> {
    for path in TOOL_DIRS.iter().map(|dir| Path::new(dir).join(name)) {
        match fs::metadata(&path) {
            Ok(found) if found.is_file() => return Ok(Some(path)),
            Ok(_) => {}
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(error).context(|| format!("look for {}", path.display())),
        }
    }
    Ok(None)
}

/// What a program prints; nothing if it is not there, or says by its exit code that it knows nothing.
fn output(name: &str, args: &[&str]) -> Result<Vec<u8>> {
    let Some(path) = find_tool(name)? else { return Ok(Vec::new()) };
    let output = Command::new(&path)
        .args(args)
        .env_clear()
        .envs(TOOL_ENV)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .context(|| format!("run {}", path.display()))?;
    match output.status.code() {
        Some(0) => Ok(output.stdout),
        Some(_) => Ok(Vec::new()),
        None => Err(Error::new(ErrorKind::Io, format!("{}: {}", path.display(), output.status))),
    }
}

fn probe_helper(name: &str, uid: u32) -> Result<Helper> {
    let Some(path) = find_tool(name)? else { return Ok(Helper::Missing) };
    // Root needs no gain of privileges.
    if uid == 0 {
        return Ok(Helper::Usable(path));
    }
    let attempt = || format!("look at {}", path.display());
    let found = fs::metadata(&path).context(attempt)?;
    let setuid = found.uid() == 0 && found.permissions().mode() & 0o4000 != 0;
    if !setuid {
        match rustix::fs::getxattr(&path, "security.capability", &mut [0u8; 64]) {
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(Helper::Unprivileged(path)),
            other => other.context(attempt)?,
        };
    }
    let stat = rustix::fs::statvfs(&path).context(attempt)?;
    Ok(if stat.f_flag.contains(StatVfsMountFlags::NOSUID) { Helper::Nosuid(path) } else { Helper::Usable(path) })
}

/// The mapping for `want`, or the best one that this machine allows, with notes on what stands in the way of a better
/// one. A wanted mode that cannot work is an error that names the reason and the way out.
pub fn decide(want: Option<Mode>, host: &HostIds) -> Result<(IdMap, Vec<Note>)> {
    match want {
        Some(Mode::Root) if host.uid != 0 => Err(Error::new(
            ErrorKind::Unsupported,
            format!("id mapping \"root\" needs root, and this is user {}", host.name()),
        )
        .hint("leave --idmap (LRUN_IDMAP) away, or run lrun as root")),
        Some(Mode::Root) => Ok((root(host), Vec::new())),
        Some(Mode::Single) => Ok((single(host), Vec::new())),
        Some(Mode::Subids) => match obstacle(known(host)?) {
            Some(note) => Err(note.into_error("id mapping \"subids\" is not possible")),
            None => Ok(subids(host)),
        },
        None if host.uid == 0 && has_several(&host.uid_map) && has_several(&host.gid_map) => {
            Ok((root(host), Vec::new()))
        }
        None => Ok(match obstacle(known(host)?) {
            Some(note) => (single(host), vec![note]),
            None => subids(host),
        }),
    }
}

/// `unshare -r` and its like leave an euid 0 that has no other id: the emulation of `single` then serves better.
fn has_several(map: &[Extent]) -> bool {
    map.iter().map(|e| u64::from(e.count)).sum::<u64>() > 1
}

/// The host, if everything about it could be found out.
fn known(host: &HostIds) -> Result<&HostIds> {
    let unknown = |note: Note| note.into_error("cannot tell which ids this user has").with_kind(ErrorKind::Io);
    host.unknown.clone().map_or(Ok(host), |note| Err(unknown(note)))
}

fn root(host: &HostIds) -> IdMap {
    IdMap::new(Mode::Root, ranges::identity(&host.uid_map), ranges::identity(&host.gid_map))
}

fn single(host: &HostIds) -> IdMap {
    let only = |outside| vec![Extent { inside: 0, outside, count: 1 }];
    IdMap::new(Mode::Single, only(host.uid), only(host.gid))
}

fn subids(host: &HostIds) -> (IdMap, Vec<Note>) {
    let uids = ranges::with_subids(host.uid, &host.subuids, &host.uid_map);
    let gids = ranges::with_subids(host.gid, &host.subgids, &host.gid_map);
    let size = |map: &[Extent]| map.iter().map(|e| u64::from(e.count)).sum::<u64>();
    let (uid_count, gid_count) = (size(&uids), size(&gids));
    let mut notes = Vec::new();
    if uid_count.min(gid_count) < 65536 {
        notes.push(Note::new(
            "all the ids that images use",
            format!("{} has {uid_count} user ids and {gid_count} group ids, images use up to 65536", host.name()),
            "owners beyond are stored as 0; ask an administrator for larger ranges in /etc/subuid and /etc/subgid",
        ));
    }
    (IdMap::new(Mode::Subids, uids, gids), notes)
}

/// What stands in the way of the user's subordinate ids, if anything is known to.
fn obstacle(host: &HostIds) -> Option<Note> {
    let what = "subordinate ids (id mapping \"subids\")";
    let name = host.name();
    let no_range = |file: &str, option: &str, ranges: &[Range], parent: &[Extent]| {
        if ranges.is_empty() {
            let why = format!("{file} has no range for {name}");
            let how = format!("as root: usermod --add-{option} 100000-165535 {name} (a range nobody else has)");
            Some(Note::new(what, why, how))
        } else if ranges::with_subids(0, ranges, parent).len() == 1 {
            let why = format!("the ids that {file} gives to {name} do not exist in this user namespace");
            Some(Note::new(what, why, "run lrun outside of this container, or give the container more ids"))
        } else {
            None
        }
    };
    no_range("/etc/subuid", "subuids", &host.subuids, &host.uid_map)
        .or_else(|| no_range("/etc/subgid", "subgids", &host.subgids, &host.gid_map))
        .or_else(|| helper_obstacle("newuidmap", &host.newuidmap))
        .or_else(|| helper_obstacle("newgidmap", &host.newgidmap))
        .or_else(|| (host.no_new_privs && host.uid != 0).then(no_new_privs_note))
        .map(|note| Note { what: what.to_owned(), ..note })
}

fn no_new_privs_note() -> Note {
    Note::new(
        "",
        "this process runs with no_new_privs, so newuidmap cannot gain its privileges",
        format!("start lrun from where no_new_privs is not set, or {SINGLE_WAY_OUT}"),
    )
}

fn helper_obstacle(name: &str, helper: &Helper) -> Option<Note> {
    let (why, how) = match helper {
        Helper::Usable(_) => return None,
        Helper::Missing => (
            format!("{name} is not installed"),
            "install the package uidmap (Debian, Ubuntu) or shadow-utils (Fedora)".to_owned(),
        ),
        Helper::Unprivileged(path) => (
            format!("{} has neither the setuid bit nor file capabilities", path.display()),
            format!(
                "as root: chmod u+s {0}, or setcap cap_set{1}id+ep {0}",
                path.display(),
                name.chars().nth(3).unwrap_or('u')
            ),
        ),
        Helper::Nosuid(path) => {
            (format!("{} is on a file system mounted nosuid", path.display()), SINGLE_WAY_OUT.to_owned())
        }
    };
    Some(Note::new("", why, how))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alice() -> HostIds {
        let all = vec![Extent { inside: 0, outside: 0, count: u32::MAX }];
        HostIds {
            uid: 1000,
            gid: 1000,
            uid_map: all.clone(),
            gid_map: all,
            account: Some(PasswdEntry { name: "alice".into(), gid: 1000, home: None }),
            subuids: vec![Range { start: 100_000, count: 65536 }],
            subgids: vec![Range { start: 200_000, count: 65536 }],
            no_new_privs: false,
            newuidmap: Helper::Usable("/usr/bin/newuidmap".into()),
            newgidmap: Helper::Usable("/usr/bin/newgidmap".into()),
            unknown: None,
        }
    }

    fn root_with(map: &[Extent]) -> HostIds {
        HostIds { uid: 0, gid: 0, uid_map: map.to_vec(), gid_map: map.to_vec(), account: None, ..alice() }
    }

    fn e(inside: u32, outside: u32, count: u32) -> Extent {
        Extent { inside, outside, count }
    }

    #[test]
    fn the_best_mode_is_chosen() {
        let (map, notes) = decide(None, &alice()).unwrap();
        assert_eq!(map.mode, Mode::Subids);
        assert_eq!(map.uids, [e(0, 1000, 1), e(1, 100_000, 65536)]);
        assert_eq!(map.gids, [e(0, 1000, 1), e(1, 200_000, 65536)]);
        assert_eq!(notes, []);

        let (map, notes) = decide(None, &root_with(&[e(0, 0, u32::MAX)])).unwrap();
        assert_eq!((map.mode, map.uids, notes), (Mode::Root, vec![e(0, 0, u32::MAX)], vec![]));

        let (map, _) = decide(None, &root_with(&[e(0, 1000, 1), e(1, 100_000, 10)])).unwrap();
        assert_eq!((map.mode, map.uids), (Mode::Root, vec![e(0, 0, 1), e(1, 1, 10)]));

        let (map, _) = decide(None, &root_with(&[e(0, 1000, 1)])).unwrap();
        assert_eq!((map.mode, map.uids), (Mode::Single, vec![e(0, 0, 1)]));
    }

    #[test]
    fn every_obstacle_gives_single_with_its_reason_or_refuses_a_forced_mode() {
        let missing = || Helper::Missing;
        let cases: [(&str, HostIds, &str); 8] = [
            ("no uids", HostIds { subuids: vec![], ..alice() }, "/etc/subuid has no range for alice"),
            ("no gids", HostIds { subgids: vec![], ..alice() }, "/etc/subgid has no range for alice"),
            ("tool", HostIds { newuidmap: missing(), ..alice() }, "newuidmap is not installed"),
            ("other tool", HostIds { newgidmap: missing(), ..alice() }, "newgidmap is not installed"),
            (
                "mode",
                HostIds { newgidmap: Helper::Unprivileged("/bin/newgidmap".into()), ..alice() },
                "/bin/newgidmap has neither the setuid bit nor file capabilities",
            ),
            (
                "mount",
                HostIds { newuidmap: Helper::Nosuid("/bin/newuidmap".into()), ..alice() },
                "/bin/newuidmap is on a file system mounted nosuid",
            ),
            (
                "privileges",
                HostIds { no_new_privs: true, ..alice() },
                "this process runs with no_new_privs, so newuidmap cannot gain its privileges",
            ),
            (
                "namespace",
                HostIds { uid_map: vec![e(0, 1000, 1), e(1, 5, 10)], uid: 3, ..alice() },
                "the ids that /etc/subuid gives to alice do not exist in this user namespace",
            ),
        ];
        for (name, host, why) in cases {
            let (map, notes) = decide(None, &host).unwrap();
            assert_eq!(map.mode, Mode::Single, "{name}");
            assert_eq!(map.uids, [e(0, host.uid, 1)], "{name}");
            assert_eq!(notes[0].why, why, "{name}");
            let error = decide(Some(Mode::Subids), &host).unwrap_err();
            assert_eq!(error.to_string(), format!("id mapping \"subids\" is not possible: {why}"), "{name}");
            assert_eq!(error.hint_text(), Some(notes[0].how.as_str()), "{name}");
        }
    }

    /// A store would keep what was chosen without knowing.
    #[test]
    fn nothing_is_chosen_while_something_is_unknown() {
        let unknown = Some(Note::new("", "read /etc/subuid: input/output error", UNKNOWN_WAY_OUT));
        let host = HostIds { unknown: unknown.clone(), subuids: vec![], ..alice() };
        for want in [None, Some(Mode::Subids)] {
            let error = decide(want, &host).unwrap_err();
            assert_eq!(error.to_string(), "cannot tell which ids this user has: read /etc/subuid: input/output error");
            assert_eq!((error.kind(), error.hint_text()), (ErrorKind::Io, Some(UNKNOWN_WAY_OUT)));
        }
        assert_eq!(decide(Some(Mode::Single), &host).unwrap().0.mode, Mode::Single);
        let root = HostIds { unknown, ..root_with(&[e(0, 0, u32::MAX)]) };
        assert_eq!(decide(None, &root).unwrap().0.mode, Mode::Root);
    }

    #[test]
    fn forced_modes() {
        assert_eq!(decide(Some(Mode::Single), &alice()).unwrap().0.gids, [e(0, 1000, 1)]);
        let error = decide(Some(Mode::Root), &alice()).unwrap_err();
        assert_eq!(error.to_string(), "id mapping \"root\" needs root, and this is user alice");
        let root = root_with(&[e(0, 0, u32::MAX)]);
        assert_eq!(decide(Some(Mode::Single), &root).unwrap().0.mode, Mode::Single);
        assert_eq!(decide(Some(Mode::Subids), &root).unwrap().0.uids[1], e(1, 100_000, 65536));
    }

    #[test]
    fn few_ids_are_noted() {
        let host = HostIds { subgids: vec![Range { start: 5, count: 10 }], ..alice() };
        let (map, notes) = decide(None, &host).unwrap();
        assert_eq!(map.mode, Mode::Subids);
        assert!(notes[0].why.contains("11 group ids"), "{notes:?}");
    }

    #[test]
    fn this_machine_can_be_read() {
        let host = HostIds::read().unwrap();
        assert!(!host.uid_map.is_empty() && !host.gid_map.is_empty());
        assert_eq!(decide(Some(Mode::Single), &host).unwrap().0.uids[0].outside, host.uid);
    }
}
