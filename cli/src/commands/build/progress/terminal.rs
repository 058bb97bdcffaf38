//! On a terminal: a line for each step that is done, which stays, and below them a block that is rewritten: the steps that
//! are being made, with their time and the last lines of what they write.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::time::{Duration, Instant};

use lrun_runtime::build::{Built, Event};
use lrun_runtime::error::Result;

use super::{Lines, Show, about, download, facts, seconds};
use crate::ui::{escape, width};

/// Lines of a command that are shown while it runs.
const SHOWN: usize = 6;
/// Lines of a command that are shown when it has failed.
const KEPT: usize = 40;
/// Time between two drawings.
const UPDATE: Duration = Duration::from_millis(50);
/// To the beginning of the line, and erase to the end of the screen.
const ERASE: &str = "\r\x1b[J";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const PLAIN: &str = "\x1b[0m";

/// Columns and rows.
pub(super) type Size = (usize, usize);

/// The size of the terminal that is standard error, now.
pub(super) fn size() -> Size {
    let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
    let (columns, rows) = size.map_or((80, 24), |size| (size.ws_col, size.ws_row));
    (usize::from(columns.max(20)), usize::from(rows.max(5)))
}

/// See the file's page.
pub(super) struct Terminal<W: Write> {
    out: W,
    size: fn() -> Size,
    begun: Instant,
    drawn: Option<Instant>,
    /// Lines of the block that is on the terminal.
    rows: usize,
    total: usize,
    done: usize,
    /// The stage that is told of.
    stage: String,
    /// The steps that are being made, by their stage.
    steps: BTreeMap<String, Step>,
}

struct Step {
    number: usize,
    text: String,
    begun: Instant,
    cached: bool,
    lines: Lines,
    last: VecDeque<String>,
}

impl Step {
    fn keep(&mut self, take: impl FnOnce(&mut Lines, &mut dyn FnMut(&[u8]))) {
        let last = &mut self.last;
        take(&mut self.lines, &mut |line| {
            if last.len() == KEPT {
                last.pop_front();
            }
            last.push_back(readable(line));
        });
    }
}

/// A line as a terminal would show it in the end: what a carriage return goes back to is overwritten, and escape sequences
/// are left out.
fn readable(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = line.rsplit(|byte| *byte == b'\r').next().unwrap_or_default();
    let text = String::from_utf8_lossy(line);
    let mut kept = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\x1b' {
            kept.push(if c == '\t' { ' ' } else { c });
        } else if rest.clone().next() == Some('[') {
            rest.by_ref().skip(1).find(|c| ('\x40'..='\x7e').contains(c));
        }
    }
    escape::line(&kept).into_owned()
}

impl<W: Write> Terminal<W> {
    pub(super) fn new(out: W, size: fn() -> Size) -> Self {
        let (begun, stage, steps) = (Instant::now(), String::new(), BTreeMap::new());
        Self { out, size, begun, drawn: None, rows: 0, total: 0, done: 0, stage, steps }
    }

    /// Takes the block away, and writes lines that stay.
    fn stay(&mut self, lines: &[String]) {
        let mut text = self.erased();
        lines.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        let _ = self.out.write_all(text.as_bytes());
    }

    fn erased(&mut self) -> String {
        match std::mem::take(&mut self.rows) {
            0 => String::new(),
            rows => format!("\x1b[{rows}A{ERASE}"),
        }
    }

    fn draw(&mut self) {
        let now = Instant::now();
        if self.drawn.is_some_and(|drawn| now - drawn < UPDATE) {
            return;
        }
        self.drawn = Some(now);
        let (columns, rows) = (self.size)();
        let title = format!("[+] Building {} ({}/{})", seconds(now - self.begun, 1), self.done, self.total);
        let mut lines = vec![width::ellipsis(&title, columns - 1)];
        let room = (rows - 2) / self.steps.len().max(1);
        for (name, step) in &self.steps {
            let time = seconds(now - step.begun, 1);
            lines.push(headline(&label(name, step, self.total), &time, columns));
            let shown = SHOWN.min(room.saturating_sub(1)).min(step.last.len());
            let last = step.last.iter().skip(step.last.len() - shown);
            lines.extend(
                last.map(|line| format!("{DIM}{}{PLAIN}", width::ellipsis(&format!("  | {line}"), columns - 1))),
            );
        }
        lines.truncate(rows - 1);
        let mut text = self.erased();
        lines.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        self.rows = lines.len();
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }

    fn finished(&mut self, took: Duration, size: Option<u64>) {
        let Some(step) = self.steps.remove(&self.stage) else { return };
        self.done += 1;
        let (columns, _) = (self.size)();
        let line = headline(&label(&self.stage, &step, self.total), &facts(step.cached, took, size), columns);
        self.stay(&[format!("{GREEN}{line}{PLAIN}")]);
    }
}

fn label(stage: &str, step: &Step, total: usize) -> String {
    format!("[{} {}/{total}] {}", escape::line(stage), step.number, escape::line(&step.text))
}

/// A line with something at its right end.
fn headline(label: &str, right: &str, columns: usize) -> String {
    let room = columns.saturating_sub(right.len() + 2);
    let label = width::ellipsis(label, room);
    let gap = room.saturating_sub(width::of(&label)) + 1;
    format!("{label}{}{right}", " ".repeat(gap))
}

