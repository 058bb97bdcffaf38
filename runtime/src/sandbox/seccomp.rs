//! System call filters: the built-in profiles, compiled when lrun is built, and custom ones.
//!
//! | file | owns |
//! | --- | --- |
//! | `builtin` | the default profile and root emulation, for any set of capabilities |
//! | `compile` | an OCI `LinuxSeccomp` becomes a [`Program`] |
//! | `profile` | docker's JSON profiles become an OCI `LinuxSeccomp` |
//! | `bpf`, `rule`, `table` | instructions, rules on arguments, tables; shared with the build script |
//!
//! A filter judges native calls only. Every call of a foreign ABI (i386's `int 0x80`, x32's numbers) gets ENOSYS,
//! because rules on arguments could be walked around through `socketcall`: 32-bit programs need
//! `--security-opt seccomp=unconfined`. Nothing is ever killed unless a custom profile says so.

use super::caps::CapSet;
use crate::error::{Context, Result};
use crate::sys::seccomp::load_filter;
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompOperator};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

mod bpf;
mod builtin;
mod compile;
mod profile;
mod rule;
mod table;

pub use builtin::default_linux_seccomp;
pub use compile::compile;
pub use profile::{Profile, parse_profile, running_kernel};

/// A compiled filter: plain numbers, see `bpf`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// At most 4096 instructions.
    pub code: Vec<u64>,
    /// Whether refused calls are logged (`SECCOMP_FILTER_FLAG_LOG`).
    #[serde(default)]
    pub log: bool,
}

/// Which rules a container's system calls are judged by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rules {
    /// The default profile for a process with this bounding set.
    Default(CapSet),
    /// A custom profile.
    Custom(Program),
    /// None.
    Unconfined,
}

impl Rules {
    /// The rules of an OCI `Spec` whose process has this bounding set: the default profile is recognised, so that the
    /// filter compiled in advance is used; anything else is compiled.
    ///
    /// # Errors
    /// As [`compile`].
    pub fn from_oci(seccomp: Option<&LinuxSeccomp>, bounding: CapSet) -> Result<Self> {
        match seccomp {
            None => Ok(Self::Unconfined),
            Some(seccomp) if *seccomp == default_linux_seccomp(bounding) => Ok(Self::Default(bounding)),
            Some(seccomp) => compile(seccomp).map(Self::Custom),
        }
    }
}

/// The filters of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// What is refused.
    pub rules: Rules,
    /// Whether changes of owner and user, and making devices, are answered with success without being done: for root
    /// in a namespace that maps one id. For another user the kernel's own answers are the right ones.
    pub emulate_root: bool,
}

impl Filter {
    /// The programs to load, in this order. Of two that answer a call the one loaded last decides, so that a custom
    /// refusal beats the emulation.
    pub fn programs(&self) -> Vec<Cow<'_, [u64]>> {
        match &self.rules {
            Rules::Default(held) => vec![builtin::default_program(*held, self.emulate_root)],
            Rules::Custom(program) => {
                self.emulation().into_iter().chain([Cow::Borrowed(program.code.as_slice())]).collect()
            }
            Rules::Unconfined => self.emulation().into_iter().collect(),
        }
    }

    fn emulation(&self) -> Option<Cow<'_, [u64]>> {
        self.emulate_root.then(|| Cow::Borrowed(builtin::root_program()))
    }

    /// Loads the filters for the calling thread, for good.
    ///
    /// Runs in init and in exec's child, after the change of user (which the emulation would only answer) and while
    /// CAP_SYS_ADMIN is effective, or after `no_new_privs`; see [`super::caps::apply`].
    ///
    /// # Errors
    /// What seccomp(2) reports: EACCES without one of the two conditions.
    pub fn load(&self) -> Result<()> {
        let log = matches!(&self.rules, Rules::Custom(program) if program.log);
        self.programs()
            .iter()
            .try_for_each(|program| load_filter(program, log))
            .context(|| "load the system call filter")
    }
}

/// A comparison in the form of the OCI runtime specification.
fn oci_argument(index: usize, op: LinuxSeccompOperator, value: u64, value_two: Option<u64>) -> LinuxSeccompArg {
    let mut builder = LinuxSeccompArgBuilder::default().index(index).op(op).value(value);
    if let Some(value_two) = value_two {
        builder = builder.value_two(value_two);
    }
    builder.build().expect("every field of the builder has a default")
}

#[cfg(test)]
mod tests;
