//! Errors on standard error, and the exit code that goes with them.

use lrun_runtime::error::{Error, ErrorKind};

use super::escape;

/// What a command that failed was about, which decides its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `run`: its exit codes below 125 belong to the container's command.
    Run,
    /// `exec`: the same for a command that could not be started.
    Exec,
    /// `create`: 125 for wrong arguments.
    Create,
    /// Every other command.
    Other,
}

/// The lines for a failure: what went wrong, the lines of the file that it is about, and what the user can do about it,
/// where those are known.
///
/// Names and paths inside may come from anywhere, so nothing in a line moves the cursor.
pub fn lines(error: &Error) -> String {
    let mut lines = format!("lrun: {}\n", escape::line(&error.to_string()));
    for line in error.excerpt_text().iter().flat_map(|excerpt| excerpt.lines()) {
        lines.push_str(&format!("  {}\n", escape::text(line)));
    }
    if let Some(hint) = error.hint_text() {
        lines.push_str(&format!("  hint: {}\n", escape::line(hint)));
    }
    lines
}

/// docker's exit codes: 125 lrun itself failed, 126 the command cannot be invoked, 127 it does not exist, else 1.
pub fn exit_code(family: Family, kind: ErrorKind) -> u8 {
    match (family, kind) {
        (Family::Run | Family::Exec, ErrorKind::NotExecutable) => 126,
        (Family::Run | Family::Exec, ErrorKind::CommandNotFound) => 127,
        (Family::Run, _) | (Family::Create, ErrorKind::Invalid) => 125,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_for_the_error_and_one_for_the_hint() {
        let error = Error::new(ErrorKind::NotFound, "No such container: a\u{1b}[2J\nb").context("stop");
        assert_eq!(lines(&error), "lrun: stop: No such container: a\\x1b[2J\\nb\n");
        let error = error.hint("see lrun ps -a");
        assert_eq!(lines(&error), "lrun: stop: No such container: a\\x1b[2J\\nb\n  hint: see lrun ps -a\n");
        let error = Error::new(ErrorKind::Invalid, "m").excerpt("1 | a\t\u{1b}\n  |  \t^");
        assert_eq!(lines(&error), "lrun: m\n  1 | a\t\\x1b\n    |  \t^\n");
    }

    #[test]
    fn dockers_exit_codes() {
        for (family, kind, code) in [
            (Family::Run, ErrorKind::NotFound, 125),
            (Family::Run, ErrorKind::Invalid, 125),
            (Family::Run, ErrorKind::NotExecutable, 126),
            (Family::Run, ErrorKind::CommandNotFound, 127),
            (Family::Exec, ErrorKind::CommandNotFound, 127),
            (Family::Exec, ErrorKind::NotExecutable, 126),
            (Family::Exec, ErrorKind::NotFound, 1),
            (Family::Create, ErrorKind::Invalid, 125),
            (Family::Create, ErrorKind::Conflict, 1),
            (Family::Other, ErrorKind::CommandNotFound, 1),
            (Family::Other, ErrorKind::Io, 1),
        ] {
            assert_eq!(exit_code(family, kind), code, "{family:?} {kind:?}");
        }
    }
}
