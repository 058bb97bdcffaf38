//! Lines of `diff`.

use super::{Column, Format, Model};
use lrun_runtime::error::Result;

/// One difference between a container and its image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `A` added, `C` changed, `D` deleted.
    pub kind: char,
    /// The absolute path in the container.
    pub path: String,
}

/// The format of a listing; `source` is the argument of `--format`.
///
/// # Errors
///
/// `Invalid`, for what is no template.
pub fn format(source: Option<&str>) -> Result<Format> {
    match source {
        None | Some("") => Format::parse("{{.Type}} {{.Path}}", ""),
        Some(own) => Format::parse(own, r"table {{.Type}}\t{{.Path}}"),
    }
}

/// The columns of `diff`.
pub const MODEL: Model<Entry> = Model {
    columns: &[
        Column { name: "Type", header: "CHANGE TYPE", value: |entry, _| entry.kind.to_string() },
        Column { name: "Path", header: "PATH", value: |entry, _| entry.path.clone() },
    ],
    beside: &[],
    labels: None,
};

#[cfg(test)]
mod tests {
    use super::super::testing::view;
    use super::*;

    #[test]
    fn one_change_a_line() {
        let entries = [('C', "/usr/share"), ('D', "/usr/share/doc"), ('A', "/opt/x\u{1b}y")];
        let entries = entries.map(|(kind, path)| Entry { kind, path: path.to_owned() });
        let render = |source| MODEL.render(&format(source).unwrap(), &entries, &view()).unwrap();
        assert_eq!(render(None), "C /usr/share\nD /usr/share/doc\nA /opt/x\u{1b}y\n");
        insta::assert_snapshot!(render(Some("table")), @r"
        CHANGE TYPE   PATH
        C             /usr/share
        D             /usr/share/doc
        A             /opt/x\x1by
        ");
    }
}
