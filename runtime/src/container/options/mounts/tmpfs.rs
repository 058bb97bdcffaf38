//! `--tmpfs target[:options]` and the options of a tmpfs (`tmpfs(5)`, `mount(8)`).

use super::{Mount, check_target};
use crate::container::options::invalid;
use crate::error::Result;

/// What every tmpfs starts from.
const DEFAULTS: [&str; 3] = ["noexec", "nosuid", "nodev"];

/// Flags, each beside the one that undoes it.
const FLAGS: [(&str, &str); 10] = [
    ("ro", "rw"),
    ("noexec", "exec"),
    ("nosuid", "suid"),
    ("nodev", "dev"),
    ("sync", "async"),
    ("noatime", "atime"),
    ("nodiratime", "diratime"),
    ("relatime", "norelatime"),
    ("strictatime", "nostrictatime"),
    ("dirsync", ""),
];

/// Reads `--tmpfs`.
pub fn parse_tmpfs(text: &str) -> Result<Mount> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let asked: Vec<String> = options.split(',').filter(|_| !options.is_empty()).map(str::to_owned).collect();
    Ok(Mount::Tmpfs { target: check_target(target)?, options: tmpfs_options(&asked)? })
}

/// The defaults with `asked` on top: each flag and each `name=value` once, the last one given.
pub fn tmpfs_options(asked: &[String]) -> Result<Vec<String>> {
    let mut options: Vec<String> = DEFAULTS.map(str::to_owned).to_vec();
    for option in asked {
        let bad = || invalid(format!("invalid tmpfs option [\"{option}\"]"));
        match option.split_once('=') {
            Some((name, value)) => {
                check_value(name, value).ok_or_else(bad)?;
                options.retain(|old| old.split_once('=').is_none_or(|(old, _)| old != name));
            }
            None if option == "defaults" => continue,
            None => {
                let opposite = FLAGS.iter().find_map(|(on, off)| match option.as_str() {
                    flag if flag == *on => Some(*off),
                    flag if flag == *off => Some(*on),
                    _ => None,
                });
                let opposite = opposite.filter(|_| !option.is_empty()).ok_or_else(bad)?;
                options.retain(|old| old != option && old != opposite);
            }
        }
        options.push(option.clone());
    }
    Ok(options)
}

/// Whether a `name=value` is one of tmpfs's, with a value of its form.
fn check_value(name: &str, value: &str) -> Option<()> {
    let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    let fits = match name {
        "size" | "nr_blocks" | "nr_inodes" => {
            let number = value.strip_suffix(['k', 'K', 'm', 'M', 'g', 'G', '%']).unwrap_or(value);
            !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
        }
        "mode" => u32::from_str_radix(value, 8).is_ok_and(|mode| mode <= 0o7777) && digits,
        "uid" | "gid" => digits && value.parse::<u32>().is_ok_and(|id| id != u32::MAX),
        "mpol" => value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b':' | b'-' | b'_' | b'=')),
        _ => false,
    };
    fits.then_some(())
}
