//! `build --check`: says how the Dockerfile should be written, as docker does.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lrun_runtime::build::Options;
use lrun_runtime::build::checks::{self, Report, Surroundings, Warning};
use lrun_runtime::build::context::Context as Files;
use lrun_runtime::build::dockerfile::Source;
use lrun_runtime::build::hide::masked;
use lrun_runtime::container::engine::Engine;
use lrun_runtime::error::Result;
use serde_json::{Value, json};

use super::called::{location, record};
use crate::args::Call;
use crate::ui::{escape, output};

/// Checks, and prints what is found. The exit code: 1 with a warning.
pub fn run(
    engine: &Engine,
    (source, files): (&Source, &Files),
    options: &Options,
    (call, metadata): (&Call, Option<&Path>),
) -> Result<u8> {
    let mut image = |name: &str| engine.store.resolve(name).ok().map(|image| image.config);
    let mut around = Surroundings { ignored: files.ignored(), image: &mut image };
    let report = checks::check(source, options, &mut around);
    let json = as_json(source, &report);
    match call.json {
        true => output::text(&format!("{json:#}\n")),
        false => output::text(&as_text(source, &report)),
    }
    record(metadata, json)?;
    let code = u8::from(!report.warnings.is_empty() && !call.ignore_status);
    report.error.map_or(Ok(code), Err)
}

/// The file as it was named, for people.
fn path(source: &Source) -> &str {
    match source.name() {
        "-" => "Dockerfile",
        name => name.strip_prefix("./").unwrap_or(name),
    }
}

/// The file without the directories that it is in, as docker calls it for programs.
fn name(source: &Source) -> String {
    match source.name() {
        "-" => "Dockerfile".to_owned(),
        name => Path::new(name).file_name().unwrap_or_default().to_string_lossy().into_owned(),
    }
}

fn as_text(source: &Source, report: &Report) -> String {
    let mut text = match (report.warnings.len(), &report.error) {
        (0, None) => return "Check complete, no warnings found.\n".to_owned(),
        (0, Some(_)) => return String::new(),
        (1, _) => "Check complete, 1 warning has been found!\n".to_owned(),
        (count, _) => format!("Check complete, {count} warnings have been found!\n"),
    };
    for warning in &report.warnings {
        let Warning { rule, detail, .. } = warning;
        text.push_str(&format!("\nWARNING: {} - {}\n{}\n", rule.name, rule.url(), escape::line(detail)));
        text.push_str(&excerpt(source, warning));
    }
    text
}

/// The lines that a warning is about, with some around them.
fn excerpt(source: &Source, warning: &Warning) -> String {
    let (first, last) = (*warning.lines.start(), *warning.lines.end());
    let end = source.line_count();
    let (mut from, mut to) = (first, last.min(end));
    let around = if first == last { 4 } else { 2 };
    let mut lines = 0;
    while lines < around {
        if from > 1 {
            from -= 1;
            lines += 1;
        }
        if to != end {
            to += 1;
            lines += 1;
        }
        lines += 1;
    }
    let mut text = format!("{}:{first}\n--------------------\n", escape::line(path(source)));
    for number in from..=to {
        let mark = if warning.lines.contains(&number) { ">>>" } else { "   " };
        text.push_str(&format!(" {number:3} | {mark} {}\n", escape::text(&masked(source.line(number)))));
    }
    text.push_str("--------------------\n");
    text
}

fn as_json(source: &Source, report: &Report) -> Value {
    let warnings = report.warnings.iter().map(|warning| {
        let Warning { rule, detail, .. } = warning;
        json!({
            "ruleName": rule.name, "description": rule.description, "url": rule.url(), "detail": detail,
            "location": location(&warning.lines),
        })
    });
    let warnings: Vec<Value> = warnings.collect();
    let data = STANDARD.encode(source.text());
    let mut value = json!({
        "warnings": if warnings.is_empty() { Value::Null } else { warnings.into() },
        "sources": [{"filename": name(source), "language": "Dockerfile", "data": data}],
    });
    if let Some(error) = &report.error {
        value["buildError"] = json!({"message": error.to_string(), "location": {}});
    }
    value
}
