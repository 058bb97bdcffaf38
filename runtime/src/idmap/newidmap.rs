//! Writes the id maps of a new user namespace.
//!
//! Run by the CLI, in the host's namespaces and as the user, for a child that it has just made in a new user namespace
//! and that waits. `subids` goes through `newuidmap` and `newgidmap`, the only programs with privileges that lrun ever
//! starts; they run side by side, while the CLI goes on. The other modes are written by lrun itself.

use super::detect::{TOOL_ENV, find_tool};
use super::{Extent, IdMap, Mode};
use crate::error::{Context, Error, ErrorKind, Result};
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};

/// Maps that are being written.
#[derive(Debug, Default)]
#[must_use = "a map may fail to be written"]
pub struct Writing(Vec<(&'static str, Child)>);

impl Writing {
    /// Waits until the maps are written; the first failure.
    pub fn finish(self) -> Result<()> {
        let ended: Vec<Result<()>> = self.0.into_iter().map(|(tool, child)| finish(tool, child)).collect();
        ended.into_iter().collect()
    }
}

/// Starts to give the user namespace of process `pid` this map. To be called once: a map cannot be changed.
///
/// `written` is closed when that has been done, or has failed: with `subids`, programs hold it until they end.
pub fn write_maps(pid: i32, map: &IdMap, written: OwnedFd) -> Result<Writing> {
    if map.mode == Mode::Subids {
        let uids = spawn("newuidmap", pid, &map.uids, written.try_clone()?)?;
        // The first one is waited for, whatever becomes of the second.
        return match spawn("newgidmap", pid, &map.gids, written) {
            Ok(gids) => Ok(Writing(vec![("newuidmap", uids), ("newgidmap", gids)])),
            Err(error) => finish("newuidmap", uids).and(Err(error)),
        };
    }
    if map.mode == Mode::Single {
        // Without privileges a group map is only accepted once setgroups(2) is off; `user_namespaces(7)`.
        write_proc(pid, "setgroups", "deny")?;
    }
    write_proc(pid, "uid_map", &map_text(&map.uids))?;
    write_proc(pid, "gid_map", &map_text(&map.gids))?;
    Ok(Writing(Vec::new()))
}

fn map_text(extents: &[Extent]) -> String {
    extents.iter().fold(String::new(), |mut text, e| {
        let _ = writeln!(text, "{} {} {}", e.inside, e.outside, e.count);
        text
    })
}

/// The kernel takes a map in one write only.
fn write_proc(pid: i32, file: &str, text: &str) -> Result<()> {
    let path = format!("/proc/{pid}/{file}");
    let write = || OpenOptions::new().write(true).open(&path)?.write_all(text.as_bytes());
    write().context(|| format!("write {path}")).map_err(|error| match error.kind() {
        ErrorKind::Permission => error.hint(
            "the kernel refuses this id mapping: lrun lacks CAP_SETUID, CAP_SETGID or CAP_SETFCAP, or a security module \
             restricts user namespaces (see lrun info); --idmap single needs the least",
        ),
        _ => error,
    })
}

/// The program prints nothing on its standard output, which is `written`.
fn spawn(tool: &str, pid: i32, extents: &[Extent], written: OwnedFd) -> Result<Child> {
    let path = find_tool(tool)?.ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, format!("{tool} is not installed"))
            .hint("install the package uidmap (Debian, Ubuntu) or shadow-utils (Fedora), or use --idmap single")
    })?;
    let numbers = extents.iter().flat_map(|e| [e.inside, e.outside, e.count]);
    Command::new(&path)
        .arg(pid.to_string())
        .args(numbers.map(|number| number.to_string()))
        .env_clear()
        .envs(TOOL_ENV)
        .stdin(Stdio::null())
        .stdout(written)
        .stderr(Stdio::piped())
        .spawn()
        .context(|| format!("run {}", path.display()))
}

fn finish(tool: &str, mut child: Child) -> Result<()> {
    let mut said = Vec::new();
    let read = child.stderr.take().map_or(Ok(0), |mut stderr| stderr.read_to_end(&mut said));
    let status = child.wait().context(|| format!("wait for {tool}"))?;
    read.context(|| format!("listen to {tool}"))?;
    if status.success() {
        return Ok(());
    }
    let no_new_privs = rustix::thread::no_new_privs().unwrap_or(false);
    Err(explain_newidmap_failure(tool, &String::from_utf8_lossy(&said), status, no_new_privs))
}

