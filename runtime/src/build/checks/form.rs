//! Rules about how instructions are written, each by itself, and about the names of stages. Pure.

use std::collections::BTreeSet;

use super::Found;
use super::rules::*;
use crate::build::dockerfile::{Arguments, Node, SCRATCH, Word};

/// Names that a stage should not have: the base that is none, and the build's context.
const RESERVED: [&str; 2] = [SCRATCH, "context"];

/// The words of FROM behind its flags.
fn words(node: &Node) -> &[Word] {
    match &node.arguments {
        Arguments::Words(words) => words,
        _ => &[],
    }
}

fn is(node: &Node, name: &str) -> bool {
    node.name.text.eq_ignore_ascii_case(name)
}

fn stage_name(node: &Node) -> Option<&str> {
    match words(node) {
        [_, _, name] if is(node, "FROM") => Some(&name.text),
        _ => None,
    }
}

/// What one instruction says by its words alone.
pub(super) fn instruction(node: &Node, found: &mut Found<'_>) {
    let found = &mut found.before(node);
    if is(node, "MAINTAINER") {
        found.add(&MAINTAINER_DEPRECATED, node, "Maintainer instruction is deprecated in favor of using label");
    }
    if is(node, "FROM") {
        from(node, found);
    }
    if let (true, Arguments::Words(words)) = (is(node, "ARG"), &node.arguments) {
        let names: Vec<&str> = words.iter().filter_map(|word| word.text.split('=').next()).collect();
        description("ARG", &names, node, found);
    }
}

fn from(node: &Node, found: &mut Found<'_>) {
    if let Some(name) = stage_name(node).filter(|name| *name != name.to_lowercase()) {
        found.add(&STAGE_NAME_CASING, node, format!("Stage name '{name}' should be lowercase"));
    }
    let from = node.name.text.as_str();
    // One of mixed case has its own warning.
    let same = words(node).get(1).is_none_or(|word| match (from.to_lowercase(), from.to_uppercase()) {
        (lower, _) if lower == from => word.text == word.text.to_lowercase(),
        (_, upper) if upper == from => word.text == word.text.to_uppercase(),
        _ => true,
    });
    if let (false, Some(word)) = (same, words(node).get(1).filter(|_| words(node).len() == 3)) {
        found.add(&FROM_AS_CASING, node, format!("'{word}' and '{from}' keywords' casing do not match"));
    }
    if let Some(name) = stage_name(node) {
        description("FROM", &[&name.to_lowercase()], node, found);
    }
}

fn description(instruction: &str, names: &[&str], node: &Node, found: &mut Found<'_>) {
    let (Some(comment), Some(first)) = (&node.description, names.first()) else { return };
    if !names.contains(&comment.split(' ').next().unwrap_or_default()) {
        let name = if names.len() > 1 { "<arg_key>" } else { first };
        let text = format!("Comment for {instruction} should follow the format: `# {name} <description>`");
        found.add(&INVALID_DEFINITION_DESCRIPTION, node, text);
    }
}

/// The names of all stages, beside each other.
pub(super) fn stage_names(nodes: &[Node], found: &mut Found<'_>) {
    let mut seen = BTreeSet::new();
    for node in nodes {
        let Some(name) = stage_name(node).map(str::to_lowercase) else { continue };
        if RESERVED.contains(&name.as_str()) {
            let text = format!("Stage name should not use the same name as reserved stage {name:?}");
            found.add(&RESERVED_STAGE_NAME, node, text);
        }
        if seen.contains(&name) {
            let text = format!("Duplicate stage name {name:?}, stage names should be unique");
            found.add(&DUPLICATE_STAGE_NAME, node, text);
        }
        seen.insert(name);
    }
}

/// Whether the names of the instructions, from the first FROM on, are all written alike.
pub(super) fn casing(nodes: &[Node], found: &mut Found<'_>) {
    let inside = || nodes.iter().skip_while(|node| !is(node, "FROM"));
    let lower = |node: &Node| node.name.text == node.name.text.to_lowercase();
    let upper = |node: &Node| node.name.text == node.name.text.to_uppercase();
    let mostly_lower = inside().filter(|node| lower(node)).count() > inside().filter(|node| upper(node)).count();
    for node in inside() {
        let wanted = match mostly_lower {
            true if !lower(node) => "lowercase",
            false if !upper(node) => "uppercase",
            _ => continue,
        };
        let text = format!("Command '{}' should match the case of the command majority ({wanted})", node.name);
        found.add(&CONSISTENT_INSTRUCTION_CASING, node, text);
    }
}

/// Whether a variable of this name looks like something to keep secret.
pub(super) fn is_secret(name: &str) -> bool {
    const SECRET: [&str; 10] =
        ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];
    const NOT: [&str; 3] = ["public", "file", "version"];
    let name = name.to_lowercase();
    let has = |list: &[&str]| list.iter().any(|word| has_word(&name, word));
    has(&SECRET) && !has(&NOT)
}

/// Whether a word stands in a name between underscores or ends.
fn has_word(name: &str, word: &str) -> bool {
    name.split('_').any(|part| part == word)
}
