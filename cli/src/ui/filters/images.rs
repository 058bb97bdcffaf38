//! The filters of `images`.

use std::collections::BTreeSet;

use jiff::Timestamp;
use lrun_runtime::error::{Error, ErrorKind, Result};

use super::Filters;
use super::glob::Glob;
use crate::ui::rows::images::Entry;

/// The names that `images --filter` knows.
pub const NAMES: [&str; 7] = ["before", "dangling", "label", "label!", "reference", "since", "until"];

/// What `images` was asked for. Its argument is one more filter `reference`.
pub struct Query<'a> {
    /// The filters.
    pub filters: &'a Filters,
    /// Also images without a name that other images were made from (`-a`).
    pub all: bool,
}

impl Query<'_> {
    /// The images to list, newest first, each with the names to list it under. `find` gives the full id of the image
    /// that `before` or `since` names, `time` reads the value of `until`.
    ///
    /// # Errors
    ///
    /// `Invalid`: a value that its filter does not take. `NotFound`: no such image.
    pub fn select(
        &self,
        mut images: Vec<Entry>,
        find: impl Fn(&str) -> Option<String>,
        time: impl Fn(&str) -> Result<Timestamp>,
    ) -> Result<Vec<Entry>> {
        let dangling = self.filters.truth("dangling")?;
        let patterns: Vec<Pattern> = self.filters.values("reference").map(Pattern::parse).collect::<Result<_>>()?;
        let until: Vec<Timestamp> = self.filters.values("until").map(time).collect::<Result<_>>()?;
        let before = self.times("before", &images, &find)?.into_iter().min();
        let since = self.times("since", &images, &find)?.into_iter().max();
        let parents: BTreeSet<String> = images.iter().map(|image| image.parent.clone()).collect();
        images.retain_mut(|image| {
            let named = !image.tags.is_empty() || !image.digests.is_empty();
            if !patterns.is_empty() {
                image.tags.retain(|name| patterns.iter().any(|pattern| pattern.matches(name)));
                image.digests.retain(|name| patterns.iter().any(|pattern| pattern.matches(name)));
                if image.tags.is_empty() && image.digests.is_empty() {
                    return false;
                }
            }
            let shown = match (dangling, named) {
                (Some(true), _) => image.tags.is_empty() && !parents.contains(&image.id),
                (_, true) => true,
                (Some(false), false) => false,
                (None, false) => self.all || !parents.contains(&image.id),
            };
            shown
                && before.is_none_or(|limit| image.created.is_some_and(|created| created < limit))
                && since.is_none_or(|limit| image.created.is_some_and(|created| created > limit))
                && until.iter().all(|limit| image.created.is_some_and(|created| created < *limit))
                && self.filters.labels(&image.labels)
                && !(self.filters.has("label!") && self.filters.have_labels("label!", &image.labels))
        });
        images.sort_by(|a, b| (b.created, &b.id).cmp(&(a.created, &a.id)));
        Ok(images)
    }

    fn times(&self, filter: &str, images: &[Entry], find: impl Fn(&str) -> Option<String>) -> Result<Vec<Timestamp>> {
        let mut times = Vec::new();
        for name in self.filters.values(filter) {
            let id = find(name);
            let image = images.iter().find(|image| Some(&image.id) == id.as_ref());
            let missing = || Error::new(ErrorKind::NotFound, format!("No such image: {name}"));
            times.extend(image.ok_or_else(missing)?.created);
        }
        Ok(times)
    }
}

/// The value of a filter `reference`.
struct Pattern {
    glob: Glob,
    /// It names the registry whose name docker leaves out.
    full: bool,
}

impl Pattern {
    fn parse(text: &str) -> Result<Self> {
        Ok(Self { glob: Glob::parse(text)?, full: text.starts_with("docker.io/") })
    }

    /// Whether an image is meant by its name, with or without the tag.
    fn matches(&self, name: &str) -> bool {
        let [short, bare, full, full_bare] = names(name);
        let forms = if self.full { [full, full_bare] } else { [short, bare] };
        forms.iter().any(|form| self.glob.matches(form))
    }
}

