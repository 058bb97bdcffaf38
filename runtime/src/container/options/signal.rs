//! Signals by name and number: `--stop-signal`, `kill -s`, `stop -s`, and an image's `StopSignal`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::invalid;
use crate::error::{Error, Result};

/// The real-time signals that programs may use (glibc keeps 32 and 33 to itself); `signal(7)`.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// The names of `signal(7)` as numbered on x86 and ARM; where two share a number, the first is shown.
const NAMES: [(&str, i32); 35] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("UNUSED", 31),
];

/// A signal that exists: 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Signal(i32);

impl Signal {
    /// SIGTERM, what `stop` sends first.
    pub const TERM: Self = Self(15);
    /// SIGKILL.
    pub const KILL: Self = Self(9);

    /// Its number.
    pub fn number(self) -> i32 {
        self.0
    }

    /// Reads `SIGTERM`, `term`, `15`, `SIGRTMIN+3`, `RTMAX-1`.
    pub fn parse(text: &str) -> Result<Self> {
        by_number(text).or_else(|| by_name(text)).map(Self).ok_or_else(|| invalid(format!("invalid signal: {text}")))
    }
}

fn by_number(text: &str) -> Option<i32> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|number| digits && (1..=RTMAX).contains(number))
}

fn by_name(text: &str) -> Option<i32> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Some(*number);
    }
    let offset = |text: &str, sign: char| match text {
        "" => Some(0),
        _ => text.strip_prefix(sign).filter(|n| n.bytes().all(|b| b.is_ascii_digit()))?.parse::<i32>().ok(),
    };
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => RTMIN.checked_add(offset(rest, '+')?)?,
        (_, Some(rest)) => RTMAX.checked_sub(offset(rest, '-')?)?,
        _ => return None,
    };
    (RTMIN..=RTMAX).contains(&number).then_some(number)
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None if self.0 == RTMIN => f.write_str("SIGRTMIN"),
            None if self.0 > RTMIN => write!(f, "SIGRTMIN+{}", self.0 - RTMIN),
            None => write!(f, "{}", self.0),
        }
    }
}

impl From<Signal> for String {
    fn from(signal: Signal) -> Self {
        signal.to_string()
    }
}

/// A signal in the words of whoever chose it, which docker shows and commits: `9`, `term`, `SIGRTMIN+3`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct StopSignal {
    signal: Signal,
    text: String,
}

impl StopSignal {
    /// Reads what [`Signal::parse`] reads.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(Self { signal: Signal::parse(text)?, text: text.to_owned() })
    }

    /// Which one it is.
    pub fn signal(&self) -> Signal {
        self.signal
    }
}

impl From<StopSignal> for String {
    fn from(signal: StopSignal) -> Self {
        signal.text
    }
}

impl TryFrom<String> for StopSignal {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl TryFrom<String> for Signal {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}
