//! Parser directives: `# escape=`, `# syntax=` and `# check=`, in comments at the very top of the file.

use super::source::{Fault, Parsed, Position, Word};

/// The escape character of a file that names none.
pub const DEFAULT_ESCAPE: char = '\\';

/// What the directives say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives {
    /// The image that docker would read the language with; lrun reads it itself.
    pub syntax: Option<Word>,
    /// Escapes a character, and continues a line: `\` or a backtick.
    pub escape: char,
    /// Settings of the checks, as in `skip=JSONArgsRecommended;error=true`.
    pub check: Option<Word>,
}

/// Takes the lines of a file from the top as long as they are directives.
pub(super) struct Reader {
    pub found: Directives,
    escape_seen: bool,
    done: bool,
}

impl Reader {
    pub fn new() -> Self {
        let found = Directives { syntax: None, escape: DEFAULT_ESCAPE, check: None };
        Self { found, escape_seen: false, done: false }
    }

    /// Looks at the next line, which begins at `at`; true if it is a directive. The first that is none ends them.
    pub fn take(&mut self, line: &str, at: Position) -> Parsed<bool> {
        if self.done {
            return Ok(false);
        }
        let Some((name, value)) = directive(line) else {
            self.done = true;
            return Ok(false);
        };
        let word = Word::new(value, at);
        let seen = match name.as_str() {
            "syntax" => self.found.syntax.replace(word).is_some(),
            "check" => self.found.check.replace(word).is_some(),
            "escape" => {
                self.found.escape = escape(value, at)?;
                std::mem::replace(&mut self.escape_seen, true)
            }
            _ => {
                self.done = true;
                false
            }
        };
        match seen {
            true => Err(Fault::new(at, format!("only one {name} parser directive can be used"))),
            false => Ok(!self.done),
        }
    }
}

/// `# name = value`: the name in lower case, and the value without the space around it.
pub(in crate::build) fn directive(line: &str) -> Option<(String, &str)> {
    let (name, value) = line.strip_prefix('#')?.trim_start().split_once('=')?;
    let name = name.trim_end();
    let is_name =
        name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.bytes().all(|b| b.is_ascii_alphanumeric());
    // A value of spaces alone is a value, of one space.
    let value = match value.trim() {
        "" => value.get(value.len().checked_sub(1)?..)?,
        value => value,
    };
    is_name.then(|| (name.to_ascii_lowercase(), value))
}

fn escape(value: &str, at: Position) -> Parsed<char> {
    match value {
        "\\" => Ok('\\'),
        "`" => Ok('`'),
        _ => Err(Fault::new(at, format!("invalid escape token {value:?}: it is ` or \\"))),
    }
}
