//! The filters of `ps`.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use lrun_runtime::error::{Error, ErrorKind, Result};
use regex_lite::Regex;

use super::{Filters, invalid};
use crate::ui::rows::ps::{Entry, State};

/// The names that `ps --filter` knows.
pub const NAMES: [&str; 14] = [
    "ancestor", "before", "exited", "expose", "health", "id", "is-task", "label", "name", "network", "publish",
    "since", "status", "volume",
];

/// What `ps` was asked for.
pub struct Query<'a> {
    /// The filters.
    pub filters: &'a Filters,
    /// Also containers that do not run (`-a`).
    pub all: bool,
    /// At most so many, newest first, whatever they do (`-n`, `-l`).
    pub last: Option<usize>,
}

impl Query<'_> {
    /// The containers to list, newest first. `image_id` finds the full id of the image that a filter `ancestor` names;
    /// an unknown image matches nothing.
    ///
    /// # Errors
    ///
    /// `Invalid`: a value that its filter does not take. `NotFound`: `before` or `since` names no container.
    pub fn select(&self, mut entries: Vec<Entry>, image_id: impl Fn(&str) -> Option<String>) -> Result<Vec<Entry>> {
        entries.sort_by(|a, b| (b.created, &b.id).cmp(&(a.created, &a.id)));
        let matcher = Matcher::new(self.filters, image_id)?;
        let newest = match self.filters.has("before") {
            true => self.positions("before", &entries)?.into_iter().max().map_or(0, |at| at + 1),
            false => 0,
        };
        let oldest = match self.filters.has("since") {
            true => self.positions("since", &entries)?.into_iter().min().unwrap_or(0),
            false => entries.len(),
        };
        let all = self.all || self.last.is_some() || self.filters.has("status");
        let window = entries.into_iter().take(oldest).skip(newest);
        let chosen = window.filter(|entry| (all || entry.state.is_running()) && matcher.matches(entry));
        Ok(chosen.take(self.last.unwrap_or(usize::MAX)).collect())
    }

    /// Where the containers stand that a filter names by name, id or unique beginning of the id.
    fn positions(&self, filter: &str, entries: &[Entry]) -> Result<Vec<usize>> {
        let find = |wanted: &str| {
            let name = wanted.strip_prefix('/').unwrap_or(wanted);
            let exact = entries.iter().position(|entry| entry.name == name || entry.id == wanted);
            let mut by_prefix = (0..entries.len()).filter(|&i| !wanted.is_empty() && entries[i].id.starts_with(wanted));
            match (exact, by_prefix.next(), by_prefix.next()) {
                (Some(at), ..) | (None, Some(at), None) => Ok(at),
                (None, Some(_), Some(_)) => Err(invalid(filter, wanted, "several containers' ids begin so")),
                (None, None, _) => Err(Error::new(ErrorKind::NotFound, format!("No such container: {wanted}"))),
            }
        };
        self.filters.values(filter).map(find).collect()
    }
}

/// A port with a protocol, as the filters `publish` and `expose` name it.
type Ports = Vec<(RangeInclusive<u16>, String)>;

struct Matcher<'a> {
    filters: &'a Filters,
    names: Vec<Regex>,
    exited: Vec<i32>,
    ancestors: BTreeSet<String>,
    publish: Ports,
    expose: Ports,
    /// lrun has no swarm, so no container is a task of one.
    task: Option<bool>,
}

impl<'a> Matcher<'a> {
    fn new(filters: &'a Filters, image_id: impl Fn(&str) -> Option<String>) -> Result<Self> {
        check_words(filters, "status", &State::NAMES)?;
        check_words(filters, "health", &HEALTH)?;
        let name = |pattern: &str| Regex::new(pattern).map_err(|error| invalid("name", pattern, &error.to_string()));
        let code = |code: &str| code.parse().map_err(|_| invalid("exited", code, "must be an exit code"));
        Ok(Self {
            filters,
            names: filters.values("name").map(name).collect::<Result<_>>()?,
            exited: filters.values("exited").map(code).collect::<Result<_>>()?,
            ancestors: filters.values("ancestor").filter_map(image_id).collect(),
            publish: filters.values("publish").map(|value| ports("publish", value)).collect::<Result<_>>()?,
            expose: filters.values("expose").map(|value| ports("expose", value)).collect::<Result<_>>()?,
            task: filters.truth("is-task")?,
        })
    }

