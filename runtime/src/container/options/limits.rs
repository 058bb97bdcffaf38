//! Sizes, limits and log bounds: `--shm-size`, `--ulimit`, `--memory`, `--cpus`, `--pids-limit`, `--log-opt`.

use oci_spec::runtime::PosixRlimitType;
use serde::{Deserialize, Serialize};

use super::{invalid, unsupported};
use crate::error::Result;

/// No limit (`RLIM_INFINITY`; `getrlimit(2)`).
pub const UNLIMITED: u64 = u64::MAX;

/// Reads a size in bytes with docker's units, all powers of 1024: `64m`, `1.5GiB`, `512 kb`, `1024`.
pub fn parse_size(text: &str) -> Result<u64> {
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').map(|at| at + 1);
    let Some(end) = end else {
        return Err(invalid(format!("invalid size: '{text}'")));
    };
    let (number, suffix) = text.split_at(end);
    let number = number.strip_suffix(' ').unwrap_or(number);
    let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let size = match number.parse::<f64>() {
        Ok(size) if plain => size,
        _ => return Err(invalid(format!("invalid size: '{text}'"))),
    };
    let Some(unit) = unit(&suffix.to_ascii_lowercase()) else {
        return Err(invalid(format!("invalid suffix: '{suffix}'")));
    };
    let bytes = size * unit;
    // Sizes are signed 64-bit numbers to the kernel and in OCI documents.
    if bytes >= i64::MAX as f64 {
        return Err(invalid(format!("invalid size: '{text}' is too large")));
    }
    Ok(bytes as u64)
}

/// What a size's suffix multiplies by.
fn unit(suffix: &str) -> Option<f64> {
    let Some(first) = suffix.chars().next() else { return Some(1.0) };
    if first == 'b' {
        return (suffix == "b").then_some(1.0);
    }
    let power = "kmgtp".find(first)? + 1;
    matches!(suffix.get(1..)?, "" | "b" | "ib").then(|| 1024f64.powi(power as i32))
}

/// Reads `--shm-size`; 0 means the default.
pub fn parse_shm_size(text: &str) -> Result<Option<u64>> {
    parse_size(text).map(|size| Some(size).filter(|size| *size > 0))
}

/// docker's names of the resources of `getrlimit(2)`.
pub const RESOURCES: [(&str, PosixRlimitType); 15] = [
    ("core", PosixRlimitType::RlimitCore),
    ("cpu", PosixRlimitType::RlimitCpu),
    ("data", PosixRlimitType::RlimitData),
    ("fsize", PosixRlimitType::RlimitFsize),
    ("locks", PosixRlimitType::RlimitLocks),
    ("memlock", PosixRlimitType::RlimitMemlock),
    ("msgqueue", PosixRlimitType::RlimitMsgqueue),
    ("nice", PosixRlimitType::RlimitNice),
    ("nofile", PosixRlimitType::RlimitNofile),
    ("nproc", PosixRlimitType::RlimitNproc),
    ("rss", PosixRlimitType::RlimitRss),
    ("rtprio", PosixRlimitType::RlimitRtprio),
    ("rttime", PosixRlimitType::RlimitRttime),
    ("sigpending", PosixRlimitType::RlimitSigpending),
    ("stack", PosixRlimitType::RlimitStack),
];

/// `--ulimit name=soft[:hard]`, in the resource's own unit (`getrlimit(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Which resource.
    pub resource: PosixRlimitType,
    /// What the process gets; [`UNLIMITED`] for none.
    pub soft: u64,
    /// How far the process may raise it; not below `soft`.
    pub hard: u64,
}

impl Ulimit {
    /// docker's name of the resource: `nofile`.
    pub fn name(&self) -> &'static str {
        resource_name(self.resource)
    }
}

/// docker's name of a resource.
pub fn resource_name(resource: PosixRlimitType) -> &'static str {
    RESOURCES.iter().find(|(_, known)| *known == resource).map_or("as", |(name, _)| name)
}

/// Reads `--ulimit`; -1 is no limit, a hard limit left out is the soft one.
pub fn parse_ulimit(text: &str) -> Result<Ulimit> {
    let bad = || invalid(format!("invalid ulimit argument: {text}"));
    let (name, limits) = text.split_once('=').ok_or_else(bad)?;
    let Some((_, resource)) = RESOURCES.iter().find(|(known, _)| *known == name) else {
        return Err(invalid(format!("invalid ulimit type: {name}")));
    };
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    if hard.contains(':') {
        return Err(invalid(format!(
            "too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`"
        )));
    }
    let number = |text: &str| match text {
        "-1" => Ok(UNLIMITED),
        _ if text.bytes().all(|b| b.is_ascii_digit()) => text.parse::<u64>().map_err(|_| bad()),
        _ => Err(bad()),
    };
    let (soft, hard) = (number(soft)?, number(hard)?);
    if soft > hard {
        let soft = if soft == UNLIMITED { "-1 (unlimited)".to_owned() } else { soft.to_string() };
        return Err(invalid(format!(
            "ulimit soft limit must be less than or equal to hard limit: soft: {soft}, hard: {hard}"
        )));
    }
    Ok(Ulimit { resource: *resource, soft, hard })
}

