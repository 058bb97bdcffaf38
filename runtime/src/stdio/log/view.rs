//! What `logs` shows of a log: lines, a part of them, with times, and what is yet to come.

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::inotify;
use std::collections::VecDeque;
use std::io::Write;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::reader::{Item, LogFile, LogReader, Step};
use super::{BLOCK, Dropped, Kind, Stream};
use crate::error::Result;

/// How long `follow` waits before it asks again whether the container lives.
const LIVENESS_CHECK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// How much of a line whose beginning was rotated away is left out at most.
const MOST_TORN: usize = 64 << 10;

/// How much of a line without an end is kept back until it has one, where lines have times or details before them.
const MOST_HELD: usize = 16 << 10;

/// Which part of a log to show, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Each line begins with its time: when its first byte came, RFC 3339 in UTC with nine digits, and a space.
    pub timestamps: bool,
    /// Each line begins (after its time) with the details that the log has about it, of which there are none, and a
    /// space.
    pub details: bool,
    /// Only the last so many lines of both streams together; a line without an end is one, too.
    pub tail: Option<u64>,
    /// Only lines that began at this time (Unix ns) or later.
    pub since: Option<u64>,
    /// Only lines that began at this time (Unix ns) or earlier.
    pub until: Option<u64>,
    /// Stay, and show what comes until the container ends.
    pub follow: bool,
}

/// Output that a log had and has no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// So many bytes were rotated away before what is shown next.
    Rotated(u64),
    /// So many bytes were found damaged before what is shown next.
    Damaged(u64),
    /// From this time (Unix ns) on the disk was full.
    DiskFull(u64, Dropped),
}

/// Shows the log of the container whose directory this is: its stdout on `out`, its stderr on `err`, and what is
/// missing to `notice`. Where both end in the same place, their output has the order in which it came.
///
/// `alive` says whether somebody still writes (the container's lock is held). With `follow`, everything written before it
/// says no is shown; without, what is there now. A broken pipe of `out` or `err` is an error with `EPIPE`.
pub fn show(
    dir: impl AsFd,
    view: &View,
    alive: &mut dyn FnMut() -> bool,
    notice: &mut dyn FnMut(Notice),
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<()> {
    let watch = if view.follow { watch(dir.as_fd()) } else { None };
    let mut reader = LogReader::open(dir)?;
    if !view.follow {
        reader.end_here()?;
    }
    let mut printer = Printer::new(*view);
    if let Some(lines) = view.tail {
        printer.from = start_of_tail(&mut reader, lines)?;
    }
    let mut rotated = None;
    let mut last = Stream::Stdout;
    loop {
        let written = alive();
        let live = view.follow && written;
        while let Some(item) = reader.next(written)? {
            match item {
                Item::Output(frame) => {
                    let data = printer.whole_lines(frame.stream, frame.begins, frame.data);
                    if data.is_empty() {
                        continue;
                    }
                    let position = frame.position + (frame.data.len() - data.len()) as u64;
                    // What was older than the first line that is left need not have been asked for.
                    if let Some(bytes) = rotated.take().filter(|_| view.since.is_none_or(|since| since < frame.time)) {
                        notice(Notice::Rotated(bytes + std::mem::take(&mut printer.torn)));
                    }
                    if std::mem::replace(&mut last, frame.stream) != frame.stream {
                        out.flush()?;
                        err.flush()?;
                    }
                    let out: &mut dyn Write = if frame.stream == Stream::Stdout { &mut *out } else { &mut *err };
                    printer.print(frame.stream, frame.time, position, data, out)?;
                }
                Item::Dropped(time, dropped) if printer.in_time(time) => notice(Notice::DiskFull(time, dropped)),
                Item::Missing { bytes, damaged: true } => notice(Notice::Damaged(bytes)),
                Item::Missing { bytes, damaged: false } => {
                    rotated = Some(rotated.unwrap_or(0) + bytes);
                    printer.line = [Line::Torn(0); 2];
                }
                Item::Dropped(..) => {}
            }
            if printer.done {
                break;
            }
        }
        out.flush()?;
        err.flush()?;
        if !live || printer.done || view.until.is_some_and(|until| until < unix_now()) {
            return printer.finish(out, err);
        }
        wait(watch.as_ref());
    }
}

/// An inotify descriptor for everything that happens in the directory; `None` where the user has no more of them.
fn watch(dir: impl AsFd) -> Option<OwnedFd> {
    let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).ok()?;
    let flags = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
    inotify::add_watch(&inotify, format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd()), flags).ok()?;
    Some(inotify)
}