    fn matches(&self, entry: &Entry) -> bool {
        let filters = self.filters;
        filters.any("id", |prefix| entry.id.starts_with(prefix))
            && self.name(&entry.name)
            && filters.labels(&entry.labels)
            && (!filters.has("exited") || matches!(entry.state, State::Exited { code, .. } if self.exited.contains(&code)))
            && filters.any("status", |status| entry.state.name() == status)
            // Nor does it check health yet.
            && filters.any("health", |health| health == "none")
            && (!filters.has("ancestor") || entry.lineage.iter().any(|id| self.ancestors.contains(id)))
            && filters.any("volume", |volume| {
                let named = |mount: &crate::ui::rows::ps::Mount| match mount.name.is_empty() {
                    true => mount.source == volume,
                    false => mount.name == volume,
                };
                entry.mounts.iter().any(|mount| mount.destination == volume || named(mount))
            })
            && filters.any("network", |network| entry.networks.iter().any(|own| own == network_name(network)))
            && self.task != Some(true)
            && self.ports(entry)
    }

    /// A pattern may be written for the name with or without docker's leading slash.
    fn name(&self, name: &str) -> bool {
        let with_slash = format!("/{name}");
        let equal = |value: &str| value == name || value == with_slash;
        !self.filters.has("name")
            || self.filters.values("name").any(equal)
            || self.names.iter().any(|regex| regex.is_match(name) || regex.is_match(&with_slash))
    }

    fn ports(&self, entry: &Entry) -> bool {
        let has = |wanted: &Ports, port: u16, protocol: &str| {
            wanted.iter().any(|(range, own)| range.contains(&port) && own == protocol)
        };
        (self.publish.is_empty() && self.expose.is_empty())
            || entry.ports.iter().any(|port| {
                has(&self.publish, port.public, &port.protocol) || has(&self.expose, port.private, &port.protocol)
            })
    }
}

/// docker's words for the state of a health check.
const HEALTH: [&str; 4] = ["none", "starting", "healthy", "unhealthy"];

/// Refuses values that are none of these words.
/// The private network goes by docker's name, lrun's own and the one that means whatever is usual.
fn network_name(wanted: &str) -> &str {
    if matches!(wanted, "pasta" | "default") { "bridge" } else { wanted }
}

fn check_words(filters: &Filters, filter: &str, words: &[&str]) -> Result<()> {
    match filters.values(filter).find(|value| !words.contains(value)) {
        Some(value) => Err(invalid(filter, value, &format!("must be one of {}", words.join(", ")))),
        None => Ok(()),
    }
}

