//! Rows of `ps`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lrun_runtime::error::Result;

use super::ports::{self, Port};
use super::{Column, Format, Model, View, label_list, short_id};
use crate::ui::{escape, units, width};

/// Columns that the COMMAND keeps of a command.
const COMMAND_WIDTH: usize = 20;
/// Columns that MOUNTS keeps of each mount.
const MOUNT_WIDTH: usize = 15;
const TABLE: &str = r"table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";
const RAW: &str = "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\n\
    state: {{- pad .State 1 0}}\nstatus: {{- pad .Status 1 0}}\nnames: {{.Names}}\nlabels: {{- pad .Labels 1 0}}\n\
    ports: {{- pad .Ports 1 0}}\n";

/// What a container is doing, with what its STATUS tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Never started.
    Created,
    /// Its first process runs.
    Running {
        /// Since when.
        started: Timestamp,
    },
    /// Frozen.
    Paused {
        /// Since when it runs.
        started: Timestamp,
    },
    /// Ended.
    Exited {
        /// Its exit code.
        code: i32,
        /// When it exited.
        finished: Timestamp,
    },
}

impl State {
    /// docker's names of the states, in the order of its messages; not all are states that a container here can have.
    pub const NAMES: [&'static str; 7] = ["created", "running", "paused", "restarting", "removing", "exited", "dead"];

    /// One of [`State::NAMES`].
    pub fn name(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running { .. } => "running",
            Self::Paused { .. } => "paused",
            Self::Exited { .. } => "exited",
        }
    }

    /// Whether plain `ps` lists it.
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. } | Self::Paused { .. })
    }

    /// The STATUS column: `Up 5 minutes`, `Exited (0) 8 days ago`.
    pub fn status(&self, now: Timestamp) -> String {
        match self {
            Self::Created => "Created".to_owned(),
            Self::Running { started } => format!("Up {}", units::elapsed(*started, now)),
            Self::Paused { started } => format!("Up {} (Paused)", units::elapsed(*started, now)),
            Self::Exited { code, finished } => format!("Exited ({code}) {}", units::ago(*finished, now)),
        }
    }
}

/// One mount of a container, as `ps` and its filters see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// The volume's name; empty for a bind.
    pub name: String,
    /// The host's path.
    pub source: String,
    /// The path in the container.
    pub destination: String,
    /// The volume's driver; empty for a bind.
    pub driver: String,
}

/// One container.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The image as the user named it; its full id where that name now means another image or none.
    pub image: String,
    /// The image's full id, `sha256:…`.
    pub image_id: String,
    /// The full ids of the image and of all images it was made from, for the filter `ancestor`.
    pub lineage: Vec<String>,
    /// What the image is made for, `os/architecture`; empty where it was not asked for, or the image is not here.
    pub platform: String,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// When it was created.
    pub created: Timestamp,
    /// What it is doing.
    pub state: State,
    /// Its name, without a slash.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Published and exposed ports.
    pub ports: Vec<Port>,
    /// Its mounts.
    pub mounts: Vec<Mount>,
    /// The networks it is on.
    pub networks: Vec<String>,
    /// Bytes in its read-write layer; `None` where they were not counted.
    pub size_rw: Option<u64>,
    /// Bytes in all its layers.
    pub size_root: Option<u64>,
}

/// The format of a listing; `source` is the argument of `--format`. With `quiet` it is ids only, whatever the format.
///
/// # Errors
///
/// `Invalid`, for what is no template.
pub fn format(source: Option<&str>, quiet: bool, size: bool) -> Result<Format> {
    let source = source.unwrap_or("");
    let raw = source == "raw";
    let (mut text, extra) = match source {
        _ if quiet && raw => ("container_id: {{.ID}}".to_owned(), ""),
        _ if quiet => ("{{.ID}}".to_owned(), ""),
        "" | "table" => (TABLE.to_owned(), r"\t{{.Size}}"),
        "raw" => (RAW.to_owned(), "size: {{.Size}}\n"),
        own => (own.to_owned(), ""),
    };
    if size {
        text.push_str(extra);
    }
    Format::parse(&text, TABLE)
}

