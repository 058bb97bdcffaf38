//! One pattern for paths, in the two dialects of a build: Go's `filepath.Match`, which sources of `COPY` and `ADD` use, and
//! what docker made of it for `.dockerignore` and `--exclude`, with `**`. Pure.
//!
//! Both are byte strings; where a pattern asks for "one character", a byte that is not UTF-8 is one.
//!
//! Read otherwise than docker does, on purpose: a `*`, `?` or `[` in a class, and a `^` outside of one, stand for themselves,
//! as the documentation says (docker hands them to its regular expressions). A letter or digit after a backslash, which
//! docker refuses or takes for a regular expression's class, is refused.

use crate::error::Result;
use crate::image::tar::{invalid, shown};

/// Longest pattern; no path is longer.
const LONGEST: usize = 4096;

/// A set of characters; a `/` may be among them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Class {
    negated: bool,
    ranges: Vec<(char, char)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Literal(Vec<u8>),
    /// `?`: one character but `/`.
    One,
    /// `*`: any number of characters but `/`.
    Star,
    Class(Class),
    /// `**`, also with the `/` after it: nothing, or anything that ends with a `/`.
    Directories,
    /// `**` at the end: anything.
    Rest,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// No special character.
    Exact(Vec<u8>),
    /// `**` at the end and nothing special before it.
    Prefix(Vec<u8>),
    /// `**` at the beginning and nothing special after it: this is the end of the path, or all of it but the first `/`.
    Suffix(Vec<u8>),
    Tokens(Vec<Token>),
}

/// A pattern that is ready to match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glob(Form);

/// Whether a path component has a meaning other than itself.
pub(super) fn is_special(component: &[u8]) -> bool {
    component.iter().any(|b| matches!(b, b'*' | b'?' | b'[' | b'\\'))
}

/// The first character and its length in bytes.
fn first(bytes: &[u8]) -> Option<(char, usize)> {
    let length = match bytes.first()? {
        0..0x80 => 1,
        0..0xe0 => 2,
        0..0xf0 => 3,
        _ => 4,
    };
    let text = bytes.get(..length).and_then(|part| std::str::from_utf8(part).ok());
    Some(text.and_then(|text| text.chars().next()).map_or((char::REPLACEMENT_CHARACTER, 1), |c| (c, length)))
}

impl Class {
    fn has(&self, c: char) -> bool {
        self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != self.negated
    }
}

/// Reads a pattern's characters.
struct Reader<'p> {
    pattern: &'p [u8],
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &[u8] {
        self.pattern.get(self.at..).unwrap_or_default()
    }

    fn wrong(&self, why: &str) -> crate::Error {
        invalid(format!("syntax error in pattern {}: {why}", shown(self.pattern)))
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.rest().first() == Some(&byte);
        self.at += usize::from(found);
        found
    }

    /// What a backslash makes ordinary.
    fn escaped(&mut self) -> Result<Vec<u8>> {
        let Some((c, length)) = first(self.rest()) else {
            return Err(self.wrong("a backslash at the end"));
        };
        if c.is_ascii_alphanumeric() {
            return Err(self
                .wrong("a backslash before a letter or a digit")
                .hint("a backslash makes *, ?, [ and the like ordinary; what separates directories is /"));
        }
        let bytes = self.rest().get(..length).unwrap_or_default().to_vec();
        self.at += length;
        Ok(bytes)
    }

    /// One end of a class's range.
    fn end(&mut self) -> Result<char> {
        match self.rest().first() {
            None => return Err(self.wrong("a class without its ]")),
            Some(b'-' | b']') => return Err(self.wrong("a - or ] in a class without a backslash")),
            Some(b'\\') => {
                self.at += 1;
                let bytes = self.escaped()?;
                return Ok(first(&bytes).map_or(char::REPLACEMENT_CHARACTER, |(c, _)| c));
            }
            Some(_) => {}
        }
        let (c, length) = first(self.rest()).unwrap_or_default();
        self.at += length;
        Ok(c)
    }

    /// A class, behind its `[`.
    fn class(&mut self) -> Result<Class> {
        let negated = self.take(b'^');
        let mut ranges = Vec::new();
        while ranges.is_empty() || !self.take(b']') {
            let low = self.end()?;
            let high = if self.take(b'-') { self.end()? } else { low };
            if low > high {
                return Err(self.wrong("a range that ends before it begins"));
            }
            ranges.push((low, high));
        }
        Ok(Class { negated, ranges })
    }
}

/// Collects tokens; adjacent bytes are one literal.
#[derive(Default)]
struct Tokens(Vec<Token>);

impl Tokens {
    fn literal(&mut self, bytes: &[u8]) {
        match self.0.last_mut() {
            Some(Token::Literal(literal)) => literal.extend_from_slice(bytes),
            _ => self.0.push(Token::Literal(bytes.to_vec())),
        }
    }
}

