//! Rules on arguments, compiled by seccompiler. Shared with the build script.

use super::bpf;
use seccompiler::{BackendError, BpfProgram, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

/// How an argument is compared with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`, unsigned
    Less,
    /// `<=`, unsigned
    LessEqual,
    /// `>`, unsigned
    Greater,
    /// `>=`, unsigned
    GreaterEqual,
    /// `argument & mask == value`
    Masked(u64),
}

/// A comparison of one argument of a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The argument's index, 0 to 5.
    pub argument: u8,
    /// The comparison.
    pub op: Op,
    /// What the argument is compared with.
    pub value: u64,
    /// Whether only the argument's low 32 bits count, because the kernel reads no more of it.
    pub word: bool,
}

/// Code that ends the filter with `action` if all conditions hold, and otherwise runs on behind its own end.
///
/// # Errors
/// When there is no condition, or an argument's index is above 5.
pub fn compile(conditions: &[Condition], action: u32) -> Result<Vec<u64>, BackendError> {
    let conditions = conditions.iter().map(condition).collect::<Result<Vec<_>, _>>()?;
    let rule = BpfProgram::from(SeccompRule::new(conditions)?);
    // seccompiler's rule code continues at its end on a match, and one instruction further otherwise.
    let mut code: Vec<u64> = rule.iter().map(|i| bpf::instruction(i.code, i.jt, i.jf, i.k)).collect();
    code.push(bpf::return_value(action));
    Ok(code)
}

fn condition(condition: &Condition) -> Result<SeccompCondition, BackendError> {
    let length = if condition.word { SeccompCmpArgLen::Dword } else { SeccompCmpArgLen::Qword };
    let op = match condition.op {
        Op::Equal => SeccompCmpOp::Eq,
        Op::NotEqual => SeccompCmpOp::Ne,
        Op::Less => SeccompCmpOp::Lt,
        Op::LessEqual => SeccompCmpOp::Le,
        Op::Greater => SeccompCmpOp::Gt,
        Op::GreaterEqual => SeccompCmpOp::Ge,
        Op::Masked(mask) => SeccompCmpOp::MaskedEq(mask),
    };
    SeccompCondition::new(condition.argument, length, op, condition.value)
}
