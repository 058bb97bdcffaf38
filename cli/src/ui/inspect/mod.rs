//! `inspect`: objects in docker's JSON shape, and templates over them.
//!
//! docker leaves some empty fields out of the JSON that its templates may still name. So every object is made with all
//! its fields, and what is left out of the JSON is a list of paths beside it.

pub mod container;
pub mod host;
pub mod image;

use lrun_runtime::error::{Error, ErrorKind, Result};
use serde::Serialize;
use serde_json::Value as Json;

use super::escape;
use super::template::{Data, Kinds, Template};

/// One inspected object.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    full: Json,
    shown: Json,
}

/// Keys whose values are maps or lists in docker's types.
const KINDS: Kinds = Kinds {
    maps: &[
        "Annotations",
        "Data",
        "DriverOpts",
        "ExposedPorts",
        "Labels",
        "Networks",
        "PortBindings",
        "Ports",
        "Runtimes",
        "StorageOpt",
        "Sysctls",
        "Tmpfs",
        "Volumes",
    ],
    lists: &[
        "Aliases",
        "Args",
        "Binds",
        "BlkioDeviceReadBps",
        "BlkioDeviceReadIOps",
        "BlkioDeviceWriteBps",
        "BlkioDeviceWriteIOps",
        "BlkioWeightDevice",
        "CapAdd",
        "CapDrop",
        "Cmd",
        "DNSNames",
        "DeviceCgroupRules",
        "DeviceRequests",
        "Devices",
        "Dns",
        "DnsOptions",
        "DnsSearch",
        "Entrypoint",
        "Env",
        "ExecIDs",
        "ExtraHosts",
        "GroupAdd",
        "Layers",
        "Links",
        "MaskedPaths",
        "Mounts",
        "OnBuild",
        "ReadonlyPaths",
        "RepoDigests",
        "RepoTags",
        "SecurityOpt",
        "Shell",
        "Ulimits",
        "VolumesFrom",
    ],
};

impl Object {
    /// An object with all its fields, of which those at `omit` are left out of the JSON where they are empty. A path
    /// is written `/State/Health`; `*` stands for every item of a list.
    fn new(full: Json, omit: &[&str]) -> Self {
        let mut shown = full.clone();
        for path in omit {
            let path: Vec<&str> = path.split('/').skip(1).collect();
            prune(&mut shown, &path);
        }
        Self { full, shown }
    }

    /// An object that is shown with all its fields, as that of `info`.
    pub fn whole(full: Json) -> Self {
        Self { shown: full.clone(), full }
    }

    /// An object whose fields templates know by other names than the JSON has.
    pub fn named(full: Json, shown: Json) -> Self {
        Self { full, shown }
    }

    /// The object as it prints in JSON.
    pub fn json(&self) -> &Json {
        &self.shown
    }
}

/// A parsed `--format` of inspect, info or version.
pub enum Format {
    /// An indented JSON array.
    Indented,
    /// The same on one line.
    Compact,
    /// A template, once for each object.
    Template(Box<Template>),
}

impl Format {
    /// Parses the argument of `--format`: nothing, `json`, or a template. Unlike listings, inspect does not know `\t`.
    ///
    /// # Errors
    ///
    /// `Invalid`, for what is no template.
    pub fn parse(source: Option<&str>) -> Result<Self> {
        match source {
            None | Some("") => Ok(Self::Indented),
            Some("json") => Ok(Self::Compact),
            Some(source) => Ok(Self::Template(Box::new(Template::parse(source)?))),
        }
    }

    /// Whether a template will ask for this field; JSON shows `SizeRw` and its like only on request.
    pub fn uses(&self, field: &str) -> bool {
        match self {
            Self::Indented | Self::Compact => false,
            Self::Template(template) => template.fields().any(|own| own == field),
        }
    }

    /// The output for these objects, with its last newline, and the errors of those that a template does not fit: it
    /// names a field that an object does not have. On a `terminal`, nothing in the output moves the cursor.
    ///
    /// # Errors
    ///
    /// `Corrupt`: what is no JSON.
    pub fn render(&self, objects: &[Object], terminal: bool) -> Result<(String, Vec<Error>)> {
        let shown: Vec<&Json> = objects.iter().map(Object::json).collect();
        let (mut text, mut errors) = (String::new(), Vec::new());
        match self {
            Self::Indented => text = indented(&shown)?,
            Self::Compact => text = to_string(serde_json::to_string(&shown))?,
            Self::Template(_) => {
                for object in objects {
                    match self.render_one(object, terminal) {
                        Ok(one) => text.push_str(&one),
                        Err(error) => errors.push(error),
                    }
                }
                if text.is_empty() {
                    text.push('\n');
                }
            }
        }
        Ok((text, errors))
    }

