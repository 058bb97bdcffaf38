//! The functions that docker adds to Go's templates, and those that stand in for Go's types.

use std::collections::BTreeMap;
use std::sync::Arc;

use gotmpl::{FuncMap, TemplateError, Value};

use super::data::Shapes;
use super::rewrite::{GET, SHOW};
use crate::ui::escape;

/// A template function that may ask for the kinds of the values.
pub type Function = fn(&Shapes, &[Value]) -> Result<Value, String>;

/// More spaces than any terminal has columns.
const MAX_PAD: i64 = 4096;

/// Every function that a template may name: Go's own and docker's.
pub const NAMES: [&str; 27] = [
    "and", "call", "eq", "ge", "gt", "html", "index", "js", "le", "len", "lt", "ne", "not", "or", "print", "printf",
    "println", "slice", "urlquery", "join", "json", "lower", "pad", "split", "title", "truncate", "upper",
];

/// docker's functions for rows and objects.
pub fn basic() -> BTreeMap<String, Function> {
    let functions: [(&str, Function); 11] = [
        (GET, get),
        (SHOW, show),
        ("index", index),
        ("join", join),
        ("json", |shapes, args| Ok(string(to_json(shapes, arg(args, 0)?)))),
        ("lower", |_, args| Ok(string(text(args, 0)?.to_lowercase()))),
        ("pad", pad),
        ("split", split),
        ("title", |_, args| Ok(string(title(text(args, 0)?)))),
        ("truncate", truncate),
        ("upper", |_, args| Ok(string(text(args, 0)?.to_uppercase()))),
    ];
    functions.into_iter().map(|(name, function)| (name.to_owned(), function)).collect()
}

/// The same names for the line of headers: a header stays as it is, only `pad` keeps the columns aligned.
pub fn headers() -> BTreeMap<String, Function> {
    let mut functions = basic();
    for name in ["join", "json", "lower", "split", "title", "truncate", "upper"] {
        functions.insert(name.to_owned(), |_, args| Ok(arg(args, 0)?.clone()));
    }
    functions
}

/// The functions in the engine's form; their errors name the function, as Go's do.
pub fn registry(functions: BTreeMap<String, Function>, shapes: Shapes) -> FuncMap {
    let mut map = FuncMap::new();
    for (name, function) in functions {
        let shapes = shapes.clone();
        let called = name.clone();
        map.insert(
            name,
            Arc::new(move |args: &[Value]| {
                function(&shapes, args).map_err(|message| {
                    let located = message.starts_with("template: ");
                    TemplateError::Exec(if located { message } else { format!("error calling {called}: {message}") })
                })
            }),
        );
    }
    map
}

/// Compact JSON, as docker's `json` prints it.
pub fn to_json(shapes: &Shapes, value: &Value) -> String {
    if let Some(json) = shapes.json(value) {
        return json.to_owned();
    }
    match value {
        Value::Nil | Value::Function(_) => "null".to_owned(),
        Value::String(text) => escape::json(serde_json::Value::from(&**text).to_string()),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(|item| to_json(shapes, item)).collect();
            format!("[{}]", items.join(","))
        }
        Value::Map(fields) => {
            let fields = fields.iter().filter(|(_, value)| !matches!(value, Value::Function(_)));
            let fields: Vec<String> = fields
                .map(|(key, value)| {
                    let key = escape::json(serde_json::Value::from(&**key).to_string());
                    format!("{key}:{}", to_json(shapes, value))
                })
                .collect();
            format!("{{{}}}", fields.join(","))
        }
        plain => plain.to_string(),
    }
}

/// `GET location text receiver field…`: what `.State.Pid` was before [`super::rewrite`].
fn get(shapes: &Shapes, args: &[Value]) -> Result<Value, String> {
    find(shapes, args).map(|(value, _)| value)
}

/// The same where it is printed: a pointer to nothing says so, where a key that is missing has no value.
fn show(shapes: &Shapes, args: &[Value]) -> Result<Value, String> {
    Ok(match find(shapes, args)? {
        (Value::Nil, true) => string("<nil>"),
        (value, _) => value,
    })
}

/// What is in a field, and whether there is such a one.
fn find(shapes: &Shapes, args: &[Value]) -> Result<(Value, bool), String> {
    let [Value::String(location), Value::String(shown), receiver, path @ ..] = args else {
        return Err("a field needs its place".to_owned());
    };
    let fail = |what: String| format!("template: :{location}: executing \"\" at <{shown}>: {what}");
    let (mut value, mut there) = (receiver.clone(), true);
    let mut previous: Option<&str> = None;
    for field in path {
        let Value::String(field) = field else { return Err("a field needs a name".to_owned()) };
        value = match &value {
            Value::Map(map) => match map.get(field) {
                Some(value) => value.clone(),
                None if shapes.is_map(map) => {
                    there = false;
                    Value::Nil
                }
                None => match by_go_name(field).and_then(|key| map.get(key)) {
                    Some(value) => value.clone(),
                    None => return Err(fail(format!("map has no entry for key \"{field}\""))),
                },
            },
            // A null field: docker's second try, on the JSON, finds that there is no such key.
            Value::Nil => return Err(fail(format!("map has no entry for key \"{}\"", previous.unwrap_or(field)))),
            other => return Err(fail(format!("can't evaluate field {field} in type {}", other.type_name()))),
        };
        previous = Some(field);
    }
    Ok((value, there))
}

