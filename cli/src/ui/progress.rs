//! How far long work is, on standard error: one line that is rewritten on a terminal, a line now and then elsewhere.
//!
//! Short work stays silent. Standard output is never touched, and a standard error that cannot be written to never
//! fails the work.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::{escape, units, width};

/// Work that ends sooner shows nothing on a terminal.
const FIRST_LINE: Duration = Duration::from_millis(300);
/// Time between two updates of the line on a terminal.
const UPDATE: Duration = Duration::from_millis(100);
/// Time between two lines where nobody watches: a log.
const SPARSE: Duration = Duration::from_secs(10);
/// Back to the first column and erase the line.
const ERASE: &str = "\r\x1b[K";

/// Where the progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// On a terminal with so many columns.
    Terminal {
        /// Its width.
        columns: usize,
    },
    /// In a file or a pipe.
    Plain,
    /// Nowhere (`--quiet`).
    Quiet,
}

impl Style {
    /// As standard error is.
    pub fn of_stderr() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Plain;
        }
        let columns = rustix::termios::tcgetwinsize(std::io::stderr()).map_or(80, |size| size.ws_col);
        Self::Terminal { columns: usize::from(columns.max(20)) }
    }
}

/// The progress of one piece of work.
pub struct Progress<W: Write> {
    out: W,
    style: Style,
    label: String,
    total: Option<u64>,
    started: Instant,
    /// When a line was last shown, since the start.
    shown: Option<Duration>,
}

impl<W: Write> Progress<W> {
    /// Begins now. `total` is in bytes, where it is known.
    pub fn new(out: W, style: Style, label: &str, total: Option<u64>) -> Self {
        let label = escape::line(label).into_owned();
        Self { out, style, label, total, started: Instant::now(), shown: None }
    }

    /// So many bytes are done. Cheap enough to be called for every block.
    pub fn set(&mut self, done: u64) {
        if self.style != Style::Quiet {
            self.update(done, self.started.elapsed());
        }
    }

    /// The work is done: takes the line away from a terminal; where lines were left in a log, adds the last one.
    pub fn finish(mut self, done: u64) {
        self.end(done, self.started.elapsed());
    }

    fn update(&mut self, done: u64, elapsed: Duration) {
        if !is_due(self.style, self.shown, elapsed) {
            return;
        }
        self.shown = Some(elapsed);
        let line = line(&self.label, done, self.total, elapsed);
        let _ = match self.style {
            // The last column stays free: some terminals wrap there.
            Style::Terminal { columns } => {
                write!(self.out, "{ERASE}{}", width::ellipsis(&line, columns.saturating_sub(1)))
            }
            Style::Plain => writeln!(self.out, "{line}"),
            Style::Quiet => Ok(()),
        };
        let _ = self.out.flush();
    }

    fn end(&mut self, done: u64, elapsed: Duration) {
        if self.style == Style::Plain && self.shown.take().is_some() {
            let (size, time) = (units::human_size(done), clock(elapsed));
            let _ = writeln!(self.out, "{}: {size} in {time}", self.label);
        }
        // A terminal's line is erased when the value goes.
    }
}

/// Work that failed leaves a clean line for its error message.
impl<W: Write> Drop for Progress<W> {
    fn drop(&mut self) {
        if matches!(self.style, Style::Terminal { .. }) && self.shown.is_some() {
            let _ = self.out.write_all(ERASE.as_bytes()).and_then(|()| self.out.flush());
        }
    }
}

fn is_due(style: Style, shown: Option<Duration>, elapsed: Duration) -> bool {
    let (first, interval) = match style {
        Style::Terminal { .. } => (FIRST_LINE, UPDATE),
        Style::Plain => (SPARSE, SPARSE),
        Style::Quiet => return false,
    };
    match shown {
        None => elapsed >= first,
        Some(shown) => elapsed.saturating_sub(shown) >= interval,
    }
}

/// `import stage0.tar: 120MB / 170MB, 85MB/s, 1s left`.
fn line(label: &str, done: u64, total: Option<u64>, elapsed: Duration) -> String {
    let mut line = format!("{label}: {}", units::human_size(done));
    // A file that grew while it was read must not read as more than all of it.
    let total = total.filter(|&total| total >= done);
    if let Some(total) = total {
        line.push_str(&format!(" / {}", units::human_size(total)));
    }
    if let Some(rate) = rate(done, elapsed) {
        line.push_str(&format!(", {}/s", units::human_size(rate)));
    }
    if let Some(left) = total.and_then(|total| time_left(done, total, elapsed)) {
        line.push_str(&format!(", {} left", clock(left)));
    }
    line
}

