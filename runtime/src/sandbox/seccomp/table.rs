//! The shape in which the built-in profiles are compiled into the binary, and their composition into a filter for a
//! set of capabilities. Shared with the build script, which composes the usual filter in advance.

use super::bpf::{self, Verdict};
use super::rule::Condition;

/// A system call that a built-in profile names.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Its number on the architecture that lrun was built for.
    pub number: u32,
    /// Its name.
    pub name: &'static str,
    /// The `SECCOMP_RET_*` value when no rule matches.
    pub otherwise: u32,
    /// Bits of the capabilities each of which permits the call whatever its arguments.
    pub granted_by: u64,
    /// Rules on its arguments; the first that matches decides.
    pub rules: &'static [Rule],
}

/// A rule on the arguments of a call, valid for some sets of capabilities.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// One of these capabilities is needed for the rule to exist; 0: none is.
    pub with: u64,
    /// None of these may be held.
    pub without: u64,
    /// What must hold, all of it.
    pub conditions: &'static [Condition],
    /// The `SECCOMP_RET_*` value then.
    pub action: u32,
    /// The same, compiled: see `rule::compile`.
    pub code: &'static [u64],
}

impl Rule {
    /// Whether the rule exists for a process with these capabilities.
    pub fn applies(&self, held: u64) -> bool {
        (self.with == 0 || self.with & held != 0) && self.without & held == 0
    }
}

impl Call {
    /// What the call gets with these capabilities.
    pub fn verdict(&self, held: u64) -> Verdict {
        if self.granted_by & held != 0 {
            return Verdict::Return(bpf::ALLOW);
        }
        let mut code = Vec::new();
        for rule in self.rules.iter().filter(|rule| rule.applies(held)) {
            code.extend_from_slice(rule.code);
        }
        if code.is_empty() {
            return Verdict::Return(self.otherwise);
        }
        code.push(bpf::return_value(self.otherwise));
        Verdict::Code(code)
    }
}

/// The filter of `profile`, a table sorted by number, for a process with the capabilities `held`.
///
/// Calls of the table `instead` are taken from there. Numbers that the profile does not name, and foreign
/// architectures, get `unknown`.
pub fn compose(arch: u32, profile: &[Call], instead: &[Call], held: u64, unknown: u32) -> Vec<u64> {
    let mut segments = Vec::new();
    let mut next = 0;
    for call in profile {
        if call.number > next {
            bpf::push_segment(&mut segments, next, Verdict::Return(unknown));
        }
        let call = match instead.binary_search_by_key(&call.number, |other| other.number) {
            Ok(index) => instead.get(index).unwrap_or(call),
            Err(_) => call,
        };
        bpf::push_segment(&mut segments, call.number, call.verdict(held));
        next = call.number + 1;
    }
    bpf::push_segment(&mut segments, next, Verdict::Return(unknown));
    bpf::assemble(arch, unknown, &segments)
}
