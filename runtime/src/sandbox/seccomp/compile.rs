//! An OCI `LinuxSeccomp` becomes a filter.
//!
//! The rule of precedence is independent of their order: of all rules that match a call the strictest decides (the
//! kernel's order: kill process, kill thread, trap, errno, trace, log, allow), and the default when none matches. An
//! unconditional rule that only repeats the default adds nothing, as in runc. As in runc, too, a rule that names one
//! argument several times means any of these conditions, names of unknown system calls are passed over, and with a
//! default that refuses, calls newer than the newest that the profile names get ENOSYS; so do numbers without a name.

use super::bpf::{self, Verdict};
use super::rule::{self, Condition, Op};
use super::{Program, builtin};
use crate::error::{Context, Error, ErrorKind, Result};
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator, LinuxSyscall,
};
use std::collections::BTreeMap;
use syscalls::Sysno;

const TRACE: u32 = 0x7ff0_0000;
const LOG: u32 = 0x7ffc_0000;
/// The largest error number that a filter can return (`MAX_ERRNO`); beyond, bits would run into the action.
const MAX_ERRNO: u32 = 4095;

/// Compiles the filter. Native calls only: the profile's list of architectures is not used, foreign calls get ENOSYS.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for user notification; [`ErrorKind::Invalid`] for an impossible argument, value or error
/// number, and when the filter is beyond the kernel's 4096 instructions.
pub fn compile(seccomp: &LinuxSeccomp) -> Result<Program> {
    if seccomp.listener_path().is_some() {
        return Err(notification_refused());
    }
    let log = read_flags(seccomp.flags().as_deref().unwrap_or_default())?;
    let default =
        action_value(seccomp.default_action(), seccomp.default_errno_ret()).context(|| "the default action")?;
    let mut calls = BTreeMap::new();
    for syscall in seccomp.syscalls().as_deref().unwrap_or_default() {
        add(syscall, default, &mut calls)?;
    }
    let code = bpf::assemble(builtin::NATIVE, bpf::ERRNO | bpf::ENOSYS, &segments(&calls, default)?);
    if code.len() > bpf::MAX_INSTRUCTIONS {
        let message = format!(
            "the seccomp profile needs {} instructions; the kernel takes at most {}",
            code.len(),
            bpf::MAX_INSTRUCTIONS
        );
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    Ok(Program { code, log })
}

/// What a profile says about one call.
#[derive(Default)]
struct Call {
    unconditional: Option<u32>,
    conditional: Vec<(Vec<Condition>, u32)>,
}

fn read_flags(flags: &[LinuxSeccompFilterFlag]) -> Result<bool> {
    if flags.contains(&LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv) {
        return Err(notification_refused());
    }
    // TSYNC: the process that loads the filter has one thread. SPEC_ALLOW: mitigations stay on.
    Ok(flags.contains(&LinuxSeccompFilterFlag::SeccompFilterFlagLog))
}

fn notification_refused() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "seccomp profiles with user notification (SCMP_ACT_NOTIFY) are refused: the arguments can change after the check",
    )
}

fn action_value(action: LinuxSeccompAction, errno: Option<u32>) -> Result<u32> {
    let errno = || match errno.unwrap_or(bpf::EPERM) {
        errno if errno <= MAX_ERRNO => Ok(errno),
        errno => Err(Error::new(ErrorKind::Invalid, format!("error number {errno} is above {MAX_ERRNO}"))),
    };
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => 0,
        LinuxSeccompAction::ScmpActKillProcess => 0x8000_0000,
        LinuxSeccompAction::ScmpActTrap => 0x0003_0000,
        LinuxSeccompAction::ScmpActErrno => bpf::ERRNO | errno()?,
        LinuxSeccompAction::ScmpActTrace => TRACE | errno()?,
        LinuxSeccompAction::ScmpActLog => LOG,
        LinuxSeccompAction::ScmpActAllow => bpf::ALLOW,
        LinuxSeccompAction::ScmpActNotify => return Err(notification_refused()),
    })
}

/// The order in which the kernel prefers actions: the smaller, the stricter.
fn strictness(action: u32) -> i32 {
    (action & 0xffff_0000) as i32
}

/// The native number of a system call.
fn number(name: &str) -> Option<u32> {
    let known = name.parse::<Sysno>().ok();
    // aarch64's table has it under its generic name.
    let known = known.or_else(|| if name == "newfstatat" { "fstatat".parse().ok() } else { None });
    u32::try_from(known?.id()).ok()
}