impl<W: Write> Show for Terminal<W> {
    fn tell(&mut self, event: Event<'_>) {
        match event {
            Event::Stage(name) => {
                if self.stage != name {
                    name.clone_into(&mut self.stage);
                }
                return;
            }
            Event::Step { number, total, text } => {
                self.total = total;
                let (text, begun) = (text.to_owned(), Instant::now());
                let (cached, lines, last) = (false, Lines::default(), VecDeque::new());
                self.steps.insert(self.stage.clone(), Step { number, text, begun, cached, lines, last });
            }
            Event::Cached => {
                if let Some(step) = self.steps.get_mut(&self.stage) {
                    step.cached = true;
                }
                return;
            }
            Event::Done { took, size, .. } => self.finished(took, size),
            Event::Verified { number, total, text, verdict, .. } => {
                self.stay(&[about((number, total), text, verdict)]);
            }
            Event::Explained { number, total, text, why } => self.stay(&[about((number, total), text, why)]),
            Event::Warning(text) => self.stay(&[format!("WARNING: {}", escape::line(text))]),
            Event::Output(bytes) => {
                if let Some(step) = self.steps.get_mut(&self.stage) {
                    step.keep(|lines, line| lines.add(bytes, line));
                }
            }
            Event::Download { url, bytes, total } => {
                if let Some(step) = self.steps.get_mut(&self.stage) {
                    // In the place of the one before.
                    step.last.clear();
                    step.last.push_back(download(url, bytes, total));
                }
            }
            Event::Tick => {}
        }
        self.draw();
    }

    fn end(&mut self, built: &Result<Built>) {
        let (columns, _) = (self.size)();
        let mut lines = Vec::new();
        if let Ok(Built::Failed { text, .. }) = built
            && let Some((name, mut step)) =
                std::mem::take(&mut self.steps).into_iter().find(|(_, step)| step.text == *text)
        {
            step.keep(|lines, line| lines.end(line));
            let line = headline(&label(&name, &step, self.total), &seconds(step.begun.elapsed(), 2), columns);
            lines.push(format!("{RED}{line}{PLAIN}"));
            lines.extend(step.last.iter().map(|line| format!("  | {line}")));
        }
        self.stay(&lines);
        let _ = self.out.flush();
    }
}

impl<W: Write> Drop for Terminal<W> {
    fn drop(&mut self) {
        self.stay(&[]);
    }
}

#[cfg(test)]
mod tests {
    use lrun_runtime::digest::Digest;
    use proptest::prelude::*;

    use super::*;

    fn told(events: &[Event<'_>]) -> Terminal<Vec<u8>> {
        let mut terminal = Terminal::new(Vec::new(), || (40, 10));
        for event in events {
            // Each is drawn.
            terminal.drawn = None;
            terminal.tell(*event);
        }
        terminal
    }

    fn shown(terminal: &Terminal<Vec<u8>>) -> String {
        String::from_utf8(terminal.out.clone()).unwrap()
    }

    #[test]
    fn what_runs_is_rewritten_and_what_is_done_stays() {
        let image = Digest::of(b"image");
        let took = Duration::from_millis(1230);
        let terminal = told(&[
            Event::Stage("one"),
            Event::Step { number: 1, total: 2, text: "RUN make a-name-that-is-far-too-long-for-the-line" },
            Event::Output(b"10%\r20%\rall\x1b[1m done\x1b[0m\r\npart"),
            Event::Done { image: Some(&image), took, size: Some(5) },
        ]);
        let text = shown(&terminal).replace('\x1b', "^").replace('\r', "");
        // However slow this machine is.
        let text = (1..10).fold(text, |text, tenth| text.replace(&format!("0.{tenth}s"), "0.0s"));
        insta::assert_snapshot!(text, @r"
        [+] Building 0.0s (0/2)
        [one 1/2] RUN make a-name-that-is… 0.0s
        ^[2A^[J[+] Building 0.0s (0/2)
        [one 1/2] RUN make a-name-that-is… 0.0s
        ^[2m  | all done^[0m
        ^[3A^[J^[32m[one 1/2] RUN make a-name-th… 1.23s, 5B^[0m
        [+] Building 0.0s (1/2)
        ");
    }

    #[test]
    fn the_block_is_never_higher_than_the_terminal() {
        let names: Vec<String> = (0..30).map(|n| format!("stage{n}")).collect();
        let mut events = Vec::new();
        for name in &names {
            events.extend([Event::Stage(name), Event::Step { number: 1, total: 30, text: "RUN x" }]);
            events.push(Event::Output(b"1\n2\n3\n4\n5\n6\n7\n8\n"));
        }
        assert_eq!(told(&events).rows, 9);
    }

    #[test]
    fn a_command_that_failed_leaves_its_last_lines() {
        let mut terminal = told(&[
            Event::Stage("one"),
            Event::Step { number: 1, total: 1, text: "RUN false" },
            Event::Output(b"why\nnot"),
        ]);
        let container = lrun_runtime::container::names::ContainerId::random().unwrap();
        let built = Built::Failed { text: "RUN false".to_owned(), code: 1, container, image: Digest::of(b"image") };
        terminal.end(&Ok(built));
        assert!(shown(&terminal).ends_with("s\x1b[0m\n  | why\n  | not\n"), "{}", shown(&terminal));
    }

    proptest! {
        #[test]
        fn no_line_moves_the_cursor(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(readable(&line).chars().all(|c| !c.is_control()));
        }
    }
}