/// docker's templates also take a field by its name in Go, which for some is not that in the JSON.
fn by_go_name(name: &str) -> Option<&'static str> {
    Some(match name {
        "ID" => "Id",
        "DNS" => "Dns",
        "DNSOptions" => "DnsOptions",
        "DNSSearch" => "DnsSearch",
        "NanoCPUs" => "NanoCpus",
        "CPUShares" => "CpuShares",
        "CPUPeriod" => "CpuPeriod",
        "CPUQuota" => "CpuQuota",
        "CPURealtimePeriod" => "CpuRealtimePeriod",
        "CPURealtimeRuntime" => "CpuRealtimeRuntime",
        "CPUCount" => "CpuCount",
        "CPUPercent" => "CpuPercent",
        _ => return None,
    })
}

/// A key that a map does not have gives the empty string, as with Go's `map[string]string`.
fn index(_: &Shapes, args: &[Value]) -> Result<Value, String> {
    let mut value = arg(args, 0)?.clone();
    for key in &args[1..] {
        value = match (&value, key) {
            (Value::Map(map), Value::String(key)) => map.get(key).cloned().unwrap_or_else(|| string("")),
            _ => value.index(key).map_err(|error| match error {
                TemplateError::Exec(message) => message,
                other => other.to_string(),
            })?,
        };
    }
    Ok(value)
}

fn join(_: &Shapes, args: &[Value]) -> Result<Value, String> {
    let separator = text(args, 1)?;
    let items: Vec<String> = match arg(args, 0)? {
        Value::Nil => Vec::new(),
        Value::List(items) => items.iter().map(Value::to_string).collect(),
        Value::Map(map) => {
            let mut values: Vec<String> = map.values().map(Value::to_string).collect();
            values.sort();
            values
        }
        other => return Err(format!("expected slice, got {}", other.type_name())),
    };
    Ok(string(items.join(separator)))
}

/// Spaces before and after a text, unless it is empty.
fn pad(_: &Shapes, args: &[Value]) -> Result<Value, String> {
    let source = text(args, 0)?;
    let spaces = |i| match arg(args, i)? {
        Value::Int(n @ 0..=MAX_PAD) => Ok(" ".repeat(usize::try_from(*n).unwrap_or(0))),
        other => Err(format!("{other} is not a number of spaces")),
    };
    let (before, after) = (spaces(1)?, spaces(2)?);
    Ok(if source.is_empty() { string("") } else { string(format!("{before}{source}{after}")) })
}

fn split(_: &Shapes, args: &[Value]) -> Result<Value, String> {
    let (source, separator) = (text(args, 0)?, text(args, 1)?);
    let parts: Vec<Value> = if separator.is_empty() {
        source.chars().map(|c| string(c.to_string())).collect()
    } else {
        source.split(separator).map(string).collect()
    };
    Ok(Value::List(parts.into()))
}

fn title(source: &str) -> String {
    let mut start = true;
    source
        .chars()
        .map(|c| {
            let shown = if start { c.to_ascii_uppercase() } else { c };
            start = !(c.is_alphanumeric() || matches!(c, '_' | '\''));
            shown
        })
        .collect()
}

/// At most so many bytes of a text, whole characters only.
fn truncate(_: &Shapes, args: &[Value]) -> Result<Value, String> {
    let source = text(args, 0)?;
    let length = match arg(args, 1)? {
        Value::Int(n) if *n >= 0 => usize::try_from(*n).unwrap_or(usize::MAX),
        other => return Err(format!("{other} is not a length")),
    };
    let end = source.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|&end| end <= length).last();
    Ok(string(&source[..end.unwrap_or(0)]))
}

fn arg(args: &[Value], i: usize) -> Result<&Value, String> {
    args.get(i).ok_or_else(|| format!("wrong number of args: got {}", args.len()))
}

fn text(args: &[Value], i: usize) -> Result<&str, String> {
    match arg(args, i)? {
        Value::String(text) => Ok(text),
        other => Err(format!("expected string; found {}", other.type_name())),
    }
}

fn string(text: impl Into<Arc<str>>) -> Value {
    Value::String(text.into())
}
