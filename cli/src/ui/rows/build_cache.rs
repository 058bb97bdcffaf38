//! Rows of what builds left: in `system df -v`.

use jiff::Timestamp;

use super::{Column, Model, View};
use crate::ui::units;

/// The table of `system df -v`.
pub const TABLE: &str =
    r"table {{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t{{.UsageCount}}\t{{.Shared}}";

/// One thing that a build left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub id: String,
    /// docker's word for what it is.
    pub kind: &'static str,
    /// Bytes on disk.
    pub bytes: u64,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// When it was used last, as far as that is known.
    pub used: Option<Timestamp>,
    /// What it came of.
    pub description: String,
}

/// The columns.
pub const MODEL: Model<Entry> = Model {
    columns: &[
        Column { name: "ID", header: "CACHE ID", value: |row, view| super::short_id(&row.id, view.trunc) },
        Column { name: "CacheType", header: "CACHE TYPE", value: |row, _| row.kind.to_owned() },
        Column { name: "Size", header: "SIZE", value: |row, _| units::human_sum(row.bytes) },
        Column { name: "CreatedSince", header: "CREATED", value: |row, view| since(row.created, view) },
        Column { name: "CreatedAt", header: "CREATED AT", value: |row, _| units::rfc3339(row.created) },
        Column { name: "LastUsedSince", header: "LAST USED", value: |row, view| since(row.used, view) },
        Column { name: "UsageCount", header: "USAGE", value: |_, _| "1".to_owned() },
        Column { name: "InUse", header: "IN USE", value: |_, _| "false".to_owned() },
        Column { name: "Shared", header: "SHARED", value: |_, _| "false".to_owned() },
        Column { name: "Description", header: "DESCRIPTION", value: |row, _| row.description.clone() },
    ],
    labels: None,
};

fn since(time: Option<Timestamp>, view: &View) -> String {
    time.map(|time| units::ago(time, view.now)).unwrap_or_default()
}
