//! Substitution of variables, quotes and escapes, and the splitting into words.
//!
//! Dockerfile reference, "Environment replacement", with the shell's operators as docker has them:
//!
//! | form | result |
//! | --- | --- |
//! | `$x` `${x}` | the value, nothing if unset |
//! | `${x-w}` `${x+w}` `${x?w}` | `w` if unset; `w` if set; an error with the message `w` if unset |
//! | `${x:-w}` `${x:+w}` `${x:?w}` | the same, and an empty value counts as unset |
//! | `${x#p}` `${x##p}` `${x%p}` `${x%%p}` | without the shortest or longest match of `p` at the start or end |
//! | `${x/p/w}` `${x//p/w}` | the first match of `p`, or all, replaced by `w` |

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::Chars;

use super::directives::DEFAULT_ESCAPE;
use super::pattern::{Length, Pattern};

/// How deep substitutions may stand in each other.
const DEPTH_MAX: usize = 100;
/// How much the values of variables may add to the texts of one instruction, in bytes.
const VALUES_MAX: usize = 1 << 20;

/// Replaces variables, and keeps which were asked for.
pub struct Expander<'v> {
    variables: &'v dyn Fn(&str) -> Option<&'v str>,
    escape: char,
    used: BTreeSet<String>,
    unset: BTreeSet<String>,
    /// The bytes that values have had since [`Expander::begin`].
    values: usize,
}

/// What happens to quotes and escapes.
#[derive(Clone, Copy)]
pub(super) struct Mode {
    pub quotes: Quotes,
    /// Escape characters stay in the text.
    pub raw_escapes: bool,
    /// Variables without a value stay in the text.
    pub keep_unset: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Quotes {
    /// They quote, and go.
    Remove,
    /// They quote, and stay.
    Keep,
    /// They are characters like others.
    Plain,
}

const WORD: Mode = Mode { quotes: Quotes::Remove, raw_escapes: false, keep_unset: false };
const BODY: Mode = Mode { quotes: Quotes::Plain, raw_escapes: false, keep_unset: false };

impl<'v> Expander<'v> {
    /// `escape` is the file's escape character, `variables` has the values.
    pub fn new(escape: char, variables: &'v dyn Fn(&str) -> Option<&'v str>) -> Self {
        Self { variables, escape, used: BTreeSet::new(), unset: BTreeSet::new(), values: 0 }
    }

    /// The names of all variables that were asked for and have a value, also where an operator ignored it.
    pub fn used(&self) -> &BTreeSet<String> {
        &self.used
    }

    /// The names of all variables that were asked for and have no value.
    pub fn unset(&self) -> &BTreeSet<String> {
        &self.unset
    }

    /// Another instruction begins, which may use as much as the one before.
    pub(super) fn begin(&mut self) {
        self.values = 0;
    }

    /// One word: white space stays. An error is a message without a place.
    pub(super) fn text(&mut self, text: &str) -> Result<String, String> {
        Ok(Lexer::new(self, text, self.escape, WORD).until(None, false, 0)?.text)
    }

    /// Splits at white space outside quotes, also at that of values.
    pub(super) fn words(&mut self, text: &str) -> Result<Vec<String>, String> {
        self.words_in(text, WORD)
    }

    pub(super) fn words_in(&mut self, text: &str, mode: Mode) -> Result<Vec<String>, String> {
        let words = Lexer::new(self, text, self.escape, mode).until(None, mode.raw_escapes, 0)?;
        Ok(words.finish())
    }

    /// The body of a heredoc: quotes mean nothing, and the escape character is the default one.
    pub(super) fn body(&mut self, text: &str) -> Result<String, String> {
        Ok(Lexer::new(self, text, DEFAULT_ESCAPE, BODY).until(None, false, 0)?.text)
    }

    fn value(&mut self, name: &str) -> Result<Option<&'v str>, String> {
        let value = (self.variables)(name);
        let names = if value.is_some() { &mut self.used } else { &mut self.unset };
        if !names.contains(name) {
            names.insert(name.to_owned());
        }
        self.count(value.map_or(0, str::len))?;
        Ok(value)
    }

    fn count(&mut self, bytes: usize) -> Result<(), String> {
        self.values += bytes;
        match self.values > VALUES_MAX {
            true => Err(format!("the values of variables are longer than {VALUES_MAX} bytes")),
            false => Ok(()),
        }
    }
}

/// A text, and its words.
#[derive(Default)]
struct Words {
    text: String,
    words: Vec<String>,
    word: String,
}

