//! The flags of an instruction, compared with those that it has.

use crate::build::dockerfile::source::{Fault, Parsed, Word};
use crate::build::dockerfile::suggestion::did_you_mean;
use crate::build::dockerfile::tree::Node;

/// What a flag takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing, `true` or `false`.
    Switch,
    /// A value.
    Value,
    /// A value, and the flag may be repeated.
    Values,
}

/// The flags that were given: names without dashes.
pub(super) struct Flags {
    given: Vec<(&'static str, Word)>,
}

impl Flags {
    /// Refuses what is not `known`, repeated, or has a value too many or too few.
    pub fn read(node: &Node, known: &[(&'static str, Kind)]) -> Parsed<Self> {
        let mut flags = Self { given: Vec::new() };
        for flag in &node.flags {
            let fault = |message: String| Fault::new(flag.at, message);
            let (name, value) = match flag.text.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (flag.text.as_str(), None),
            };
            let bare = name.strip_prefix("--").unwrap_or(name);
            let Some((key, kind)) = known.iter().find(|(key, _)| *key == bare) else {
                let suggestion = did_you_mean(name, dashed(known).iter().map(String::as_str), false);
                return Err(fault(format!("unknown flag: {name}{suggestion}")));
            };
            if *kind != Kind::Values && flags.find(key).is_some() {
                return Err(fault(format!("duplicate flag specified: {name}")));
            }
            let value = match (kind, value) {
                (Kind::Switch, None) => "true".to_owned(),
                (_, None) | (Kind::Switch, Some("")) => {
                    return Err(fault(format!("missing a value on flag: {name}")));
                }
                (Kind::Switch, Some(value)) => match value.to_ascii_lowercase().as_str() {
                    value @ ("true" | "false") => value.to_owned(),
                    _ => return Err(fault(format!("expecting boolean value for flag {name}, not: {value}"))),
                },
                (_, Some(value)) => value.to_owned(),
            };
            flags.given.push((key, Word::new(value, flag.at)));
        }
        Ok(flags)
    }

    fn find(&self, name: &str) -> Option<&Word> {
        self.given.iter().find(|(key, _)| *key == name).map(|(_, word)| word)
    }

    pub fn switch(&self, name: &str) -> Option<bool> {
        self.find(name).map(|word| word.text == "true")
    }

    /// The value; an empty one is none.
    pub fn value(&self, name: &str) -> Option<Word> {
        self.find(name).filter(|word| !word.text.is_empty()).cloned()
    }

    pub fn values(&self, name: &str) -> Vec<Word> {
        self.given.iter().filter(|(key, _)| *key == name).map(|(_, word)| word.clone()).collect()
    }

    /// The value as one of a few; `default` without the flag.
    pub fn choice<T: Copy>(&self, name: &str, choices: &[(&'static str, T)], default: T) -> Parsed<T> {
        let Some(word) = self.find(name) else { return Ok(default) };
        if let Some((_, value)) = choices.iter().find(|(text, _)| *text == word.text) {
            return Ok(*value);
        }
        let suggestion = did_you_mean(&word.text, choices.iter().map(|(text, _)| *text), false);
        Err(Fault::new(word.at, format!("invalid value for --{name}: {:?}{suggestion}", word.text)))
    }
}

fn dashed(known: &[(&'static str, Kind)]) -> Vec<String> {
    known.iter().map(|(key, _)| format!("--{key}")).collect()
}
