//! The layers of a pull or push on standard error, in docker's words: a block of lines that is rewritten on a terminal,
//! one line for each layer that is done elsewhere.

use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lrun_runtime::transfer::{Event, Layer};

use super::progress::{Style, rate};
use super::{escape, units, width};

/// Time between two updates of the block.
const UPDATE: Duration = Duration::from_millis(100);
const ERASE: &str = "\r\x1b[K";
const BAR: usize = 30;
/// Columns up to which nothing but the layer and its state is shown.
const NARROW: usize = 60;

/// What is shown, and where. Told from several threads.
pub struct Transfers<W: Write> {
    style: Style,
    /// Lines of the terminal.
    rows: usize,
    shown: Mutex<Shown<W>>,
}

struct Shown<W> {
    out: W,
    layers: Vec<Row>,
    /// Lines of the block on the terminal.
    drawn: usize,
    updated: Option<Instant>,
}

struct Row {
    id: String,
    text: State,
    since: Instant,
}

enum State {
    Word(String),
    Moving { done: u64, total: Option<u64> },
}

impl<W: Write> Transfers<W> {
    /// Shows nothing yet. `rows`: the terminal's height.
    pub fn new(out: W, style: Style, rows: usize) -> Self {
        Self { style, rows, shown: Mutex::new(Shown { out, layers: Vec::new(), drawn: 0, updated: None }) }
    }

    /// Shows what happened.
    pub fn tell(&self, event: Event<'_>) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Pulling { wanted, repository } => {
                self.line(&mut shown, &format!("{wanted}: Pulling from {repository}"))
            }
            Event::Warning(text) => shown.warn(text, self.style),
            Event::Layer(id, layer) => self.layer(&mut shown, id, layer),
        }
        let _ = shown.out.flush();
    }

    fn line(&self, shown: &mut Shown<W>, line: &str) {
        if self.style != Style::Quiet {
            let _ = writeln!(shown.out, "{}", escape::line(line));
            (shown.drawn, shown.layers) = (0, Vec::new());
        }
    }

    fn layer(&self, shown: &mut Shown<W>, id: &str, layer: Layer<'_>) {
        let (state, ended) = state(layer);
        match self.style {
            Style::Quiet => {}
            Style::Plain => {
                if let (State::Word(word), true) = (&state, ended) {
                    let _ = writeln!(shown.out, "{id}: {}", escape::line(word));
                }
            }
            Style::Terminal { columns } => {
                let now = Instant::now();
                let is_new = match shown.layers.iter_mut().find(|row| row.id == id) {
                    Some(row) => {
                        if matches!(row.text, State::Word(_)) {
                            row.since = now;
                        }
                        row.text = state;
                        false
                    }
                    None => {
                        shown.layers.push(Row { id: id.to_owned(), text: state, since: now });
                        true
                    }
                };
                let is_due = shown.updated.is_none_or(|updated| now - updated >= UPDATE);
                if is_new || ended || is_due {
                    shown.updated = Some(now);
                    shown.draw(columns, self.rows);
                }
            }
        }
    }
}

fn state(layer: Layer<'_>) -> (State, bool) {
    let word = |word: &str, ended| (State::Word(word.to_owned()), ended);
    match layer {
        Layer::Waiting => word("Waiting", false),
        Layer::Downloading(done, total) => (State::Moving { done, total: Some(total) }, false),
        Layer::Pushing(done) => (State::Moving { done, total: None }, false),
        Layer::Pulled => word("Pull complete", true),
        Layer::Here => word("Already exists", true),
        Layer::Pushed => word("Pushed", true),
        Layer::There => word("Layer already exists", true),
        Layer::Mounted(from) => word(&format!("Mounted from {from}"), true),
    }
}

impl<W: Write> Shown<W> {
    /// A warning goes above the block.
    fn warn(&mut self, text: &str, style: Style) {
        let up = if self.drawn > 0 { format!("\x1b[{}A\x1b[J", self.drawn) } else { String::new() };
        let _ = writeln!(self.out, "{up}WARNING: {}", escape::line(text));
        self.drawn = 0;
        if let (Style::Terminal { columns }, false) = (style, self.layers.is_empty()) {
            self.draw(columns, usize::MAX);
        }
    }

