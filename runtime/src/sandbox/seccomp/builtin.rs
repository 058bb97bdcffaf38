//! The default profile and root emulation, from the tables that the build script made of `seccomp/*.profile`.

use super::bpf::{self, Verdict};
use super::rule::{Condition, Op};
use super::table::{self, Call, Rule};
use crate::sandbox::caps::{CapSet, default_set};
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall};
use std::borrow::Cow;
use std::collections::BTreeMap;

// ARCH, PROFILE, ROOT, WORDS, DEFAULT, DEFAULT_WITH_ROOT, ROOT_ONLY.
include!(concat!(env!("OUT_DIR"), "/profiles.rs"));

/// The architecture that lrun was built for, as filters see it.
pub(super) const NATIVE: u32 = ARCH;

/// The same as the OCI runtime specification names it.
pub(super) const NATIVE_ARCH: Arch =
    if cfg!(target_arch = "aarch64") { Arch::ScmpArchAarch64 } else { Arch::ScmpArchX86_64 };

/// The default filter for a process with these capabilities in its bounding set, with or without root emulation.
/// Made in advance for the default capabilities.
pub(super) fn default_program(held: CapSet, emulate_root: bool) -> Cow<'static, [u64]> {
    match (held == default_set(), emulate_root) {
        (true, false) => Cow::Borrowed(DEFAULT),
        (true, true) => Cow::Borrowed(DEFAULT_WITH_ROOT),
        (false, _) => {
            let instead = if emulate_root { ROOT } else { &[] };
            Cow::Owned(table::compose(ARCH, PROFILE, instead, held.bits(), bpf::ERRNO | bpf::ENOSYS))
        }
    }
}

/// Root emulation alone: everything else is allowed.
pub(super) fn root_program() -> &'static [u64] {
    ROOT_ONLY
}

/// Whether the kernel reads no more than 32 bits of this argument of the native call with this number.
pub(super) fn reads_word(number: u32, argument: u8) -> bool {
    match WORDS.binary_search_by_key(&number, |(known, _)| *known) {
        Ok(index) => WORDS.get(index).is_some_and(|(_, arguments)| arguments >> argument & 1 == 1),
        Err(_) => false,
    }
}

/// The default profile for a process with these capabilities in its bounding set, in the form of the OCI runtime
/// specification. [`super::compile`] makes the same filter of it as is compiled in.
pub fn default_linux_seccomp(held: CapSet) -> LinuxSeccomp {
    let mut unconditional: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    let mut conditional = Vec::new();
    for call in PROFILE {
        match call.verdict(held.bits()) {
            Verdict::Return(action) => unconditional.entry(action).or_default().push(call.name.to_owned()),
            Verdict::Code(_) => conditional.extend(
                call.rules.iter().filter(|rule| rule.applies(held.bits())).map(|rule| oci_rule(call.name, rule)),
            ),
        }
    }
    let mut syscalls: Vec<LinuxSyscall> =
        unconditional.into_iter().rev().map(|(action, names)| oci_syscall(names, action)).collect();
    syscalls.extend(conditional);
    let mut seccomp = LinuxSeccomp::default();
    seccomp
        .set_default_action(LinuxSeccompAction::ScmpActErrno)
        .set_default_errno_ret(Some(bpf::EPERM))
        .set_architectures(Some(vec![NATIVE_ARCH]))
        .set_syscalls(Some(syscalls));
    seccomp
}

fn oci_syscall(names: Vec<String>, action: u32) -> LinuxSyscall {
    let mut syscall = LinuxSyscall::default();
    syscall.set_names(names);
    if action == bpf::ALLOW {
        syscall.set_action(LinuxSeccompAction::ScmpActAllow);
    } else {
        syscall.set_action(LinuxSeccompAction::ScmpActErrno).set_errno_ret(Some(action & 0xffff));
    }
    syscall
}

fn oci_rule(name: &str, rule: &Rule) -> LinuxSyscall {
    let mut syscall = oci_syscall(vec![name.to_owned()], rule.action);
    syscall.set_args(Some(rule.conditions.iter().map(oci_condition).collect()));
    syscall
}

fn oci_condition(condition: &Condition) -> LinuxSeccompArg {
    let (op, value, value_two) = match condition.op {
        Op::Equal => (LinuxSeccompOperator::ScmpCmpEq, condition.value, None),
        Op::NotEqual => (LinuxSeccompOperator::ScmpCmpNe, condition.value, None),
        Op::Less => (LinuxSeccompOperator::ScmpCmpLt, condition.value, None),
        Op::LessEqual => (LinuxSeccompOperator::ScmpCmpLe, condition.value, None),
        Op::Greater => (LinuxSeccompOperator::ScmpCmpGt, condition.value, None),
        Op::GreaterEqual => (LinuxSeccompOperator::ScmpCmpGe, condition.value, None),
        // The specification puts the mask first.
        Op::Masked(mask) => (LinuxSeccompOperator::ScmpCmpMaskedEq, mask, Some(condition.value)),
    };
    super::oci_argument(usize::from(condition.argument), op, value, value_two)
}
