//! The text of a Dockerfile, places in it, and errors that show the line.

use std::collections::BTreeSet;
use std::fmt;

use crate::build::hide::{masked, without_users};
use crate::error::{Error, ErrorKind, Result};

/// The largest Dockerfile, in bytes.
pub const SIZE_MAX: usize = 1 << 20;

/// How much of a long line an error shows, in characters.
const SHOWN: usize = 120;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A place in a [`Source`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    line: u32,
    /// From the line's start.
    byte: u32,
}

impl Position {
    /// The very beginning.
    pub const START: Self = Self { line: 1, byte: 0 };

    pub(super) fn new(line: u32, byte: usize) -> Self {
        Self { line, byte: u32::try_from(byte).unwrap_or(u32::MAX) }
    }

    /// The line, from 1.
    pub fn line(self) -> u32 {
        self.line
    }

    pub(super) fn forward(self, bytes: usize) -> Self {
        Self::new(self.line, self.byte as usize + bytes)
    }
}

/// A piece of the text, and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The text.
    pub text: String,
    /// Where it begins; after an expansion, where the unexpanded word began.
    pub at: Position,
}

impl Word {
    pub(super) fn new(text: impl Into<String>, at: Position) -> Self {
        Self { text: text.into(), at }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What is wrong, and where; becomes an error with [`Source::error`].
#[derive(Debug)]
pub(super) struct Fault {
    pub at: Position,
    pub message: String,
}

impl Fault {
    pub fn new(at: Position, message: impl Into<String>) -> Self {
        Self { at, message: message.into() }
    }
}

/// What the parts of the parser return.
pub(super) type Parsed<T> = std::result::Result<T, Fault>;

/// A named text in lines.
#[derive(Clone, Debug)]
pub struct Source {
    name: String,
    text: String,
    /// Where each line begins.
    starts: Vec<usize>,
    /// Lines that are not UTF-8, from 1. Comments may be.
    damaged: BTreeSet<u32>,
}

impl Source {
    /// The text of the file that errors call `name`, without its byte order mark; at most [`SIZE_MAX`] bytes.
    pub fn new(name: impl Into<String>, bytes: &[u8]) -> Result<Self> {
        let name = name.into();
        if bytes.len() > SIZE_MAX {
            let message = format!("{name}: larger than {SIZE_MAX} bytes");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
        let mut source = Self { name, text: String::with_capacity(bytes.len()), starts: vec![], damaged: [].into() };
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            source.starts.push(source.text.len());
            match std::str::from_utf8(line) {
                Ok(line) => source.text.push_str(line),
                Err(_) => {
                    source.text.push_str(&String::from_utf8_lossy(line));
                    source.damaged.insert(source.starts.len() as u32);
                }
            }
        }
        Ok(source)
    }

    /// What errors call the text.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How many lines there are, with an empty one behind the last line end.
    pub fn line_count(&self) -> u32 {
        u32::try_from(self.starts.len()).unwrap_or(u32::MAX).saturating_add(u32::from(self.text.ends_with('\n')))
    }

    /// The line of this number, from 1, with its line end.
    pub(super) fn line_with_end(&self, number: u32) -> Option<&str> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        let start = *self.starts.get(index)?;
        let end = self.starts.get(index + 1).copied().unwrap_or(self.text.len());
        self.text.get(start..end)
    }

    /// The line of this number, from 1; nothing beyond the end.
    pub fn line(&self, number: u32) -> &str {
        self.line_with_end(number).unwrap_or_default().trim_end_matches(['\r', '\n'])
    }

    pub(super) fn is_damaged(&self, line: u32) -> bool {
        self.damaged.contains(&line)
    }

    /// The column of a place in its line: characters, from 1.
    pub fn column(&self, at: Position) -> usize {
        before(self.line(at.line), at).chars().count() + 1
    }

    /// An error of kind `Invalid` about this place: file, line and column, and the line with a mark as excerpt. Users and
    /// passwords of URLs are not shown.
    pub fn error(&self, at: Position, message: impl fmt::Display) -> Error {
        let message = without_users(&message.to_string());
        let message = format!("{}:{}:{}: {message}", self.name, at.line, self.column(at));
        Error::new(ErrorKind::Invalid, message).excerpt(self.excerpt(at))
    }

    pub(super) fn fault(&self, fault: Fault) -> Error {
        self.error(fault.at, fault.message)
    }

    /// The line with its number, and below it a mark at the column. Of a long line, the part around the mark.
    fn excerpt(&self, at: Position) -> String {
        let line = masked(self.line(at.line));
        let (before, rest) = line.split_at(before(&line, at).len());
        let before: Vec<char> = before.chars().collect();
        let skipped = if before.len() > SHOWN / 2 { before.len() - SHOWN / 2 } else { 0 };
        let shown = before[skipped..].iter().copied().chain(rest.chars()).take(SHOWN).map(visible);
        // A tab stays one, so that the mark stands where the terminal shows the column.
        let indent: String = before[skipped..].iter().map(|c| if *c == '\t' { '\t' } else { ' ' }).collect();
        let number = at.line.to_string();
        let margin = " ".repeat(number.len());
        format!("{number} | {}\n{margin} | {indent}^", shown.collect::<String>().trim_end())
    }
}

/// A line's text before a place.
fn before(line: &str, at: Position) -> &str {
    let end = line.len().min(at.byte as usize);
    let boundary = (0..=end).rev().find(|end| line.is_char_boundary(*end));
    &line[..boundary.unwrap_or(0)]
}

fn visible(c: char) -> char {
    if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c }
}
