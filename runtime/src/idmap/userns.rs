//! Whether this machine lets the user have user namespaces, and why not.
//!
//! Read by the CLI on the host: for `lrun info`, and after a user namespace could not be made.

use super::detect::Note;
use crate::error::{Error, ErrorKind};
use serde::{Deserialize, Serialize};
use std::fs;

/// The kernel settings that allow or forbid user namespaces; `None` where this kernel has no such setting.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsernsSettings {
    /// `kernel.unprivileged_userns_clone` (Debian's and Arch's kernels): 0 forbids.
    pub unprivileged_userns_clone: Option<u64>,
    /// `user.max_user_namespaces` (`namespaces(7)`): 0 forbids.
    pub max_user_namespaces: Option<u64>,
    /// `kernel.apparmor_restrict_unprivileged_userns` (Ubuntu): 1 takes the capabilities away in a new namespace.
    pub apparmor_restrict_unprivileged_userns: Option<u64>,
}

impl UsernsSettings {
    /// Reads `/proc/sys`.
    pub fn read() -> Self {
        let read = |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok();
        Self {
            unprivileged_userns_clone: read("kernel/unprivileged_userns_clone"),
            max_user_namespaces: read("user/max_user_namespaces"),
            apparmor_restrict_unprivileged_userns: read("kernel/apparmor_restrict_unprivileged_userns"),
        }
    }

    /// The setting that stands in the way, if one does. `privileged`: whether the process has `CAP_SYS_ADMIN`, which
    /// the settings for the unprivileged do not touch.
    pub fn obstacle(&self, privileged: bool) -> Option<Note> {
        let what = "user namespaces";
        if self.max_user_namespaces == Some(0) {
            let how = "as root: sysctl -w user.max_user_namespaces=15000, and a file in /etc/sysctl.d to keep it";
            return Some(Note::new(what, "user.max_user_namespaces is 0", how));
        }
        if privileged {
            return None;
        }
        if self.unprivileged_userns_clone == Some(0) {
            let how = "as root: sysctl -w kernel.unprivileged_userns_clone=1, and a file in /etc/sysctl.d to keep it";
            return Some(Note::new(what, "kernel.unprivileged_userns_clone is 0", how));
        }
        if self.apparmor_restrict_unprivileged_userns == Some(1) {
            let why = "kernel.apparmor_restrict_unprivileged_userns is 1: AppArmor allows user namespaces only to \
                       programs with a profile that says \"userns,\"";
            let how = "as root: add an AppArmor profile with \"userns,\" for the lrun binary, or \
                       sysctl -w kernel.apparmor_restrict_unprivileged_userns=0";
            return Some(Note::new(what, why, how));
        }
        None
    }
}

const CANNOT: &str = "user namespaces cannot be made";

/// The hint where a system call that every user may make is refused.
pub const CONFINED: &str = "a system call filter, a chroot or a security module around this process forbids it: in a \
    container, start that one with `--security-opt seccomp=unconfined --security-opt systempaths=unconfined`, or run \
    lrun outside";

/// The failure of a `clone(CLONE_NEWUSER)` or `unshare(CLONE_NEWUSER)`, with its reason as far as the machine's
/// settings tell it.
pub fn explain_userns_failure(error: Error, settings: &UsernsSettings, privileged: bool) -> Error {
    let errno = error.errno();
    if let Some(note) = settings.obstacle(privileged) {
        return Error::new(ErrorKind::Permission, note.why).context(CANNOT).hint(note.how);
    }
    let error = error.context(CANNOT);
    match errno {
        // lrun needs a kernel that has clone3; a filter says ENOSYS so that programs fall back to the old call.
        Some(libc::EPERM | libc::ENOSYS) => error.with_kind(ErrorKind::Permission).hint(CONFINED),
        Some(libc::ENOSPC | libc::EUSERS) => error
            .with_kind(ErrorKind::Exhausted)
            .hint("the limit of user namespaces is reached (user.max_user_namespaces, or 32 nested ones)"),
        Some(libc::EINVAL) => error
            .with_kind(ErrorKind::Unsupported)
            .hint("this kernel is built without user namespaces (CONFIG_USER_NS)"),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_in_the_way_are_named() {
        let with = |clone, max, apparmor| UsernsSettings {
            unprivileged_userns_clone: clone,
            max_user_namespaces: max,
            apparmor_restrict_unprivileged_userns: apparmor,
        };
        let cases = [
            (with(None, Some(96343), None), false, None),
            (with(Some(1), Some(1), Some(0)), false, None),
            (with(Some(0), Some(1), None), false, Some("kernel.unprivileged_userns_clone")),
            (with(None, Some(0), None), true, Some("user.max_user_namespaces")),
            (with(None, Some(9), Some(1)), false, Some("kernel.apparmor_restrict")),
            (with(Some(0), Some(9), Some(1)), true, None),
        ];
        for (settings, privileged, expected) in cases {
            let why = settings.obstacle(privileged).map(|note| note.why);
            assert_eq!(why.is_some(), expected.is_some(), "{settings:?}");
            assert!(why.unwrap_or_default().contains(expected.unwrap_or_default()), "{settings:?}");
        }
    }

    #[test]
    fn failures_keep_their_cause() {
        let eperm = || Error::from(rustix::io::Errno::PERM);
        let blocked = UsernsSettings { max_user_namespaces: Some(0), ..UsernsSettings::default() };
        let error = explain_userns_failure(eperm(), &blocked, false);
        assert_eq!(error.to_string(), "user namespaces cannot be made: user.max_user_namespaces is 0");
        let error = explain_userns_failure(eperm(), &UsernsSettings::default(), false);
        assert!(error.hint_text().unwrap().contains("seccomp"));
        let filtered = explain_userns_failure(rustix::io::Errno::NOSYS.into(), &UsernsSettings::default(), true);
        assert_eq!((filtered.kind(), filtered.hint_text()), (ErrorKind::Permission, Some(CONFINED)));
    }
}