impl Words {
    /// A character that ends a word if it is white space.
    fn push(&mut self, c: char) {
        self.text.push(c);
        self.split_at(c);
    }

    /// A character that is part of a word whatever it is.
    fn push_raw(&mut self, c: char) {
        self.text.push(c);
        self.word.push(c);
    }

    fn push_str(&mut self, text: &str) {
        self.text.push_str(text);
        text.chars().for_each(|c| self.split_at(c));
    }

    fn push_str_raw(&mut self, text: &str) {
        self.text.push_str(text);
        self.word.push_str(text);
    }

    fn split_at(&mut self, c: char) {
        if !c.is_whitespace() {
            self.word.push(c);
        } else if !self.word.is_empty() {
            self.words.push(std::mem::take(&mut self.word));
        }
    }

    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.words.push(self.word);
        }
        self.words
    }
}

struct Lexer<'e, 'v, 't> {
    expander: &'e mut Expander<'v>,
    chars: Peekable<Chars<'t>>,
    escape: char,
    mode: Mode,
}

fn missing(what: &str) -> String {
    format!("unexpected end of statement while looking for matching {what}")
}

impl<'e, 'v, 't> Lexer<'e, 'v, 't> {
    fn new(expander: &'e mut Expander<'v>, text: &'t str, escape: char, mode: Mode) -> Self {
        Self { expander, chars: text.chars().peekable(), escape, mode }
    }

    /// What stands before `stop`, or before the end if that is none. `raw`: escape characters stay.
    fn until(&mut self, stop: Option<char>, raw: bool, depth: usize) -> Result<Words, String> {
        if depth > DEPTH_MAX {
            return Err(format!("substitutions stand in each other more than {DEPTH_MAX} deep"));
        }
        let quotes = self.mode.quotes != Quotes::Plain;
        let mut out = Words::default();
        while let Some(c) = self.chars.next() {
            match c {
                c if Some(c) == stop => return Ok(out),
                '\'' if quotes => self.single_quoted(&mut out)?,
                '"' if quotes => self.double_quoted(&mut out, raw, depth)?,
                '$' => out.push_str(&self.dollar(depth)?),
                '<' => self.less_than(&mut out),
                c if c == self.escape => {
                    if raw {
                        out.push_raw(c);
                    }
                    if let Some(c) = self.chars.next() {
                        out.push_raw(c);
                    }
                }
                c => out.push(c),
            }
        }
        match stop {
            Some(stop) => Err(missing(&stop.to_string())),
            None => Ok(out),
        }
    }

    /// White space after `<<` belongs to the word, so that `<< EOF` is one.
    fn less_than(&mut self, out: &mut Words) {
        out.push_raw('<');
        if self.chars.next_if_eq(&'<').is_some() {
            out.push_raw('<');
            while let Some(c) = self.chars.next_if(|c| matches!(c, '\t' | '\r' | ' ')) {
                out.push_raw(c);
            }
        }
    }

    fn single_quoted(&mut self, out: &mut Words) -> Result<(), String> {
        let keep = self.mode.quotes == Quotes::Keep;
        if keep {
            out.push_raw('\'');
        }
        loop {
            match self.chars.next() {
                Some('\'') => break,
                Some(c) => out.push_raw(c),
                None => return Err(missing("single-quote")),
            }
        }
        if keep {
            out.push_raw('\'');
        }
        Ok(())
    }

    fn double_quoted(&mut self, out: &mut Words, raw: bool, depth: usize) -> Result<(), String> {
        let keep = self.mode.quotes == Quotes::Keep;
        if keep {
            out.push_raw('"');
        }
        loop {
            match self.chars.next() {
                Some('"') => break,
                Some('$') => out.push_str_raw(&self.dollar(depth)?),
                Some(c) if c == self.escape => self.escaped_in_quotes(out, raw),
                Some(c) => out.push_raw(c),
                None => return Err(missing("double-quote")),
            }
        }
        if keep {
            out.push_raw('"');
        }
        Ok(())
    }

    /// In double quotes the escape character escapes a quote, a dollar and itself, and otherwise stands for itself.
    fn escaped_in_quotes(&mut self, out: &mut Words, raw: bool) {
        let escape = self.escape;
        if raw {
            out.push_raw(escape);
        }
        match self.chars.peek() {
            None => {}
            Some(&c) if matches!(c, '"' | '$') || c == escape => {
                out.push_raw(c);
                self.chars.next();
            }
            Some(_) => out.push_raw(escape),
        }
    }

