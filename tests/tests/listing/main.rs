//! The commands that list and tell: what scripts read of them, and what people are told when something is wrong.

mod beside;
mod images;
mod inspect;
mod machine;
mod ps;
mod settings;
mod trouble;

use lrun_tests::Lrun;
use serde_json::Value;

/// One JSON object a line.
fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

/// The lines of a table, each cut where the columns of the header begin.
fn table(text: &str, headers: &[&str]) -> Vec<Vec<String>> {
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let starts: Vec<usize> =
        headers.iter().map(|name| header.find(name).unwrap_or_else(|| panic!("no column {name}: {header}"))).collect();
    let ends = starts.iter().skip(1).copied().chain([usize::MAX]);
    let ranges: Vec<(usize, usize)> = starts.iter().copied().zip(ends).collect();
    let cell = |line: &str, (start, end): (usize, usize)| {
        line.chars().skip(start).take(end.saturating_sub(start)).collect::<String>().trim_end().to_owned()
    };
    lines.map(|line| ranges.iter().map(|range| cell(line, *range)).collect()).collect()
}

/// The names that `ps -a` lists with these further arguments, in its order.
fn names(lrun: &Lrun, args: &[&str]) -> Vec<String> {
    let listed = lrun.ok(&[&["ps", "-a", "--format", "{{.Names}}"], args].concat());
    listed.lines().map(str::to_owned).collect()
}

/// The first 12 digits of an image's id.
fn short(id: &str) -> &str {
    &id.strip_prefix("sha256:").unwrap_or(id)[..12]
}

/// No byte of the text moves a terminal's cursor or reorders what is read.
#[track_caller]
fn assert_harmless(text: &str) {
    let harmful = |c: char| (c.is_control() && !matches!(c, '\n' | '\r')) || ('\u{202a}'..='\u{202e}').contains(&c);
    assert!(!text.chars().any(harmful), "{text:?}");
}
