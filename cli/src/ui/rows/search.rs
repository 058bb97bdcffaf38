//! Rows of `search`.

use lrun_runtime::error::Result;
use lrun_runtime::registry::search::Found;

use super::{Column, Format, Model, View};
use crate::ui::width;

/// Columns that DESCRIPTION keeps.
const DESCRIPTION_WIDTH: usize = 45;
const TABLE: &str = r"table {{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}";

/// One repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What the registry says; the name has the registry, unless that is docker.io.
    pub found: Found,
    /// The row is printed whole, as JSON.
    pub whole: bool,
}

/// The format of the listing; `source` is the argument of `--format`.
///
/// # Errors
///
/// `Invalid`, for what is no template.
pub fn format(source: Option<&str>) -> Result<Format> {
    Format::parse(source.unwrap_or(""), TABLE)
}

/// The columns of `search`.
pub const MODEL: Model<Entry> = Model {
    columns: &[
        Column { name: "Name", header: "NAME", value: |row, _| row.found.name.clone() },
        Column { name: "Description", header: "DESCRIPTION", value: description },
        Column { name: "StarCount", header: "STARS", value: |row, _| row.found.stars.to_string() },
        Column { name: "IsOfficial", header: "OFFICIAL", value: official },
    ],
    beside: &[],
    labels: None,
};

fn description(row: &Entry, view: &View) -> String {
    let line = row.found.description.replace(['\n', '\r'], " ");
    if view.trunc { width::ellipsis(&line, DESCRIPTION_WIDTH) } else { line }
}

fn official(row: &Entry, _: &View) -> String {
    match (row.whole, row.found.official) {
        (true, official) => official.to_string(),
        (false, true) => "[OK]".to_owned(),
        (false, false) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::view;
    use super::*;

    fn render(source: Option<&str>, view: &View) -> String {
        let format = format(source).unwrap();
        let found = |name: &str, description: &str, stars, official| Entry {
            found: Found { name: name.to_owned(), description: description.to_owned(), stars, official },
            whole: format.is_whole(),
        };
        let rows = [
            found("busybox", "Busybox base image.", 316, true),
            found("radial/busyboxplus", "Full-chain, Internet enabled,\nbusybox made from scratch.", 8, false),
        ];
        MODEL.render(&format, &rows, view).unwrap()
    }

    #[test]
    fn dockers_table_and_json() {
        insta::assert_snapshot!(render(None, &view()), @r"
        NAME                 DESCRIPTION                                     STARS     OFFICIAL
        busybox              Busybox base image.                             316       [OK]
        radial/busyboxplus   Full-chain, Internet enabled, busybox made f…   8
        ");
        insta::assert_snapshot!(render(Some("json"), &View { trunc: false, ..view() }), @r#"
        {"Description":"Busybox base image.","IsOfficial":"true","Name":"busybox","StarCount":"316"}
        {"Description":"Full-chain, Internet enabled, busybox made from scratch.","IsOfficial":"false","Name":"radial/busyboxplus","StarCount":"8"}
        "#);
        insta::assert_snapshot!(render(Some(r"table {{.Name}}\t{{.IsOfficial}}"), &view()), @r"
        NAME                 OFFICIAL
        busybox              [OK]
        radial/busyboxplus
        ");
    }
}
