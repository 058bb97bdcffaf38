//! The one error type: what kind of failure it was, what was being attempted, why it failed, and what to do about it.
//!
//! Library code returns [`Error`]; it never prints it. Context is added where the attempt is known (`"unpack the
//! archive"`, with the path), outermost last, and shown outermost first. A hint is for the person at the terminal and
//! names an action. The kind is only what callers branch on, and what the exit code depends on.

use std::fmt;
use std::io;

/// The result of everything in this library.
pub type Result<T> = std::result::Result<T, Error>;

/// What callers branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The named image, container, layer or file does not exist.
    NotFound,
    /// The name is taken, the object is in use, or its state does not allow the operation.
    Conflict,
    /// The input (flag, name, archive, record) is not acceptable.
    Invalid,
    /// The machine, file system or kernel cannot do it, or lrun refuses it on purpose.
    Unsupported,
    /// Stored or received bytes are not what their digest or format says.
    Corrupt,
    /// Permission denied by the host.
    Permission,
    /// No space, quota or descriptor left.
    Exhausted,
    /// The container's command exists but cannot be executed (exit code 126).
    NotExecutable,
    /// The container's command does not exist (exit code 127).
    CommandNotFound,
    /// Any other failure of a system call.
    Io,
}

/// A failure with its context; see the module's page.
pub struct Error {
    kind: ErrorKind,
    message: String,
    context: Vec<String>,
    hint: Option<Box<str>>,
    excerpt: Option<Box<str>>,
    errno: Option<i32>,
}

impl Error {
    /// A failure of this kind with this message (what is wrong, on what).
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), context: Vec::new(), hint: None, excerpt: None, errno: None }
    }

    /// The same error inside a wider attempt: `context` names it, as in "unpack layer sha256:…".
    #[must_use]
    pub fn context(mut self, context: impl Into<String>) -> Self {
        self.context.push(context.into());
        self
    }

    /// Adds what the user can do; an inner, more precise hint is kept.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| hint.into().into());
        self
    }

    /// Adds the lines of the file that the message is about; inner ones are kept.
    #[must_use]
    pub fn excerpt(mut self, lines: impl Into<String>) -> Self {
        self.excerpt.get_or_insert_with(|| lines.into().into());
        self
    }

    /// The same error as another kind, where the caller knows better.
    #[must_use]
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// The error, where it says something of what was looked at; where the machine lacked something, it says nothing of that,
    /// and ends the look.
    pub fn of_the_thing(self) -> Result<Self> {
        if self.kind == ErrorKind::Exhausted { Err(self) } else { Ok(self) }
    }

    /// What callers branch on.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What the user can do, if there is something.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The lines of the file that the message is about, if it is about a text file; with a mark below the place.
    pub fn excerpt_text(&self) -> Option<&str> {
        self.excerpt.as_deref()
    }

    /// The system's error number, when a system call was the cause.
    pub fn errno(&self) -> Option<i32> {
        self.errno
    }

    /// The parts that cross a process boundary; see [`Error::from_parts`].
    pub fn to_parts(&self) -> ErrorParts {
        ErrorParts {
            kind: kind_code(self.kind),
            message: self.to_string(),
            hint: self.hint_text().map(str::to_owned),
            excerpt: self.excerpt_text().map(str::to_owned),
            errno: self.errno,
        }
    }

    /// Rebuilds an error that another lrun process reported.
    pub fn from_parts(parts: ErrorParts) -> Self {
        Self {
            kind: code_kind(parts.kind),
            message: parts.message,
            context: Vec::new(),
            hint: parts.hint.map(Into::into),
            excerpt: parts.excerpt.map(Into::into),
            errno: parts.errno,
        }
    }
}

/// An [`Error`] in the form in which one lrun process reports it to another.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct ErrorParts {
    kind: u8,
    message: String,
    hint: Option<String>,
    excerpt: Option<String>,
    errno: Option<i32>,
}

/// The hint for what the store has, and is not what it was.
pub const REPAIR: &str = "lrun system check --repair mends what can be mended";

const KINDS: [ErrorKind; 10] = [
    ErrorKind::NotFound,
    ErrorKind::Conflict,
    ErrorKind::Invalid,
    ErrorKind::Unsupported,
    ErrorKind::Corrupt,
    ErrorKind::Permission,
    ErrorKind::Exhausted,
    ErrorKind::NotExecutable,
    ErrorKind::CommandNotFound,
    ErrorKind::Io,
];

