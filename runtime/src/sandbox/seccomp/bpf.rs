//! The filter machine: instructions, and the dispatch of system call numbers to verdicts.
//!
//! An instruction is a `u64` with the fields of `struct sock_filter` (`linux/filter.h`) from the low end: 16 bits code,
//! 8 bits jump if true, 8 bits jump if false, 32 bits operand. Programs are plain numbers that way: they can be
//! constants of the binary and travel between processes.
//!
//! Shared with the build script, so it depends on nothing.

/// `SECCOMP_RET_ALLOW`: the call is made.
pub const ALLOW: u32 = 0x7fff_0000;
/// `SECCOMP_RET_ERRNO`: the call is not made and returns the error number in the low 16 bits; with 0, success.
pub const ERRNO: u32 = 0x0005_0000;
/// Operation not permitted (`asm-generic/errno-base.h`).
pub const EPERM: u32 = 1;
/// Function not implemented (`asm-generic/errno.h`).
pub const ENOSYS: u32 = 38;
/// The most instructions that the kernel takes in one filter (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;
/// From this number on, a call under the x86-64 architecture value belongs to the x32 ABI (`__X32_SYSCALL_BIT`).
pub const X32_BIT: u32 = 0x4000_0000;

const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_GREATER_EQUAL: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K
const OFFSET_NUMBER: u32 = 0; // of nr in struct seccomp_data
const OFFSET_ARCH: u32 = 4;

/// What a range of system call numbers gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This `SECCOMP_RET_*` value, whatever the arguments.
    Return(u32),
    /// Code that looks at the arguments. It returns on every path, so it can stand anywhere.
    Code(Vec<u64>),
}

/// One instruction.
pub const fn instruction(code: u16, jump_true: u8, jump_false: u8, operand: u32) -> u64 {
    code as u64 | (jump_true as u64) << 16 | (jump_false as u64) << 24 | (operand as u64) << 32
}

/// The instruction that ends the filter with this `SECCOMP_RET_*` value.
pub const fn return_value(action: u32) -> u64 {
    instruction(RETURN, 0, 0, action)
}

/// A whole filter.
///
/// `segments` are the first numbers of consecutive ranges with their verdicts, ascending from 0; the last reaches to
/// the end. Calls of another architecture than `arch` get `foreign`. The numbers are searched as a tree, not one after
/// the other; the kernel (5.11+) also recognises calls that this code allows whatever their arguments and no longer
/// runs the filter for them.
pub fn assemble(arch: u32, foreign: u32, segments: &[(u32, Verdict)]) -> Vec<u64> {
    let mut program = vec![
        instruction(LOAD_WORD, 0, 0, OFFSET_ARCH),
        instruction(JUMP_EQUAL, 1, 0, arch),
        return_value(foreign),
        instruction(LOAD_WORD, 0, 0, OFFSET_NUMBER),
    ];
    program.extend(tree(segments));
    program
}

/// The search tree over these ranges, with the verdicts as its leaves.
fn tree(segments: &[(u32, Verdict)]) -> Vec<u64> {
    match segments {
        [] => Vec::new(),
        [(_, Verdict::Return(action))] => vec![return_value(*action)],
        [(_, Verdict::Code(code))] => code.clone(),
        _ => {
            let (low, high) = segments.split_at(segments.len() / 2);
            let (below, above) = (tree(low), tree(high));
            let first_above = high.first().map_or(u32::MAX, |(number, _)| *number);
            let mut code = skip_if_at_least(first_above, below.len());
            code.extend(below);
            code.extend(above);
            code
        }
    }
}

/// Skips `distance` instructions when the number is at least `number`.
fn skip_if_at_least(number: u32, distance: usize) -> Vec<u64> {
    match u8::try_from(distance) {
        Ok(near) => vec![instruction(JUMP_GREATER_EQUAL, near, 0, number)],
        // Conditional jumps reach 255 instructions; a plain jump reaches everything.
        Err(_) => {
            vec![instruction(JUMP_GREATER_EQUAL, 0, 1, number), instruction(JUMP, 0, 0, distance as u32)]
        }
    }
}

/// Appends a range to `segments`, merging it with an equal neighbour.
pub fn push_segment(segments: &mut Vec<(u32, Verdict)>, first: u32, verdict: Verdict) {
    if segments.last().is_none_or(|(_, last)| *last != verdict) {
        segments.push((first, verdict));
    }
}
