//! Rows of `undelete --list`: removed containers that can be brought back.

use lrun_runtime::error::Result;

use super::{Column, Format, Model, View, ps};
use crate::ui::units;

const TABLE: &str = r"table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.Removed}}\t{{.Size}}\t{{.Names}}";

/// A removed container.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What `ps` would show of it.
    pub container: ps::Entry,
    /// When it was removed.
    pub removed: jiff::Timestamp,
}

/// The format of the listing; `source` is the argument of `--format`.
///
/// # Errors
///
/// `Invalid`, for what is no template.
pub fn format(source: Option<&str>) -> Result<Format> {
    Format::parse(source.unwrap_or(""), TABLE)
}

/// The columns of `undelete --list`.
pub const MODEL: Model<Entry> = Model {
    columns: &[
        Column {
            name: "ID",
            header: "CONTAINER ID",
            value: |row, view| super::short_id(&row.container.id, view.trunc),
        },
        Column { name: "Image", header: "IMAGE", value: |row, view| ps::image(&row.container, view) },
        Column { name: "Command", header: "COMMAND", value: |row, view| ps::command(&row.container, view) },
        Column { name: "Removed", header: "REMOVED", value: removed },
        Column {
            name: "RemovedAt",
            header: "REMOVED AT",
            value: |row, view| units::created_at(row.removed, (view.zone)()),
        },
        Column { name: "Size", header: "SIZE", value: |row, _| units::human_size(row.container.size_rw.unwrap_or(0)) },
        Column { name: "Names", header: "NAMES", value: |row, _| row.container.name.clone() },
    ],
    beside: &[],
    labels: Some(|row| &row.container.labels),
};

fn removed(row: &Entry, view: &View) -> String {
    units::ago(row.removed, view.now)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, view};
    use super::*;

    #[test]
    fn the_table() {
        let mut container = ps::tests::entry("1a", "box", "2026-01-01T00:00:00Z", ps::State::Created);
        container.size_rw = Some(12_345);
        let rows = [Entry { container, removed: at("2026-01-02T15:02:00Z") }];
        insta::assert_snapshot!(MODEL.render(&format(None).unwrap(), &rows, &view()).unwrap(), @r#"
        CONTAINER ID   IMAGE     COMMAND   REMOVED         SIZE      NAMES
        1a1a1a1a1a1a   stage0    "bash"    2 minutes ago   12.3kB    box
        "#);
    }
}
