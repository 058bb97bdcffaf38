//! `build --call outline` and `--call targets`: what a Dockerfile offers, as docker shows it.

use std::ops::RangeInclusive;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lrun_runtime::build::Options;
use lrun_runtime::build::dockerfile::{Dockerfile, Source, Tree};
use lrun_runtime::build::outline::{self, Outline, Taken, Target};
use lrun_runtime::error::{Context as _, Result};
use serde_json::{Value, json};

use crate::args::Method;
use crate::ui::{escape, output, table, width};

/// Reads the Dockerfile, and prints what it offers.
pub fn run(
    source: Source,
    options: &Options,
    (method, as_json): (Method, bool),
    metadata: Option<&Path>,
) -> Result<u8> {
    let data = STANDARD.encode(source.text());
    let tree = Tree::parse(&source)?;
    let file = Dockerfile::new(source, tree)?;
    let (text, mut json) = match method {
        Method::Targets => {
            let targets = outline::targets(&file);
            (targets_text(&targets), targets_json(&targets))
        }
        Method::Outline | Method::Check => {
            let outline = outline::outline(&file, options)?;
            (outline_text(&outline), outline_json(&outline))
        }
    };
    json["sources"] = json!([data]);
    output::text(&if as_json { format!("{json:#}\n") } else { text });
    record(metadata, json)?;
    Ok(0)
}

/// Writes what was found to the file of `--metadata-file`.
pub(super) fn record(metadata: Option<&Path>, found: Value) -> Result<()> {
    let Some(path) = metadata else { return Ok(()) };
    let text = format!("{:#}", json!({"result.json": found}));
    std::fs::write(path, text).context(|| format!("write {}", path.display()))
}

/// Lines, as docker tells them: each by itself.
pub(super) fn location(lines: &RangeInclusive<u32>) -> Value {
    let line = |number: u32| json!({"start": {"line": number}, "end": {"line": number}});
    json!({"ranges": lines.clone().map(line).collect::<Vec<Value>>()})
}

/// Two columns, with one space between them.
fn columns(rows: &[(String, String)]) -> String {
    let widest = rows.iter().map(|(first, _)| width::of(first)).max().unwrap_or_default();
    let row = |(first, second): &(String, String)| {
        let space = " ".repeat(widest + 1 - width::of(first));
        format!("{first}{space}{second}\n")
    };
    rows.iter().map(row).collect()
}

fn targets_text(targets: &[Target<'_>]) -> String {
    let mut rows = vec![("TARGET".to_owned(), "DESCRIPTION".to_owned())];
    for (number, target) in targets.iter().enumerate() {
        let name = match (target.name, number + 1 == targets.len()) {
            (None, true) => "(default)".to_owned(),
            (Some(name), true) => format!("{name} (default)"),
            (name, false) => name.unwrap_or_default().to_owned(),
        };
        rows.push((name, escape::line(target.description.unwrap_or_default()).into_owned()));
    }
    columns(&rows)
}

fn targets_json(targets: &[Target<'_>]) -> Value {
    let each = targets.iter().enumerate().map(|(number, target)| {
        let mut json = json!({"base": target.base, "location": location(&target.lines)});
        if number + 1 == targets.len() {
            json["default"] = true.into();
        }
        for (name, value) in [("name", target.name), ("description", target.description), ("platform", target.platform)]
        {
            if let Some(value) = value {
                json[name] = value.into();
            }
        }
        json
    });
    json!({"targets": each.collect::<Vec<Value>>()})
}

fn outline_text(outline: &Outline<'_>) -> String {
    let mut text = String::new();
    if let Some(name) = outline.name {
        let mut rows = vec![("TARGET:".to_owned(), name.to_owned())];
        let description = outline.description.map(|description| escape::line(description).into_owned());
        rows.extend(description.map(|description| ("DESCRIPTION:".to_owned(), description)));
        text.push_str(&format!("{}\n", columns(&rows)));
    }
    let arguments = outline.arguments.iter().map(|argument| {
        let description = argument.description.as_deref().unwrap_or_default();
        [&argument.name, &argument.value, description].map(|cell| escape::line(cell).into_owned()).join("\t")
    });
    section(&mut text, "BUILD ARG\tVALUE\tDESCRIPTION", arguments);
    let given = |taken: &Taken| format!("{}\t{}", escape::line(&taken.name), if taken.required { "true" } else { "" });
    section(&mut text, "SECRET\tREQUIRED", outline.secrets.iter().map(given));
    section(&mut text, "SSH\tREQUIRED", outline.agents.iter().map(given));
    text
}

fn section(text: &mut String, header: &str, rows: impl Iterator<Item = String>) {
    let rows: Vec<String> = rows.collect();
    if !rows.is_empty() {
        text.push_str(&format!("{}\n", table::layout(&format!("{header}\n{}", rows.join("\n")), 0)));
    }
}

fn outline_json(outline: &Outline<'_>) -> Value {
    let mut json = json!({});
    for (name, value) in [("name", outline.name), ("description", outline.description)] {
        if let Some(value) = value {
            json[name] = value.into();
        }
    }
    for (name, all) in [("args", &outline.arguments), ("secrets", &outline.secrets), ("ssh", &outline.agents)] {
        if !all.is_empty() {
            json[name] = all.iter().map(taken_json).collect();
        }
    }
    json
}

fn taken_json(taken: &Taken) -> Value {
    let mut json = json!({"name": taken.name, "location": location(&taken.lines)});
    if !taken.value.is_empty() {
        json["value"] = taken.value.as_str().into();
    }
    if let Some(description) = &taken.description {
        json["description"] = description.as_str().into();
    }
    if taken.required {
        json["required"] = true.into();
    }
    json
}
