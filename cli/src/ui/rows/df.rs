//! Rows of `system df`: one for each kind of thing that takes space. lrun has no volumes; their row is there because
//! scripts expect it.

use lrun_runtime::error::Result;

use super::{Column, Format, Model, View};
use crate::ui::units;

const TABLE: &str = r"table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";
const RAW: &str =
    "type: {{.Type}}\ntotal: {{.TotalCount}}\nactive: {{.Active}}\nsize: {{.Size}}\nreclaimable: {{.Reclaimable}}\n";

/// The table of images in `system df -v`.
pub const IMAGES: &str = r"table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}";
/// The table of containers in `system df -v`.
pub const CONTAINERS: &str =
    r"table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}";

/// One kind of thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub kind: &'static str,
    /// How many there are.
    pub total: usize,
    /// How many of them are in use.
    pub active: usize,
    /// Bytes on disk.
    pub size: u64,
    /// Bytes that a removal of what is not in use would give back.
    pub reclaimable: u64,
}

/// The format of the listing; `source` is the argument of `--format`.
///
/// # Errors
///
/// `Invalid`, for what is no template.
pub fn format(source: Option<&str>) -> Result<Format> {
    let source = source.unwrap_or("");
    Format::parse(if source == "raw" { RAW } else { source }, TABLE)
}

/// The columns of `system df`.
pub const MODEL: Model<Entry> = Model {
    columns: &[
        Column { name: "Type", header: "TYPE", value: |row, _| row.kind.to_owned() },
        Column { name: "TotalCount", header: "TOTAL", value: |row, _| row.total.to_string() },
        Column { name: "Active", header: "ACTIVE", value: |row, _| row.active.to_string() },
        Column { name: "Size", header: "SIZE", value: |row, _| units::human_sum(row.size) },
        Column { name: "Reclaimable", header: "RECLAIMABLE", value: reclaimable },
    ],
    beside: &[],
    labels: None,
};

fn reclaimable(row: &Entry, _: &View) -> String {
    let bytes = units::human_sum(row.reclaimable);
    match row.size {
        0 => bytes,
        size => format!("{bytes} ({}%)", u128::from(row.reclaimable) * 100 / u128::from(size)),
    }
}

/// What follows the tables of images and containers: `cache` is the table of what builds left, which takes so many bytes.
pub fn rest(cache: &str, bytes: u64) -> String {
    let volumes = super::table::layout("VOLUME NAME\tLINKS\tSIZE\n", super::table::MIN_WIDTH);
    let bytes = units::human_sum(bytes);
    format!("\nLocal Volumes space usage:\n\n{volumes}\nBuild cache usage: {bytes}\n\n{cache}")
}

#[cfg(test)]
mod tests {
    use super::super::testing::view;
    use super::*;

    #[test]
    fn dockers_table_and_json() {
        let rows = [
            Entry { kind: "Images", total: 5, active: 2, size: 16_428_714, reclaimable: 11_630_000 },
            Entry { kind: "Build Cache", total: 0, active: 0, size: 0, reclaimable: 0 },
        ];
        let render = |source| MODEL.render(&format(source).unwrap(), &rows, &view()).unwrap();
        insta::assert_snapshot!(render(None), @r"
        TYPE          TOTAL     ACTIVE    SIZE      RECLAIMABLE
        Images        5         2         16.43MB   11.63MB (70%)
        Build Cache   0         0         0B        0B
        ");
        insta::assert_snapshot!(render(Some("json")), @r#"
        {"Active":"2","Reclaimable":"11.63MB (70%)","Size":"16.43MB","TotalCount":"5","Type":"Images"}
        {"Active":"0","Reclaimable":"0B","Size":"0B","TotalCount":"0","Type":"Build Cache"}
        "#);
        assert_eq!(
            render(Some("raw")).split_once("\n\n").map(|(first, _)| first),
            Some("type: Images\ntotal: 5\nactive: 2\nsize: 16.43MB\nreclaimable: 11.63MB (70%)")
        );
        insta::assert_snapshot!(rest("CACHE ID\n", 2_000), @r"

        Local Volumes space usage:

        VOLUME NAME   LINKS     SIZE

        Build cache usage: 2kB

        CACHE ID
        ");
    }
}
