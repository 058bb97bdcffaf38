//! Who a process runs as: `--user` and `--group-add`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::invalid;
use crate::error::Result;

/// What docker says of an id that is too small or too large.
const RANGE: &str = "uids and gids must be in range 0-4294967294";

/// A number, or a name of the container's `/etc/passwd` or `/etc/group`.
///
/// Digits are always a number: a user *named* `1000` in a hostile image's `/etc/passwd` is never looked up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IdOrName {
    /// A user or group id.
    Id(u32),
    /// A name, to be looked up inside the container.
    Name(String),
}

impl fmt::Display for IdOrName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// `--user [user][:group]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct UserSpec {
    /// The user; absent (`:group`): root.
    pub user: Option<IdOrName>,
    /// The group; absent: the user's own in `/etc/passwd`, else 0.
    pub group: Option<IdOrName>,
}

impl fmt::Display for UserSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}")?;
        }
        match &self.group {
            Some(group) => write!(f, ":{group}"),
            None => Ok(()),
        }
    }
}

impl From<UserSpec> for String {
    fn from(user: UserSpec) -> Self {
        user.to_string()
    }
}

impl TryFrom<String> for UserSpec {
    type Error = crate::error::Error;
    fn try_from(text: String) -> Result<Self> {
        parse_user(&text)
    }
}

/// Reads `--user`; a missing group after the colon (`1:`) means none given.
pub fn parse_user(text: &str) -> Result<UserSpec> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, group),
        None => (text, ""),
    };
    let part = |text: &str| if text.is_empty() { Ok(None) } else { parse_id_or_name("user", text).map(Some) };
    let spec = UserSpec { user: part(user)?, group: part(group)? };
    if spec.user.is_none() && spec.group.is_none() {
        return Err(invalid(format!("invalid user '{text}': neither a user nor a group")));
    }
    Ok(spec)
}

/// Reads `--group-add`.
pub fn parse_group(text: &str) -> Result<IdOrName> {
    parse_id_or_name("group", text)
}

/// A decimal id below 2^32 - 1 (which means "unchanged" to the kernel; `chown(2)`, `setresuid(2)`), or a name.
fn parse_id_or_name(what: &str, text: &str) -> Result<IdOrName> {
    let bad = |why: &str| invalid(format!("invalid {what} '{text}': {why}"));
    if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        return match text.parse::<u32>() {
            Ok(id) if id != u32::MAX => Ok(IdOrName::Id(id)),
            _ => Err(bad(RANGE)),
        };
    }
    if text.strip_prefix('-').is_some_and(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit())) {
        return Err(bad(RANGE));
    }
    if text.is_empty() {
        return Err(bad("the name is empty"));
    }
    if text.starts_with(['-', '+']) || text.chars().any(|c| c == ':' || c.is_control() || c.is_whitespace()) {
        return Err(bad("neither an id nor a name"));
    }
    if text.len() > 256 {
        return Err(bad("the name is too long"));
    }
    Ok(IdOrName::Name(text.to_owned()))
}
