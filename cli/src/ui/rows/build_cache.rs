//! Rows of what builds left: in `system df -v` and `buildx du`.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value as Json, json};

use super::{Column, Model, View};
use crate::ui::{escape, units};

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
    beside: &[],
    labels: None,
};

/// The table of `buildx du`.
pub const USAGE_TABLE: &str = r"table {{.ID}}\t{{.Reclaimable}}\t{{.Size}}\t{{.LastUsedAt}}";

/// The columns of `buildx du`. Nothing is in use, shared, or changed where it is.
pub const USAGE: Model<Entry> = Model {
    columns: &[
        Column { name: "ID", header: "ID", value: |row, _| row.id.clone() },
        Column { name: "Parents", header: "PARENTS", value: |_, _| "[]".to_owned() },
        Column { name: "CreatedAt", header: "CREATED AT", value: |row, _| created_at(row) },
        Column { name: "Mutable", header: "MUTABLE", value: |_, _| "false".to_owned() },
        Column { name: "Reclaimable", header: "RECLAIMABLE", value: |_, _| "true".to_owned() },
        Column { name: "Shared", header: "SHARED", value: |_, _| "false".to_owned() },
        Column { name: "Size", header: "SIZE", value: |row, _| units::human_sum(row.bytes) },
        Column { name: "Description", header: "DESCRIPTION", value: |row, _| row.description.clone() },
        Column { name: "UsageCount", header: "USAGE COUNT", value: |_, _| "1".to_owned() },
        Column { name: "LastUsedAt", header: "LAST ACCESSED", value: |row, view| since(row.used, view) },
        Column { name: "Type", header: "TYPE", value: |row, _| row.kind.to_owned() },
    ],
    beside: &[],
    labels: None,
};

/// The same for templates and JSON, where some are no text.
pub fn object(row: &Entry) -> Json {
    json!({
        "ID": row.id, "Parents": [], "CreatedAt": created_at(row), "Mutable": false, "Reclaimable": true,
        "Shared": false, "Size": units::human_sum(row.bytes), "Description": row.description, "UsageCount": 1,
        "LastUsedAt": row.used.map(|used| units::ago(used, Timestamp::now())).unwrap_or_default(), "Type": row.kind,
    })
}

/// The same for people, a line each.
pub fn pretty(row: &Entry) -> String {
    let known = object(row);
    let mut text = String::new();
    for (label, name) in [
        ("ID:", "ID"),
        ("Created at:", "CreatedAt"),
        ("Mutable:", "Mutable"),
        ("Reclaimable:", "Reclaimable"),
        ("Shared:", "Shared"),
        ("Size:", "Size"),
        ("Description:", "Description"),
        ("Usage count:", "UsageCount"),
        ("Last used:", "LastUsedAt"),
        ("Type:", "Type"),
    ] {
        let value = match &known[name] {
            Json::String(value) => escape::line(value).into_owned(),
            value => value.to_string(),
        };
        if !value.is_empty() {
            text.push_str(&format!("{label:<14}{value}\n"));
        }
    }
    text + "\n"
}

fn created_at(row: &Entry) -> String {
    units::created_at(row.created.unwrap_or_default(), TimeZone::UTC)
}

fn since(time: Option<Timestamp>, view: &View) -> String {
    time.map(|time| units::ago(time, view.now)).unwrap_or_default()
}
