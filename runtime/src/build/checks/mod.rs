//! Docker's build checks: what is accepted in a Dockerfile and should not be written. Pure: the files that are ignored and
//! the base images' configs are given.
//!
//! | module | owns |
//! | --- | --- |
//! | `rules` | the rules, by docker's names |
//! | `settings` | which of them are checked |
//! | `form` | rules about how instructions are written |
//! | `stages` | rules about what they mean: variables, values, files |

mod form;
mod rules;
mod settings;
mod stages;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

pub use rules::{Rule, Warning};
pub use settings::{ARGUMENT, Settings};
pub use stages::Surroundings;

use super::dockerfile::{Directives, Dockerfile, Node, Source, Tree};
use super::frontend;
use super::options::Options;
use crate::error::{Error, ErrorKind, Result};

/// What the checks found.
#[derive(Debug)]
pub struct Report {
    /// By their lines.
    pub warnings: Vec<Warning>,
    /// Why the file cannot be built: what comes after that place is not checked; or a warning that counts as an error.
    pub error: Option<Error>,
}

/// Warnings, as they are found.
struct Found<'w> {
    settings: Settings,
    warnings: &'w mut Vec<Warning>,
}

impl Found<'_> {
    fn add(&mut self, rule: &'static Rule, node: &Node, detail: impl Into<String>) {
        self.add_at(rule, (node.name.at.line(), node.last_line), detail.into());
    }

    fn add_at(&mut self, rule: &'static Rule, (first, last): (u32, u32), detail: String) {
        if self.settings.wants(rule) {
            self.warnings.push(Warning { rule, lines: first..=last, detail });
        }
    }

    /// The same for one instruction, before which comments may say more.
    fn before<'f>(&'f mut self, node: &Node) -> Found<'f> {
        Found { settings: self.settings.with(&node.comments), warnings: self.warnings }
    }
}

fn settings(source: &Source, directives: &Directives, options: &Options) -> Result<Settings> {
    let invalid = |message: String| format!("failed to parse check options: {message}");
    match (options.arguments.get(ARGUMENT), &directives.check) {
        (Some(text), _) => Settings::parse(text).map_err(|message| Error::new(ErrorKind::Invalid, invalid(message))),
        (None, Some(word)) => Settings::parse(&word.text).map_err(|message| source.error(word.at, invalid(message))),
        (None, None) => Ok(Settings::default()),
    }
}

/// Checks a text, also one that cannot be built.
pub fn check(source: &Source, options: &Options, around: &mut Surroundings<'_>) -> Report {
    let mut warnings = Vec::new();
    let checked = Tree::parse(source).and_then(|tree| {
        let settings = settings(source, &tree.directives, options)?;
        let found = &mut Found { settings: settings.clone(), warnings: &mut warnings };
        one_by_one(&tree.nodes[..tree.readable()], &tree.empty_continuations, found);
        let file = Dockerfile::new(source.clone(), tree)?;
        frontend::check(&file, options)?;
        together(&file, (options, true), around, found)?;
        refuse(&settings, found.warnings)
    });
    warnings.sort_by_key(|warning| *warning.lines.start());
    Report { warnings, error: checked.err() }
}

/// Checks a file that is built; a stage that is not needed, only by its form. An error: a warning counts as one, or the
/// settings cannot be read.
pub(super) fn beside(file: &Dockerfile, options: &Options, around: &mut Surroundings<'_>) -> Report {
    let mut warnings = Vec::new();
    let checked = settings(&file.source, &file.directives, options).and_then(|settings| {
        let found = &mut Found { settings: settings.clone(), warnings: &mut warnings };
        one_by_one(&file.nodes, &file.empty_continuations, found);
        // What is wrong there is told when it is built.
        let _ = together(file, (options, false), around, found);
        refuse(&settings, found.warnings)
    });
    warnings.sort_by_key(|warning| *warning.lines.start());
    Report { warnings, error: checked.err() }
}

fn one_by_one(nodes: &[Node], empty_continuations: &[u32], found: &mut Found<'_>) {
    for line in empty_continuations {
        found.add_at(&rules::NO_EMPTY_CONTINUATION, (*line, *line), "Empty continuation line".to_owned());
    }
    nodes.iter().for_each(|node| form::instruction(node, found));
}

fn together(
    file: &Dockerfile,
    options: (&Options, bool),
    around: &mut Surroundings<'_>,
    found: &mut Found<'_>,
) -> Result<()> {
    form::stage_names(&file.nodes, found);
    form::casing(&file.nodes, found);
    stages::check(file, options, around, found)
}

fn refuse(settings: &Settings, warnings: &[Warning]) -> Result<()> {
    let rules: BTreeSet<&str> = warnings.iter().map(|warning| warning.rule.name).collect();
    match settings.error && !rules.is_empty() {
        true => {
            let names: Vec<&str> = rules.into_iter().collect();
            let text = format!("lint violation found for rules: {}", names.join(", "));
            Err(Error::new(ErrorKind::Invalid, text))
        }
        false => Ok(()),
    }
}
