//! The processes of a running container, as the host sees them. Reads the host's `/proc`, as the user.

use std::collections::{BTreeMap, BTreeSet};

use super::alive;
use super::lifecycle::init_of;
use super::record::{Record, not_running};
use crate::error::{Context, Result};

/// Process ids, on the host, of everything that runs in this container: what is in its PID namespace, and what comes of
/// that in namespaces of its own.
pub fn of_container(record: &Record) -> Result<BTreeSet<i32>> {
    let init = init_of(record)?;
    let pid = record.state.init.as_ref().map(|key| key.pid).unwrap_or_default();
    let namespace = namespace_of(pid);
    // The number was init's while its namespace was looked up, if init is there still.
    let namespace = namespace.filter(|_| alive::wait_gone(&init, 0).is_ok_and(|gone| !gone));
    let namespace = namespace.ok_or_else(|| not_running(&record.id))?;
    let mut parents = BTreeMap::new();
    let mut found = BTreeSet::new();
    for pid in all()? {
        if namespace_of(pid).as_deref() == Some(&*namespace) {
            found.insert(pid);
        }
        parents.extend(parent_of(pid).map(|parent| (pid, parent)));
    }
    loop {
        let before = found.len();
        let children: Vec<i32> = parents.iter().filter(|(_, up)| found.contains(up)).map(|(pid, _)| *pid).collect();
        found.extend(children);
        if found.len() == before {
            return Ok(found);
        }
    }
}

/// All processes.
pub(super) fn all() -> Result<Vec<i32>> {
    let entries = std::fs::read_dir("/proc").context(|| "list processes")?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}

/// The PID namespace of a process, as its link names it; `pid_namespaces(7)`. `None`: not ours to see, or gone.
pub(super) fn namespace_of(pid: i32) -> Option<Vec<u8>> {
    let link = rustix::fs::readlink(format!("/proc/{pid}/ns/pid"), Vec::new()).ok()?;
    Some(link.into_bytes())
}

/// A field of `proc_pid_stat(5)` from the third on, which are those after the name in parentheses.
fn field(pid: i32, number: usize) -> Option<String> {
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let after = text.iter().rposition(|byte| *byte == b')')? + 1;
    String::from_utf8_lossy(text.get(after..)?).split_ascii_whitespace().nth(number.checked_sub(3)?).map(str::to_owned)
}

fn parent_of(pid: i32) -> Option<i32> {
    field(pid, 4)?.parse().ok()
}

/// The state's letter; `None`: the process is gone.
pub(super) fn state_of(pid: i32) -> Option<u8> {
    field(pid, 3)?.bytes().next()
}

/// The start time, in clock ticks after boot.
pub(super) fn start_time(pid: i32) -> Option<u64> {
    field(pid, 22)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_of_this_process_and_of_none() {
        let own = std::process::id() as i32;
        assert!(all().unwrap().contains(&own));
        assert_eq!(parent_of(own), i32::try_from(std::os::unix::process::parent_id()).ok());
        // The first thread of a test program waits for those that test.
        assert!(matches!(state_of(own), Some(b'R' | b'S')));
        assert!(start_time(own) > start_time(1));
        assert!(namespace_of(own).unwrap().starts_with(b"pid:["));
        assert_eq!((parent_of(-1), state_of(0), namespace_of(-1)), (None, None, None));
    }
}
