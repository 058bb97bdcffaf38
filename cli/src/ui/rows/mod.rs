//! Listings: one table of columns per kind of row serves the default table, `--format` templates and JSON.
//!
//! A cell's value is text, as docker's rows have it, so that `--format json` gives one object a line with string values.
//! Cells of a table are made harmless always, those of a template when the output is a terminal; JSON escapes by itself.

pub mod build_cache;
pub mod df;
pub mod diff;
pub mod history;
pub mod images;
pub mod info;
pub mod ports;
pub mod ps;
pub mod referrers;
pub mod search;
pub mod top;
pub mod trash;
pub mod version;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use gotmpl::Value;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use lrun_runtime::error::{Error, ErrorKind, Result};

use super::template::{Piece, Template};
use super::{escape, table};

/// How the rows are to be shown.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// The time that "ago" counts from.
    pub now: Timestamp,
    /// The zone that dates are shown in; asked for only where there are dates.
    pub zone: fn() -> TimeZone,
    /// Short ids and cut commands (no `--no-trunc`).
    pub trunc: bool,
    /// Sizes and times in words (`--human`).
    pub human: bool,
    /// The output is a terminal.
    pub terminal: bool,
}

/// One field of a row.
pub struct Column<T> {
    /// The field's name in templates and JSON.
    pub name: &'static str,
    /// Its header in tables.
    pub header: &'static str,
    /// Its text for one row.
    pub value: fn(&T, &View) -> String,
}

/// One kind of row.
pub struct Model<T: 'static> {
    /// Its fields.
    pub columns: &'static [Column<T>],
    /// Fields that a template may name, and that a row which is printed whole is without: docker's are no text there.
    pub beside: &'static [Column<T>],
    /// What the method `.Label "key"` looks into.
    pub labels: Option<LabelsOf<T>>,
}

/// Finds the labels of a row.
pub type LabelsOf<T> = fn(&T) -> &BTreeMap<String, String>;

/// A parsed `--format`.
pub struct Format {
    template: Template,
    table: bool,
    json: bool,
}

impl Format {
    /// Parses the argument of `--format`: `table TEMPLATE`, `json`, or a template. `table` alone, or nothing, is
    /// `default`. `\t` and `\n` stand for a tab and a newline.
    ///
    /// # Errors
    ///
    /// `Invalid`, for what is no template.
    pub fn parse(source: &str, default: &str) -> Result<Self> {
        let source = if matches!(source, "" | "table") { default } else { source };
        let json = source == "json";
        let (table, source) = match source.strip_prefix("table") {
            Some(rest) => (true, rest),
            None if json => (false, "{{json .}}"),
            None => (false, source),
        };
        let source = source.trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n");
        Ok(Self { template: Template::parse(&source)?, table, json })
    }

    /// Whether the template asks rows for this field, by name or by printing them whole, so that a costly one need not be
    /// gathered in vain. The format `json` does not, as in docker.
    pub fn asks_for(&self, field: &str) -> bool {
        !self.json && self.template.uses(field)
    }

    /// Whether rows are printed whole, as JSON.
    pub fn is_whole(&self) -> bool {
        self.template.uses("")
    }
}

impl<T> Model<T> {
    /// The whole listing, every line with its newline; a table begins with its headers.
    ///
    /// # Errors
    ///
    /// `Invalid`: the format names a field that these rows do not have, or misuses a function.
    pub fn render(&self, format: &Format, rows: &[T], view: &View) -> Result<String> {
        self.check_fields(format)?;
        // A row that is printed whole, as JSON, keeps its exact values; what is printed is made harmless then.
        let whole = format.is_whole();
        let escape_cells = !format.json && (format.table || (view.terminal && !whole));
        let mut out = String::new();
        if format.table {
            // Functions may not fit headers, as in `{{slice .ID 0 20}}`; the rows do not suffer for that.
            out.push_str(&format.template.headers().run(&self.headers()).unwrap_or_default());
            out.push('\n');
        }
        self.render_rows(format, rows, view, escape_cells, &mut out)?;
        Ok(match format.table {
            true => table::layout(&out, table::MIN_WIDTH),
            false if view.terminal && whole => escape::text(&out).into_owned(),
            false => out,
        })
    }

