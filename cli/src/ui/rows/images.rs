//! Rows of `images`, in docker's classic table.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lrun_runtime::error::Result;

use super::{Column, Format, Model, View, short_id};
use crate::ui::units;

const NONE: &str = "<none>";
/// Go's time without a value, 0001-01-01T00:00:00Z, in seconds since 1970.
const GO_ZERO: i64 = -62_135_596_800;
const TABLE: &str = r"table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";
const TABLE_DIGESTS: &str = r"table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";
const RAW: &str = "repository: {{.Repository}}\ntag: {{.Tag}}\nimage_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\n\
    virtual_size: {{.Size}}\n";
const RAW_DIGESTS: &str = "repository: {{.Repository}}\ntag: {{.Tag}}\ndigest: {{.Digest}}\nimage_id: {{.ID}}\n\
    created_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n";

/// One image of the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The full id, `sha256:…`.
    pub id: String,
    /// The full id of the image it was made from; empty where there is none.
    pub parent: String,
    /// Its names with tags in their short form, `stage0:latest`.
    pub tags: Vec<String>,
    /// Its names with manifest digests, `debian@sha256:…`.
    pub digests: Vec<String>,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// Bytes of all its layers.
    pub size: u64,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// How it shares its layers; `None` where that was not found out.
    pub usage: Option<Usage>,
}

/// How an image shares its layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes that other images have, too.
    pub shared: u64,
    /// Bytes that no other image has.
    pub unique: u64,
    /// Containers that were made from it.
    pub containers: usize,
}

/// One line: an image under one of its names.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    image: Entry,
    repository: String,
    tag: String,
    digest: String,
}

/// The format of a listing; `source` is the argument of `--format`.
///
/// # Errors
///
/// `Invalid`, for what is no template.
pub fn format(source: Option<&str>, quiet: bool, digests: bool) -> Result<Format> {
    let default = if digests { TABLE_DIGESTS } else { TABLE };
    match source.unwrap_or("") {
        "" | "table" if quiet => Format::parse("{{.ID}}", default),
        "raw" if quiet => Format::parse("image_id: {{.ID}}", default),
        "raw" => Format::parse(if digests { RAW_DIGESTS } else { RAW }, default),
        own if own.starts_with("table ") && digests && !own.contains("{{.Digest}}") => {
            Format::parse(&format!(r"{own}\t{{{{.Digest}}}}"), default)
        }
        own => Format::parse(own, default),
    }
}

/// The lines of these images: one for each tag; with `digests`, one for each digest of the tag's repository; an image
/// without a name has one of `<none>`.
pub fn rows(images: &[Entry], digests: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for image in images {
        let mut push = |repository: &str, tag: &str, digest: &str| {
            rows.push(Row {
                image: image.clone(),
                repository: repository.to_owned(),
                tag: tag.to_owned(),
                digest: digest.to_owned(),
            });
        };
        let by_digest: Vec<(&str, &str)> = image.digests.iter().filter_map(|name| name.split_once('@')).collect();
        let by_tag: Vec<(&str, &str)> = image.tags.iter().filter_map(|name| name.rsplit_once(':')).collect();
        for &(repository, tag) in &by_tag {
            let mut of_repository = by_digest.iter().filter(|(other, _)| digests && *other == repository).peekable();
            if of_repository.peek().is_none() {
                push(repository, tag, NONE);
            }
            of_repository.for_each(|(_, digest)| push(repository, tag, digest));
        }
        let mut untagged: Vec<_> =
            by_digest.iter().filter(|(name, _)| by_tag.iter().all(|(other, _)| other != name)).collect();
        if !digests {
            untagged.dedup_by_key(|(name, _)| *name);
        }
        for (repository, digest) in untagged {
            push(repository, NONE, digest);
        }
        if by_tag.is_empty() && by_digest.is_empty() {
            push(NONE, NONE, NONE);
        }
    }
    rows
}

/// The columns of `images`.
pub const MODEL: Model<Row> = Model {
    columns: &[
        Column { name: "ID", header: "IMAGE ID", value: |row, view| short_id(&row.image.id, view.trunc) },
        Column { name: "Repository", header: "REPOSITORY", value: |row, _| row.repository.clone() },
        Column { name: "Tag", header: "TAG", value: |row, _| row.tag.clone() },
        Column { name: "Digest", header: "DIGEST", value: |row, _| row.digest.clone() },
        Column { name: "CreatedSince", header: "CREATED", value: created_since },
        Column { name: "CreatedAt", header: "CREATED AT", value: created_at },
        Column { name: "Size", header: "SIZE", value: |row, _| units::human_size(row.image.size) },
        Column {
            name: "Containers",
            header: "CONTAINERS",
            value: |row, _| known(row, |usage| usage.containers.to_string()),
        },
        Column {
            name: "SharedSize",
            header: "SHARED SIZE",
            value: |row, _| known(row, |usage| units::human_sum(usage.shared)),
        },
        Column {
            name: "UniqueSize",
            header: "UNIQUE SIZE",
            value: |row, _| known(row, |usage| units::human_sum(usage.unique)),
        },
    ],
    beside: &[],
    labels: None,
};