/// Bytes a second so far; `None` before there is anything to divide by.
pub fn rate(done: u64, elapsed: Duration) -> Option<u64> {
    let nanos = elapsed.as_nanos();
    let bytes = u128::from(done) * 1_000_000_000;
    (nanos > 0).then(|| u64::try_from(bytes / nanos).unwrap_or(u64::MAX))
}

/// The time for the rest at the rate so far; `None` before anything is done.
pub fn time_left(done: u64, total: u64, elapsed: Duration) -> Option<Duration> {
    let rest = u128::from(total.saturating_sub(done));
    let nanos = (elapsed.as_nanos() * rest).checked_div(u128::from(done))?;
    Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
}

/// A time in whole seconds, rounded up: `5s`, `2m05s`, `1h02m`.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds:02}s"),
        (hours, minutes, _) => format!("{hours}h{minutes:02}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const TERMINAL: Style = Style::Terminal { columns: 60 };

    /// What was written when `updates` (bytes, milliseconds) came, and the work ended with the last.
    fn run(style: Style, updates: &[(u64, u64)], ended: bool) -> String {
        let mut out = Vec::new();
        let mut progress = Progress::new(&mut out, style, "import stage0.tar", Some(170_000_000));
        for &(done, millis) in updates {
            progress.update(done, Duration::from_millis(millis));
        }
        if ended {
            let &(done, millis) = updates.last().unwrap();
            progress.end(done, Duration::from_millis(millis));
        }
        drop(progress);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn rate_and_time_left() {
        for (done, total, elapsed, rate_, left) in [
            (0, 100, Duration::ZERO, None, None),
            (0, 100, SECOND, Some(0), None),
            (50, 100, SECOND, Some(50), Some(SECOND)),
            (100, 100, SECOND, Some(100), Some(Duration::ZERO)),
            (200, 100, SECOND, Some(200), Some(Duration::ZERO)),
            (u64::MAX, u64::MAX, Duration::from_nanos(1), Some(u64::MAX), Some(Duration::ZERO)),
            (1, u64::MAX, 100 * SECOND, Some(0), Some(Duration::from_nanos(u64::MAX))),
        ] {
            assert_eq!(rate(done, elapsed), rate_, "{done} in {elapsed:?}");
            assert_eq!(time_left(done, total, elapsed), left, "{done} of {total} in {elapsed:?}");
        }
    }

    #[test]
    fn times_of_a_clock() {
        for (time, text) in [
            (Duration::ZERO, "0s"),
            (Duration::from_millis(1), "1s"),
            (59 * SECOND, "59s"),
            (125 * SECOND, "2m05s"),
            (3720 * SECOND, "1h02m"),
        ] {
            assert_eq!(clock(time), text);
        }
    }

    #[test]
    fn one_line_on_a_terminal_gone_at_the_end() {
        let updates = [(1, 10), (10_000_000, 299), (85_000_000, 1000), (86_000_000, 1050), (127_500_000, 1500)];
        let shown = run(TERMINAL, &updates, true);
        insta::assert_snapshot!(shown.replace('\r', "<CR>").replace('\x1b', "<ESC>"), @"<CR><ESC>[Kimport stage0.tar: 85MB / 170MB, 85MB/s, 1s left<CR><ESC>[Kimport stage0.tar: 128MB / 170MB, 85MB/s, 1s left<CR><ESC>[K");
        assert_eq!(run(TERMINAL, &[(1, 200)], true), "");
        assert_eq!(run(TERMINAL, &[(85_000_000, 1000)], false), run(TERMINAL, &[(85_000_000, 1000)], true));
        let narrow = run(Style::Terminal { columns: 20 }, &[(85_000_000, 1000)], true);
        assert_eq!(narrow, format!("{ERASE}import stage0.tar:…{ERASE}"));
    }

    #[test]
    fn a_log_gets_few_lines_and_short_work_none() {
        assert_eq!(run(Style::Plain, &[(1, 100), (170_000_000, 9_999)], true), "");
        insta::assert_snapshot!(
            run(Style::Plain, &[(100_000_000, 10_000), (110_000_000, 11_000), (170_000_000, 17_000)], true),
            @r"
        import stage0.tar: 100MB / 170MB, 10MB/s, 7s left
        import stage0.tar: 170MB in 17s
        "
        );
        assert_eq!(run(Style::Quiet, &[(1, 100_000)], true), "");
    }

    #[test]
    fn an_unknown_or_exceeded_total_is_not_shown() {
        assert_eq!(line("x", 5_000, None, SECOND), "x: 5kB, 5kB/s");
        assert_eq!(line("x", 5_000, Some(4_000), SECOND), "x: 5kB, 5kB/s");
        assert_eq!(line("x", 0, Some(4_000), Duration::ZERO), "x: 0B / 4kB");
    }
}
