//! `--mount type=bind,source=…,target=…`: one CSV record of `key=value` fields.

use std::path::Path;

use super::{Access, Mount, Propagation, check_target, host_path, no_volumes, refuse_shared, tmpfs_options};
use crate::container::options::limits::parse_size;
use crate::container::options::{invalid, unsupported};
use crate::error::Result;

/// The fields of one `--mount`, before they are known to fit together.
#[derive(Default)]
struct Fields {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    propagation: Option<Propagation>,
    recursive: Option<Recursive>,
    create: bool,
    tmpfs_size: Option<u64>,
    tmpfs_mode: Option<u32>,
    /// The first `volume-…` field.
    volume: Option<String>,
}

/// `bind-recursive`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Recursive {
    Enabled,
    Disabled,
    Writable,
    Readonly,
}

/// Reads `--mount`: `type` is `bind` or `tmpfs`. A source that starts with `.` is relative to `cwd`.
pub fn parse_mount(text: &str, cwd: &Path) -> Result<Mount> {
    let mut fields = Fields::default();
    for field in split_record(text)? {
        fields.set(&field)?;
    }
    match fields.kind.as_deref() {
        Some("bind") => fields.bind(cwd),
        Some("tmpfs") => fields.tmpfs(),
        Some("volume") | None => {
            let name = fields.source.as_deref().unwrap_or("anonymous");
            Err(no_volumes(format!("mount of type volume ({name})")))
        }
        Some(kind @ ("image" | "npipe" | "cluster" | "devpts" | "glob" | "ramfs")) => {
            Err(unsupported(format!("mount type \"{kind}\" is not served")).hint("type is bind or tmpfs"))
        }
        Some(kind) => Err(invalid(format!("mount type unknown: \"{kind}\""))),
    }
}

