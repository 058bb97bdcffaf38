//! Compiles the system call profiles in `seccomp/` into tables and into the filters that nearly every container uses,
//! so that nothing is parsed at run time.

#[allow(dead_code)]
#[path = "src/sandbox/seccomp/bpf.rs"]
mod bpf;
#[allow(dead_code)]
#[path = "src/sandbox/caps/names.rs"]
mod names;
#[path = "src/sandbox/seccomp/rule.rs"]
mod rule;
#[path = "src/sandbox/seccomp/table.rs"]
mod table;

use rule::{Condition, Op};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};
use table::{Call, Rule};

/// `AUDIT_ARCH_X86_64` and `AUDIT_ARCH_AARCH64` (`linux/audit.h`).
const ARCH_X86_64: u32 = 0xc000_003e;
const ARCH_AARCH64: u32 = 0xc000_00b7;
/// Invalid argument (`asm-generic/errno-base.h`).
const EINVAL: u32 = 22;

fn main() {
    let target = env::var("CARGO_CFG_TARGET_ARCH").unwrap();
    println!("cargo:rerun-if-changed=seccomp");
    for shared in ["caps/names.rs", "seccomp/bpf.rs", "seccomp/rule.rs", "seccomp/table.rs"] {
        println!("cargo:rerun-if-changed=src/sandbox/{shared}");
    }
    let arch = match target.as_str() {
        "x86_64" => ARCH_X86_64,
        "aarch64" => ARCH_AARCH64,
        other => panic!("lrun has no system call table for {other}"),
    };
    let default = Profile::read("default.profile", &target);
    let root = Profile::read("root.profile", &target);
    let held = names::DEFAULT.iter().map(|name| names::bit(name).unwrap()).fold(0, |set, bit| set | bit);
    let unknown = bpf::ERRNO | bpf::ENOSYS;

    let mut out = String::new();
    writeln!(out, "const ARCH: u32 = {arch:#x};").unwrap();
    writeln!(out, "static PROFILE: &[Call] = &{};", calls_source(&default.calls)).unwrap();
    writeln!(out, "static ROOT: &[Call] = &{};", calls_source(&root.calls)).unwrap();
    writeln!(out, "static WORDS: &[(u32, u8)] = &{:?};", default.words).unwrap();
    for (name, program) in [
        ("DEFAULT", table::compose(arch, &default.calls, &[], held, unknown)),
        ("DEFAULT_WITH_ROOT", table::compose(arch, &default.calls, &root.calls, held, unknown)),
        ("ROOT_ONLY", table::compose(arch, &root.calls, &[], held, bpf::ALLOW)),
    ] {
        assert!(program.len() <= bpf::MAX_INSTRUCTIONS, "{name} has {} instructions", program.len());
        writeln!(out, "static {name}: &[u64] = &{program:?};").unwrap();
    }
    fs::write(Path::new(&env::var("OUT_DIR").unwrap()).join("profiles.rs"), out).unwrap();
}

/// A profile file for one architecture, sorted by number.
struct Profile {
    calls: Vec<Call>,
    words: Vec<(u32, u8)>,
}

/// What the lines of a profile say about one call.
#[derive(Default)]
struct Entry {
    otherwise: Option<u32>,
    granted_by: u64,
    rules: Vec<Rule>,
    words: u8,
}

impl Profile {
    fn read(file: &str, target: &str) -> Self {
        let text = fs::read_to_string(Path::new("seccomp").join(file)).unwrap();
        let mut entries = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            if let Err(reason) = read_line(line, &mut entries) {
                panic!("seccomp/{file}:{}: {reason}", index + 1);
            }
        }
        let mut profile = Self { calls: Vec::new(), words: Vec::new() };
        for (name, entry) in entries {
            let Some(number) = number(&name, target) else { continue };
            if entry.words != 0 {
                profile.words.push((number, entry.words));
            }
            // Without a verdict of its own, a call that capabilities permit is refused; a `word` line alone is no call.
            let otherwise = match entry.otherwise {
                Some(action) => action,
                None if entry.granted_by != 0 => bpf::ERRNO | bpf::EPERM,
                None if entry.rules.is_empty() => continue,
                None => panic!("seccomp/{file}: rules for {name}, which is neither allowed nor refused"),
            };
            let rules = entry.rules.leak();
            profile.calls.push(Call { number, name: name.leak(), otherwise, granted_by: entry.granted_by, rules });
        }
        profile.calls.sort_by_key(|call| call.number);
        profile.words.sort_unstable();
        profile
    }
}

fn read_line(line: &str, entries: &mut BTreeMap<String, Entry>) -> Result<(), String> {
    let line = line.split('#').next().unwrap_or_default();
    let mut words = line.split_whitespace();
    let Some(keyword) = words.next() else { return Ok(()) };
    let rest: Vec<&str> = words.collect();
    match keyword {
        "allow" | "refuse" | "absent" | "answer" => {
            let action = action(keyword)?;
            for name in rest {
                let earlier = entry(entries, name)?.otherwise.replace(action);
                if earlier.is_some() {
                    return Err(format!("{name} is named a second time"));
                }
            }
        }
        "grant" => {
            let (capabilities, calls) = split_once(&rest, ":").ok_or("a grant needs ':'")?;
            let capabilities = capability_bits(capabilities)?;
            for name in calls {
                entry(entries, name)?.granted_by |= capabilities;
            }
        }
        "when" => {
            let (name, rule) = rest.split_first().ok_or("a rule needs a call")?;
            let rule = read_rule(rule)?;
            entry(entries, name)?.rules.push(rule);
        }
        "word" => {
            let (name, arguments) = rest.split_first().ok_or("which call?")?;
            for argument in arguments {
                entry(entries, name)?.words |= 1 << argument_index(argument)?;
            }
        }
        other => return Err(format!("no keyword {other}")),
    }
    Ok(())
}