/// Until something was written or it is time to ask for the container again.
fn wait(watch: Option<&OwnedFd>) {
    let mut fds: Vec<PollFd<'_>> = watch.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    // An interrupted wait is a short one.
    let _ = rustix::event::poll(&mut fds, Some(&LIVENESS_CHECK));
    if let Some(watch) = watch {
        let mut events = [0; 4096];
        while matches!(rustix::io::read(watch, &mut events), Ok(read) if read > 0) {}
    }
}

fn unix_now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// Where a stream stands between frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// The next byte begins a line.
    Start,
    /// The line may have begun in what was rotated away: so many bytes of it have not been shown.
    Torn(usize),
    Shown,
    Hidden,
}

#[derive(Debug)]
struct Printer {
    view: View,
    /// A stream's output before this position is not shown.
    from: [u64; 2],
    line: [Line; 2],
    /// The beginnings of lines that are kept back: the other stream may write before their ends.
    held: [Vec<u8>; 2],
    /// Bytes that were not shown because the beginning of their line is lost.
    torn: u64,
    /// Everything before `until` has been shown.
    done: bool,
}

impl Printer {
    fn new(view: View) -> Self {
        Self { view, from: [0; 2], line: [Line::Start; 2], held: [Vec::new(), Vec::new()], torn: 0, done: false }
    }

    fn in_time(&self, time: u64) -> bool {
        self.view.since.is_none_or(|since| time >= since) && self.view.until.is_none_or(|until| time <= until)
    }

    /// What is left of a stream's output when the end of a line is taken away whose beginning is lost.
    fn whole_lines<'d>(&mut self, stream: Stream, begins: bool, data: &'d [u8]) -> &'d [u8] {
        let line = &mut self.line[stream.index()];
        if begins && matches!(line, Line::Torn(_)) {
            *line = Line::Start;
        }
        let Line::Torn(hidden) = *line else { return data };
        let end = data.iter().position(|byte| *byte == b'\n').map(|end| end + 1);
        let hide = match end {
            Some(end) => end,
            None if hidden + data.len() < MOST_TORN => data.len(),
            // Whoever writes no lines is read without them.
            None => 0,
        };
        *line = if end.is_none() && hide > 0 { Line::Torn(hidden + hide) } else { Line::Start };
        self.torn += hide as u64;
        &data[hide..]
    }

    fn print(&mut self, stream: Stream, time: u64, position: u64, data: &[u8], out: &mut dyn Write) -> Result<()> {
        let index = stream.index();
        let skip = self.from[index].saturating_sub(position).min(data.len() as u64);
        let data = &data[skip as usize..];
        let View { timestamps, details, since, until, .. } = self.view;
        if !timestamps && !details && since.is_none() && until.is_none() {
            out.write_all(data)?;
            return Ok(());
        }
        let in_time = self.in_time(time);
        let mut stamp = None;
        for part in data.split_inclusive(|byte| *byte == b'\n') {
            if self.line[index] == Line::Start {
                self.line[index] = if in_time { Line::Shown } else { Line::Hidden };
                if in_time && timestamps {
                    self.held[index].extend_from_slice(stamp.get_or_insert_with(|| format_time(time)).as_bytes());
                }
                if in_time && details {
                    self.held[index].push(b' ');
                }
            }
            let (ends, held) = (part.ends_with(b"\n"), &mut self.held[index]);
            if self.line[index] == Line::Shown {
                held.extend_from_slice(part);
                let hold = (timestamps || details) && !ends && held.len() < MOST_HELD;
                if !hold {
                    out.write_all(held)?;
                    held.clear();
                }
            }
            if ends {
                self.line[index] = Line::Start;
            }
        }
        self.done = until.is_some_and(|until| time > until) && !self.line.contains(&Line::Shown);
        Ok(())
    }

    /// Shows the lines that never ended.
    fn finish<'w>(&mut self, out: &'w mut dyn Write, err: &'w mut dyn Write) -> Result<()> {
        for (to, held) in [out, err].into_iter().zip(std::mem::take(&mut self.held)) {
            to.write_all(&held)?;
            to.flush()?;
        }
        Ok(())
    }
}

/// `2026-01-02T03:04:05.123456789Z `
fn format_time(time: u64) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(time)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{time:.9} ")
}

