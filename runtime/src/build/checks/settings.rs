//! Which rules are checked, and whether a warning is an error: `skip=Rule,…;experimental=Rule,…;error=true`, in the
//! directive `# check=`, in the build argument `BUILDKIT_DOCKERFILE_CHECK`, and in a comment before one instruction.

use std::collections::BTreeSet;

use super::rules::Rule;
use crate::build::dockerfile::directive;

/// The build argument that takes the place of the directive.
pub const ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// Some rules, or all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rules {
    all: bool,
    names: BTreeSet<String>,
}

impl Rules {
    fn parse(text: &str) -> Self {
        match text.trim() {
            "all" => Self { all: true, ..Self::default() },
            names => Self { all: false, names: names.split(',').map(|name| name.trim().to_owned()).collect() },
        }
    }

    fn has(&self, rule: &Rule) -> bool {
        self.all || self.names.contains(rule.name)
    }

    fn add(&mut self, other: Self) {
        self.all |= other.all;
        self.names.extend(other.names);
    }
}

/// What is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    skip: Rules,
    experimental: Rules,
    /// A warning is an error.
    pub error: bool,
}

impl Settings {
    /// Reads them; an error is a message.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut settings = Self::default();
        if text.trim().is_empty() {
            return Ok(settings);
        }
        for option in text.trim().splitn(3, ';') {
            let (name, value) = option.split_once('=').ok_or_else(|| format!("invalid check option {option:?}"))?;
            match name.trim() {
                "skip" => settings.skip = Rules::parse(value),
                "experimental" => settings.experimental = Rules::parse(value),
                "error" => {
                    let wrong = || format!("failed to parse check option {option:?}");
                    settings.error = boolean(value.trim()).ok_or_else(wrong)?;
                }
                other => return Err(format!("invalid check option {other:?}")),
            }
        }
        Ok(settings)
    }

    /// These, and what the comments before an instruction add for it.
    pub(super) fn with(&self, comments: &[String]) -> Self {
        let mut settings = self.clone();
        let lines = comments.iter().map(|comment| format!("#{comment}"));
        let value = lines.into_iter().find_map(|line| {
            let (name, value) = directive(&line)?;
            (name == "check").then(|| value.to_owned())
        });
        // What cannot be read says nothing there.
        let first = value.as_deref().and_then(|value| value.split(' ').next());
        if let Some(Ok(more)) = first.map(Self::parse) {
            settings.skip.add(more.skip);
            settings.experimental.add(more.experimental);
        }
        settings
    }

    pub(super) fn wants(&self, rule: &Rule) -> bool {
        if rule.experimental { self.experimental.has(rule) } else { !self.skip.has(rule) }
    }
}

/// A boolean as Go reads it.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