    /// Writes the block again, over the last one. What does not fit on the terminal is left out: the layers that are done
    /// first.
    fn draw(&mut self, columns: usize, rows: usize) {
        let most = rows.saturating_sub(1).max(1);
        let spare = self.layers.len().saturating_sub(most);
        let is_done = |row: &&Row| matches!(row.text, State::Word(_));
        let hidden: Vec<usize> = {
            let done = self.layers.iter().enumerate().filter(|(_, row)| is_done(row)).map(|(at, _)| at);
            let others = self.layers.iter().enumerate().filter(|(_, row)| !is_done(row)).map(|(at, _)| at);
            done.chain(others).take(spare).collect()
        };
        let lines: Vec<String> = self
            .layers
            .iter()
            .enumerate()
            .filter(|(at, _)| !hidden.contains(at))
            .map(|(_, row)| width::ellipsis(&row.line(columns), columns.saturating_sub(1)))
            .collect();
        let mut text = if self.drawn > 0 { format!("\x1b[{}A", self.drawn) } else { String::new() };
        for line in &lines {
            text.push_str(&format!("{ERASE}{line}\n"));
        }
        self.drawn = lines.len();
        let _ = self.out.write_all(text.as_bytes());
    }
}

impl Row {
    fn line(&self, columns: usize) -> String {
        let id = &self.id;
        match &self.text {
            State::Word(word) => format!("{id}: {}", escape::line(word)),
            State::Moving { done, total } => {
                let rate = rate(*done, self.since.elapsed())
                    .map_or_else(String::new, |r| format!("  {}/s", units::human_size(r)));
                let done_text = units::human_size(*done);
                match total {
                    Some(total) if columns > NARROW => {
                        let total_text = units::human_size(*total);
                        format!("{id}: Downloading {} {done_text}/{total_text}{rate}", bar(*done, *total))
                    }
                    Some(total) => format!("{id}: {done_text}/{}", units::human_size(*total)),
                    None => format!("{id}: Pushing {done_text}{rate}"),
                }
            }
        }
    }
}

/// `[=====>          ]`.
fn bar(done: u64, total: u64) -> String {
    let part = u128::from(done.min(total)) * BAR as u128 / u128::from(total.max(1));
    let part = usize::try_from(part).unwrap_or(BAR);
    let head = if part < BAR { ">" } else { "" };
    format!("[{:<BAR$}]", format!("{}{head}", "=".repeat(part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(style: Style, events: &[Event<'_>]) -> String {
        let mut out = Vec::new();
        let transfers = Transfers::new(&mut out, style, 4);
        events.iter().for_each(|event| transfers.tell(*event));
        drop(transfers);
        String::from_utf8(out).unwrap()
    }

    const EVENTS: [Event<'static>; 7] = [
        Event::Pulling { wanted: "latest", repository: "library/x" },
        Event::Layer("aaa", Layer::Waiting),
        Event::Layer("aaa", Layer::Downloading(50, 100)),
        Event::Layer("bbb", Layer::Here),
        Event::Warning("odd \u{1b}[2J"),
        Event::Layer("aaa", Layer::Pulled),
        Event::Layer("ccc", Layer::Mounted("a/b")),
    ];

    #[test]
    fn elsewhere_there_is_a_line_for_what_is_done() {
        let wanted = "latest: Pulling from library/x\nbbb: Already exists\nWARNING: odd \\x1b[2J\naaa: Pull complete\nccc: Mounted from a/b\n";
        assert_eq!(shown(Style::Plain, &EVENTS), wanted);
        assert_eq!(shown(Style::Quiet, &EVENTS), "WARNING: odd \\x1b[2J\n");
    }

    #[test]
    fn a_terminal_has_a_block_that_is_rewritten() {
        let text = shown(Style::Terminal { columns: 80 }, &EVENTS);
        let last = text.rsplit("\x1b[2A").next().unwrap();
        assert_eq!(last, "\r\x1b[Kaaa: Pull complete\n\r\x1b[Kbbb: Already exists\n\r\x1b[Kccc: Mounted from a/b\n");
        assert!(!text.contains("\x1b[2J"), "{text:?}");
        // Six layers on four lines: those at work stay.
        let many: Vec<Event<'_>> = ["a", "b", "c", "d", "e"]
            .iter()
            .map(|id| Event::Layer(id, Layer::Here))
            .chain([Event::Layer("f", Layer::Downloading(1, 2))])
            .collect();
        let text = shown(Style::Terminal { columns: 50 }, &many);
        let last = text.rsplit("\x1b[3A").next().unwrap();
        assert_eq!(last, "\r\x1b[Kd: Already exists\n\r\x1b[Ke: Already exists\n\r\x1b[Kf: 1B/2B\n");
    }

    #[test]
    fn bars() {
        assert_eq!(bar(0, 10), format!("[>{}]", " ".repeat(29)));
        assert_eq!(bar(10, 10), format!("[{}]", "=".repeat(30)));
        assert_eq!(bar(u64::MAX, u64::MAX).len(), 32);
        assert_eq!(bar(5, 0).len(), 32);
    }
}