/// The short and the full form of a name, each with and without its tag.
fn names(name: &str) -> [String; 4] {
    let bare = match (name.split_once('@'), name.rsplit_once(':')) {
        (Some((repository, _)), _) => repository,
        (None, Some((repository, tag))) if !tag.contains('/') => repository,
        _ => name,
    };
    let registry = match bare.split_once('/') {
        None => "docker.io/library/",
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => "",
        Some(_) => "docker.io/",
    };
    [name.to_owned(), bare.to_owned(), format!("{registry}{name}"), format!("{registry}{bare}")]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ui::rows::images::tests::entry;

    fn images() -> Vec<Entry> {
        let mut base = entry("aa", &["debian:12", "debian:latest"], "2026-01-01T00:00:00Z");
        base.labels = BTreeMap::from([("os".to_owned(), "linux".to_owned())]);
        let mut step = entry("bb", &[], "2026-01-02T00:00:00Z");
        step.parent.clone_from(&base.id);
        let mut mine = entry("cc", &["localhost:5000/me/app:v1"], "2026-01-03T00:00:00Z");
        mine.parent.clone_from(&step.id);
        let mut pulled = entry("dd", &[], "2026-01-04T00:00:00Z");
        pulled.digests = vec!["me/tool@sha256:00".to_owned()];
        vec![mine, entry("ee", &[], "2026-01-05T00:00:00Z"), base, step, pulled]
    }

    fn select(filters: &[&str], all: bool) -> Result<Vec<String>> {
        let filters = Filters::parse(filters, &NAMES)?;
        let find = |name: &str| (name == "mine").then(|| entry("cc", &[], "2026-01-03T00:00:00Z").id);
        let time = |text: &str| Ok(text.parse().expect("a time"));
        let chosen = Query { filters: &filters, all }.select(images(), find, time)?;
        Ok(chosen.iter().map(|image| format!("{}{}", &image.id[7..9], image.tags.len())).collect())
    }

    #[test]
    fn each_filter_of_images() {
        let cases: &[(&[&str], bool, &[&str])] = &[
            (&[], false, &["ee0", "dd0", "cc1", "aa2"]),
            (&[], true, &["ee0", "dd0", "cc1", "bb0", "aa2"]),
            (&["dangling=true"], false, &["ee0", "dd0"]),
            (&["dangling=false"], true, &["dd0", "cc1", "aa2"]),
            (&["label=os"], false, &["aa2"]),
            (&["label=os=windows"], false, &[]),
            (&["before=mine"], true, &["bb0", "aa2"]),
            (&["since=mine"], false, &["ee0", "dd0"]),
            (&["reference=debian"], false, &["aa2"]),
            (&["reference=debian:12"], false, &["aa1"]),
            (&["reference=deb*:l*"], false, &["aa1"]),
            (&["reference=docker.io/library/debian"], false, &["aa2"]),
            (&["reference=*/me/*"], false, &["cc1"]),
            (&["reference=me/*"], false, &["dd0"]),
            (&["reference=docker.io/*/tool"], false, &["dd0"]),
            (&["label!=os"], false, &["ee0", "dd0", "cc1"]),
            (&["until=2026-01-03T12:00:00Z"], false, &["cc1", "aa2"]),
            (&["reference=*/tool", "reference=debian:12"], false, &["dd0", "aa1"]),
            (&["reference=app"], false, &[]),
        ];
        for (filters, all, ids) in cases {
            assert_eq!(select(filters, *all).unwrap(), *ids, "{filters:?} {all}");
        }
    }

    #[test]
    fn bad_values_are_named() {
        for (filter, message) in [
            ("dangling=perhaps", "invalid filter 'dangling=perhaps': must be true or false"),
            ("since=nobody", "No such image: nobody"),
            ("reference=[", "syntax error in pattern '['"),
            ("status=running", "invalid filter 'status'"),
        ] {
            assert_eq!(select(&[filter], false).unwrap_err().to_string(), message);
        }
    }
}
