//! One JSON object a line, for programs. Fields that have no value are left out.
//!
//! | `event` | when, and with which fields |
//! | --- | --- |
//! | `step` | a step begins: `number`, `total`, `instruction` |
//! | `cached` | it was made before |
//! | `missed` | it is not in the cache, and `--explain` asks `why` |
//! | `verified` | with `--verify`, it was made again: `same`, `verdict` |
//! | `output` | its command has written a line: `output` |
//! | `done` | it is done: `image`, `seconds`, `size` in bytes |
//! | `download` | an URL comes: `url`, `bytes`, `total` where it is known |
//! | `missed` | with `--explain`, it is not in the cache: `why` |
//! | `warning` | `message` |
//! | `built` | the build has ended with this `image` |
//! | `failed` | a command failed: `instruction`, `code`, `container` |
//! | `error` | the build has ended for another reason: `message`, `hint` |
//!
//! All have `time` (RFC 3339), and the `stage` that they are about, if they are about one.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lrun_runtime::build::{Built, Event};
use lrun_runtime::error::{Error, Result};
use serde_json::{Map, Value, json};

use super::{Lines, Show};
use crate::ui::output;

/// Tells of the error that ended a build.
pub(in crate::commands::build) fn error(error: &Error) {
    Json::default().write("error", json!({"message": error.to_string(), "hint": error.hint_text()}));
}

/// See the file's page.
#[derive(Default)]
pub(super) struct Json {
    stage: Option<String>,
    lines: BTreeMap<Option<String>, Lines>,
}

impl Json {
    fn write(&self, event: &str, fields: Value) {
        let mut object = Map::new();
        object.insert("time".to_owned(), Timestamp::now().to_string().into());
        object.insert("event".to_owned(), event.into());
        object.extend(self.stage.as_ref().map(|stage| ("stage".to_owned(), stage.as_str().into())));
        if let Value::Object(fields) = fields {
            object.extend(fields.into_iter().filter(|(_, value)| !value.is_null()));
        }
        output::complain_lines(&format!("{}\n", Value::Object(object)));
    }

    fn output(&mut self, take: impl FnOnce(&mut Lines, &mut dyn FnMut(&[u8]))) {
        let mut lines = self.lines.remove(&self.stage).unwrap_or_default();
        take(&mut lines, &mut |line| self.write("output", json!({"output": String::from_utf8_lossy(line)})));
        self.lines.insert(self.stage.clone(), lines);
    }
}

impl Show for Json {
    fn tell(&mut self, event: Event<'_>) {
        match event {
            Event::Stage(name) => self.stage = Some(name.to_owned()),
            Event::Step { number, total, text } => {
                self.write("step", json!({"number": number, "total": total, "instruction": text}));
            }
            Event::Download { url, bytes, total } => {
                self.write("download", json!({"url": url, "bytes": bytes, "total": total}));
            }
            Event::Cached => self.write("cached", Value::Null),
            Event::Verified { same, verdict, .. } => {
                self.write("verified", json!({"same": same, "verdict": verdict}));
            }
            Event::Explained { why, .. } => self.write("explained", json!({"why": why})),
            Event::Done { image, took, size } => {
                self.output(|lines, line| lines.end(line));
                let image = image.map(ToString::to_string);
                self.write("done", json!({"image": image, "seconds": took.as_secs_f64(), "size": size}));
            }
            Event::Warning(text) => self.write("warning", json!({"message": text})),
            Event::Output(bytes) => self.output(|lines, line| lines.add(bytes, line)),
            Event::Tick => {}
        }
    }

    fn end(&mut self, built: &Result<Built>) {
        for (stage, mut lines) in std::mem::take(&mut self.lines) {
            self.stage = stage;
            lines.end(&mut |line| self.write("output", json!({"output": String::from_utf8_lossy(line)})));
        }
        self.stage = None;
        match built {
            Ok(Built::Image(finished)) => self.write("built", json!({"image": finished.id.to_string()})),
            Ok(Built::Failed { text, code, container, .. }) => {
                let container = container.to_string();
                self.write("failed", json!({"instruction": text, "code": code, "container": container}));
            }
            Ok(Built::Interrupted(_)) | Err(_) => {}
        }
    }
}
