//! `--chmod`: permission bits in octal, or in chmod's words (`u=rwX,go=rX`). Pure.

use crate::error::{Error, ErrorKind, Result};

const ALL: u32 = 0o7777;
const READ: u32 = 0o444;
const WRITE: u32 = 0o222;
const EXECUTE: u32 = 0o111;
const SET_ID: u32 = 0o6000;
const STICKY: u32 = 0o1000;

/// What becomes of a file's permission bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chmod {
    /// These, whatever they were.
    Octal(u32),
    /// Changed, one action after the other.
    Symbolic(Vec<Action>),
}

/// `who`, what to do, and with which bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// All bits of those that it is about.
    who: u32,
    operation: Operation,
    bits: Bits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Add,
    Remove,
    Set,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bits {
    /// These, and whether to execute where that makes sense (`X`).
    Listed(u32, bool),
    /// What the owner (6), group (3) or others (0) have: how far their bits are from the right.
    Of(u32),
}

impl Chmod {
    /// Reads the value of `--chmod`.
    pub fn parse(text: &str) -> Result<Self> {
        let octal = text.bytes().all(|b| b.is_ascii_digit());
        let parsed = match octal && !text.is_empty() {
            true => u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= ALL).map(Self::Octal),
            false => {
                let clauses: Option<Vec<_>> = text.split(',').map(clause).collect();
                clauses.map(|clauses| Self::Symbolic(clauses.concat()))
            }
        };
        parsed.ok_or_else(|| {
            let shown = text.escape_default();
            let text = format!("invalid chmod parameter: '{shown}'. it should be octal string and between 0 and 07777");
            Error::new(ErrorKind::Invalid, text).hint("or chmod's words, as in u=rwX,go=rX")
        })
    }

    /// The mode of directories that are made on the way to the destination.
    pub fn of_new_directories(&self) -> u32 {
        match self {
            Self::Octal(mode) => *mode,
            Self::Symbolic(_) => 0o755,
        }
    }

    /// The bits of something that had these.
    pub fn apply(&self, mode: u32, directory: bool) -> u32 {
        match self {
            Self::Octal(mode) => *mode,
            Self::Symbolic(actions) => actions.iter().fold(mode & ALL, |mode, action| action.apply(mode, directory)),
        }
    }
}

impl Action {
    fn apply(&self, mode: u32, directory: bool) -> u32 {
        let bits = match self.bits {
            Bits::Listed(bits, searchable) if searchable && (directory || mode & EXECUTE != 0) => bits | EXECUTE,
            Bits::Listed(bits, _) => bits,
            Bits::Of(shift) => ((mode >> shift) & 0o7) * 0o111,
        } & self.who;
        match self.operation {
            Operation::Add => mode | bits,
            Operation::Remove => mode & !bits,
            Operation::Set => mode & !self.who | bits,
        }
    }
}

/// `who` and at least one action, as in `g+w-x`; `None`: it is not that.
fn clause(text: &str) -> Option<Vec<Action>> {
    let operation = |c: char| matches!(c, '+' | '-' | '=');
    let (who, mut rest) = text.split_at(text.find(operation)?);
    let bits = who.chars().map(|c| {
        Some(match c {
            'u' => 0o4700,
            'g' => 0o2070,
            'o' => 0o0007,
            'a' => ALL,
            _ => return None,
        })
    });
    let bits = bits.sum_bits()?;
    // Sticky is nobody's; it is left alone where it is not asked for.
    let who = if who.is_empty() { ALL } else { bits };
    let mut actions = Vec::new();
    while let Some(first) = rest.chars().next() {
        let operation_of = match first {
            '+' => Operation::Add,
            '-' => Operation::Remove,
            _ => Operation::Set,
        };
        let after = rest.get(1..)?;
        let (given, left) = after.split_at(after.find(operation).unwrap_or(after.len()));
        let bits = listed(given)?;
        let sticky = if matches!(bits, Bits::Listed(bits, _) if bits & STICKY != 0) { STICKY } else { 0 };
        actions.push(Action { who: who | sticky, operation: operation_of, bits });
        rest = left;
    }
    Some(actions)
}

fn listed(text: &str) -> Option<Bits> {
    match text {
        "u" => return Some(Bits::Of(6)),
        "g" => return Some(Bits::Of(3)),
        "o" => return Some(Bits::Of(0)),
        _ => {}
    }
    let bits = text.chars().filter(|c| *c != 'X').map(|c| {
        Some(match c {
            'r' => READ,
            'w' => WRITE,
            'x' => EXECUTE,
            's' => SET_ID,
            't' => STICKY,
            _ => return None,
        })
    });
    Some(Bits::Listed(bits.sum_bits()?, text.contains('X')))
}

/// All of several bits, if each is known.
trait SumBits {
    fn sum_bits(self) -> Option<u32>;
}

impl<I: Iterator<Item = Option<u32>>> SumBits for I {
    fn sum_bits(mut self) -> Option<u32> {
        self.try_fold(0, |all, bits| Some(all | bits?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn as_chmod_has_it() {
        for (text, mode, directory, wanted) in [
            ("755", 0o600, false, 0o755),
            ("0", 0o600, false, 0),
            ("04711", 0o600, false, 0o4711),
            ("+x", 0o644, false, 0o755),
            ("a-w", 0o666, false, 0o444),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o700, true, 0o755),
            ("go=rX", 0o700, true, 0o755),
            ("g=u", 0o640, false, 0o660),
            ("o=g-w", 0o664, false, 0o664),
            ("g+w-x", 0o755, false, 0o765),
            ("u+s,g+s", 0o755, false, 0o6755),
            ("u=rwx", 0o4700, false, 0o700),
            ("+t", 0o777, true, 0o1777),
            ("o=", 0o1777, true, 0o1770),
            ("=", 0o7777, false, 0),
        ] {
            let chmod = Chmod::parse(text).expect("it is one");
            assert_eq!(format!("{:o}", chmod.apply(mode, directory)), format!("{wanted:o}"), "{text}");
        }
    }

    #[test]
    fn others_are_refused() {
        for text in ["", "8", "77777", "10000", "rwx", "u", "u=q", "z+x", "u+x,", ",u+x", "0x1", "-1", "+é", "u=ug"] {
            let said = Chmod::parse(text).expect_err(text).to_string();
            assert!(said.contains("invalid chmod parameter"), "{said}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_permission_bits_or_an_error(text in "[ugoa+=rwxXst,0-9é-]{0,12}", mode: u32, directory: bool) {
            if let Ok(chmod) = Chmod::parse(&text) {
                prop_assert!(chmod.apply(mode & ALL, directory) <= ALL);
            }
        }
    }
}
