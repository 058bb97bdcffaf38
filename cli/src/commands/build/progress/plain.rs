//! Line by line. Where stages are built side by side, each line begins with the stage's name.

use std::collections::BTreeMap;

use lrun_runtime::build::{Built, Event};
use lrun_runtime::digest::Digest;
use lrun_runtime::error::Result;

use super::{Lines, Show, about, download, facts};
use crate::ui::{escape, output};

/// As docker's classic builder shows it.
#[derive(Default)]
pub(super) struct Plain {
    /// The stage that is told of, where it matters.
    stage: Option<String>,
    stages: BTreeMap<Option<String>, Stage>,
}

#[derive(Default)]
struct Stage {
    cached: bool,
    lines: Lines,
}

impl Show for Plain {
    fn tell(&mut self, event: Event<'_>) {
        if let Event::Stage(name) = event {
            self.stage = Some(name.to_owned());
            return;
        }
        let prefix = prefix(self.stage.as_deref());
        let stage = self.stages.entry(self.stage.clone()).or_default();
        let mut line = |line: &[u8]| output::line_as_it_is(&prefix, line);
        match event {
            Event::Step { number, total, text } => {
                stage.cached = false;
                output::complain(&format!("{prefix}Step {number}/{total} : {}", escape::line(text)));
            }
            Event::Download { url, bytes, total } => {
                output::complain(&format!("{prefix} ---> {}", download(url, bytes, total)));
            }
            Event::Cached => stage.cached = true,
            Event::Explained { number, total, text, why } => {
                output::complain(&format!("{prefix}{}", about((number, total), text, why)));
            }
            Event::Verified { number, total, text, verdict, .. } => {
                stage.lines.end(&mut line);
                output::complain(&format!("{prefix}{}", about((number, total), text, verdict)));
            }
            Event::Done { image, took, size } => {
                stage.lines.end(&mut line);
                let image = image.map_or("", Digest::short);
                output::complain(&format!("{prefix} ---> {image} ({})", facts(stage.cached, took, size)));
            }
            Event::Warning(text) => output::complain(&format!("WARNING: {}", escape::line(text))),
            Event::Output(bytes) => stage.lines.add(bytes, &mut line),
            Event::Stage(_) | Event::Tick => {}
        }
    }

    fn end(&mut self, _: &Result<Built>) {
        for (name, stage) in &mut self.stages {
            let prefix = prefix(name.as_deref());
            stage.lines.end(&mut |line| output::line_as_it_is(&prefix, line));
        }
    }
}

fn prefix(stage: Option<&str>) -> String {
    stage.map(|name| format!("[{}] ", escape::line(name))).unwrap_or_default()
}