    /// The rows below the headers. A template of nothing but fields goes without the engine: listings of thousands of
    /// rows should take no time.
    fn render_rows(
        &self,
        format: &Format,
        rows: &[T],
        view: &View,
        escape_cells: bool,
        out: &mut String,
    ) -> Result<()> {
        if let Some(pieces) = format.template.plain() {
            for row in rows {
                for piece in pieces {
                    match piece {
                        Piece::Text(text) => out.push_str(text),
                        Piece::Field(field) => {
                            let column = self.all().find(|column| column.name == field);
                            let text = column.map_or_else(String::new, |column| (column.value)(row, view));
                            out.push_str(&if escape_cells { escape::line(&text) } else { Cow::Borrowed(&*text) });
                        }
                    }
                }
                out.push('\n');
            }
            return Ok(());
        }
        let engine = format.template.rows();
        for row in rows {
            out.push_str(&engine.run(&self.row(format, row, view, escape_cells))?);
            out.push('\n');
        }
        Ok(())
    }

    fn row(&self, format: &Format, row: &T, view: &View, escape_cells: bool) -> Value {
        let mut fields: BTreeMap<Arc<str>, Value> = BTreeMap::new();
        let beside = if format.is_whole() { &[] } else { self.beside };
        for column in self.columns.iter().chain(beside).filter(|column| format.template.uses(column.name)) {
            let text = (column.value)(row, view);
            let text: Arc<str> = if escape_cells { escape::line(&text).into() } else { text.into() };
            fields.insert(column.name.into(), Value::String(text));
        }
        if let Some(labels) = self.labels.filter(|_| format.template.fields().any(|field| field == LABEL)) {
            let labels = labels(row).clone();
            let label = move |key: &str| {
                let text = labels.get(key).map_or("", String::as_str);
                if escape_cells { escape::line(text).into_owned() } else { text.to_owned() }
            };
            fields.insert(LABEL.into(), method(label));
        }
        Value::Map(Arc::new(fields))
    }

    fn all(&self) -> impl Iterator<Item = &Column<T>> {
        self.columns.iter().chain(self.beside)
    }

    fn headers(&self) -> Value {
        let fields = self.all().map(|column| (column.name.into(), Value::String(column.header.into())));
        let mut fields: BTreeMap<Arc<str>, Value> = fields.collect();
        let last_word = |key: &str| key.rsplit('.').next().unwrap_or(key).replace(['-', '_'], " ");
        fields.insert(LABEL.into(), method(last_word));
        Value::Map(Arc::new(fields))
    }

    fn check_fields(&self, format: &Format) -> Result<()> {
        let known =
            |field: &str| self.all().any(|column| column.name == field) || (field == LABEL && self.labels.is_some());
        match format.template.fields().find(|field| !known(field)) {
            None => Ok(()),
            Some(field) => {
                let names: Vec<&str> = self.all().map(|column| column.name).collect();
                let message = format!("template: executing \"\" at <.{field}>: can't evaluate field {field}");
                Err(Error::new(ErrorKind::Invalid, message).hint(format!("the fields are {}", names.join(", "))))
            }
        }
    }
}

/// The method that looks up one label.
const LABEL: &str = "Label";

fn method(function: impl Fn(&str) -> String + Send + Sync + 'static) -> Value {
    Value::Function(Arc::new(move |args: &[Value]| match args {
        [Value::String(key)] => Ok(Value::String(function(key).into())),
        _ => Err(gotmpl::TemplateError::Exec("Label wants one name, as in .Label \"name\"".to_owned())),
    }))
}

/// An id as tables show it: without the algorithm, 12 digits unless all of it is wanted.
pub fn short_id(id: &str, trunc: bool) -> String {
    if !trunc {
        return id.to_owned();
    }
    let hex = id.split_once(':').map_or(id, |(_, hex)| hex);
    hex.chars().take(12).collect()
}

/// `a=1,b=2`, sorted.
fn label_list(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}

