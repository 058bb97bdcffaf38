//! `--format`: Go templates over rows and inspected objects, as docker's scripts write them.
//!
//! The engine is gotmpl. Three things of Go's `text/template` it does not have, because they come from Go's types, and
//! [`rewrite`] adds them to the parsed template: methods with arguments (`.Label "k"`), errors that name the place
//! (`template: :1:2: executing "" at <.Foo>: …`), and unknown functions found before anything is printed.

mod data;
mod functions;
mod rewrite;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gotmpl::parse::{Expr, ListNode, Node, Parser, PipeNode};
use gotmpl::{TemplateError, Value};
use lrun_runtime::error::{Error, ErrorKind, Result};

use data::Shapes;
pub use data::{Data, Kinds};

/// A parsed template.
pub struct Template {
    tree: ListNode,
    defines: Vec<(String, ListNode)>,
    fields: BTreeSet<String>,
    whole: bool,
    plain: Option<Vec<Piece>>,
}

/// A part of a template that needs no engine.
pub enum Piece {
    /// Text, printed as it is.
    Text(Arc<str>),
    /// A field of the row.
    Field(String),
}

impl Template {
    /// Parses the source of a template.
    ///
    /// # Errors
    ///
    /// `Invalid`, with Go's words and position, for a syntax error or an unknown function.
    pub fn parse(source: &str) -> Result<Self> {
        let parser = Parser::with_name(Some(""), source, "{{", "}}").map_err(parse_error)?;
        let (mut tree, defines) = parser.parse().map_err(parse_error)?;
        let plain = if defines.is_empty() { plain(&tree) } else { None };
        let mut rewriter = rewrite::Rewriter::new(source);
        rewriter.list(&mut tree)?;
        let mut named = Vec::with_capacity(defines.len());
        for mut define in defines {
            rewriter.list(&mut define.body)?;
            named.push((define.name.to_string(), define.body));
        }
        Ok(Self { tree, defines: named, fields: rewriter.fields, whole: rewriter.whole, plain })
    }

    /// Whether the template may read this field of its data; `true` for all when it prints the data whole.
    pub fn uses(&self, field: &str) -> bool {
        self.whole || self.fields.contains(field)
    }

    /// The template's parts, where it is nothing but text and fields, as most formats of listings are.
    pub fn plain(&self) -> Option<&[Piece]> {
        self.plain.as_deref()
    }

    /// The fields that the template names, on the data itself or on something inside.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(String::as_str)
    }

    /// The template's output for one inspected object.
    ///
    /// # Errors
    ///
    /// `Invalid`: a field that the object does not have, a function's wrong use.
    pub fn render(&self, data: &Data) -> Result<String> {
        self.engine(data.shapes(), functions::basic()).run(data.value())
    }

    /// An engine for many rows, whose values are strings.
    pub fn rows(&self) -> Engine {
        self.engine(Shapes::default(), functions::basic())
    }

    /// An engine for the headers of a table: most functions leave their argument as it is.
    pub fn headers(&self) -> Engine {
        self.engine(Shapes::default(), functions::headers())
    }

    fn engine(&self, shapes: Shapes, functions: BTreeMap<String, functions::Function>) -> Engine {
        let mut template = gotmpl::Template::new("").funcs(functions::registry(functions, shapes));
        template = template.add_parse_tree(MAIN, self.tree.clone());
        for (name, body) in &self.defines {
            template = template.add_parse_tree(name, body.clone());
        }
        Engine(template)
    }
}

/// The name of the main tree; no template can name it.
const MAIN: &str = "\0main";

/// A template ready to run over rows of one kind.
pub struct Engine(gotmpl::Template);

impl Engine {
    /// The template's output for one row.
    ///
    /// # Errors
    ///
    /// As [`Template::render`].
    pub fn run(&self, row: &Value) -> Result<String> {
        self.0.execute_template_to_string(MAIN, row).map_err(|error| {
            let message = match error {
                TemplateError::Exec(message) => message,
                other => other.to_string(),
            };
            if message.starts_with("template: ") {
                Error::new(ErrorKind::Invalid, message)
            } else {
                Error::new(ErrorKind::Invalid, format!("template: executing: {message}"))
            }
        })
    }
}