impl Glob {
    /// A pattern of Go's `filepath.Match`: `*`, `?`, `[…]` and `\`.
    pub(super) fn go(pattern: &[u8]) -> Result<Self> {
        Self::compile(pattern, false)
    }

    /// A pattern of docker's, cleaned: also `**`.
    pub(super) fn docker(pattern: &[u8]) -> Result<Self> {
        Self::compile(pattern, true)
    }

    fn compile(pattern: &[u8], doubled: bool) -> Result<Self> {
        let mut reader = Reader { pattern, at: 0 };
        if pattern.len() > LONGEST {
            return Err(reader.wrong("it is too long"));
        }
        let mut tokens = Tokens::default();
        // Whether only a `**` at the beginning, or only one at the end, or nothing at all is special.
        let (mut leading, mut trailing, mut special) = (false, false, false);
        while let Some((_, length)) = first(reader.rest()) {
            let begin = reader.at;
            reader.at += length;
            match pattern.get(begin).copied().unwrap_or_default() {
                b'*' if doubled && reader.take(b'*') => {
                    reader.take(b'/');
                    let ends = reader.rest().is_empty();
                    match (begin, ends) {
                        (0, _) => leading = true,
                        (_, true) if !leading && !special => trailing = true,
                        _ => special = true,
                    }
                    tokens.0.push(if ends { Token::Rest } else { Token::Directories });
                    continue;
                }
                b'*' => tokens.0.push(Token::Star),
                b'?' => tokens.0.push(Token::One),
                b'[' => {
                    let class = reader.class()?;
                    tokens.0.push(Token::Class(class));
                }
                b'\\' => {
                    let bytes = reader.escaped()?;
                    tokens.literal(&bytes);
                }
                byte => {
                    tokens.literal(pattern.get(begin..reader.at).unwrap_or_default());
                    // docker makes a regular expression of what has a `]`, which changes what a leading `**` means.
                    special |= byte == b']';
                    continue;
                }
            }
            special = true;
        }
        Ok(Self(match (special, leading, trailing) {
            (true, ..) => Form::Tokens(tokens.0),
            (_, true, _) => Form::Suffix(pattern.get(2..).unwrap_or_default().to_vec()),
            (.., true) => Form::Prefix(pattern.get(..pattern.len() - 2).unwrap_or_default().to_vec()),
            _ => Form::Exact(pattern.to_vec()),
        }))
    }

    /// Whether it matches the whole path.
    pub(super) fn matches(&self, path: &[u8]) -> bool {
        match &self.0 {
            Form::Exact(text) => path == text,
            Form::Prefix(text) => path.starts_with(text),
            Form::Suffix(text) => path.ends_with(text) || text.strip_prefix(b"/") == Some(path),
            Form::Tokens(tokens) => run(tokens, path),
        }
    }
}

/// Tries the ways in which the tokens can make up the path; none twice, so that no pattern takes long.
fn run(tokens: &[Token], path: &[u8]) -> bool {
    // Most patterns end with what few paths end with.
    if let Some(Token::Literal(end)) = tokens.last()
        && !path.ends_with(end)
    {
        return false;
    }
    let width = path.len() + 1;
    let mut tried = vec![0u64; ((tokens.len() + 1) * width).div_ceil(64)];
    let mut todo = vec![(0, 0)];
    while let Some((token, at)) = todo.pop() {
        let bit = token * width + at;
        match tried.get_mut(bit / 64) {
            Some(word) if *word & (1 << (bit % 64)) == 0 => *word |= 1 << (bit % 64),
            _ => continue,
        }
        let rest = path.get(at..).unwrap_or_default();
        let one = first(rest).filter(|(c, _)| *c != '/');
        match tokens.get(token) {
            None if rest.is_empty() => return true,
            None => {}
            Some(Token::Literal(text)) if rest.starts_with(text) => todo.push((token + 1, at + text.len())),
            Some(Token::Literal(_)) => {}
            Some(Token::One) => todo.extend(one.map(|(_, length)| (token + 1, at + length))),
            Some(Token::Star) => {
                todo.extend(one.map(|(_, length)| (token, at + length)));
                todo.push((token + 1, at));
            }
            Some(Token::Class(class)) => {
                let found = first(rest).filter(|(c, _)| class.has(*c));
                todo.extend(found.map(|(_, length)| (token + 1, at + length)));
            }
            // docker's `**` does not go over a line's end.
            Some(Token::Directories) => {
                let line = rest.iter().take_while(|b| **b != b'\n').enumerate();
                todo.extend(line.filter(|(_, b)| **b == b'/').map(|(n, _)| (token + 1, at + n + 1)));
                todo.push((token + 1, at));
            }
            Some(Token::Rest) if !rest.contains(&b'\n') => return true,
            Some(Token::Rest) => {}
        }
    }
    false
}