/// The columns of `ps`.
pub const MODEL: Model<Entry> = Model {
    columns: &[
        Column { name: "ID", header: "CONTAINER ID", value: |c, view| short_id(&c.id, view.trunc) },
        Column { name: "Image", header: "IMAGE", value: image },
        Column { name: "Command", header: "COMMAND", value: command },
        Column {
            name: "CreatedAt",
            header: "CREATED AT",
            value: |c, view| units::created_at(c.created, (view.zone)()),
        },
        Column { name: "RunningFor", header: "CREATED", value: |c, view| units::ago(c.created, view.now) },
        Column { name: "Ports", header: "PORTS", value: |c, _| ports::display(&c.ports) },
        Column { name: "State", header: "STATE", value: |c, _| c.state.name().to_owned() },
        Column { name: "Status", header: "STATUS", value: |c, view| c.state.status(view.now) },
        Column { name: "Size", header: "SIZE", value: size },
        Column { name: "Names", header: "NAMES", value: |c, _| c.name.clone() },
        Column { name: "Labels", header: "LABELS", value: |c, _| label_list(&c.labels) },
        Column { name: "Mounts", header: "MOUNTS", value: mounts },
        Column { name: "LocalVolumes", header: "LOCAL VOLUMES", value: local_volumes },
        Column { name: "Networks", header: "NETWORKS", value: |c, _| c.networks.join(",") },
        Column { name: "HealthStatus", header: "HEALTH STATUS", value: |_, _| String::new() },
    ],
    beside: &[Column { name: "Platform", header: "PLATFORM", value: |c, _| c.platform.clone() }],
    labels: Some(|c| &c.labels),
};

/// The image as it was named; without a digest and without docker.io unless all is wanted.
pub(super) fn image(c: &Entry, view: &View) -> String {
    match c.image.as_str() {
        "" => "<no image>".to_owned(),
        image if !view.trunc => image.to_owned(),
        image if short_id(image, true) == short_id(&c.image_id, true) => short_id(image, true),
        image => {
            let name = image.split_once('@').map_or(image, |(name, _)| name);
            let name = name.strip_prefix("docker.io/").unwrap_or(name);
            name.strip_prefix("library/").unwrap_or(name).to_owned()
        }
    }
}

/// The command line in quotes; an argument with spaces is shown in single quotes, as docker does.
pub(super) fn command(c: &Entry, view: &View) -> String {
    let words = c.argv.iter().enumerate().map(|(i, arg)| match i > 0 && arg.contains(' ') {
        true => format!("'{arg}'"),
        false => arg.clone(),
    });
    let line = words.collect::<Vec<_>>().join(" ");
    escape::quote(&if view.trunc { width::ellipsis(&line, COMMAND_WIDTH) } else { line })
}

fn size(c: &Entry, _: &View) -> String {
    let own = units::human_size(c.size_rw.unwrap_or(0));
    match c.size_root {
        Some(all) if all > 0 => format!("{own} (virtual {})", units::human_size(all)),
        _ => own,
    }
}

fn mounts(c: &Entry, view: &View) -> String {
    let shown = c.mounts.iter().map(|mount| {
        let name = if mount.name.is_empty() { &mount.source } else { &mount.name };
        if view.trunc { width::ellipsis(name, MOUNT_WIDTH) } else { name.clone() }
    });
    shown.collect::<Vec<_>>().join(",")
}

fn local_volumes(c: &Entry, _: &View) -> String {
    c.mounts.iter().filter(|mount| mount.driver == "local").count().to_string()
}

#[cfg(test)]
pub mod tests {
    use super::super::testing::{at, view};
    use super::*;

    pub fn entry(id: &str, name: &str, created: &str, state: State) -> Entry {
        Entry {
            id: id.repeat(64 / id.len() + 1)[..64].to_owned(),
            image: "stage0".to_owned(),
            image_id: format!("sha256:{}", "ab".repeat(32)),
            lineage: vec![format!("sha256:{}", "ab".repeat(32))],
            platform: "linux/amd64".to_owned(),
            argv: vec!["bash".to_owned()],
            created: at(created),
            state,
            name: name.to_owned(),
            labels: BTreeMap::new(),
            ports: vec![],
            mounts: vec![],
            networks: vec!["bridge".to_owned()],
            size_rw: None,
            size_root: None,
        }
    }

    fn exited(finished: &str) -> State {
        State::Exited { code: 0, finished: at(finished) }
    }

    fn render(source: Option<&str>, quiet: bool, size: bool, rows: &[Entry], view: &View) -> String {
        MODEL.render(&format(source, quiet, size).unwrap(), rows, view).unwrap()
    }

    #[test]
    fn the_transcripts_table_to_the_space() {
        let rows = [
            entry("c2c5bcdbd95e", "hopeful_villani", "2026-01-02T15:02:00Z", exited("2026-01-02T15:02:01Z")),
            entry("4c1c0ee8492b", "deleting_files", "2026-01-02T15:00:00Z", exited("2026-01-02T15:00:01Z")),
        ];
        let table = render(None, false, false, &rows, &view());
        let expected = r#"
CONTAINER ID   IMAGE     COMMAND   CREATED         STATUS                     PORTS     NAMES
c2c5bcdbd95e   stage0    "bash"    2 minutes ago   Exited (0) 2 minutes ago             hopeful_villani
4c1c0ee8492b   stage0    "bash"    4 minutes ago   Exited (0) 4 minutes ago             deleting_files
"#;
        assert_eq!(table, &expected[1..]);
        assert_eq!(render(None, true, false, &rows, &view()), "c2c5bcdbd95e\n4c1c0ee8492b\n");
        assert_eq!(
            render(Some("table"), false, false, &[], &view()),
            "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES\n"
        );
    }

