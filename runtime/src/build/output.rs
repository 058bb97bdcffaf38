//! `--output`: what becomes of what was built. Pure.

use std::path::PathBuf;

use crate::container::options::mounts::split_record;
use crate::error::{Error, ErrorKind, Result};
use crate::reference::Reference;
use crate::transfer::Format as Compression;

/// What becomes of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// It stays in the store; by `names` too, besides those of `-t`.
    Store {
        /// Its names.
        names: Vec<Reference>,
        /// It is sent to the registries of all its names.
        push: bool,
        /// How its layers are compressed on the way.
        compression: Compression,
    },
    /// Its files go into this directory.
    Files(PathBuf),
    /// Its files go into a tar.
    Tar(Sink),
    /// It goes into an archive that `docker load` reads, by `names` too.
    Docker {
        /// Where.
        sink: Sink,
        /// Its names there, besides those of `-t`.
        names: Vec<Reference>,
    },
    /// It goes into an OCI layout as a tar, by `names` too.
    Oci {
        /// Where.
        sink: Sink,
        /// Its names there, besides those of `-t`.
        names: Vec<Reference>,
    },
    /// It becomes an OCI layout: a directory that is not there yet.
    OciDirectory {
        /// The directory.
        path: PathBuf,
        /// Its names there, besides those of `-t`.
        names: Vec<Reference>,
    },
    /// Nothing: its steps are in the cache.
    Nothing,
}

/// Where an archive goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// Standard output.
    Stdout,
    /// This file.
    File(PathBuf),
}

impl Output {
    /// Reads the value of `-o`: fields `name=value` of a CSV record, a directory, or `-` for a tar.
    pub fn parse(text: &str) -> Result<Self> {
        let fields = split_record(text)?;
        match fields.as_slice() {
            [one] if one == text && !one.starts_with("type=") => Ok(match text {
                "-" => Self::Tar(Sink::Stdout),
                directory => Self::Files(PathBuf::from(directory)),
            }),
            fields => Fields::parse(fields)?.output(),
        }
    }

    /// Whether it is written to standard output.
    pub fn is_stdout(&self) -> bool {
        matches!(self, Self::Tar(sink) | Self::Docker { sink, .. } | Self::Oci { sink, .. } if *sink == Sink::Stdout)
    }
}

/// The fields of one `-o`, before they are known to fit together.
#[derive(Default)]
struct Fields {
    kind: String,
    dest: Option<String>,
    names: Vec<Reference>,
    push: bool,
    directory: bool,
    compression: Option<String>,
}

fn invalid(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, text)
}

fn refused(text: String) -> Error {
    Error::new(ErrorKind::Unsupported, text).hint("leave it out")
}

/// The truth values of Go's `strconv.ParseBool`.
fn boolean(name: &str, value: &str) -> Result<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(invalid(format!("{name}={value}: true or false is expected"))),
    }
}

