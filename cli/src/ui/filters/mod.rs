//! `--filter name=value`: parsing, and choosing the rows that a listing shows.
//!
//! Values of one name are alternatives (for labels: all must hold), different names must all hold, as in docker.

pub mod containers;
mod glob;
pub mod images;
pub mod prune;
pub mod search;

use std::collections::{BTreeMap, BTreeSet};

use lrun_runtime::error::{Error, ErrorKind, Result};

/// The filters of one command line, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

impl Filters {
    /// Parses the arguments of all `--filter` flags; `accepted` are the names that this listing knows.
    ///
    /// # Errors
    ///
    /// `Invalid`: an argument without `=`, or an unknown name.
    pub fn parse<S: AsRef<str>>(arguments: impl IntoIterator<Item = S>, accepted: &[&str]) -> Result<Self> {
        let mut filters = Self::default();
        for argument in arguments {
            let argument = argument.as_ref();
            if argument.is_empty() {
                continue;
            }
            let Some((name, value)) = argument.split_once('=') else {
                let message = format!("bad format of filter '{argument}' (expected name=value)");
                return Err(Error::new(ErrorKind::Invalid, message));
            };
            let name = name.trim().to_lowercase();
            if !accepted.contains(&name.as_str()) {
                let hint = format!("the filters here are {}", accepted.join(", "));
                return Err(Error::new(ErrorKind::Invalid, format!("invalid filter '{name}'")).hint(hint));
            }
            filters.add(&name, value.trim());
        }
        Ok(filters)
    }

    /// Adds one more value.
    pub fn add(&mut self, name: &str, value: &str) {
        self.0.entry(name.to_owned()).or_default().insert(value.to_owned());
    }

    /// Whether this filter was given.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Its values, in order.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.get(name).into_iter().flatten().map(String::as_str)
    }

    /// Whether the filter was not given, or one of its values passes.
    fn any(&self, name: &str, pass: impl FnMut(&str) -> bool) -> bool {
        !self.has(name) || self.values(name).any(pass)
    }

    /// Whether these labels have every `label=key` and `label=key=value`.
    fn labels(&self, labels: &BTreeMap<String, String>) -> bool {
        self.have_labels("label", labels)
    }

    /// The same for another filter of that kind.
    fn have_labels(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        self.values(name).all(|wanted| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|own| own == value),
            None => labels.contains_key(wanted),
        })
    }

    /// The value of a filter that is `true` or `false` (or `1` or `0`).
    fn truth(&self, name: &str) -> Result<Option<bool>> {
        if !self.has(name) {
            return Ok(None);
        }
        let has = |wanted: [&str; 2]| self.values(name).any(|value| wanted.contains(&value));
        match (has(["1", "true"]), has(["0", "false"])) {
            (true, false) => Ok(Some(true)),
            (false, true) => Ok(Some(false)),
            _ => Err(invalid(name, &self.values(name).collect::<Vec<_>>().join(" "), "must be true or false")),
        }
    }
}

fn invalid(name: &str, value: &str, why: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("invalid filter '{name}={value}': {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_become_names_and_values() {
        let filters = Filters::parse(["label=a=b", " Label = c ", "", "label=a=b"], &["label"]).unwrap();
        assert_eq!(filters.values("label").collect::<Vec<_>>(), ["a=b", "c"]);
        assert!(!filters.has("name"));
        for (argument, message) in [
            ("x=1", "invalid filter 'x'"),
            ("label", "bad format of filter 'label' (expected name=value)"),
            ("=", "invalid filter ''"),
        ] {
            assert_eq!(Filters::parse([argument], &["label"]).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn truth_has_four_spellings() {
        for (arguments, truth) in [
            (vec![], Some(None)),
            (vec!["dangling=true"], Some(Some(true))),
            (vec!["dangling=1", "dangling=true"], Some(Some(true))),
            (vec!["dangling=0"], Some(Some(false))),
            (vec!["dangling=yes"], None),
            (vec!["dangling=true", "dangling=false"], None),
        ] {
            assert_eq!(Filters::parse(&arguments, &["dangling"]).unwrap().truth("dangling").ok(), truth);
        }
    }
}
