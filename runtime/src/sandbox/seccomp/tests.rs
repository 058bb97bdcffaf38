//! Filters judged by a small interpreter: every number, every ABI, and arguments with garbage in their upper half.

use super::bpf::{ALLOW, EPERM, ERRNO};
use super::*;
use crate::sandbox::caps::{self, default_set};
use syscalls::Sysno;

mod custom;
mod default;
mod root;

const NATIVE: u32 = builtin::NATIVE;
const I386: u32 = 0x4000_0003;
const REFUSED: u32 = ERRNO | EPERM;
const ABSENT: u32 = ERRNO | 38;
const ANSWERED: u32 = ERRNO;
/// What a caller can leave in the half of an argument that the kernel does not read.
const GARBAGE: u64 = 0xdead_beef_0000_0000;

/// Runs a filter as the kernel would; a program that the kernel would not accept fails the test.
fn run(program: &[u64], arch: u32, number: u32, arguments: &[u64]) -> u32 {
    let mut data = [0u32; 16];
    (data[0], data[1]) = (number, arch);
    for (index, argument) in arguments.iter().enumerate() {
        (data[4 + 2 * index], data[5 + 2 * index]) = (*argument as u32, (*argument >> 32) as u32);
    }
    let (mut accumulator, mut at) = (0u32, 0usize);
    loop {
        let word = program[at];
        let (code, jump_true, jump_false, operand) =
            (word as u16, (word >> 16) as u8, (word >> 24) as u8, (word >> 32) as u32);
        let jump = |holds: bool| usize::from(if holds { jump_true } else { jump_false });
        at += 1;
        match code {
            0x20 => {
                assert_eq!(operand % 4, 0);
                accumulator = data[operand as usize / 4];
            }
            0x54 => accumulator &= operand,
            0x05 => at += operand as usize,
            0x15 => at += jump(accumulator == operand),
            0x25 => at += jump(accumulator > operand),
            0x35 => at += jump(accumulator >= operand),
            0x06 => return operand,
            other => panic!("instruction {other:#x} at {}", at - 1),
        }
    }
}

/// What several filters decide together: the strictest action, of equal ones that of the filter loaded last.
fn judge_by(programs: &[Cow<'_, [u64]>], arch: u32, number: u32, arguments: &[u64]) -> u32 {
    let verdicts = programs.iter().map(|program| run(program, arch, number, arguments));
    verdicts.fold(ALLOW, |so_far, next| {
        let action = |value: u32| (value & 0xffff_0000) as i32;
        if action(next) <= action(so_far) { next } else { so_far }
    })
}

fn judge(filter: &Filter, arch: u32, number: u32, arguments: &[u64]) -> u32 {
    judge_by(&filter.programs(), arch, number, arguments)
}

fn number(name: &str) -> u32 {
    name.parse::<Sysno>().unwrap_or_else(|_| panic!("{name}")).id() as u32
}

fn held(names: &[&str]) -> CapSet {
    default_set() | names.iter().map(|name| caps::parse(name).unwrap()).collect()
}

fn default_filter(names: &[&str]) -> Filter {
    Filter { rules: Rules::Default(held(names)), emulate_root: false }
}

/// Every number that means something in some ABI, and their neighbours.
fn all_numbers() -> impl Iterator<Item = u32> {
    (0..700).chain(0x4000_0000..0x4000_0300).chain([0x3fff_ffff, 0x7fff_ffff, 0x8000_0000, u32::MAX])
}