    #[test]
    fn sizes_long_commands_and_hostile_names() {
        let mut row = entry("c2c5bcdbd95e", "n", "2026-01-02T13:30:00Z", State::Created);
        row.argv = ["sh", "-c", "while sleep 1; do date; done"].map(str::to_owned).to_vec();
        row.size_rw = Some(12_345);
        row.size_root = Some(182_000_000);
        row.image = "docker.io/library/a\u{1b}]0;x\u{7}:1@sha256:00".to_owned();
        insta::assert_snapshot!(render(None, false, true, &[row.clone()], &view()), @r#"
        CONTAINER ID   IMAGE           COMMAND                  CREATED       STATUS    PORTS     NAMES     SIZE
        c2c5bcdbd95e   a\x1b]0;x\a:1   "sh -c 'while sleep …"   2 hours ago   Created             n         12.3kB (virtual 182MB)
        "#);
        let long = View { trunc: false, ..view() };
        assert_eq!(
            render(Some("{{.ID}} {{.Command}}"), false, false, &[row], &long),
            format!("{} \"sh -c 'while sleep 1; do date; done'\"\n", &"c2c5bcdbd95e".repeat(6)[..64])
        );
    }

    #[test]
    fn every_status() {
        let (started, finished, now) = (at("2026-01-02T14:59:05Z"), at("2025-12-25T15:04:05Z"), view().now);
        for (state, name, status) in [
            (State::Created, "created", "Created"),
            (State::Running { started }, "running", "Up 5 minutes"),
            (State::Paused { started }, "paused", "Up 5 minutes (Paused)"),
            (State::Exited { code: 137, finished }, "exited", "Exited (137) 8 days ago"),
        ] {
            assert_eq!((state.name(), state.status(now).as_str()), (name, status));
            assert!(State::NAMES.contains(&name));
        }
    }

    #[test]
    fn json_has_dockers_fields_as_text() {
        let mut row = entry("4c1c0ee8492b", "web", "2026-01-02T15:00:00Z", exited("2026-01-02T15:00:01Z"));
        row.labels = BTreeMap::from([("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())]);
        row.mounts = vec![
            Mount { source: "/srv/very/long/path".to_owned(), destination: "/data".to_owned(), ..Mount::default() },
            Mount { name: "vol".to_owned(), driver: "local".to_owned(), ..Mount::default() },
        ];
        insta::assert_snapshot!(render(Some("json"), false, false, &[row], &view()), @r#"{"Command":"\"bash\"","CreatedAt":"2026-01-02 15:00:00 +0000 UTC","HealthStatus":"","ID":"4c1c0ee8492b","Image":"stage0","Labels":"a=1,b=2","LocalVolumes":"1","Mounts":"/srv/very/long…,vol","Names":"web","Networks":"bridge","Ports":"","RunningFor":"4 minutes ago","Size":"0B","State":"exited","Status":"Exited (0) 4 minutes ago"}"#);
    }

    #[test]
    fn the_image_is_shown_as_it_was_named() {
        let mut row = entry("1a", "n", "2026-01-02T15:00:00Z", State::Created);
        for (image, shown) in [
            ("", "<no image>"),
            ("stage0:v1", "stage0:v1"),
            ("docker.io/library/debian:12", "debian:12"),
            ("docker.io/me/x", "me/x"),
            ("ghcr.io/a/b:1@sha256:00ff", "ghcr.io/a/b:1"),
            ("abababababab", "abababababab"),
            ("abababababababababab", "abababababab"),
        ] {
            row.image = image.to_owned();
            assert_eq!(super::image(&row, &view()), shown);
        }
        row.image.clone_from(&row.image_id);
        assert_eq!(super::image(&row, &view()), "abababababab");
    }

    #[test]
    fn the_raw_format() {
        let row = entry("4c1c0ee8492b", "web", "2026-01-02T15:00:00Z", State::Created);
        insta::assert_snapshot!(render(Some("raw"), false, true, &[row], &view()), @r#"
        container_id: 4c1c0ee8492b
        image: stage0
        command: "bash"
        created_at: 2026-01-02 15:00:00 +0000 UTC
        state: created
        status: Created
        names: web
        labels:
        ports:
        size: 0B
        "#);
    }
}
