//! What follows an instruction's name: flags, words, JSON, names with values.

use std::ops::Range;

use serde_json::Value;

use super::reader::Line;
use super::source::{Fault, Parsed, Word};
use super::tree::{Arguments, Node, Pair};

/// Parses an instruction's line.
pub(super) fn node(line: &Line, escape: char) -> Parsed<Node> {
    let start = line.text.len() - line.text.trim_start().len();
    node_at(line, start, escape, false)
}

/// The instruction at `start`; `nested` if it follows ONBUILD.
fn node_at(line: &Line, start: usize, escape: char, nested: bool) -> Parsed<Node> {
    let end = line.text.trim_end().len().max(start);
    let text = &line.text[..end];
    let name_end = text[start..].find(is_blank).map_or(end, |n| start + n);
    let name = line.word(start, name_end);
    let (flags, rest) = flags(line, skip_blanks(text, name_end), end, escape);
    let rest = rest + text[rest..].len() - text[rest..].trim_start().len();
    let parser = Parser { line, text, rest, escape };
    let arguments = match name.text.to_ascii_lowercase().as_str() {
        "add" | "copy" | "volume" => parser.json_or_words()?,
        "arg" => parser.quoted_words(),
        "cmd" | "entrypoint" | "run" | "shell" => parser.json_or_text(rest)?,
        "env" | "label" => parser.pairs(&name.text.to_ascii_uppercase())?,
        "expose" | "from" => parser.words(),
        "healthcheck" => parser.health()?,
        "maintainer" | "stopsignal" | "user" | "workdir" => parser.text(rest),
        // Never deeper than that, so nothing here recurses without bound.
        "onbuild" if nested => {
            return Err(Fault::new(name.at, "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"));
        }
        "onbuild" if rest < end => Arguments::Instruction(Box::new(node_at(line, rest, escape, true)?)),
        _ => Arguments::None,
    };
    let last_line = line.position(end).line();
    Ok(Node {
        name,
        flags,
        arguments,
        heredocs: Vec::new(),
        original: text[start..].to_owned(),
        last_line,
        comments: Vec::new(),
        description: None,
    })
}

/// The blanks that separate words.
fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\x0b' | '\x0c' | '\r' | ' ')
}

fn skip_blanks(text: &str, from: usize) -> usize {
    text.len() - text[from..].trim_start_matches(is_blank).len()
}

/// The words that begin with `--`, without quotes and escapes, and where the arguments begin. A `--` alone ends them.
fn flags(line: &Line, from: usize, end: usize, escape: char) -> (Vec<Word>, usize) {
    let text = &line.text[..end];
    let mut flags = Vec::new();
    let mut at = from;
    loop {
        at = end - text[at..].trim_start().len();
        if !text[at..].starts_with("--") {
            return (flags, at);
        }
        let (flag, after) = unquoted_word(text, at, escape);
        if flag == "--" {
            return (flags, after);
        }
        flags.push(Word::new(flag, line.position(at)));
        at = after;
    }
}

/// The word at `from` without quotes and escapes, and where it ends.
fn unquoted_word(text: &str, from: usize, escape: char) -> (String, usize) {
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text[from..].char_indices();
    while let Some((n, c)) = chars.next() {
        match (c, quote) {
            (c, None) if c.is_whitespace() => return (word, from + n),
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            (c, _) if c == escape => word.extend(chars.next().map(|(_, c)| c)),
            (c, _) => word.push(c),
        }
    }
    (word, text.len())
}

struct Parser<'l> {
    line: &'l Line,
    /// The line without the white space at its end.
    text: &'l str,
    /// Where the arguments begin.
    rest: usize,
    escape: char,
}