/// What the tests of all listings share.
#[cfg(test)]
mod testing {
    use super::*;

    pub fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    pub fn view() -> View {
        View { now: at("2026-01-02T15:04:05Z"), zone: || TimeZone::UTC, trunc: true, human: true, terminal: false }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::view;
    use super::*;

    struct Row {
        name: &'static str,
        labels: BTreeMap<String, String>,
    }

    const MODEL: Model<Row> = Model {
        columns: &[
            Column { name: "Name", header: "NAME", value: |row, _| row.name.to_owned() },
            Column { name: "Length", header: "LENGTH OF IT", value: |row, _| row.name.len().to_string() },
        ],
        beside: &[],
        labels: Some(|row| &row.labels),
    };

    fn rows() -> Vec<Row> {
        let labels = |text: &str| BTreeMap::from([("com.example.my-key".to_owned(), text.to_owned())]);
        vec![Row { name: "one", labels: labels("x") }, Row { name: "\u{1b}[1mtwo", labels: labels("\u{202e}") }]
    }

    fn render(source: &str, terminal: bool) -> String {
        let format = Format::parse(source, "table {{.Name}}\t{{.Length}}").unwrap();
        let view = View { terminal, ..view() };
        MODEL.render(&format, &rows(), &view).unwrap_or_else(|error| format!("{error:?}"))
    }

    #[test]
    fn the_default_table() {
        insta::assert_snapshot!(render("", false), @r"
        NAME         LENGTH OF IT
        one          3
        \x1b[1mtwo   7
        ");
        assert_eq!(render("table", false), render("", false));
    }

    #[test]
    fn a_table_of_ones_own_has_derived_headers() {
        insta::assert_snapshot!(
            render(r#"table {{upper .Name}}\t{{.Label "com.example.my-key"}}\t{{pad .Length 1 1}}|"#, false),
            @r"
        NAME         my key     LENGTH OF IT |
        ONE          x          3 |
        \X1B[1MTWO   \u202e     7 |
        "
        );
    }

    #[test]
    fn json_is_one_object_a_line_with_text_values() {
        let json = "{\"Length\":\"3\",\"Name\":\"one\"}\n{\"Length\":\"7\",\"Name\":\"\\u001b[1mtwo\"}\n";
        for format in ["json", "{{json .}}"] {
            assert_eq!(render(format, false), json);
            assert_eq!(render(format, true), json);
        }
    }

    #[test]
    fn templates_are_raw_in_pipes_and_harmless_on_terminals() {
        let format = r#"{{.Name}}\t{{.Label "com.example.my-key"}}\n{{.Label "none"}}"#;
        assert_eq!(render(format, false), "one\tx\n\n\u{1b}[1mtwo\t\u{202e}\n\n");
        assert_eq!(render(format, true), "one\tx\n\n\\x1b[1mtwo\t\\u202e\n\n");
        assert_eq!(render("{{println .Name}}-", false), "one\n-\n\u{1b}[1mtwo\n-\n");
    }

    #[test]
    fn an_unknown_field_is_named_with_those_that_exist() {
        insta::assert_snapshot!(
            render("{{.Name}} {{.Foo}}", false),
            @r#"Invalid: template: executing "" at <.Foo>: can't evaluate field Foo (the fields are Name, Length)"#
        );
    }

    #[test]
    fn only_what_the_format_shows_is_computed() {
        let format = |source| Format::parse(source, "table {{.Name}}").unwrap();
        assert!(!format("").asks_for("Length"));
        assert!(format("{{.Length}}").asks_for("Length"));
        assert!(format("{{json .}}").asks_for("Length"));
        assert!(!format("json").asks_for("Length"));
    }

    #[test]
    fn ids_are_cut_to_twelve() {
        for (id, trunc, shown) in [
            ("sha256:0123456789abcdef", true, "0123456789ab"),
            ("sha256:0123456789abcdef", false, "sha256:0123456789abcdef"),
            ("0123456789abcdef", true, "0123456789ab"),
            ("abc", true, "abc"),
        ] {
            assert_eq!(short_id(id, trunc), shown);
        }
    }
}