/// What docker shows where a listing does not know something.
const UNKNOWN: &str = "N/A";

fn known(row: &Row, value: impl Fn(&Usage) -> String) -> String {
    row.image.usage.as_ref().map_or_else(|| UNKNOWN.to_owned(), value)
}

fn created_since(row: &Row, view: &View) -> String {
    match row.image.created {
        None => UNKNOWN.to_owned(),
        // What a builder writes that knows no time; docker shows nothing either.
        Some(created) if created.as_second() == GO_ZERO => String::new(),
        Some(created) => units::ago(created, view.now),
    }
}

fn created_at(row: &Row, view: &View) -> String {
    row.image.created.map_or_else(|| UNKNOWN.to_owned(), |created| units::created_at(created, (view.zone)()))
}

#[cfg(test)]
pub mod tests {
    use super::super::testing::{at, view};
    use super::*;

    pub fn entry(hex: &str, tags: &[&str], created: &str) -> Entry {
        Entry {
            id: format!("sha256:{}", &hex.repeat(64)[..64]),
            parent: String::new(),
            tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
            digests: vec![],
            created: Some(at(created)),
            size: 170_000_000,
            labels: BTreeMap::new(),
            usage: None,
        }
    }

    fn render(source: Option<&str>, quiet: bool, digests: bool, images: &[Entry]) -> String {
        MODEL.render(&format(source, quiet, digests).unwrap(), &rows(images, digests), &view()).unwrap()
    }

    #[test]
    fn the_classic_table() {
        let mut images = [
            entry("c2c5bcdbd95e", &["stage0:latest", "stage0:v1"], "2026-01-02T15:02:00Z"),
            entry("4c1c0ee8492b", &["localhost:5000/team/image_with_files_deleted:latest"], "2025-12-02T15:02:00Z"),
            entry("0f", &[], "2025-01-02T15:02:00Z"),
        ];
        images[2].created = None;
        insta::assert_snapshot!(render(None, false, false, &images), @r"
        REPOSITORY                                     TAG       IMAGE ID       CREATED         SIZE
        stage0                                         latest    c2c5bcdbd95e   2 minutes ago   170MB
        stage0                                         v1        c2c5bcdbd95e   2 minutes ago   170MB
        localhost:5000/team/image_with_files_deleted   latest    4c1c0ee8492b   4 weeks ago     170MB
        <none>                                         <none>    0f0f0f0f0f0f   N/A             170MB
        ");
        assert_eq!(render(None, true, false, &images), "c2c5bcdbd95e\nc2c5bcdbd95e\n4c1c0ee8492b\n0f0f0f0f0f0f\n");
    }

    #[test]
    fn digests_belong_to_their_repository() {
        let mut images = [entry("1a", &["debian:12", "mine:latest"], "2026-01-02T15:02:00Z")];
        images[0].digests = vec!["debian@sha256:aa".to_owned(), "other@sha256:bb".to_owned()];
        insta::assert_snapshot!(render(None, false, true, &images), @r"
        REPOSITORY   TAG       DIGEST      IMAGE ID       CREATED         SIZE
        debian       12        sha256:aa   1a1a1a1a1a1a   2 minutes ago   170MB
        mine         latest    <none>      1a1a1a1a1a1a   2 minutes ago   170MB
        other        <none>    sha256:bb   1a1a1a1a1a1a   2 minutes ago   170MB
        ");
        insta::assert_snapshot!(render(Some(r"table {{.Tag}}"), false, true, &images), @r"
        TAG       DIGEST
        12        sha256:aa
        latest    <none>
        <none>    sha256:bb
        ");
    }

    #[test]
    fn no_time_is_told_where_none_was_known() {
        let shown = render(Some("{{.CreatedSince}}"), false, false, &[entry("1a", &["a:b"], "0001-01-01T00:00:00Z")]);
        assert_eq!(shown, "\n");
    }

    #[test]
    fn json_has_dockers_fields_as_text() {
        insta::assert_snapshot!(render(Some("json"), false, false, &[entry("1a", &["a:b"], "2026-01-02T15:02:00Z")]), @r#"{"Containers":"N/A","CreatedAt":"2026-01-02 15:02:00 +0000 UTC","CreatedSince":"2 minutes ago","Digest":"<none>","ID":"1a1a1a1a1a1a","Repository":"a","SharedSize":"N/A","Size":"170MB","Tag":"b","UniqueSize":"N/A"}"#);
    }
}