    /// What comes after a dollar.
    fn dollar(&mut self, depth: usize) -> Result<String, String> {
        if self.chars.next_if_eq(&'{').is_some() {
            return self.braced(depth);
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        match self.expander.value(&name)? {
            None if self.mode.keep_unset => Ok(format!("${name}")),
            value => Ok(value.unwrap_or_default().to_owned()),
        }
    }

    /// What comes after `${`, to the closing brace.
    fn braced(&mut self, depth: usize) -> Result<String, String> {
        let no_brace = || "syntax error: missing '}'".to_owned();
        match self.chars.peek() {
            None => return Err(no_brace()),
            Some('{' | '}' | ':') => return Err("syntax error: bad substitution".to_owned()),
            Some(_) => {}
        }
        let name = self.name();
        let unsupported = |operator: &str| format!("unsupported modifier ({operator}) in substitution");
        match self.chars.next() {
            None => Err(no_brace()),
            Some('}') => match self.expander.value(&name)? {
                None if self.mode.keep_unset => Ok(format!("${{{name}}}")),
                value => Ok(value.unwrap_or_default().to_owned()),
            },
            Some(':') => match self.chars.next() {
                Some(operator @ ('-' | '+' | '?')) => self.default(&name, operator, true, depth),
                Some(operator) => Err(unsupported(&format!(":{operator}"))),
                None => Err(no_brace()),
            },
            Some(operator @ ('-' | '+' | '?')) => self.default(&name, operator, false, depth),
            Some(operator @ ('#' | '%')) => self.trim(&name, operator, depth),
            Some('/') => self.replace(&name, depth),
            Some(operator) => Err(unsupported(&operator.to_string())),
        }
    }

    /// `${name-word}`, `+` and `?`; with a colon an empty value counts as unset.
    fn default(&mut self, name: &str, operator: char, colon: bool, depth: usize) -> Result<String, String> {
        let word = self.until(Some('}'), false, depth + 1)?.text;
        let value = self.expander.value(name)?;
        if value.is_none() && self.mode.keep_unset {
            return Ok(format!("${{{name}{}{operator}{word}}}", if colon { ":" } else { "" }));
        }
        let set = value.filter(|value| !(colon && value.is_empty()));
        match (operator, set) {
            ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            (_, Some(value)) => Ok(value.to_owned()),
            ('-', None) => Ok(word),
            (_, None) if !word.is_empty() => Err(format!("{name}: {word}")),
            (_, None) if value.is_some() => Err(format!("{name}: is not allowed to be empty")),
            (_, None) => Err(format!("{name}: is not allowed to be unset")),
        }
    }

    /// `${name#pattern}` and its kind.
    fn trim(&mut self, name: &str, operator: char, depth: usize) -> Result<String, String> {
        let word = self.until(Some('}'), true, depth + 1)?.text;
        let value = self.expander.value(name)?;
        if value.is_none() && self.mode.keep_unset {
            return Ok(format!("${{{name}{operator}{word}}}"));
        }
        let (pattern, length) = match word.strip_prefix(operator) {
            Some(pattern) => (pattern, Length::Longest),
            None => (word.as_str(), Length::Shortest),
        };
        let pattern = Pattern::parse(pattern)?;
        let value = value.unwrap_or_default();
        if operator == '#' { pattern.trim_start(value, length) } else { pattern.trim_end(value, length) }
    }

    /// `${name/pattern/replacement}`, with another slash before the pattern for all matches.
    fn replace(&mut self, name: &str, depth: usize) -> Result<String, String> {
        let all = self.chars.next_if_eq(&'/').is_some();
        let pattern = self.until(Some('/'), true, depth + 1)?.text;
        let replacement = self.until(Some('}'), true, depth + 1)?.text;
        let value = self.expander.value(name)?;
        if value.is_none() && self.mode.keep_unset {
            let slashes = if all { "//" } else { "/" };
            return Ok(format!("${{{name}{slashes}{pattern}/{replacement}}}"));
        }
        let replaced = Pattern::parse(&pattern)?.replace(value.unwrap_or_default(), &replacement, all)?;
        self.expander.count(replaced.len())?;
        Ok(replaced)
    }

    /// A variable's name: letters, digits and underscores, or digits alone, or one special character; may be empty.
    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.chars.peek() {
            Some(c) if c.is_ascii_digit() => {
                while let Some(c) = self.chars.next_if(char::is_ascii_digit) {
                    name.push(c);
                }
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => name.extend(self.chars.next()),
            _ => {
                while let Some(c) = self.chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    name.push(c);
                }
            }
        }
        name
    }
}