/// What a failure of `newuidmap` or `newgidmap` means. They say it in one line on stderr (shadow's
/// `src/newuidmap.c`, `libmisc/idmapping.c`), and exit with 1 whatever it was.
pub fn explain_newidmap_failure(tool: &str, stderr: &str, status: ExitStatus, no_new_privs: bool) -> Error {
    let line = stderr.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let said = match line.strip_prefix(tool).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(line) {
        "" => status.to_string(),
        text => text.to_owned(),
    };
    let file = if tool == "newgidmap" { "/etc/subgid" } else { "/etc/subuid" };
    let (why, hint): (&str, String) = if said.contains("owned by a different user") {
        (
            "the current group is not the user's primary group, as after newgrp or sg",
            "start lrun with the primary group (outside of the newgrp shell), or use --idmap single".into(),
        )
    } else if said.contains("not allowed") {
        (
            "the system does not grant these ids to this user",
            format!(
                "{file} (or the directory that nsswitch.conf names) has changed or is not what {tool} reads; \
                     or use --idmap single"
            ),
        )
    } else if said.contains("Cannot determine your user name") {
        ("this user id has no account", "add the account, or use --idmap single".into())
    } else if said.contains("Could not open proc directory") || said.contains("Could not stat") {
        ("the process to map ended, or /proc hides it", "if /proc is mounted with hidepid, use --idmap single".into())
    } else if said.contains("Operation not permitted") && no_new_privs {
        (
            "this process runs with no_new_privs, so the program gained no privileges",
            "start lrun from where no_new_privs is not set, or use --idmap single".into(),
        )
    } else if said.contains("Operation not permitted") {
        (
            "the program gained no privileges, or the ids do not exist in this user namespace",
            format!(
                "check that {tool} is setuid root (or has file capabilities) and not on a nosuid mount, \
                     or use --idmap single"
            ),
        )
    } else {
        ("", "try again; if it stays so, --idmap single does without".into())
    };
    let (kind, message) = match why {
        "" => (ErrorKind::Io, format!("{tool}: {said}")),
        why => (ErrorKind::Permission, format!("{tool}: {why} ({said})")),
    };
    Error::new(kind, message).context("map subordinate ids").hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn each_failure_has_its_own_message() {
        let cases = [
            (
                "newuidmap: Target process 7 is owned by a different user: uid:1 pw_uid:1 st_uid:1, gid:2 pw_gid:1 st_gid:2\n",
                false,
                "newgrp",
                "primary group",
            ),
            ("newuidmap: uid range [1-65537) -> [300000-365536) not allowed\n", false, "does not grant", "/etc/subuid"),
            ("newuidmap: Cannot determine your user name.\n", false, "no account", "add the account"),
            ("newuidmap: Could not open proc directory for target 9\n", false, "ended", "hidepid"),
            ("newuidmap: write to uid_map failed: Operation not permitted\n", true, "no_new_privs", "not set"),
            ("newuidmap: write to uid_map failed: Operation not permitted\n", false, "gained no privileges", "nosuid"),
            (
                "\nnewuidmap: write to uid_map failed: Invalid argument\n",
                false,
                "newuidmap: write to",
                "--idmap single",
            ),
        ];
        for (stderr, no_new_privs, message, hint) in cases {
            let error = explain_newidmap_failure("newuidmap", stderr, ExitStatus::from_raw(256), no_new_privs);
            assert!(error.to_string().contains(message), "{stderr:?}: {error}");
            assert!(error.hint_text().unwrap().contains(hint), "{stderr:?}: {error:?}");
        }
        let killed = explain_newidmap_failure("newgidmap", "", ExitStatus::from_raw(9), false);
        assert_eq!(killed.to_string(), "map subordinate ids: newgidmap: signal: 9 (SIGKILL)");
    }

    /// In every mode that this user has on this machine.
    #[test]
    fn maps_are_written_for_a_waiting_child() {
        use crate::idmap::detect::{HostIds, decide};
        use crate::idmap::ranges::parse_id_map;
        use std::io::{BufRead, BufReader};

        let host = HostIds::read().unwrap();
        for want in [None, Some(Mode::Single)] {
            let (map, _) = decide(want, &host).unwrap();
            let mut child = Command::new("unshare")
                .args(["--user", "sh", "-c", "echo; exec sleep 600"])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            if BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap() == 0 {
                eprintln!("SKIPPED: user namespaces cannot be made");
                child.wait().unwrap();
                return;
            }
            let pid = i32::try_from(child.id()).unwrap();
            let null = || std::fs::File::open("/dev/null").unwrap().into();
            let written = write_maps(pid, &map, null()).and_then(Writing::finish);
            let read = |file: &str| parse_id_map(&std::fs::read(format!("/proc/{pid}/{file}")).unwrap());
            let (uids, gids) = (read("uid_map"), read("gid_map"));
            let again = write_maps(pid, &map, null()).and_then(Writing::finish);
            child.kill().unwrap();
            child.wait().unwrap();
            written.unwrap();
            assert_eq!((uids, gids), (map.uids, map.gids));
            assert!(again.is_err(), "a map can be written once only");
        }
    }

    #[test]
    fn a_map_is_one_line_an_extent() {
        let extents = [Extent { inside: 0, outside: 1000, count: 1 }, Extent { inside: 1, outside: 5, count: 9 }];
        assert_eq!(map_text(&extents), "0 1000 1\n1 5 9\n");
    }
}
