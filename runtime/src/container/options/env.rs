//! Environment variables and labels, from flags and from files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::invalid;
use crate::error::Result;

/// One `-e`: sets a variable, or takes it away from the image's environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvVar {
    /// The variable; never empty, without `=`.
    pub name: String,
    /// Its value; absent: the variable is not set, even where the image sets it.
    pub value: Option<String>,
}

impl EnvVar {
    /// `NAME=value`, unless the variable is taken away.
    pub fn assignment(&self) -> Option<String> {
        self.value.as_ref().map(|value| format!("{}={value}", self.name))
    }
}

/// Reads `-e NAME=value`, or `-e NAME`, which takes the value that `lookup` (the caller's environment) has.
pub fn parse_env(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<EnvVar> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, lookup(text)),
    };
    if name.is_empty() || text.contains('\0') {
        return Err(invalid(format!("invalid environment variable: {text}")));
    }
    Ok(EnvVar { name: name.to_owned(), value })
}

/// Reads an environment file: one `NAME=value` a line, taken literally (quotes too); `#` starts a comment line; a `NAME`
/// alone takes the value that `lookup` has, and is left out where it has none.
pub fn parse_env_file(path: &str, content: &[u8], lookup: &dyn Fn(&str) -> Option<String>) -> Result<Vec<EnvVar>> {
    let mut vars = Vec::new();
    for (name, value) in assignments("env", path, content)? {
        if let Some(value) = value.or_else(|| lookup(&name)) {
            vars.push(EnvVar { name, value: Some(value) });
        }
    }
    Ok(vars)
}

/// Reads a label file: as an environment file, but a name alone has the empty value.
pub fn parse_label_file(path: &str, content: &[u8]) -> Result<BTreeMap<String, String>> {
    Ok(assignments("label", path, content)?
        .into_iter()
        .map(|(name, value)| (name, value.unwrap_or_default()))
        .collect())
}

/// Reads `-l name[=value]`.
pub fn parse_label(text: &str) -> Result<(String, String)> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    let name = name.trim_start();
    if name.is_empty() {
        return Err(invalid(format!("invalid label '{text}': empty name")));
    }
    if name.contains(char::is_whitespace) {
        return Err(invalid(format!("label '{name}' contains whitespaces")));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// Adds `var`, or puts it in the place where its name already is: the last one given wins.
pub fn set_env(vars: &mut Vec<EnvVar>, var: EnvVar) {
    match vars.iter_mut().find(|old| old.name == var.name) {
        Some(old) => *old = var,
        None => vars.push(var),
    }
}

/// The lines of a file of `name[=value]`; `kind` and `path` are for errors.
fn assignments(kind: &str, path: &str, content: &[u8]) -> Result<Vec<(String, Option<String>)>> {
    let bad = |why: String| invalid(format!("invalid {kind} file ({path}): {why}"));
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    let mut found = Vec::new();
    for (index, line) in content.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Ok(line) = std::str::from_utf8(line) else {
            return Err(bad(format!("invalid utf8 bytes at line {}", index + 1)));
        };
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (line, None),
        };
        if name.contains(char::is_whitespace) {
            return Err(bad(format!("variable '{name}' contains whitespaces")));
        }
        if name.is_empty() {
            return Err(bad(format!("no variable name on line '{line}'")));
        }
        if line.contains('\0') {
            return Err(bad(format!("a zero byte at line {}", index + 1)));
        }
        found.push((name.to_owned(), value));
    }
    Ok(found)
}
