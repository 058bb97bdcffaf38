//! The parse tree: instructions as they are written, not yet checked. Its printed form is docker's, an expression in
//! parentheses for each instruction.

use std::fmt;

use super::directives::Directives;
use super::heredoc::Heredoc;
use super::source::Word;

/// A parsed file.
#[derive(Clone, Debug)]
pub struct Tree {
    /// What the parser directives say.
    pub directives: Directives,
    /// The instructions in their order, at least one.
    pub nodes: Vec<Node>,
    /// The last lines, from 1, of instructions with an empty line between continued ones.
    pub empty_continuations: Vec<u32>,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// As written; its case does not matter.
    pub name: Word,
    /// The flags before the arguments, without quotes: `--name` or `--name=value`.
    pub flags: Vec<Word>,
    /// What follows the flags.
    pub arguments: Arguments,
    /// The bodies after the line.
    pub heredocs: Vec<Heredoc>,
    /// The line that was parsed: continued lines joined, without comments and heredocs.
    pub original: String,
    /// The last line of it, from 1, heredocs included.
    pub last_line: u32,
    /// The comments before it, as they are written, without what stands before an empty comment.
    pub comments: Vec<String>,
    /// The comment on the line before it.
    pub description: Option<String>,
}

/// What follows an instruction's flags. Quotes, escapes and variables are still there, except in JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arguments {
    /// Nothing.
    None,
    /// One text, to the end of the line.
    Text(Word),
    /// Words between white space.
    Words(Vec<Word>),
    /// The strings of a JSON array, the exec form.
    Json(Vec<Word>),
    /// Names and values of ENV and LABEL.
    Pairs(Vec<Pair>),
    /// `HEALTHCHECK kind command`.
    Health {
        /// `CMD` or `NONE`, if it is correct.
        kind: Word,
        /// The command.
        command: Box<Arguments>,
    },
    /// The instruction after ONBUILD.
    Instruction(Box<Node>),
}

/// A name with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The name.
    pub name: Word,
    /// The value.
    pub value: Word,
    /// Written `name=value`; otherwise in the old form `name rest of the line`.
    pub equals: bool,
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.nodes.iter().try_for_each(|node| writeln!(f, "({node})"))
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name.text.to_lowercase())?;
        if !self.flags.is_empty() {
            let flags: Vec<String> = self.flags.iter().map(|flag| quote(&flag.text)).collect();
            write!(f, " [{}]", flags.join(" "))?;
        }
        self.arguments.fmt(f)
    }
}

impl fmt::Display for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Text(word) => write!(f, " {}", quote(&word.text)),
            Self::Words(words) | Self::Json(words) => {
                words.iter().try_for_each(|word| write!(f, " {}", quote(&word.text)))
            }
            Self::Pairs(pairs) => pairs.iter().try_for_each(|pair| {
                let separator = if pair.equals { "=" } else { "" };
                write!(f, " {} {} {}", quote(&pair.name.text), quote(&pair.value.text), quote(separator))
            }),
            Self::Health { kind, command } => write!(f, " {}{command}", quote(&kind.text)),
            Self::Instruction(node) => write!(f, " ({node})"),
        }
    }
}

/// A Go string literal, which docker prints values as.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            c if c < ' ' || c == '\x7f' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if is_printable(c) => out.push(c),
            c if u32::from(c) < 0x1_0000 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

/// Letters, marks, digits, punctuation and symbols; the same set as Rust's own literals leave as they are.
fn is_printable(c: char) -> bool {
    c == '\'' || String::from_iter(['a', c]).escape_debug().count() == 2
}
