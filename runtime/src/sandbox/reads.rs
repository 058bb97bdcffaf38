//! What a container reads that is not the same each time: `inotify(7)` on its own `/proc` and on the files that the engine
//! makes for it. It costs the container nothing that could be measured, and what it does not see is not told: the clock
//! and random numbers, which no file has, and device nodes, which are the host's.
//!
//! The caller makes the queue and reads it; init, which alone sees the container's `/proc` before anything runs in it,
//! adds the watches there. Best effort: without inotify nothing is seen.
//!
//! To close a queue takes the kernel some 8 ms, as long as a whole step: it waits until no processor can see the marks that
//! went with the container's `/proc`. So a process keeps its queues and uses them again.

use std::cell::{Cell, RefCell};
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

thread_local! {
    /// The queues that no container has now.
    static FREE: RefCell<Vec<OwnedFd>> = const { RefCell::new(Vec::new()) };
}

/// The events of one container.
#[derive(Debug)]
pub struct Reads {
    /// Taken only when it is dropped.
    queue: Option<OwnedFd>,
    /// The watch of [`Self::watch_files`].
    files: Cell<Option<i32>>,
}

impl Reads {
    /// An empty queue; `None`, where there is none to be had.
    pub fn begin() -> Option<Self> {
        let kept = FREE.with_borrow_mut(Vec::pop);
        let queue = kept.or_else(|| inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok())?;
        Some(Self { queue: Some(queue), files: Cell::new(None) })
    }

    /// The queue, for [`watch_proc`].
    pub fn queue(&self) -> Option<BorrowedFd<'_>> {
        self.queue.as_ref().map(AsFd::as_fd)
    }

    /// Watches the directory of the files that the container sees as `/etc/hosts` and so on.
    pub fn watch_files(&self, directory: &Path) {
        let Some(queue) = &self.queue else { return };
        self.files.set(inotify::add_watch(queue, directory, WatchFlags::ACCESS | WatchFlags::ONLYDIR).ok());
    }

    /// The paths, as the container names them, that were read since the last call; sorted.
    pub fn take(&self) -> Vec<String> {
        let mut found = BTreeSet::new();
        let mut space = [MaybeUninit::uninit(); 16 * 1024];
        if let Some(queue) = &self.queue {
            let mut reader = Reader::new(queue, &mut space);
            while let Ok(event) = reader.next() {
                let directory = event.events().contains(ReadFlags::ISDIR);
                let name = event.file_name().and_then(|name| name.to_str().ok());
                found.extend(name.filter(|_| !directory).and_then(path_of));
            }
        }
        found.into_iter().collect()
    }
}

/// The next container to use the queue shall find nothing in it. The watches of `/proc` went with that.
impl Drop for Reads {
    fn drop(&mut self) {
        if let (Some(queue), Some(watch)) = (&self.queue, self.files.get()) {
            let _ = inotify::remove_watch(queue, watch);
        }
        self.take();
        if let Some(queue) = self.queue.take() {
            FREE.with_borrow_mut(|free| free.push(queue));
        }
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
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn what_is_read_is_told_once_and_the_rest_is_not() {
        let reads = Reads::begin().expect("inotify");
        watch_proc(reads.queue().unwrap());
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
        // The next has the same queue, and nothing of this one.
        let number = reads.queue().unwrap().as_raw_fd();
        std::fs::read(dir.path().join("hosts")).unwrap();
        drop(reads);
        let next = Reads::begin().expect("inotify");
        assert_eq!(next.queue().unwrap().as_raw_fd(), number);
        std::fs::read(dir.path().join("hosts")).unwrap();
        assert!(own(&next).is_empty());
        next.watch_files(dir.path());
        std::fs::read(dir.path().join("hosts")).unwrap();
        assert_eq!(own(&next), ["/etc/hosts"]);
    }
}
