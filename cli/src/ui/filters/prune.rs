//! The filters of `prune`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lrun_runtime::error::{Error, ErrorKind, Result};

use super::Filters;

/// The names that every `prune --filter` knows.
pub const NAMES: [&str; 3] = ["until", "label", "label!"];
/// Those of `image prune`.
pub const IMAGE_NAMES: [&str; 4] = ["until", "label", "label!", "dangling"];

/// Those of `builder prune`.
pub const BUILDER_NAMES: [&str; 3] = ["until", "type", "type!"];

/// docker's kinds of what builds leave. Steps are of the first, directories of the second; lrun has none of the others.
const KINDS: [&str; 6] = ["regular", "exec.cachemount", "internal", "frontend", "source.local", "source.git.checkout"];

/// Which kinds of what builds leave are to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds {
    /// What is known of steps.
    pub steps: bool,
    /// Directories of `RUN --mount=type=cache`.
    pub mounts: bool,
}

/// What `prune` was asked for.
pub struct Query {
    filters: Filters,
    until: Option<Timestamp>,
}

impl Query {
    /// Reads the arguments of all `--filter` flags; `names` are those that are known, `time` reads the value of `until`.
    ///
    /// # Errors
    ///
    /// `Invalid`: what a filter does not take.
    pub fn parse(arguments: &[String], names: &[&str], time: impl Fn(&str) -> Result<Timestamp>) -> Result<Self> {
        let filters = Filters::parse(arguments, names)?;
        let until: Vec<Timestamp> = filters.values("until").map(time).collect::<Result<_>>()?;
        if until.len() > 1 {
            return Err(Error::new(ErrorKind::Invalid, "more than one until filter specified"));
        }
        Ok(Self { filters, until: until.first().copied() })
    }

    /// The value of the filter `dangling`.
    ///
    /// # Errors
    ///
    /// `Invalid`: neither true nor false.
    pub fn dangling(&self) -> Result<Option<bool>> {
        self.filters.truth("dangling")
    }

    /// The kinds that the filter `type` names, without those of `type!`; all without them.
    ///
    /// # Errors
    ///
    /// `Invalid`: no kind of docker's.
    pub fn kinds(&self) -> Result<Kinds> {
        let mut named = self.filters.values("type").chain(self.filters.values("type!"));
        if let Some(other) = named.find(|value| !KINDS.contains(value)) {
            let hint = format!("the types are {}", KINDS.join(", "));
            return Err(Error::new(ErrorKind::Invalid, format!("invalid filter 'type={other}'")).hint(hint));
        }
        let names = |filter, kind| self.filters.values(filter).any(|value| value == kind);
        let has = |kind| (!self.filters.has("type") || names("type", kind)) && !names("type!", kind);
        Ok(Kinds { steps: has(KINDS[0]), mounts: has(KINDS[1]) })
    }

    /// Whether labels have to be known.
    pub fn needs_labels(&self) -> bool {
        self.filters.has("label") || self.filters.has("label!")
    }

    /// Whether something with this age and these labels is to be removed.
    pub fn takes(&self, created: Option<Timestamp>, labels: &BTreeMap<String, String>) -> bool {
        let old = self.until.is_none_or(|until| created.is_none_or(|created| created <= until));
        let excluded = self.filters.has("label!") && self.filters.have_labels("label!", labels);
        old && self.filters.have_labels("label", labels) && !excluded
    }

    /// The filters as they were given.
    pub fn given(&self) -> Vec<String> {
        let given = |name: &&str| self.filters.values(name).map(|value| format!("{name}={value}")).collect::<Vec<_>>();
        NAMES.iter().flat_map(given).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(arguments: &[&str]) -> Result<Query> {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let time = |text: &str| Ok(Timestamp::from_second(text.parse().expect("seconds")).expect("a time"));
        Query::parse(&arguments, &IMAGE_NAMES, time)
    }

    #[test]
    fn each_filter_of_prune() {
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), String::new())]);
        let created = Timestamp::from_second(100).unwrap();
        for (arguments, taken) in [
            (&[][..], true),
            (&["until=100"], true),
            (&["until=99"], false),
            (&["label=a"], true),
            (&["label=a=1", "label=b"], true),
            (&["label=a=2"], false),
            (&["label=a", "label=c"], false),
            (&["label!=a"], false),
            (&["label!=a=2"], true),
            (&["label!=a", "label!=c"], true),
            (&["label=a", "label!=b"], false),
        ] {
            assert_eq!(query(arguments).unwrap().takes(Some(created), &labels), taken, "{arguments:?}");
        }
        assert!(query(&["until=1"]).unwrap().takes(None, &labels));
        assert_eq!(query(&["label!=x=y", "until=7"]).unwrap().given(), ["until=7", "label!=x=y"]);
    }

    #[test]
    fn the_kinds_of_what_builds_leave() {
        let kinds = |arguments: &[&str]| {
            let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
            Query::parse(&arguments, &BUILDER_NAMES, |_| Ok(Timestamp::UNIX_EPOCH)).and_then(|query| query.kinds())
        };
        for (arguments, steps, mounts) in [
            (&[][..], true, true),
            (&["until=1"], true, true),
            (&["type=regular"], true, false),
            (&["type=exec.cachemount"], false, true),
            (&["type=exec.cachemount", "type=regular"], true, true),
            (&["type=frontend"], false, false),
            (&["type!=exec.cachemount"], true, false),
            (&["type!=source.local", "type!=regular"], false, true),
            (&["type=regular", "type!=regular"], false, false),
        ] {
            assert_eq!(kinds(arguments).unwrap(), Kinds { steps, mounts }, "{arguments:?}");
        }
        assert_eq!(kinds(&["type=mount"]).unwrap_err().to_string(), "invalid filter 'type=mount'");
    }

    #[test]
    fn bad_filters_are_named() {
        for (arguments, message) in [
            (&["until=1", "until=2"][..], "more than one until filter specified"),
            (&["name=x"], "invalid filter 'name'"),
        ] {
            assert_eq!(query(arguments).err().unwrap().to_string(), message);
        }
        assert!(query(&["dangling=perhaps"]).unwrap().dangling().is_err());
    }
}