/// The search for the beginning of the last lines, from the end backwards.
#[derive(Debug)]
struct Tail {
    /// Lines still to be found.
    left: u64,
    /// Whether the stream's last byte has been met.
    met: [bool; 2],
    /// Whether the beginning of a line that belongs to the tail is still to be found.
    open: [bool; 2],
    /// Where the stream's part of the tail begins.
    from: [u64; 2],
}

impl Tail {
    fn done(&self) -> bool {
        self.left == 0 && self.open == [false; 2]
    }

    /// Takes a piece of output that lies before all taken so far.
    fn take(&mut self, stream: usize, position: u64, data: &[u8]) {
        let ends = data.last() == Some(&b'\n');
        if !std::mem::replace(&mut self.met[stream], true) && !ends {
            self.line_end(stream, position + data.len() as u64);
        }
        for (index, _) in data.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            if self.done() {
                return;
            }
            self.line_end(stream, position + index as u64 + 1);
        }
    }

    /// A line ends, and the next one of its stream begins, at this position.
    fn line_end(&mut self, stream: usize, position: u64) {
        if self.left > 0 {
            self.left -= 1;
            self.open[stream] = true;
        } else if self.open[stream] {
            self.open[stream] = false;
            self.from[stream] = position;
        }
    }
}

/// Moves the reader to a place from which the last `lines` lines can be read, and says where each stream's part of them
/// begins.
pub(super) fn start_of_tail(reader: &mut LogReader, lines: u64) -> Result<[u64; 2]> {
    let mut end = reader.end();
    let files = reader.files();
    let mut tail: Option<Tail> = None;
    for index in (0..files.len()).rev() {
        let mut block = files[index].last_block();
        loop {
            scan_block(files, index, block..end.min(block + BLOCK), lines, &mut tail)?;
            if tail.as_ref().is_some_and(Tail::done) {
                files.drain(..index);
                files[0].seek(block);
                reader.start_anywhere();
                return Ok(tail.map_or([0; 2], |tail| tail.from));
            }
            if block == 0 {
                break;
            }
            block -= BLOCK;
        }
        end = u64::MAX;
        files[index].seek(0);
    }
    // Fewer lines than asked for: a stream whose line is open begins with the log.
    Ok(tail.map_or([0; 2], |tail| std::array::from_fn(|i| if tail.open[i] { 0 } else { tail.from[i] })))
}

/// Takes the frames that begin in this part of one block, the last one first.
fn scan_block(
    files: &mut VecDeque<LogFile>,
    index: usize,
    block: Range<u64>,
    lines: u64,
    tail: &mut Option<Tail>,
) -> Result<()> {
    let file = &mut files[index];
    file.seek(block.start);
    let mut frames = Vec::new();
    loop {
        match file.step(true)? {
            Step::Frame(frame) if frame.offset >= block.end => break,
            Step::Frame(frame) => {
                if let Kind::Output(stream) = frame.header.kind {
                    frames.push((stream.index(), frame.header.position, frame.payload.to_vec()));
                }
            }
            Step::Damaged(0) => {}
            Step::Damaged(_) | Step::End => break,
        }
    }
    if let Some((_, position, data)) = frames.last() {
        let end = position + data.len() as u64;
        let tail = tail.get_or_insert(Tail { left: lines, met: [false; 2], open: [false; 2], from: [end; 2] });
        for (stream, position, data) in frames.iter().rev() {
            if tail.done() {
                break;
            }
            tail.take(*stream, *position, data);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_whose_beginning_is_lost_is_left_out() {
        let mut printer = Printer::new(View::default());
        assert_eq!(printer.whole_lines(Stream::Stdout, false, b"whole"), b"whole");
        printer.line = [Line::Torn(0); 2];
        assert_eq!(printer.whole_lines(Stream::Stdout, false, b"torn"), b"");
        assert_eq!(printer.whole_lines(Stream::Stdout, false, b" still\nnext\nline"), b"next\nline");
        assert_eq!(printer.whole_lines(Stream::Stdout, false, b" goes on"), b" goes on");
        assert_eq!(printer.torn, 11);
        printer.line = [Line::Torn(0); 2];
        assert_eq!(printer.whole_lines(Stream::Stdout, true, b"line\nline"), b"line\nline");
        // The other stream has lines of its own; and one without any is shown after a while.
        let dots = vec![b'.'; MOST_TORN - 1];
        assert_eq!(printer.whole_lines(Stream::Stderr, false, &dots), b"");
        assert_eq!(printer.whole_lines(Stream::Stderr, false, b".."), b"..");
    }
}
