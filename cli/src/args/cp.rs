//! `cp`.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::Args;

use super::parse_bool;

/// `lrun cp`.
#[derive(Clone, Debug, Args)]
pub struct CpArgs {
    /// What is copied; -: a tar archive on standard input
    #[arg(value_name = "SOURCE")]
    pub source: OsString,
    /// Where it goes; -: a tar archive on standard output
    #[arg(value_name = "DESTINATION")]
    pub destination: OsString,
    /// Keep owners: user and group ids of the source
    #[arg(short, long)]
    pub archive: bool,
    /// Copy what a link leads to, not the link, where the source is one
    #[arg(short = 'L', long)]
    pub follow_link: bool,
    /// Show no progress and no summary; the default where standard output is no terminal
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_bool)]
    pub quiet: Option<bool>,
}

/// One end of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Standard input or output.
    Stream,
    /// A path of the host.
    Host(Vec<u8>),
    /// A path of a container.
    Container(String, Vec<u8>),
}

impl End {
    /// As docker tells them apart: what begins with `/` or `.` is of the host, and what has no colon.
    pub fn parse(text: &OsString) -> Self {
        let bytes = text.as_bytes();
        let colon =
            bytes.iter().position(|b| *b == b':').filter(|_| !bytes.starts_with(b"/") && !bytes.starts_with(b"."));
        match colon {
            // A local path whose name begins with a colon.
            Some(0) => Self::Host(bytes.get(1..).unwrap_or_default().to_vec()),
            Some(at) => {
                let name = bytes.get(..at).unwrap_or_default();
                Self::Container(
                    String::from_utf8_lossy(name).into_owned(),
                    bytes.get(at + 1..).unwrap_or_default().to_vec(),
                )
            }
            None if bytes == b"-" => Self::Stream,
            None => Self::Host(text.clone().into_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_apart_as_docker_does() {
        let host = |path: &str| End::Host(path.as_bytes().to_vec());
        let container = |name: &str, path: &str| End::Container(name.to_owned(), path.as_bytes().to_vec());
        for (text, end) in [
            ("-", End::Stream),
            ("c:/x", container("c", "/x")),
            ("c:x:y", container("c", "x:y")),
            ("c:", container("c", "")),
            ("c:-", container("c", "-")),
            ("/a:b", host("/a:b")),
            ("./a:b", host("./a:b")),
            ("../a:b", host("../a:b")),
            (".a:b", host(".a:b")),
            ("a", host("a")),
            (":a", host("a")),
        ] {
            assert_eq!(End::parse(&text.into()), end, "{text}");
        }
    }
}
