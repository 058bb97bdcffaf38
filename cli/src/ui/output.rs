//! The only place that writes to standard output and standard error.

use std::io::Write;

use lrun_runtime::Error;

use super::{escape, report};

/// Prints a result. A reader that has gone away ends the program quietly, as SIGPIPE would; what cannot be written for
/// another reason, a full disk say, ends it with that reason.
pub fn text(text: &str) {
    let mut stdout = std::io::stdout().lock();
    // Without a line's end the text would wait in a buffer, and its loss at the end would be seen by nobody.
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(141),
        Err(failure) => {
            error(&Error::from(failure).context("write to standard output"));
            std::process::exit(1);
        }
    }
}

/// Prints a result on a line of its own.
pub fn line(line: &str) {
    text(&format!("{line}\n"));
}

/// Prints a message to standard error, made harmless for a terminal; a failure to do so has nowhere to go.
pub fn complain(message: &str) {
    complain_lines(&format!("{}\n", escape::text(message)));
}

/// Prints whole lines of messages to standard error, harmless already.
pub fn complain_lines(lines: &str) {
    let _ = std::io::stderr().lock().write_all(lines.as_bytes());
}

/// Prints to standard error a line of a container, as it was written, after a prefix of ours.
pub fn line_as_it_is(prefix: &str, line: &[u8]) {
    let _ = std::io::stderr().lock().write_all(&[prefix.as_bytes(), line, b"\n"].concat());
}

/// Prints an error and its hint.
pub fn error(error: &Error) {
    complain_lines(&report::lines(error));
}
