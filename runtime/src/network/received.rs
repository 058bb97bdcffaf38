//! Whether anything came into a network namespace from outside: the counters of its interfaces, read from the host.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// More than the interfaces of a container take.
const MOST: usize = 64 << 10;

/// The counters of one network namespace, which stays as long as they are held.
#[derive(Debug)]
pub struct Counters(File);

impl Counters {
    /// Of the namespace of the process that the host's `/proc` shows under this number; `None` where it does not tell.
    pub fn of(host_pid: i32) -> Option<Self> {
        File::open(format!("/proc/{host_pid}/net/dev")).ok().map(Self)
    }

    /// Whether an interface that is not the loopback has received anything by now. One that is gone counts no more.
    pub fn received(&self) -> bool {
        let mut text = vec![0; MOST];
        let mut length = 0;
        while let Ok(count @ 1..) = self.0.read_at(&mut text[length..], length as u64) {
            length += count;
        }
        received(&String::from_utf8_lossy(&text[..length]))
    }
}

/// The same of the text of `/proc/net/dev`: `NAME: BYTES …`, after two lines of headings.
fn received(text: &str) -> bool {
    text.lines().filter_map(|line| line.rsplit_once(':')).any(|(name, counters)| {
        let bytes = counters.split_ascii_whitespace().next().and_then(|bytes| bytes.parse::<u64>().ok());
        name.trim() != "lo" && bytes.is_some_and(|bytes| bytes > 0)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADINGS: &str = "Inter-|   Receive                            |  Transmit\n \
        face |bytes    packets errs drop fifo frame|bytes    packets errs drop fifo colls\n";

    #[test]
    fn what_came_in_counts_and_what_went_out_does_not() {
        let loopback = "    lo:   840      10    0    0    0     0      840      10    0    0    0     0\n";
        let silent = "  eth0:       0       0    0    0    0     0      486       5    0    0    0     0\n";
        let spoken = "  eth0:42       1    0    0    0     0      486       5    0    0    0     0\n";
        assert!(!received(""));
        assert!(!received(&[HEADINGS, loopback].concat()));
        assert!(!received(&[HEADINGS, loopback, silent].concat()));
        assert!(received(&[HEADINGS, loopback, spoken].concat()));
        assert!(received(&[HEADINGS, spoken, silent, loopback].concat()));
    }

    #[test]
    fn a_process_has_counters_and_one_that_is_not_there_has_none() {
        let own = Counters::of(std::process::id().cast_signed()).unwrap();
        let first = own.received();
        assert!(own.received() >= first, "they only grow");
        assert!(Counters::of(i32::MAX).is_none());
    }

    proptest! {
        #[test]
        fn no_text_is_too_much(text in "\\PC{0,80}|[a-z0-9: \\n]{0,80}") {
            received(&text);
        }
    }
}
