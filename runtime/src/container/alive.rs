//! Processes named in records: told from later ones with the same number, and held by pidfds.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use super::processes::start_time;
use super::record::ProcessKey;
use crate::error::{Context, Error, ErrorKind, Result};

/// The key of a process that is alive. Reads the host's `/proc`.
pub fn key(pid: i32) -> Result<ProcessKey> {
    let start_time = start_time(pid)
        .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("process {pid} is not in the host's /proc")))?;
    let boot_id =
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").context(|| "read the machine's boot id")?;
    Ok(ProcessKey { pid, start_time, boot_id: boot_id.trim().to_owned() })
}

/// A pidfd of the process with this key; `None` when it is gone.
pub fn open(wanted: &ProcessKey) -> Result<Option<OwnedFd>> {
    // A number that no process has comes from a damaged record.
    let Some(pid) = Pid::from_raw(wanted.pid.max(0)) else { return Ok(None) };
    let Some(pidfd) = pidfd_of(pid)? else { return Ok(None) };
    // Looked up while the pidfd is held: if the key fits now, the pidfd is that process's.
    Ok(key(wanted.pid).is_ok_and(|found| found == *wanted).then_some(pidfd))
}

/// A pidfd of whatever process has this number; `None`: there is none. Of one that is just going, and of a number that only
/// a thread has, kernels say EINVAL, later ones ENOENT.
pub(super) fn pidfd_of(pid: Pid) -> Result<Option<OwnedFd>> {
    match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Some(pidfd)),
        Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => Ok(None),
        Err(errno) => Err(Error::from(errno).context(format!("open process {}", pid.as_raw_nonzero()))),
    }
}

/// Waits until the process that `pidfd` refers to has ended, at most `timeout_ms` milliseconds (negative: for ever);
/// whether it has.
pub fn wait_gone(pidfd: &OwnedFd, timeout_ms: i64) -> Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let deadline = std::time::Instant::now() + std::time::Duration::from_millis(timeout_ms.max(0) as u64);
    loop {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        let limit = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
        match poll(&mut fds, (timeout_ms >= 0).then_some(&limit)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_no_process_has_is_a_process_that_is_gone() {
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        let number = Pid::from_child(&ended);
        ended.wait().unwrap();
        assert!(pidfd_of(number).unwrap().is_none());
        // Of a thread.
        let thread = std::thread::spawn(|| pidfd_of(rustix::thread::gettid()).map(|found| found.is_none()));
        assert!(thread.join().unwrap().unwrap());
        assert!(pidfd_of(rustix::process::getpid()).unwrap().is_some());
    }
}