/// Sets `limit`, in the place of an earlier one of the same resource.
pub fn set_ulimit(limits: &mut Vec<Ulimit>, limit: Ulimit) {
    match limits.iter_mut().find(|old| old.resource == limit.resource) {
        Some(old) => *old = limit,
        None => limits.push(limit),
    }
}

/// Accepts a `--memory` that means "no limit" (0, -1); real limits need a cgroup.
pub fn parse_memory(text: &str) -> Result<()> {
    if text == "-1" || parse_size(text)? == 0 {
        return Ok(());
    }
    Err(no_cgroup("memory", text))
}

/// Accepts a `--pids-limit` that means "no limit" (0 and below); real limits need a cgroup.
pub fn parse_pids_limit(text: &str) -> Result<()> {
    match text.parse::<i64>() {
        Ok(limit) if limit <= 0 => Ok(()),
        Ok(_) => Err(no_cgroup("pids-limit", text)),
        Err(_) => Err(invalid(format!("'{text}' is not a whole number"))),
    }
}

/// Accepts `--cpus 0`, which means "no limit"; real limits need a cgroup.
pub fn parse_cpus(text: &str) -> Result<()> {
    let digits = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    match text.parse::<f64>() {
        Ok(cpus) if cpus == 0.0 && digits => Ok(()),
        Ok(_) if digits => Err(no_cgroup("cpus", text)),
        _ => Err(invalid(format!("failed to parse {text} as a rational number"))),
    }
}

/// Reads `--oom-score-adj`; `proc_pid_oom_score_adj(5)`.
pub fn parse_oom_score_adj(text: &str) -> Result<i32> {
    match text.parse::<i32>() {
        Ok(score) if (-1000..=1000).contains(&score) => Ok(score),
        Ok(score) => Err(invalid(format!("Invalid value {score}, range for oom score adj is [-1000, 1000]"))),
        Err(_) => Err(invalid(format!("'{text}' is not a whole number"))),
    }
}

fn no_cgroup(flag: &str, value: &str) -> crate::error::Error {
    unsupported(format!("--{flag} {value} cannot be enforced: this version of lrun does not set cgroup limits"))
        .hint(format!("leave --{flag} out, or give 0 for no limit"))
}

/// How much of a container's output is kept. By default 5 files of 32 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogOptions {
    /// Bytes a file may have before the next one is begun; absent: no bound.
    pub max_size: Option<u64>,
    /// How many files are kept; at least 1.
    pub max_files: u32,
    /// Nothing is kept at all.
    #[serde(default)]
    pub none: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { max_size: Some(32 << 20), max_files: 5, none: false }
    }
}

impl LogOptions {
    /// Applies `--log-driver`. `json-file`, docker's default, and `k8s-file`, podman's, mean
    /// the usual log here, too.
    pub fn set_driver(&mut self, name: &str) -> Result<()> {
        match name {
            "local" | "json-file" | "k8s-file" => self.none = false,
            "none" => self.none = true,
            _ => {
                return Err(unsupported(format!("--log-driver {name}: lrun keeps its logs itself"))
                    .hint("the driver is local or none; `lrun logs -f` can be piped to another program"));
            }
        }
        Ok(())
    }

    /// Applies one `--log-opt name=value`: `max-size` (-1: everything is kept) or `max-file`.
    pub fn set(&mut self, text: &str) -> Result<()> {
        match text.split_once('=') {
            Some(("max-size", "-1")) => self.max_size = None,
            Some(("max-size", size)) => {
                let size = parse_size(size)?;
                if size < 4096 {
                    return Err(invalid(format!("invalid value for max-size: {size} bytes are below the least, 4k")));
                }
                self.max_size = Some(size);
            }
            Some(("max-file", count)) => match count.parse::<u32>() {
                Ok(count) if (1..=1000).contains(&count) => self.max_files = count,
                _ => return Err(invalid("invalid value for max-file: a number from 1 to 1000 is expected")),
            },
            Some((name, _)) => return Err(invalid(format!("unknown log opt '{name}' (known: max-size, max-file)"))),
            None => return Err(invalid(format!("invalid logging opt '{text}': must be a key=value pair"))),
        }
        Ok(())
    }
}