    /// The output for the one object of `info` or `version`, which stands in no array.
    ///
    /// # Errors
    ///
    /// As [`Format::render`].
    pub fn render_one(&self, object: &Object, terminal: bool) -> Result<String> {
        match self {
            Self::Indented => indented(object.json()),
            Self::Compact => to_string(serde_json::to_string(object.json())),
            Self::Template(template) => {
                let data = Data::new(&object.full, &object.shown, KINDS, terminal);
                Ok(template.render(&data)? + "\n")
            }
        }
    }
}

/// JSON with docker's four spaces and a last newline.
fn indented(value: &impl Serialize) -> Result<String> {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let written = value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter));
    to_string(written.map(|()| String::from_utf8_lossy(&bytes).into_owned()))
}

fn to_string(json: serde_json::Result<String>) -> Result<String> {
    let json = json.map_err(|error| Error::new(ErrorKind::Corrupt, error.to_string()))?;
    Ok(escape::json(json) + "\n")
}

/// Removes what is empty at the path.
fn prune(value: &mut Json, path: &[&str]) {
    match (path, value) {
        (["*", rest @ ..], Json::Array(items)) => items.iter_mut().for_each(|item| prune(item, rest)),
        ([field], Json::Object(fields)) if fields.get(*field).is_some_and(is_empty) => {
            fields.shift_remove(*field);
        }
        ([field, rest @ ..], Json::Object(fields)) if !rest.is_empty() => {
            if let Some(inner) = fields.get_mut(*field) {
                prune(inner, rest);
            }
        }
        _ => {}
    }
}

/// What Go's `omitempty` leaves out.
fn is_empty(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::Bool(bool) => !bool,
        Json::Number(number) => number.as_i64() == Some(0),
        Json::String(text) => text.is_empty(),
        Json::Array(items) => items.is_empty(),
        Json::Object(fields) => fields.is_empty(),
    }
}

/// A list that Go prints as `null` when nobody filled it.
fn nil_if_empty<T: Serialize>(items: &[T]) -> Json {
    if items.is_empty() { Json::Null } else { serde_json::json!(items) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object() -> Object {
        let full = json!({
            "Id": "c2c5",
            "State": {"Running": false, "Health": null},
            "Mounts": [{"Name": "", "Source": "/s"}, {"Name": "v", "Source": ""}],
            "Labels": {},
            "Note": "\u{1b}[2J\u{202e}",
        });
        Object::new(full, &["/State/Health", "/Mounts/*/Name", "/None/Such"])
    }

    #[test]
    fn indented_like_docker() {
        let format = Format::parse(None).unwrap();
        insta::assert_snapshot!(format.render(&[object()], true).unwrap().0, @r#"
        [
            {
                "Id": "c2c5",
                "State": {
                    "Running": false
                },
                "Mounts": [
                    {
                        "Source": "/s"
                    },
                    {
                        "Name": "v",
                        "Source": ""
                    }
                ],
                "Labels": {},
                "Note": "\u001b[2J\u202e"
            }
        ]
        "#);
        assert_eq!(format.render(&[], false).unwrap().0, "[]\n");
    }

    #[test]
    fn one_line_and_templates() {
        let all = |source| Format::parse(Some(source)).and_then(|format| format.render(&[object(), object()], true));
        let render = |source| all(source).map(|(text, _)| text);
        assert!(render("json").unwrap().starts_with(r#"[{"Id":"c2c5","State":{"Running":false},"#));
        assert_eq!(render("json").unwrap().lines().count(), 1);
        assert_eq!(render("{{.Id}} {{.State.Health}}").unwrap(), "c2c5 <nil>\nc2c5 <nil>\n");
        assert_eq!(render("{{range .Mounts}}{{.Name}},{{end}}").unwrap(), ",v,\n,v,\n");
        assert_eq!(render("{{.Note}}").unwrap(), "\\x1b[2J\\u202e\n\\x1b[2J\\u202e\n");
        let (text, errors) = all("{{.Nope}}").unwrap();
        let message = r#"template: :1:2: executing "" at <.Nope>: map has no entry for key "Nope""#;
        assert_eq!((text.as_str(), errors.len(), errors[0].to_string().as_str()), ("\n", 2, message));
        assert_eq!(Format::parse(Some("{{.Id}}")).unwrap().render(&[], false).unwrap().0, "\n");
        let one = |source| Format::parse(Some(source)).unwrap().render_one(&object(), false).unwrap();
        assert_eq!(one("{{.Id}}"), "c2c5\n");
        assert!(one("json").starts_with(r#"{"Id":"c2c5","#));
    }
}
