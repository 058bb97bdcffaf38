//! The session keyring of a container's processes: never the caller's, so that the caller's keys are out of reach.
//!
//! Joined by the CLI before it forks a monitor, and by `exec`'s child before it joins the container: in the host's user
//! namespace, because names of keyrings are known within one user namespace only. What is forked then inherits it.
//! `session-keyring(7)`, `keyrings(7)`.

use rustix::io::Errno;

use crate::error::{Context, Result};
use crate::sys::keyring::{join_session, share_session};

/// The name of the keyring that containers share when keys are short.
const SHARED: &std::ffi::CStr = c"lrun";
/// Keys of the user's quota (200 by default) that containers leave free, for the shared keyring and for the user.
const RESERVE: u64 = 40;

/// Leaves the caller's session keyring: for one of its own, or, when most of the user's quota of keys is used, for one
/// that such containers share. A kernel without keyrings, or a filter that refuses them, leaves nothing to protect.
pub fn leave_callers() -> Result<()> {
    let own = if scarce() { Err(Errno::DQUOT) } else { join_session(None) };
    let joined = match own {
        Err(Errno::DQUOT) => join_session(Some(SHARED)).and_then(|()| share_session()),
        other => other,
    };
    match joined {
        Err(Errno::NOSYS | Errno::PERM) => Ok(()),
        other => other.context(|| "make a session keyring").hint(|| {
            "all keys that a user may have are used: see /proc/key-users, and the sysctls kernel.keys.maxkeys and \
             kernel.keys.maxbytes"
        }),
    }
}

fn scarce() -> bool {
    let text = std::fs::read_to_string("/proc/key-users").unwrap_or_default();
    free_keys(&text, rustix::process::getuid().as_raw()).is_some_and(|free| free < RESERVE)
}

/// How many keys the user may still have, by `/proc/key-users`: `uid: usage n/n used/quota bytes/bytes` per line.
fn free_keys(text: &str, uid: u32) -> Option<u64> {
    let line = text.lines().find_map(|line| {
        let (user, rest) = line.split_once(':')?;
        (user.trim().parse() == Ok(uid)).then_some(rest)
    })?;
    let (used, quota) = line.split_whitespace().nth(2)?.split_once('/')?;
    Some(quota.parse::<u64>().ok()?.saturating_sub(used.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quota_is_read_from_the_users_line() {
        let text = "    0:     9 8/8 3/1000000 56/25000000\n 1009:   162 162/162 170/200 28/20000\n";
        assert_eq!(free_keys(text, 1009), Some(30));
        assert_eq!(free_keys(text, 0), Some(999_997));
        assert_eq!(free_keys(text, 100), None);
        assert_eq!(free_keys("1: x\nrubbish", 1), None);
    }
}