impl Parser<'_> {
    /// The rest of the line from `start`.
    fn text(&self, start: usize) -> Arguments {
        match start < self.text.len() {
            true => Arguments::Text(self.line.word(start, self.text.len())),
            false => Arguments::None,
        }
    }

    fn words(&self) -> Arguments {
        let mut words = Vec::new();
        let mut at = self.rest;
        while at < self.text.len() {
            let end = self.text[at..].find(is_blank).map_or(self.text.len(), |n| at + n);
            words.push(self.line.word(at, end));
            at = skip_blanks(self.text, end);
        }
        if words.is_empty() { Arguments::None } else { Arguments::Words(words) }
    }

    /// Where the words are at whose white space quotes and escapes are looked at, and stay.
    fn split_quoted(&self) -> Vec<Range<usize>> {
        let mut words = Vec::new();
        let mut start = None;
        let mut quote = None;
        let mut end = self.text.len();
        let mut chars = self.text[self.rest..].char_indices();
        while let Some((n, c)) = chars.next() {
            let at = self.rest + n;
            if quote.is_none() && c.is_whitespace() {
                words.extend(start.take().map(|start| start..at));
                continue;
            }
            start.get_or_insert(at);
            if c == self.escape && quote != Some('\'') {
                if chars.next().is_none() {
                    // At the very end it escapes nothing and goes.
                    end = at;
                }
            } else if quote == Some(c) {
                quote = None;
            } else if quote.is_none() && matches!(c, '\'' | '"') {
                quote = Some(c);
            }
        }
        words.extend(start.filter(|start| *start < end).map(|start| start..end));
        words
    }

    fn quoted_words(&self) -> Arguments {
        let words: Vec<Word> = self.split_quoted().into_iter().map(|w| self.line.word(w.start, w.end)).collect();
        if words.is_empty() { Arguments::None } else { Arguments::Words(words) }
    }

    /// `name=value …`, or the old `name rest of the line`; the first word decides.
    fn pairs(&self, instruction: &str) -> Parsed<Arguments> {
        let words = self.split_quoted();
        let Some(first) = words.first() else { return Ok(Arguments::None) };
        if !self.text[first.clone()].contains('=') {
            let end = self.text[self.rest..].find(is_blank).map(|n| self.rest + n);
            let Some(end) = end else {
                let message = format!("{instruction} must have two arguments");
                return Err(Fault::new(self.line.position(self.rest), message));
            };
            let name = self.line.word(self.rest, end);
            let value = self.line.word(skip_blanks(self.text, end), self.text.len());
            return Ok(Arguments::Pairs(vec![Pair { name, value, equals: false }]));
        }
        let pairs = words.into_iter().map(|word| match self.text[word.clone()].find('=') {
            Some(n) => Ok(Pair {
                name: self.line.word(word.start, word.start + n),
                value: self.line.word(word.start + n + 1, word.end),
                equals: true,
            }),
            None => {
                let message = format!("no = in {:?}: the form is {instruction} name=value", &self.text[word.clone()]);
                Err(Fault::new(self.line.position(word.start), message))
            }
        });
        Ok(Arguments::Pairs(pairs.collect::<Parsed<_>>()?))
    }

    /// A JSON array of strings. Other text, however much it looks like one, is `None`; an array of others is refused.
    fn json(&self, from: usize) -> Parsed<Option<Arguments>> {
        let text = self.text[from..].trim_start();
        if !text.starts_with('[') {
            return Ok(None);
        }
        let Ok(Value::Array(values)) = serde_json::from_str(text) else { return Ok(None) };
        let at = self.line.position(from);
        let words = values.into_iter().map(|value| match value {
            Value::String(text) => Ok(Word::new(text, at)),
            _ => Err(Fault::new(at, "only strings can be in the JSON array of an instruction")),
        });
        Ok(Some(Arguments::Json(words.collect::<Parsed<_>>()?)))
    }

    fn json_or_words(&self) -> Parsed<Arguments> {
        Ok(self.json(self.rest)?.unwrap_or_else(|| self.words()))
    }

    fn json_or_text(&self, from: usize) -> Parsed<Arguments> {
        Ok(self.json(from)?.unwrap_or_else(|| self.text(from)))
    }

    fn health(&self) -> Parsed<Arguments> {
        let rest = &self.text[self.rest..];
        if rest.is_empty() {
            return Ok(Arguments::None);
        }
        let end = self.rest + rest.find(char::is_whitespace).unwrap_or(rest.len());
        let command = self.text.len() - self.text[end..].trim_start().len();
        let command = Box::new(self.json_or_text(command)?);
        Ok(Arguments::Health { kind: self.line.word(self.rest, end), command })
    }
}