/// `80`, `80/udp`, `8000-9000/tcp`.
fn ports(filter: &str, value: &str) -> Result<(RangeInclusive<u16>, String)> {
    if value.contains(':') {
        return Err(invalid(filter, value, "must not contain ':'"));
    }
    let (range, protocol) = value.split_once('/').unwrap_or((value, "tcp"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(first), Ok(last)) if first <= last => Ok((first..=last, protocol.to_lowercase())),
        _ => Err(invalid(filter, value, "must be a port or a range of ports, as in 80/tcp or 8000-9000")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ui::rows::ports::Port;
    use crate::ui::rows::ps::{Mount, tests::entry};

    fn entries() -> Vec<Entry> {
        let at = |text: &str| text.parse().unwrap();
        let finished = at("2026-01-02T15:00:00Z");
        let mut old = entry("aa11", "old_one", "2026-01-01T00:00:00Z", State::Exited { code: 0, finished });
        old.labels = BTreeMap::from([("role".to_owned(), "db".to_owned()), ("keep".to_owned(), String::new())]);
        old.lineage = vec!["sha256:base".to_owned(), "sha256:derived".to_owned()];
        let mut middle = entry("aa22", "middle", "2026-01-02T00:00:00Z", State::Exited { code: 3, finished });
        middle.labels = BTreeMap::from([("role".to_owned(), "web".to_owned())]);
        middle.mounts = vec![
            Mount { source: "/srv".to_owned(), destination: "/data".to_owned(), ..Mount::default() },
            Mount { name: "vol".to_owned(), source: "/v".to_owned(), ..Mount::default() },
        ];
        let mut new = entry("bb33", "new", "2026-01-03T00:00:00Z", State::Running { started: finished });
        new.ports = vec![Port { private: 80, ip: None, public: 8080, protocol: "tcp".to_owned() }];
        vec![middle, new, old, entry("cc44", "made", "2026-01-04T00:00:00Z", State::Created)]
    }

    fn select(filters: &[&str], all: bool, last: Option<usize>) -> Result<Vec<String>> {
        let filters = Filters::parse(filters, &NAMES)?;
        let image_id = |name: &str| (name == "base").then(|| "sha256:base".to_owned());
        let chosen = Query { filters: &filters, all, last }.select(entries(), image_id)?;
        Ok(chosen.into_iter().map(|entry| entry.name).collect())
    }

    #[test]
    fn each_filter_of_ps() {
        let cases: &[(&[&str], &[&str])] = &[
            (&[], &["made", "new", "middle", "old_one"]),
            (&["id=aa"], &["middle", "old_one"]),
            (&["id=aa1"], &["old_one"]),
            (&["id=a1"], &[]),
            (&["name=new"], &["new"]),
            (&["name=^/new$"], &["new"]),
            (&["name=^m"], &["made", "middle"]),
            (&["name=^/m"], &["made", "middle"]),
            (&["name=d", "name=new"], &["made", "new", "middle", "old_one"]),
            (&["label=role"], &["middle", "old_one"]),
            (&["label=role=db"], &["old_one"]),
            (&["label=role", "label=keep"], &["old_one"]),
            (&["label=role=web", "label=keep"], &[]),
            (&["exited=0"], &["old_one"]),
            (&["exited=3", "exited=0"], &["middle", "old_one"]),
            (&["status=created", "status=running"], &["made", "new"]),
            (&["health=healthy"], &[]),
            (&["health=none"], &["made", "new", "middle", "old_one"]),
            (&["ancestor=base"], &["old_one"]),
            (&["ancestor=unknown"], &[]),
            (&["before=new"], &["middle", "old_one"]),
            (&["since=middle"], &["made", "new"]),
            (&["since=old_one", "before=made"], &["new", "middle"]),
            (&["before=bb33"], &["middle", "old_one"]),
            (&["volume=/data"], &["middle"]),
            (&["volume=/srv"], &["middle"]),
            (&["volume=vol"], &["middle"]),
            (&["volume=/v"], &[]),
            (&["network=pasta"], &["made", "new", "middle", "old_one"]),
            (&["network=bridge"], &["made", "new", "middle", "old_one"]),
            (&["network=host"], &[]),
            (&["publish=8080"], &["new"]),
            (&["publish=8000-9000/tcp"], &["new"]),
            (&["publish=8080/udp"], &[]),
            (&["expose=80"], &["new"]),
            (&["is-task=false", "name=new"], &["new"]),
        ];
        for (filters, names) in cases {
            assert_eq!(select(filters, true, None).unwrap(), *names, "{filters:?}");
        }
    }

    #[test]
    fn which_states_are_listed() {
        assert_eq!(select(&[], false, None).unwrap(), ["new"]);
        assert_eq!(select(&["status=exited"], false, None).unwrap(), ["middle", "old_one"]);
        assert_eq!(select(&[], false, Some(2)).unwrap(), ["made", "new"]);
        assert_eq!(select(&["exited=0"], false, Some(2)).unwrap(), ["old_one"]);
    }

    #[test]
    fn bad_values_are_named() {
        for (filter, message) in [
            (
                "status=gone",
                "invalid filter 'status=gone': must be one of created, running, paused, restarting, removing, exited, dead",
            ),
            ("health=good", "invalid filter 'health=good': must be one of none, starting, healthy, unhealthy"),
            ("exited=x", "invalid filter 'exited=x': must be an exit code"),
            ("before=nobody", "No such container: nobody"),
            ("since=aa", "invalid filter 'since=aa': several containers' ids begin so"),
            ("publish=1:2", "invalid filter 'publish=1:2': must not contain ':'"),
            (
                "expose=9-8",
                "invalid filter 'expose=9-8': must be a port or a range of ports, as in 80/tcp or 8000-9000",
            ),
            ("colour=red", "invalid filter 'colour'"),
        ] {
            assert_eq!(select(&[filter], true, None).unwrap_err().to_string(), message);
        }
        assert!(select(&["name=["], true, None).unwrap_err().to_string().starts_with("invalid filter 'name=[': "));
    }
}
