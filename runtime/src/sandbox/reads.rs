//! What a container reads that is not the same each time: `inotify(7)` on its own `/proc` and on the files that the engine
//! makes for it. It costs the container nothing that could be measured, and what it does not see is not told: the clock
//! and random numbers, which no file has, and device nodes, which are the host's.
//!
//! The caller makes the queue and reads it; init, which alone sees the container's `/proc` before anything runs in it,
//! adds the watches there. Best effort: without inotify nothing is seen.

use std::collections::BTreeSet;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

/// The directories of `/proc` that init watches, and the files in them of which the content changes, or is another one on
/// another machine; `proc(5)`.
const CHANGING: [(&str, &[&str]); 3] = [
    (
        "/proc",
        &[
            "buddyinfo",
            "cmdline",
            "cpuinfo",
            "diskstats",
            "interrupts",
            "loadavg",
            "locks",
            "meminfo",
            "pagetypeinfo",
            "partitions",
            "schedstat",
            "slabinfo",
            "softirqs",
            "stat",
            "swaps",
            "uptime",
            "version",
            "vmstat",
            "zoneinfo",
        ],
    ),
    ("/proc/sys/kernel", &["hostname", "ns_last_pid", "osrelease"]),
    ("/proc/sys/kernel/random", &["boot_id", "entropy_avail", "uuid"]),
];

/// The events of one container.
#[derive(Debug)]
pub struct Reads {
    queue: OwnedFd,
}

impl Reads {
    /// An empty queue; `None`, where there is none to be had.
    pub fn begin() -> Option<Self> {
        inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok().map(|queue| Self { queue })
    }

    /// The queue, for [`watch_proc`].
    pub fn queue(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }

    /// Watches the directory of the files that the container sees as `/etc/hosts` and so on.
    pub fn watch_files(&self, directory: &Path) {
        let _ = inotify::add_watch(&self.queue, directory, WatchFlags::ACCESS | WatchFlags::ONLYDIR);
    }

    /// The paths, as the container names them, that were read since the last call; sorted.
    pub fn take(&self) -> Vec<String> {
        let mut space = [MaybeUninit::uninit(); 16 * 1024];
        let mut reader = Reader::new(&self.queue, &mut space);
        let mut found = BTreeSet::new();
        while let Ok(event) = reader.next() {
            let directory = event.events().contains(ReadFlags::ISDIR);
            let name = event.file_name().and_then(|name| name.to_str().ok());
            found.extend(name.filter(|_| !directory).and_then(path_of));
        }
        found.into_iter().collect()
    }
}

/// In init, when it has the container's mounts: watches its `/proc`.
pub(super) fn watch_proc(queue: BorrowedFd<'_>) {
    for (directory, _) in CHANGING {
        let _ = inotify::add_watch(queue, directory, WatchFlags::ACCESS | WatchFlags::ONLYDIR);
    }
}

/// Where a file with this name is among what is watched; `None`, if it is always the same.
fn path_of(name: &str) -> Option<String> {
    if ["hosts", "resolv.conf"].contains(&name) {
        return Some(format!("/etc/{name}"));
    }
    let (directory, _) = CHANGING.iter().find(|(_, names)| names.contains(&name))?;
    Some(format!("{directory}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_told_once_and_the_rest_is_not() {
        let reads = Reads::begin().expect("inotify");
        watch_proc(reads.queue());
        let dir = tempfile::tempdir().unwrap();
        for name in ["hosts", "hostname", "other"] {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        reads.watch_files(dir.path());
        // Other processes of this machine read in the same /proc.
        let own =
            |reads: &Reads| -> Vec<String> { reads.take().into_iter().filter(|path| path.contains("etc")).collect() };
        assert!(own(&reads).is_empty());
        for name in ["hosts", "other", "hosts", "hostname"] {
            std::fs::read(dir.path().join(name)).unwrap();
        }
        std::fs::read("/proc/uptime").unwrap();
        std::fs::read("/proc/sys/kernel/random/uuid").unwrap();
        std::fs::read("/proc/filesystems").unwrap();
        let found = reads.take();
        for path in ["/etc/hosts", "/proc/sys/kernel/random/uuid", "/proc/uptime"] {
            assert!(found.iter().any(|found| found == path), "{found:?}");
        }
        assert!(found.iter().all(|path| !path.ends_with("filesystems") && !path.ends_with("other")), "{found:?}");
        assert!(own(&reads).is_empty());
    }
}