impl Fields {
    fn parse(texts: &[String]) -> Result<Self> {
        let mut fields = Self::default();
        for text in texts {
            let (name, value) = text.split_once('=').ok_or_else(|| invalid(format!("invalid value {text}")))?;
            fields.set(name.trim().to_ascii_lowercase().as_str(), value)?;
        }
        Ok(fields)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "type" => self.kind = value.to_owned(),
            "dest" => self.dest = Some(value.to_owned()).filter(|dest| !dest.is_empty()),
            "name" => {
                for name in value.split(',').filter(|name| !name.is_empty()) {
                    self.names.push(Reference::parse(name)?);
                }
            }
            "push" => self.push = boolean(name, value)?,
            "tar" => self.directory = !boolean(name, value)?,
            "compression" => self.compression = Some(value.to_owned()),
            // What happens anyway.
            "oci-mediatypes" | "unpack" | "store" | "name-canonical" if boolean(name, value)? => {}
            "push-by-digest" | "force-compression" | "rewrite-timestamp" | "oci-artifact" | "registry.insecure"
                if !boolean(name, value)? => {}
            "unpack" => {}
            _ => return Err(refused(format!("{name}={value}: this version of lrun does not have that for outputs"))),
        }
        Ok(())
    }

    fn output(self) -> Result<Output> {
        let kind = self.kind.clone();
        let only = |given: bool, field: &str| match given {
            true => Err(invalid(format!("{field} is not for type={kind}"))),
            false => Ok(()),
        };
        let stores = matches!((kind.as_str(), &self.dest), ("image" | "registry", _) | ("docker", None));
        only(self.directory && kind != "oci", "tar=false")?;
        only(self.push && kind != "image" && kind != "registry", "push")?;
        only(!self.names.is_empty() && matches!(kind.as_str(), "local" | "tar" | "cacheonly"), "name")?;
        only(self.dest.is_some() && matches!(kind.as_str(), "image" | "registry" | "cacheonly"), "dest")?;
        let compression = self.compression.as_deref();
        let compression = match (compression, stores) {
            (None, _) => Compression::default(),
            (Some("gzip"), true) => Compression::Gzip,
            (Some("zstd"), true) => Compression::Zstd,
            (Some("uncompressed"), false) => Compression::default(),
            (Some(other), true) => {
                return Err(refused(format!("compression={other}: layers are pushed with gzip or zstd")));
            }
            (Some(other), false) => {
                return Err(refused(format!("compression={other}: layers in an archive are not compressed")));
            }
        };
        self.of_kind(compression)
    }

    fn of_kind(self, compression: Compression) -> Result<Output> {
        let Self { kind, dest, names, push, directory, .. } = self;
        let sink = match dest.as_deref() {
            None | Some("-") => Sink::Stdout,
            Some(path) => Sink::File(PathBuf::from(path)),
        };
        Ok(match (kind.as_str(), sink, dest) {
            ("", ..) => return Err(invalid("type is required for output")),
            ("local", Sink::File(path), _) => Output::Files(path),
            ("local", Sink::Stdout, None) => return Err(invalid("dest is required for local output")),
            ("local", ..) => return Err(invalid("dest cannot be stdout for local output").hint("type=tar,dest=-")),
            ("tar", sink, _) => Output::Tar(sink),
            ("oci", Sink::File(path), _) if directory => Output::OciDirectory { path, names },
            ("oci", ..) if directory => return Err(invalid("dest is required for oci output with tar=false")),
            ("oci", sink, _) => Output::Oci { sink, names },
            ("docker", sink, Some(_)) => Output::Docker { sink, names },
            ("docker" | "image", _, _) => Output::Store { names, push, compression },
            ("registry", _, _) => Output::Store { names, push: true, compression },
            ("cacheonly", _, _) => Output::Nothing,
            (other, ..) => {
                return Err(invalid(format!("exporter {other:?} could not be found"))
                    .hint("type is local, tar, oci, docker, image, registry or cacheonly"));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> PathBuf {
        PathBuf::from(text)
    }

    #[test]
    fn outputs_as_people_write_them() {
        let file = |name| Sink::File(path(name));
        let names = |names: &[&str]| names.iter().map(|name| Reference::parse(name).unwrap()).collect();
        for (text, expected) in [
            ("out", Output::Files(path("out"))),
            (".", Output::Files(path("."))),
            ("a=b", Output::Files(path("a=b"))),
            ("-", Output::Tar(Sink::Stdout)),
            ("type=local,dest=out", Output::Files(path("out"))),
            ("type=local,\"dest=a,b\"", Output::Files(path("a,b"))),
            ("type=tar", Output::Tar(Sink::Stdout)),
            ("Type=tar,dest=x.tar", Output::Tar(file("x.tar"))),
            ("type=oci,dest=x", Output::Oci { sink: file("x"), names: vec![] }),
            ("type=oci,name=y,dest=x", Output::Oci { sink: file("x"), names: names(&["y"]) }),
            ("type=oci,dest=x,tar=false", Output::OciDirectory { path: path("x"), names: vec![] }),
            ("type=docker", Output::Store { names: vec![], push: false, compression: Compression::Gzip }),
            ("type=docker,dest=-", Output::Docker { sink: Sink::Stdout, names: vec![] }),
            ("type=image,name=a", Output::Store { names: names(&["a"]), push: false, compression: Compression::Gzip }),
            (
                "type=image,\"name=a,b\",push=true,compression=zstd",
                Output::Store { names: names(&["a", "b"]), push: true, compression: Compression::Zstd },
            ),
            ("type=registry", Output::Store { names: vec![], push: true, compression: Compression::Gzip }),
            ("type=cacheonly", Output::Nothing),
        ] {
            let found = Output::parse(text).map_err(|error| format!("{text}: {error}"));
            assert_eq!(found, Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for text in [
            "",
            "type=local",
            "type=local,dest=-",
            "dest=x,type",
            "type=nope",
            "dest=a,dest=b",
            "type=tar,push=true",
            "type=image,dest=x",
            "type=local,dest=x,name=y",
            "type=docker,tar=false",
            "type=oci,tar=false",
            "type=oci,compression=gzip,dest=x",
            "type=image,push=maybe",
            "type=image,push-by-digest=true",
            "type=image,annotation.a=b",
            "type=image,name=UPPER CASE",
            "type=oci,name=UPPER,dest=y",
        ] {
            assert!(Output::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}", fields in "type=(local|tar|oci|docker|image)(,(dest|name|push|tar)=[a-z\\-\"]{0,4}){0,3}") {
            let _ = Output::parse(&text);
            let _ = Output::parse(&fields);
        }
    }
}