fn read_rule(words: &[&str]) -> Result<Rule, String> {
    let (conditions, consequence) = split_once(words, ":").ok_or("a rule needs ':'")?;
    let conditions = conditions.split(|word| *word == "&").map(read_condition).collect::<Result<Vec<_>, _>>()?;
    let (action_word, limit) = consequence.split_first().ok_or("a rule needs a verdict")?;
    let action = action(action_word)?;
    let (with, without) = match limit.split_first() {
        None => (0, 0),
        Some((&"with", capabilities)) => (capability_bits(capabilities)?, 0),
        Some((&"without", capabilities)) => (0, capability_bits(capabilities)?),
        Some((other, _)) => return Err(format!("no keyword {other}")),
    };
    let code = rule::compile(&conditions, action).map_err(|error| error.to_string())?;
    Ok(Rule { with, without, conditions: conditions.leak(), action, code: code.leak() })
}

fn read_condition(words: &[&str]) -> Result<Condition, String> {
    let (argument, op, value) = match words {
        [argument, "/", mask, "==", value] => (argument, Op::Masked(integer(mask)?), value),
        [argument, op, value] => {
            let op = match *op {
                "==" => Op::Equal,
                "!=" => Op::NotEqual,
                "<" => Op::Less,
                "<=" => Op::LessEqual,
                ">" => Op::Greater,
                ">=" => Op::GreaterEqual,
                other => return Err(format!("no comparison {other}")),
            };
            (argument, op, value)
        }
        _ => return Err(format!("not a condition: {}", words.join(" "))),
    };
    // Every argument that a built-in profile looks at is read as 32 bits by the kernel.
    Ok(Condition { argument: argument_index(argument)?, op, value: integer(value)?, word: true })
}

/// The entry of a call that some architecture has; a name that none has is a typing error.
fn entry<'a>(entries: &'a mut BTreeMap<String, Entry>, name: &str) -> Result<&'a mut Entry, String> {
    if number(name, "x86_64").is_none() && number(name, "aarch64").is_none() {
        return Err(format!("no system call {name}"));
    }
    Ok(entries.entry(name.to_owned()).or_default())
}

fn number(name: &str, target: &str) -> Option<u32> {
    let number = match target {
        "x86_64" => name.parse::<syscalls::x86_64::Sysno>().ok()?.id(),
        _ => name.parse::<syscalls::aarch64::Sysno>().ok()?.id(),
    };
    u32::try_from(number).ok()
}

fn action(word: &str) -> Result<u32, String> {
    Ok(match word {
        "allow" => bpf::ALLOW,
        "refuse" => bpf::ERRNO | bpf::EPERM,
        "absent" => bpf::ERRNO | bpf::ENOSYS,
        "answer" => bpf::ERRNO,
        "EINVAL" => bpf::ERRNO | EINVAL,
        other => return Err(format!("no verdict {other}")),
    })
}

fn capability_bits(names: &[&str]) -> Result<u64, String> {
    names.iter().try_fold(0, |set, name| Ok(set | names::bit(name).ok_or(format!("no capability {name}"))?))
}

fn argument_index(word: &str) -> Result<u8, String> {
    word.parse().ok().filter(|index| *index < 6).ok_or(format!("no argument {word}"))
}

fn integer(word: &str) -> Result<u64, String> {
    let parsed = match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => word.parse(),
    };
    parsed.map_err(|error| format!("{word}: {error}"))
}

fn split_once<'a, 'b>(words: &'a [&'b str], separator: &str) -> Option<(&'a [&'b str], &'a [&'b str])> {
    let position = words.iter().position(|word| *word == separator)?;
    Some((&words[..position], &words[position + 1..]))
}

/// The table as Rust source.
fn calls_source(calls: &[Call]) -> String {
    let mut out = String::from("[");
    for call in calls {
        let Call { number, name, otherwise, granted_by, .. } = call;
        write!(
            out,
            "Call {{ number: {number}, name: {name:?}, otherwise: {otherwise}, granted_by: {granted_by}, rules: &["
        )
        .unwrap();
        for rule in call.rules {
            let Rule { with, without, action, code, .. } = rule;
            write!(out, "Rule {{ with: {with}, without: {without}, action: {action}, code: &{code:?}, conditions: &[")
                .unwrap();
            for Condition { argument, op, value, word } in rule.conditions {
                write!(out, "Condition {{ argument: {argument}, op: Op::{op:?}, value: {value}, word: {word} }}, ")
                    .unwrap();
            }
            out.push_str("] }, ");
        }
        out.push_str("] },\n");
    }
    out.push(']');
    out
}
