//! Rows of `history`.

use jiff::Timestamp;
use lrun_runtime::error::Result;

use super::{Column, Format, Model, View, short_id};
use crate::ui::{units, width};

/// Columns that CREATED BY keeps of a command.
const CREATED_BY_WIDTH: usize = 45;
/// 2000-01-01: earlier times are made up, so their distance from now tells nothing.
const FIRST_BELIEVABLE: i64 = 946_684_800;
const TABLE: &str = r"table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";
const TABLE_EXACT: &str = r"table {{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";

/// One entry of an image's history, newest first in the listing.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The full id of the image that this step made; `None` where the store does not have it.
    pub id: Option<String>,
    /// When the step was made.
    pub created: Option<Timestamp>,
    /// The command of the step.
    pub created_by: String,
    /// Bytes of the step's layer; 0 for a step without one.
    pub size: u64,
    /// The step's message.
    pub comment: String,
}

/// The format of a listing; `source` is the argument of `--format`.
///
/// # Errors
///
/// `Invalid`, for what is no template.
pub fn format(source: Option<&str>, quiet: bool, human: bool) -> Result<Format> {
    match source.unwrap_or("") {
        "" | "table" if quiet => Format::parse("{{.ID}}", TABLE),
        own => Format::parse(own, if human { TABLE } else { TABLE_EXACT }),
    }
}

/// The columns of `history`.
pub const MODEL: Model<Entry> = Model {
    columns: &[
        Column { name: "ID", header: "IMAGE", value: id },
        Column { name: "CreatedSince", header: "CREATED", value: created_since },
        Column { name: "CreatedAt", header: "CREATED AT", value: created_at },
        Column { name: "CreatedBy", header: "CREATED BY", value: created_by },
        Column { name: "Size", header: "SIZE", value: size },
        Column { name: "Comment", header: "COMMENT", value: |entry, _| entry.comment.clone() },
    ],
    beside: &[],
    labels: None,
};

fn id(entry: &Entry, view: &View) -> String {
    entry.id.as_ref().map_or_else(|| "<missing>".to_owned(), |id| short_id(id, view.trunc))
}

fn created_at(entry: &Entry, view: &View) -> String {
    units::rfc3339_seconds(entry.created.unwrap_or(Timestamp::UNIX_EPOCH), (view.zone)())
}

fn created_since(entry: &Entry, view: &View) -> String {
    match entry.created {
        _ if !view.human => created_at(entry, view),
        Some(created) if created.as_second() > FIRST_BELIEVABLE => units::ago(created, view.now),
        _ => "N/A".to_owned(),
    }
}

/// Tabs are spaces; a cut command is one line.
fn created_by(entry: &Entry, view: &View) -> String {
    match view.trunc {
        true => width::ellipsis(&entry.created_by.replace(['\t', '\n', '\r'], " "), CREATED_BY_WIDTH),
        false => entry.created_by.replace('\t', " "),
    }
}

fn size(entry: &Entry, view: &View) -> String {
    if view.human { units::human_size(entry.size) } else { entry.size.to_string() }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, view};
    use super::*;

    fn entries() -> Vec<Entry> {
        vec![
            Entry {
                id: Some(format!("sha256:{}", "c2".repeat(32))),
                created: Some(at("2026-01-02T15:02:00.5Z")),
                created_by: "bash".to_owned(),
                size: 1_090_000,
                comment: "files deleted".to_owned(),
            },
            Entry {
                id: None,
                created: Some(at("1980-01-01T00:00:00Z")),
                created_by: "/bin/sh -c set -e;\n\tapt-get update\u{1b}[2J && apt-get install -y gcc".to_owned(),
                size: 0,
                comment: String::new(),
            },
        ]
    }

    fn render(source: Option<&str>, quiet: bool, view: &View) -> String {
        MODEL.render(&format(source, quiet, view.human).unwrap(), &entries(), view).unwrap()
    }

    #[test]
    fn the_table_in_words_and_exact() {
        insta::assert_snapshot!(render(None, false, &view()), @r"
        IMAGE          CREATED         CREATED BY                                         SIZE      COMMENT
        c2c2c2c2c2c2   2 minutes ago   bash                                               1.09MB    files deleted
        <missing>      N/A             /bin/sh -c set -e;  apt-get update\x1b[2J && ap…   0B
        ");
        let exact = View { human: false, ..view() };
        insta::assert_snapshot!(render(None, false, &exact), @r"
        IMAGE          CREATED AT             CREATED BY                                         SIZE      COMMENT
        c2c2c2c2c2c2   2026-01-02T15:02:00Z   bash                                               1090000   files deleted
        <missing>      1980-01-01T00:00:00Z   /bin/sh -c set -e;  apt-get update\x1b[2J && ap…   0
        ");
        assert_eq!(render(None, true, &view()), "c2c2c2c2c2c2\n<missing>\n");
    }

    #[test]
    fn nothing_is_cut_on_request() {
        let long = View { trunc: false, ..view() };
        assert_eq!(
            render(Some("{{.CreatedBy}}"), false, &long).lines().skip(1).collect::<Vec<_>>(),
            ["/bin/sh -c set -e;", " apt-get update\u{1b}[2J && apt-get install -y gcc"]
        );
        assert!(render(None, true, &long).starts_with("sha256:c2c2"));
    }
}
