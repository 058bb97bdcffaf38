//! Who reads the Dockerfile's language. docker gets a program for it from a registry, as `# syntax=` or the build argument
//! `BUILDKIT_SYNTAX` says; lrun reads docker's language itself, and no other. Pure.

use super::dockerfile::Dockerfile;
use super::options::Options;
use crate::error::{Error, ErrorKind, Result};

/// The build argument that counts instead of the directive.
const ARGUMENT: &str = "BUILDKIT_SYNTAX";
/// What images are called that read docker's language, wherever they are, and BuildKit's own reader.
const DOCKERS: [&str; 3] = ["dockerfile", "dockerfile-upstream", "dockerfile.v0"];

/// Refuses a Dockerfile that is in another language.
pub fn check(file: &Dockerfile, options: &Options) -> Result<()> {
    match (options.arguments.get(ARGUMENT), &file.directives.syntax) {
        (Some(given), _) if !given.is_empty() => refuse(given).map_err(|error| error.context(ARGUMENT)),
        (_, Some(word)) => refuse(&word.text).map_err(|error| file.source.error(word.at, error)),
        _ => Ok(()),
    }
}

fn refuse(syntax: &str) -> Result<()> {
    // Words after the image are for the program.
    let image = syntax.split_whitespace().next().unwrap_or_default();
    let name = image.split('@').next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    let name = name.split(':').next().unwrap_or_default();
    if DOCKERS.contains(&name) {
        return Ok(());
    }
    let text = format!("syntax {image:?} is another language than docker's, which alone lrun reads");
    Err(Error::new(ErrorKind::Unsupported, text).hint("docker's is called docker/dockerfile:1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str, arguments: &[(&str, &str)]) -> Option<String> {
        let file = Dockerfile::parse("D", text.as_bytes()).expect("a Dockerfile");
        let arguments = arguments.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        check(&file, &Options { arguments, ..Options::default() }).err().map(|error| error.to_string())
    }

    #[test]
    fn dockers_language_wherever_its_reader_is() {
        for name in [
            "docker/dockerfile:1",
            "docker/dockerfile",
            "docker.io/docker/dockerfile:1.7-labs",
            "docker/dockerfile-upstream:master",
            "localhost:5000/mirror/dockerfile:1@sha256:00",
            "dockerfile:experimental // options",
        ] {
            assert_eq!(said(&format!("# syntax={name}\nFROM scratch\n"), &[]), None, "{name}");
        }
        for name in ["foobar", "docker/dockerfile-x", "example.com/dockerfile/cargo:1", "/"] {
            let said = said(&format!("# escape=`\n# syntax={name}\nFROM scratch\n"), &[]).expect(name);
            assert!(said.starts_with("D:2:1: syntax ") && said.contains("another language"), "{said}");
        }
    }

    #[test]
    fn the_argument_counts_instead_of_the_directive() {
        let text = "# syntax=foobar\nFROM scratch\n";
        assert_eq!(said(text, &[("BUILDKIT_SYNTAX", "dockerfile.v0")]), None);
        assert!(said(text, &[("BUILDKIT_SYNTAX", "")]).is_some());
        let given = said("FROM scratch\n", &[("BUILDKIT_SYNTAX", "foobar")]).expect("refused");
        assert!(given.contains("BUILDKIT_SYNTAX: syntax \"foobar\""), "{given}");
    }
}
