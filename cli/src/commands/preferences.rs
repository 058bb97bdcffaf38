//! What docker's `config.json` says of how lists are shown and what a prune spares. A file that is not there or cannot be read
//! says nothing: those commands that need its credentials complain about it.

use serde_json::{Map, Value};

use super::access::docker_folder;
use crate::args::Global;

/// The fields of the file.
pub struct Preferences(Map<String, Value>);

impl Preferences {
    /// Reads the file.
    pub fn read(global: &Global) -> Self {
        let bytes =
            docker_folder(global.config.as_deref()).and_then(|folder| std::fs::read(folder.join("config.json")).ok());
        Self(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
    }

    /// The format of a list, where none is given and it is no list of ids: `psFormat`, `imagesFormat`.
    pub fn format(global: &Global, field: &str, given: Option<&str>, quiet: bool) -> Option<String> {
        if given.is_some() || quiet {
            return given.map(str::to_owned);
        }
        let format = Self::read(global).0.get(field)?.as_str()?.to_owned();
        Some(format).filter(|format| !format.is_empty())
    }

    /// The filters of a prune with those of `pruneFilters` that are not their opposites.
    pub fn with_prune_filters(&self, given: &[String], names: &[&str]) -> Vec<String> {
        let own = self.0.get("pruneFilters").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let wanted = own.filter(|filter| {
            let Some((name, value)) = filter.split_once('=') else { return false };
            let opposite = match name {
                "label" => format!("label!={value}"),
                "label!" => format!("label={value}"),
                _ => String::new(),
            };
            names.contains(&name) && !given.contains(&opposite)
        });
        given.iter().cloned().chain(wanted.map(str::to_owned)).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_prune_has_the_files_filters_but_for_opposites() {
        let file = json!({"pruneFilters": ["label!=keep", "label=old", "until=1h", "nonsense", 7]});
        let Value::Object(file) = file else { panic!() };
        let file = Preferences(file);
        for (given, names, wanted) in [
            (&[][..], &["label", "label!", "until"][..], &["label!=keep", "label=old", "until=1h"][..]),
            (&["label=keep"], &["label", "label!", "until"], &["label=keep", "label=old", "until=1h"]),
            (&["label!=old"], &["label", "label!"], &["label!=old", "label!=keep"]),
            (&["type=regular"], &["until", "type"], &["type=regular", "until=1h"]),
        ] {
            let given: Vec<String> = given.iter().map(|&text| text.to_owned()).collect();
            assert_eq!(file.with_prune_filters(&given, names), wanted);
        }
    }
}
