//! Lists of patterns as in `.dockerignore`, and for `--exclude` and `--parents`: the last pattern that matches a path or a
//! directory above it decides, and one that begins with `!` takes it out again. Pure.
//!
//! A path is asked for after the directory that it is in, with what was found out there ([`Matched`]), as docker does it. So
//! a pattern is compared with each directory once.

use super::glob::{Glob, is_special};
use crate::error::Result;
use crate::image::tar::invalid;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Part of a pattern between two `/`, as far as that says which directories it may reach into.
#[derive(Clone, Debug)]
enum Component {
    Literal(Vec<u8>),
    /// Matches within one component.
    Any,
    /// May match over a `/`.
    Open,
}

#[derive(Clone, Debug)]
struct Pattern {
    /// As written, trimmed and cleaned, without the `!`.
    text: Vec<u8>,
    except: bool,
    glob: Glob,
    components: Vec<Component>,
}

/// Patterns, in their order.
#[derive(Clone, Debug, Default)]
pub struct Patterns {
    list: Vec<Pattern>,
    exceptions: bool,
}

/// What a list of patterns says of a path: what it needs to know for the paths below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matched {
    /// For each pattern, whether it matches the path or a directory above it.
    each: Vec<bool>,
    /// The pattern that decided.
    by: Option<usize>,
    /// Whether the path is matched in the end.
    pub matched: bool,
}

/// The bytes without white space at both ends, as Unicode knows it.
fn trim(text: &[u8]) -> &[u8] {
    let mut chunks = text.utf8_chunks();
    // White space is whole characters: it is only in the first and in the last valid part.
    let lead = chunks.next().map_or(0, |chunk| chunk.valid().len() - chunk.valid().trim_start().len());
    let text = text.get(lead..).unwrap_or_default();
    let end = match text.utf8_chunks().last() {
        Some(chunk) if chunk.invalid().is_empty() => chunk.valid().len() - chunk.valid().trim_end().len(),
        _ => 0,
    };
    text.get(..text.len() - end).unwrap_or_default()
}

/// A path without `.`, `..` and empty components as far as its text allows, as Go's `path.Clean`; `.` if nothing is left.
pub(in crate::build) fn clean(path: &[u8]) -> Vec<u8> {
    let rooted = path.starts_with(b"/");
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.last().is_some_and(|last| *last != b"..") => drop(parts.pop()),
            b".." if rooted => {}
            other => parts.push(other),
        }
    }
    let joined = parts.join(&b'/');
    match (rooted, joined.is_empty()) {
        (true, _) => [b"/", joined.as_slice()].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}

impl Patterns {
    /// Reads a `.dockerignore`. A line that begins with `#` is a comment; white space around a pattern and a `/` before it
    /// are left out. `Invalid` names the pattern.
    pub fn parse(file: &[u8]) -> Result<Self> {
        let file = file.strip_prefix(BOM).unwrap_or(file);
        let lines = file.split(|b| *b == b'\n').filter(|line| !line.starts_with(b"#")).map(trim);
        let lines: Vec<Vec<u8>> = lines.filter(|line| !line.is_empty()).map(line_pattern).collect();
        Self::new(lines.iter().map(Vec::as_slice))
    }