impl Fields {
    fn set(&mut self, field: &str) -> Result<()> {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field, None),
        };
        if key.trim() != key {
            return Err(invalid(format!("invalid option '{key}' in '{field}': option should not have whitespace")));
        }
        if let Some(value) = value {
            if value.trim().is_empty() {
                return Err(invalid(format!("invalid value for '{key}': value is empty")));
            }
            if value.trim() != value {
                return Err(invalid(format!(
                    "invalid value for '{key}' in '{field}': value should not have whitespace"
                )));
            }
        }
        let key = key.to_ascii_lowercase();
        match (key.as_str(), value) {
            ("readonly" | "ro", value) => self.read_only = parse_bool(&key, value.unwrap_or("true"))?,
            ("bind-nonrecursive", value) => {
                let off = parse_bool(&key, value.unwrap_or("true"))?;
                self.recursive = Some(if off { Recursive::Disabled } else { Recursive::Enabled });
            }
            ("bind-create-src", value) => self.create = parse_bool(&key, value.unwrap_or("true"))?,
            ("volume-nocopy", _) => self.volume = Some(key),
            (_, Some(value)) => self.set_valued(&key, value, field)?,
            (_, None) => return Err(invalid(format!("invalid field '{field}' must be a key=value pair"))),
        }
        Ok(())
    }

    fn set_valued(&mut self, key: &str, value: &str, field: &str) -> Result<()> {
        let bad = |must: &str| invalid(format!("invalid value for {key}: {value}{must}"));
        match key {
            "type" => self.kind = Some(value.to_ascii_lowercase()),
            "source" | "src" => self.source = Some(value.to_owned()),
            "target" | "dst" | "destination" => self.target = Some(value.to_owned()),
            // A hint to virtual machines' file sharing; nothing to do here.
            "consistency" => {}
            "bind-propagation" => {
                refuse_shared(&value.to_ascii_lowercase())?;
                let known = Propagation::parse(&value.to_ascii_lowercase());
                self.propagation = Some(known.ok_or_else(|| bad(""))?);
            }
            "bind-recursive" => {
                self.recursive = Some(match value {
                    "enabled" => Recursive::Enabled,
                    "disabled" => Recursive::Disabled,
                    "writable" => Recursive::Writable,
                    "readonly" => Recursive::Readonly,
                    _ => return Err(bad(" (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")")),
                });
            }
            "tmpfs-size" => self.tmpfs_size = Some(parse_size(value)?),
            "tmpfs-mode" => {
                let octal = value.bytes().all(|b| matches!(b, b'0'..=b'7'));
                let mode = u32::from_str_radix(value, 8).ok().filter(|mode| octal && *mode <= 0o7777);
                self.tmpfs_mode = Some(mode.ok_or_else(|| bad(""))?);
            }
            _ if key.starts_with("volume-") => self.volume = Some(key.to_owned()),
            _ => return Err(invalid(format!("unknown option '{key}' in '{field}'"))),
        }
        Ok(())
    }

    /// The target, and the refusal of fields that belong to another type.
    fn target(&self, kind: &str) -> Result<String> {
        let foreign = match kind {
            _ if self.volume.is_some() => Some("volume-*"),
            "bind" if self.tmpfs_size.is_some() || self.tmpfs_mode.is_some() => Some("tmpfs-*"),
            "tmpfs" if self.propagation.is_some() || self.recursive.is_some() || self.create => Some("bind-*"),
            _ => None,
        };
        if let Some(foreign) = foreign {
            return Err(invalid(format!("cannot mix '{foreign}' options with mount type '{kind}'")));
        }
        let Some(target) = &self.target else { return Err(invalid("target is required")) };
        check_target(target)
    }

    fn bind(self, cwd: &Path) -> Result<Mount> {
        let target = self.target("bind")?;
        let Some(source) = &self.source else {
            return Err(invalid("invalid mount config for type \"bind\": field Source must not be empty"));
        };
        let Some(source) = host_path(source, cwd) else {
            return Err(invalid(format!(
                "invalid mount config for type \"bind\": invalid mount path: '{source}' mount path must be absolute"
            )));
        };
        let recursive = self.recursive.unwrap_or(Recursive::Enabled);
        let propagation = self.propagation.unwrap_or_default();
        let access = match (self.read_only, recursive) {
            (true, Recursive::Writable | Recursive::Disabled) => Access::ReadOnlyTop,
            (true, _) => Access::ReadOnly,
            (false, Recursive::Writable) => {
                return Err(invalid(
                    "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction",
                ));
            }
            (false, Recursive::Readonly) => {
                return Err(invalid(
                    "option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction",
                ));
            }
            (false, _) => Access::ReadWrite,
        };
        if recursive == Recursive::Readonly && propagation != Propagation::Rprivate {
            return Err(invalid(
                "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction",
            ));
        }
        let (recursive, create) = (recursive != Recursive::Disabled, self.create);
        Ok(Mount::Bind { source, target, access, recursive, propagation, create })
    }

    fn tmpfs(self) -> Result<Mount> {
        let target = self.target("tmpfs")?;
        if self.source.is_some() {
            return Err(invalid("invalid mount config for type \"tmpfs\": field Source must not be specified"));
        }
        let mut asked: Vec<String> = Vec::new();
        asked.extend(self.tmpfs_mode.map(|mode| format!("mode={mode:o}")));
        asked.extend(self.read_only.then(|| "ro".to_owned()));
        asked.extend(self.tmpfs_size.map(|size| format!("size={size}")));
        Ok(Mount::Tmpfs { target, options: tmpfs_options(&asked)? })
    }
}

/// Reads a truth value as Go's `strconv.ParseBool` does.
fn parse_bool(key: &str, value: &str) -> Result<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(invalid(format!(
            "invalid value for '{key}': invalid boolean value (\"{value}\"): must be one of \"true\", \"1\", \"false\", or \"0\" (default \"true\")"
        ))),
    }
}

/// Splits one CSV record (RFC 4180): fields between commas; a field in double quotes may hold commas, and `""` for `"`.
pub fn split_record(text: &str) -> Result<Vec<String>> {
    if text.is_empty() {
        return Err(invalid("value is empty"));
    }
    if text.contains(['\n', '\r', '\0']) {
        return Err(invalid("it is more than one line"));
    }
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let (field, after) = rest.split_at(end);
                if field.contains('"') {
                    return Err(invalid(format!("parse error in '{text}': bare \" in non-quoted field")));
                }
                (field.to_owned(), after)
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(fields),
            None => return Err(invalid(format!("parse error in '{text}': extraneous or missing \" in quoted field"))),
        }
    }
}

/// The field that starts after an opening quote, and what follows its closing one.
fn quoted_field(text: &str) -> Result<(String, &str)> {
    let mut field = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('"') {
        field.push_str(before);
        match after.strip_prefix('"') {
            Some(next) => {
                field.push('"');
                rest = next;
            }
            None => return Ok((field, after)),
        }
    }
    Err(invalid("parse error: extraneous or missing \" in quoted field"))
}
