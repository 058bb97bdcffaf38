//! Inspected objects as template data.
//!
//! Go's templates see typed values: a struct (unknown fields are errors, fields print in their order and empty ones may
//! be left out), a map (unknown keys have no value), a list that is nil (prints `[]`, in JSON `null`). The engine's
//! values have no types, so what kind each one has is kept beside them, by the address of the shared value.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use gotmpl::Value;
use serde_json::Value as Json;

use crate::ui::escape;

/// Which keys of an object hold maps, and which hold lists when they are null; other objects are structs.
#[derive(Clone, Copy)]
pub struct Kinds {
    /// Keys whose value is a map with keys of the user.
    pub maps: &'static [&'static str],
    /// Keys whose value is a list, so that null is an empty one.
    pub lists: &'static [&'static str],
}

/// What the engine's values do not say about themselves.
#[derive(Clone, Default)]
pub struct Shapes(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// Addresses of maps in which a missing key is no error.
    maps: HashSet<usize>,
    /// The JSON of structs and of nil lists and maps, by address.
    json: HashMap<usize, String>,
}

impl Shapes {
    /// Whether a missing key is no error.
    pub fn is_map(&self, map: &Arc<BTreeMap<Arc<str>, Value>>) -> bool {
        self.0.maps.contains(&map_address(map))
    }

    /// The JSON of a value that does not print as what it holds.
    pub fn json(&self, value: &Value) -> Option<&str> {
        let address = match value {
            Value::Map(map) => map_address(map),
            Value::List(list) => list_address(list),
            _ => return None,
        };
        self.0.json.get(&address).map(String::as_str)
    }
}

fn map_address(map: &Arc<BTreeMap<Arc<str>, Value>>) -> usize {
    Arc::as_ptr(map) as usize
}

fn list_address(list: &Arc<[Value]>) -> usize {
    Arc::as_ptr(list).cast::<Value>() as usize
}

/// One object, ready for templates.
pub struct Data {
    value: Value,
    shapes: Shapes,
}

impl Data {
    /// `full` has every field that a template may name; `shown` is the same object as it prints in JSON, where docker
    /// leaves some empty fields out. With `terminal`, strings are made harmless first.
    pub fn new(full: &Json, shown: &Json, kinds: Kinds, terminal: bool) -> Self {
        let mut builder = Builder { kinds, terminal, inner: Inner::default() };
        let value = builder.value("", full, Some(shown));
        Self { value, shapes: Shapes(Arc::new(builder.inner)) }
    }

    /// What the engine runs on.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The kinds of the values inside.
    pub fn shapes(&self) -> Shapes {
        self.shapes.clone()
    }
}

struct Builder {
    kinds: Kinds,
    terminal: bool,
    inner: Inner,
}

impl Builder {
    fn value(&mut self, key: &str, full: &Json, shown: Option<&Json>) -> Value {
        match full {
            Json::Null if self.kinds.lists.contains(&key) => {
                let list: Arc<[Value]> = Vec::new().into();
                self.inner.json.insert(list_address(&list), "null".to_owned());
                Value::List(list)
            }
            Json::Null if self.kinds.maps.contains(&key) => {
                let map = Arc::default();
                self.inner.maps.insert(map_address(&map));
                self.inner.json.insert(map_address(&map), "null".to_owned());
                Value::Map(map)
            }
            Json::Null => Value::Nil,
            Json::Bool(bool) => Value::Bool(*bool),
            Json::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(int), _) => Value::Int(int),
                (None, Some(uint)) => Value::Uint(uint),
                (None, None) => Value::Float(number.as_f64().unwrap_or_default()),
            },
            Json::String(text) => Value::String(self.text(text)),
            Json::Array(items) => {
                let shown = |i: usize| shown.and_then(|shown| shown.get(i));
                Value::List(items.iter().enumerate().map(|(i, item)| self.value("", item, shown(i))).collect())
            }
            Json::Object(object) => {
                let shown_field = |key: &str| shown.and_then(|shown| shown.get(key));
                let is_map = self.kinds.maps.contains(&key);
                let mut fields = BTreeMap::new();
                for (name, field) in object {
                    // A key of the user names no kind.
                    let kind = if is_map { "" } else { name.as_str() };
                    let field = self.value(kind, field, shown_field(name));
                    fields.insert(self.text(name), field);
                }
                let map = Arc::new(fields);
                if is_map {
                    self.inner.maps.insert(map_address(&map));
                }
                let json = shown.unwrap_or(full).to_string();
                self.inner.json.insert(map_address(&map), escape::json(json));
                Value::Map(map)
            }
        }
    }

    fn text(&self, text: &str) -> Arc<str> {
        if self.terminal { escape::text(text).into() } else { text.into() }
    }
}