fn kind_code(kind: ErrorKind) -> u8 {
    KINDS.iter().position(|k| *k == kind).unwrap_or(KINDS.len() - 1) as u8
}

fn code_kind(code: u8) -> ErrorKind {
    KINDS.get(usize::from(code)).copied().unwrap_or(ErrorKind::Io)
}

/// One line, outermost attempt first: `unpack stage0.tar: write etc/passwd: no space left on device`.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for context in self.context.iter().rev() {
            write!(f, "{context}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// The system's own words for an error number, without Rust's "(os error N)", and small as Go writes them: that is what
/// scripts look for in docker's messages.
fn errno_text(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    match text.as_bytes() {
        [first, second, ..] if first.is_ascii_uppercase() && second.is_ascii_lowercase() => {
            format!("{}{}", first.to_ascii_lowercase() as char, &text[1..])
        }
        _ => text.to_owned(),
    }
}

fn errno_kind(errno: i32) -> ErrorKind {
    match errno {
        libc::ENOENT => ErrorKind::NotFound,
        libc::EEXIST | libc::EBUSY | libc::ENOTEMPTY => ErrorKind::Conflict,
        libc::EACCES | libc::EPERM | libc::EROFS => ErrorKind::Permission,
        libc::ENOSPC | libc::EDQUOT | libc::EMFILE | libc::ENFILE | libc::ENOMEM => ErrorKind::Exhausted,
        libc::ENOSYS | libc::EOPNOTSUPP => ErrorKind::Unsupported,
        _ => ErrorKind::Io,
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        if let Some(errno) = error.raw_os_error() {
            return Self {
                kind: errno_kind(errno),
                message: errno_text(errno),
                context: Vec::new(),
                hint: None,
                excerpt: None,
                errno: Some(errno),
            };
        }
        // An `Error` that travelled through an `io::Read` or `io::Write` comes out whole.
        let error = match error.downcast::<Error>() {
            Ok(ours) => return ours,
            Err(other) => other,
        };
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::new(ErrorKind::Invalid, "unexpected end of data"),
            _ => Self::new(ErrorKind::Io, error.to_string()),
        }
    }
}

impl From<rustix::io::Errno> for Error {
    fn from(errno: rustix::io::Errno) -> Self {
        io::Error::from(errno).into()
    }
}

impl From<nix::errno::Errno> for Error {
    fn from(errno: nix::errno::Errno) -> Self {
        io::Error::from(errno).into()
    }
}

/// For readers and writers that must speak `io::Error`; [`Error::from`] takes the original out again.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::other(error)
    }
}

/// Adds context to any result whose error becomes an [`Error`].
pub trait Context<T> {
    /// Names the attempt; the closure runs only on failure.
    fn context<S: Into<String>>(self, context: impl FnOnce() -> S) -> Result<T>;
    /// Adds what the user can do; runs only on failure.
    fn hint<S: Into<String>>(self, hint: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context<S: Into<String>>(self, context: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| error.into().context(context()))
    }

    fn hint<S: Into<String>>(self, hint: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| error.into().hint(hint()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_the_attempt_the_object_and_the_cause() {
        let cause: std::result::Result<(), _> = Err(io::Error::from_raw_os_error(libc::ENOSPC));
        let error = cause.context(|| "write etc/passwd").unwrap_err().context("unpack stage0.tar");
        assert_eq!(error.to_string(), "unpack stage0.tar: write etc/passwd: no space left on device");
        assert_eq!(error.kind(), ErrorKind::Exhausted);
        assert_eq!(error.errno(), Some(libc::ENOSPC));
    }

    #[test]
    fn an_error_survives_io_and_process_boundaries() {
        for kind in KINDS {
            let through_io = Error::from(io::Error::from(Error::new(kind, "m").hint("h").excerpt("e").context("c")));
            let through_pipe = Error::from_parts(through_io.to_parts());
            assert_eq!(through_pipe.kind(), kind);
            assert_eq!(through_pipe.to_string(), "c: m");
            assert_eq!(through_pipe.hint_text(), Some("h"));
            assert_eq!(through_pipe.excerpt_text(), Some("e"));
        }
    }
}