fn plain(tree: &ListNode) -> Option<Vec<Piece>> {
    let field = |pipe: &PipeNode| match (pipe.decl.is_empty(), pipe.commands.as_slice()) {
        (true, [command]) => match command.args.as_slice() {
            [Expr::Field(_, path)] if path.len() == 1 => Some(Piece::Field(path[0].to_string())),
            _ => None,
        },
        _ => None,
    };
    let piece = |node: &Node| match node {
        Node::Text(text) => Some(Piece::Text(text.text.clone())),
        Node::Action(action) => field(&action.pipe),
        _ => None,
    };
    tree.nodes.iter().map(piece).collect()
}

fn parse_error(error: TemplateError) -> Error {
    let message = match error {
        TemplateError::Parse { line, message, .. } | TemplateError::Lex { line, message, .. } => {
            format!("template: :{line}: {message}")
        }
        other => format!("template: {other}"),
    };
    Error::new(ErrorKind::Invalid, message).hint(
        "the format is a Go template, as in '{{.Names}}: {{.Status}}', or 'json', or 'table {{.ID}}\\t{{.Names}}'",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::template::data::Kinds;
    use serde_json::json;

    const KINDS: Kinds = Kinds { maps: &["Labels", "Ports", "Volumes"], lists: &["Entrypoint", "Cmd"] };

    fn inspect(format: &str) -> String {
        let full = json!({
            "Id": "c2c5",
            "State": {"Running": true, "Pid": 42, "Health": null},
            "Config": {
                "Env": ["A=1", "B=2"],
                "Cmd": ["sh", "-c"],
                "Entrypoint": null,
                "Volumes": null,
                "Labels": {"a": "1", "com.x": "y"},
            },
            "Mounts": [{"Type": "bind", "Source": "/s"}],
            "Ports": {"80/tcp": [{"HostPort": "8080"}]},
        });
        let mut shown = full.clone();
        shown["State"].as_object_mut().unwrap().shift_remove("Health");
        let data = Data::new(&full, &shown, KINDS, false);
        match Template::parse(format).and_then(|template| template.render(&data)) {
            Ok(text) => text,
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn what_scripts_ask_inspect() {
        for (format, output) in [
            ("{{.Id}}", "c2c5"),
            ("{{.State.Running}} {{.State.Pid}}", "true 42"),
            ("{{range .Config.Env}}{{println .}}{{end}}", "A=1\nB=2\n"),
            (r#"{{index .Config.Labels "a"}}|{{index .Config.Labels "no"}}|"#, "1||"),
            ("{{.Config.Labels.a}}|{{.Config.Labels.no}}", "1|<no value>"),
            ("{{json .State}}", r#"{"Running":true,"Pid":42}"#),
            ("{{json .Config.Labels}}", r#"{"a":"1","com.x":"y"}"#),
            ("{{json .Config.Entrypoint}}{{.Config.Entrypoint}}", "null[]"),
            ("{{json .Config.Volumes}}{{.Config.Volumes}}", "nullmap[]"),
            ("{{json .Mounts}}", r#"[{"Type":"bind","Source":"/s"}]"#),
            ("{{range .Mounts}}{{json .}}{{.Source}}{{end}}", r#"{"Type":"bind","Source":"/s"}/s"#),
            (
                "{{.State.Health}} {{json .State.Health}} {{not .State.Health}} {{with .State.Health}}{{else}}none{{end}}",
                "<nil> null true none",
            ),
            (
                r#"{{print .State.Health}} {{printf "%v" .State.Health}} {{eq (print .State.Health) "<nil>"}}"#,
                "<nil> <nil> true",
            ),
            ("{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}", "none"),
            ("{{len .Config.Env}} {{len .Config.Volumes}}", "2 0"),
            (r#"{{join .Config.Cmd " "}} {{join .Config.Entrypoint ","}}"#, "sh -c "),
            (r#"{{(index (index .Ports "80/tcp") 0).HostPort}}"#, "8080"),
            (r#"{{range $p, $c := .Ports}}{{$p}}->{{(index $c 0).HostPort}}{{end}}"#, "80/tcp->8080"),
            (r#"{{with .State}}{{.Pid}} {{$.Id}}{{end}}"#, "42 c2c5"),
            (r#"{{$s := .State}}{{$s.Pid}}{{if eq $s.Pid 42}}!{{end}}"#, "42!"),
            (r#"{{range (split "a,b" ",")}}<{{.}}>{{end}}"#, "<a><b>"),
            (
                r#"{{upper .Id}} {{lower "AB"}} {{title "a bc"}} [{{pad .Id 1 2}}] {{truncate .Id 2}}"#,
                "C2C5 ab A Bc [ c2c5  ] c2",
            ),
            (r#"{{define "x"}}{{.Id}}{{end}}{{template "x" .}}"#, "c2c5"),
            (r#"{{printf "%s=%d" .Id .State.Pid}}{{.Id | printf "%q"}}"#, "c2c5=42\"c2c5\""),
            (r#"{{and .Id .State.Running}} {{or .State.Health "-"}} {{not .Id}}"#, "true - false"),
            ("a{{- .Id -}} b", "ac2c5b"),
        ] {
            assert_eq!(inspect(format), output, "{format}");
        }
    }

    #[test]
    fn errors_are_one_line_and_name_the_place() {
        for (format, output) in [
            ("{{.Foo}}", r#"template: :1:2: executing "" at <.Foo>: map has no entry for key "Foo""#),
            ("{{.State.Foo}}", r#"template: :1:8: executing "" at <.State.Foo>: map has no entry for key "Foo""#),
            (
                "{{.State.Health.Status}}",
                r#"template: :1:8: executing "" at <.State.Health.Status>: map has no entry for key "Health""#,
            ),
            ("x\ny {{.Foo}}", r#"template: :2:4: executing "" at <.Foo>: map has no entry for key "Foo""#),
            ("{{.Id.Foo}}", r#"template: :1:5: executing "" at <.Id.Foo>: can't evaluate field Foo in type string"#),
            (r#"{{.Id "x"}}"#, "template: executing: call: non-function value of type string"),
            ("{{nosuch .Id}}", r#"template: :1: function "nosuch" not defined"#),
            ("{{.Id", "template: :1: unclosed action"),
            ("{{range .Id}}{{end}}", "template: executing: cannot range over string"),
            ("{{index .Mounts 7}}", "template: executing: error calling index: index out of range: 7"),
            ("{{pad .Id -1 0}}", "template: executing: error calling pad: -1 is not a number of spaces"),
        ] {
            assert_eq!(inspect(format), format!("error: {output}"), "{format}");
        }
    }

    #[test]
    fn a_terminal_gets_no_escape_sequences_from_data() {
        let value = json!({"Name": "/\u{1b}[2Jx\u{202e}", "Labels": {"\u{9b}k": "a\nb"}});
        let data = Data::new(&value, &value, KINDS, true);
        let render = |format: &str| Template::parse(format).unwrap().render(&data).unwrap();
        assert_eq!(render("{{.Name}}"), "/\\x1b[2Jx\\u202e");
        assert_eq!(render("{{.Labels}}"), "map[\\u009bk:a\nb]");
        assert_eq!(render("{{json .}}"), r#"{"Name":"/\u001b[2Jx\u202e","Labels":{"\u009bk":"a\nb"}}"#);
    }

    #[test]
    fn knows_which_fields_it_reads() {
        let template = Template::parse("{{if .A}}{{range $.B}}{{$x := .C.D}}{{$x.E}}{{end}}{{end}}").unwrap();
        for (field, used) in [("A", true), ("B", true), ("C", true), ("E", true), ("D", false), ("Size", false)] {
            assert_eq!(template.uses(field), used, "{field}");
        }
        assert!(Template::parse("{{json .}}").unwrap().uses("Size"));
    }
}
