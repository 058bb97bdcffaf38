//! What a build shows while it goes on.

use std::collections::HashMap;
use std::time::Duration;

use lrun_runtime::build::Event;
use lrun_runtime::digest::Digest;

use crate::ui::{escape, output, units};

/// Bytes of a line that has no end, after which it is shown as if it had one.
const LINE_MAX: usize = 16 << 10;

/// Line by line. Where stages are built side by side, each line begins with the stage's name.
pub(super) struct Plain {
    quiet: bool,
    /// The stage that is told of, where it matters.
    stage: Option<String>,
    stages: HashMap<Option<String>, Stage>,
}

#[derive(Default)]
struct Stage {
    cached: bool,
    /// The beginning of a line that a command is writing.
    begun: Vec<u8>,
}

impl Plain {
    pub(super) fn new(quiet: bool) -> Self {
        Self { quiet, stage: None, stages: HashMap::new() }
    }

    pub(super) fn tell(&mut self, event: Event<'_>) {
        if self.quiet {
            return;
        }
        if let Event::Stage(name) = event {
            self.stage = Some(name.to_owned());
            return;
        }
        let prefix = prefix(self.stage.as_deref());
        let stage = self.stages.entry(self.stage.clone()).or_default();
        match event {
            Event::Step { number, total, text } => {
                stage.cached = false;
                output::complain(&format!("{prefix}Step {number}/{total} : {}", escape::line(text)));
            }
            Event::Cached => stage.cached = true,
            Event::Done { image, took, size } => {
                stage.end_line(&prefix);
                let image = image.map_or("", Digest::short);
                output::complain(&format!("{prefix} ---> {image} ({})", facts(stage.cached, took, size)));
            }
            Event::Warning(text) => output::complain(&format!("WARNING: {}", escape::line(text))),
            Event::Output(bytes) => stage.output(&prefix, bytes),
            Event::Stage(_) => {}
        }
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        for (name, stage) in &mut self.stages {
            stage.end_line(&prefix(name.as_deref()));
        }
    }
}

fn prefix(stage: Option<&str>) -> String {
    stage.map(|name| format!("[{}] ", escape::line(name))).unwrap_or_default()
}

impl Stage {
    fn output(&mut self, prefix: &str, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(part);
            if part.ends_with(b"\n") || self.begun.len() > LINE_MAX {
                self.end_line(prefix);
            }
        }
    }

    fn end_line(&mut self, prefix: &str) {
        if self.begun.is_empty() {
            return;
        }
        let line = std::mem::take(&mut self.begun);
        output::line_as_it_is(prefix, line.strip_suffix(b"\n").unwrap_or(&line));
    }
}

/// What is told of a step that is done.
fn facts(cached: bool, took: Duration, size: Option<u64>) -> String {
    let seconds = format!("{:.2}s", took.as_secs_f64());
    match (cached, size) {
        (true, _) => "Using cache".to_owned(),
        (false, Some(size)) => format!("{seconds}, {}", units::human_size(size)),
        (false, None) => seconds,
    }
}