fn add(syscall: &LinuxSyscall, default: u32, calls: &mut BTreeMap<u32, Call>) -> Result<()> {
    let context = || format!("seccomp rule for {}", syscall.names().first().map_or("no call", String::as_str));
    let action = action_value(syscall.action(), syscall.errno_ret()).context(context)?;
    let arguments = syscall.args().as_deref().unwrap_or_default();
    for number in syscall.names().iter().filter_map(|name| number(name)) {
        let call = calls.entry(number).or_default();
        let conditions = arguments
            .iter()
            .map(|argument| condition(number, argument))
            .collect::<Result<Vec<_>>>()
            .context(context)?;
        if conditions.is_empty() {
            if action != default {
                let earlier = call.unconditional.unwrap_or(action);
                call.unconditional = Some(if strictness(action) < strictness(earlier) { action } else { earlier });
            }
        } else if repeats_argument(&conditions) {
            call.conditional.extend(conditions.into_iter().map(|one| (vec![one], action)));
        } else {
            call.conditional.push((conditions, action));
        }
    }
    Ok(())
}

fn repeats_argument(conditions: &[Condition]) -> bool {
    let mut seen = 0u8;
    conditions.iter().any(|condition| {
        let bit = 1 << condition.argument;
        let repeated = seen & bit != 0;
        seen |= bit;
        repeated
    })
}

fn condition(number: u32, oci: &LinuxSeccompArg) -> Result<Condition> {
    let argument = u8::try_from(oci.index()).ok().filter(|index| *index < 6).ok_or_else(|| {
        Error::new(ErrorKind::Invalid, format!("system calls have arguments 0 to 5, not {}", oci.index()))
    })?;
    let word = builtin::reads_word(number, argument);
    let value = |value: u64| if word { word_value(argument, value) } else { Ok(value) };
    let (op, value) = match oci.op() {
        LinuxSeccompOperator::ScmpCmpEq => (Op::Equal, value(oci.value())?),
        LinuxSeccompOperator::ScmpCmpNe => (Op::NotEqual, value(oci.value())?),
        LinuxSeccompOperator::ScmpCmpLt => (Op::Less, value(oci.value())?),
        LinuxSeccompOperator::ScmpCmpLe => (Op::LessEqual, value(oci.value())?),
        LinuxSeccompOperator::ScmpCmpGt => (Op::Greater, value(oci.value())?),
        LinuxSeccompOperator::ScmpCmpGe => (Op::GreaterEqual, value(oci.value())?),
        // The specification puts the mask into `value`, what must be left into `valueTwo`.
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            let mask = if word { oci.value() & u64::from(u32::MAX) } else { oci.value() };
            (Op::Masked(mask), value(oci.value_two().unwrap_or(0))?)
        }
    };
    Ok(Condition { argument, op, value, word })
}

/// A value for an argument of which the kernel reads 32 bits: as it is, or a negative number in 64 bits.
fn word_value(argument: u8, value: u64) -> Result<u64> {
    let negative = value >> 31 == 0x1_ffff_ffff;
    if value <= u64::from(u32::MAX) || negative {
        return Ok(value & u64::from(u32::MAX));
    }
    Err(Error::new(ErrorKind::Invalid, format!("argument {argument} has 32 bits; {value:#x} is beyond them")))
}

/// Verdicts for all numbers.
fn segments(calls: &BTreeMap<u32, Call>, default: u32) -> Result<Vec<(u32, Verdict)>> {
    let permissive = strictness(default) >= strictness(TRACE);
    let unknown = if permissive { default } else { bpf::ERRNO | bpf::ENOSYS };
    let newest_known = Sysno::last().id() as u32;
    let newest_named = calls.keys().next_back().copied().unwrap_or(newest_known);
    let mut segments = Vec::new();
    for number in 0..=newest_known.max(newest_named) {
        let verdict = match calls.get(&number) {
            Some(call) => verdict(call, default)?,
            None if number <= newest_named && Sysno::new(number as usize).is_some() => Verdict::Return(default),
            None => Verdict::Return(unknown),
        };
        bpf::push_segment(&mut segments, number, verdict);
    }
    bpf::push_segment(&mut segments, newest_known.max(newest_named) + 1, Verdict::Return(unknown));
    bpf::push_segment(&mut segments, bpf::X32_BIT, Verdict::Return(bpf::ERRNO | bpf::ENOSYS));
    Ok(segments)
}

fn verdict(call: &Call, default: u32) -> Result<Verdict> {
    let otherwise = call.unconditional.unwrap_or(default);
    let mut rules: Vec<_> = call.conditional.iter().collect();
    if let Some(unconditional) = call.unconditional {
        rules.retain(|(_, action)| strictness(*action) <= strictness(unconditional));
    }
    rules.sort_by_key(|(_, action)| strictness(*action));
    if rules.is_empty() {
        return Ok(Verdict::Return(otherwise));
    }
    let mut code = Vec::new();
    for (conditions, action) in rules {
        let rule = rule::compile(conditions, *action);
        code.extend(rule.map_err(|error| Error::new(ErrorKind::Invalid, format!("seccomp rule: {error}")))?);
    }
    code.push(bpf::return_value(otherwise));
    Ok(Verdict::Code(code))
}