    /// Takes patterns one by one, as those of `--exclude`: a `/` at the beginning is part of the pattern.
    pub fn new<'p>(patterns: impl IntoIterator<Item = &'p [u8]>) -> Result<Self> {
        let mut list = Vec::new();
        for pattern in patterns.into_iter().map(trim).filter(|pattern| !pattern.is_empty()) {
            let cleaned = clean(pattern);
            let (except, text) = match cleaned.strip_prefix(b"!") {
                Some(b"") => return Err(invalid("illegal exclusion pattern: \"!\"")),
                Some(text) => (true, text.to_vec()),
                None => (false, cleaned),
            };
            let glob = Glob::docker(&text)?;
            let components = text.split(|b| *b == b'/').map(component).collect();
            list.push(Pattern { text, except, glob, components });
        }
        let exceptions = list.iter().any(|pattern| pattern.except);
        Ok(Self { list, exceptions })
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether one takes out what another matches.
    pub fn have_exceptions(&self) -> bool {
        self.exceptions
    }

    /// Whether one matches every name at the top.
    pub fn match_everything(&self) -> bool {
        let all = |text: &[u8]| matches!(text, b"*" | b"**" | b"**/*");
        self.list.iter().any(|pattern| !pattern.except && all(&pattern.text))
    }

    /// What they say of a path in a directory of which they said `parent`; [`Matched::default`] for those at the top.
    pub fn step(&self, path: &[u8], parent: &Matched) -> Matched {
        let mut found = Matched { each: Vec::with_capacity(self.list.len()), by: None, matched: false };
        for (n, pattern) in self.list.iter().enumerate() {
            // One that could change nothing is not compared, and so does not count for what is below either.
            let matches = parent.each.get(n).copied().unwrap_or(false)
                || pattern.except == found.matched && pattern.glob.matches(path);
            found.each.push(matches);
            if matches {
                (found.matched, found.by) = (!pattern.except, Some(n));
            }
        }
        found
    }

    /// What they say of a path, asked for without its directories.
    pub fn of(&self, path: &[u8]) -> Matched {
        let mut found = Matched::default();
        if self.list.is_empty() || path.is_empty() {
            return found;
        }
        let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            found = self.step(path.get(..end).unwrap_or_default(), &found);
        }
        found
    }

    /// The pattern that decided, as written.
    pub fn reason(&self, matched: &Matched) -> Option<&[u8]> {
        matched.by.and_then(|n| self.list.get(n)).map(|pattern| pattern.text.as_slice())
    }

    /// Whether something below this directory may be an exception although the directory is matched. If not, it can be
    /// left out as a whole.
    pub fn may_except_below(&self, directory: &[u8]) -> bool {
        self.exceptions && self.list.iter().any(|pattern| pattern.except && pattern.reaches_below(directory))
    }

    /// Whether something below this directory may be matched although the directory is not.
    pub fn may_match_below(&self, directory: &[u8]) -> bool {
        self.list.iter().any(|pattern| !pattern.except && pattern.reaches_below(directory))
    }
}

/// A pattern of a line: cleaned, and without a `/` at its beginning, also behind a `!`.
fn line_pattern(line: &[u8]) -> Vec<u8> {
    let (except, rest) = match line.strip_prefix(b"!") {
        Some(rest) => (&b"!"[..], trim(rest)),
        None => (&b""[..], line),
    };
    let cleaned = if rest.is_empty() { Vec::new() } else { clean(rest) };
    let relative = cleaned.strip_prefix(b"/").filter(|rest| !rest.is_empty()).unwrap_or(&cleaned);
    [except, relative].concat()
}

fn component(text: &[u8]) -> Component {
    let open = text.windows(2).any(|two| two == b"**") || text.iter().any(|b| matches!(b, b'[' | b']' | b'\\'));
    match (open, is_special(text)) {
        (true, _) => Component::Open,
        (false, true) => Component::Any,
        (false, false) => Component::Literal(text.to_vec()),
    }
}

impl Pattern {
    /// Whether it may match a path below this directory; it may say so where it does not.
    fn reaches_below(&self, directory: &[u8]) -> bool {
        let mut components = self.components.iter();
        for name in directory.split(|b| *b == b'/').filter(|name| !name.is_empty()) {
            match components.next() {
                Some(Component::Open) => return true,
                Some(Component::Literal(text)) if text == name => {}
                Some(Component::Any) => {}
                Some(Component::Literal(_)) | None => return false,
            }
        }
        components.next().is_some()
    }
}

#[cfg(test)]
mod tests;
