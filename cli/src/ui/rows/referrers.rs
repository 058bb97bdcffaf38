//! Rows of `manifest referrers`: what a registry has about an image.

use lrun_runtime::error::Result;
use lrun_runtime::registry::referrers::Referrer;

use super::{Column, Format, Model};
use crate::ui::units;

const TABLE: &str = r"table {{.Digest}}\t{{.ArtifactType}}\t{{.Size}}\t{{.Annotations}}";

/// The format of the listing; `source` is the argument of `--format`.
///
/// # Errors
///
/// `Invalid`, for what is no template.
pub fn format(source: Option<&str>) -> Result<Format> {
    Format::parse(source.unwrap_or(""), TABLE)
}

/// The columns of `manifest referrers`.
pub const MODEL: Model<Referrer> = Model {
    columns: &[
        Column { name: "Digest", header: "DIGEST", value: |row, _| row.digest.to_string() },
        Column {
            name: "ArtifactType",
            header: "ARTIFACT TYPE",
            value: |row, _| row.artifact_type.clone().unwrap_or_default(),
        },
        Column { name: "MediaType", header: "MEDIA TYPE", value: |row, _| row.media_type.clone() },
        Column { name: "Size", header: "SIZE", value: |row, _| units::human_size(row.size) },
        Column { name: "Annotations", header: "ANNOTATIONS", value: annotations },
    ],
    beside: &[],
    labels: Some(|row| &row.annotations),
};

fn annotations(row: &Referrer, _: &super::View) -> String {
    let pairs: Vec<String> = row.annotations.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(",")
}
