//! `--cache-from` and `--cache-to`: where a cache is. Pure.

use std::path::PathBuf;

use crate::container::options::mounts::split_record;
use crate::error::{Error, ErrorKind, Result};
use crate::reference::Reference;

/// Where a cache comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// An OCI layout in this directory.
    Local(PathBuf),
    /// An image of a registry, or of the store.
    Image(Reference),
}

/// Where a cache goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct To {
    /// The place.
    pub place: Place,
    /// The steps of all stages, not only those that the image is made of.
    pub whole: bool,
    /// A failure is no failure of the build.
    pub optional: bool,
}

/// A place for a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An OCI layout in this directory.
    Local(PathBuf),
    /// An image of a registry.
    Registry(Reference),
    /// The image that is built.
    Inline,
}

fn invalid(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, text)
}

/// The fields of a value; one word without a type is an image's name.
struct Fields(Vec<(String, String)>);

impl Fields {
    fn parse(text: &str) -> Result<Self> {
        let fields = split_record(text)?;
        if let [one] = fields.as_slice()
            && !one.contains('=')
        {
            return Ok(Self(vec![("type".to_owned(), "registry".to_owned()), ("ref".to_owned(), one.clone())]));
        }
        let pair = |field: &String| {
            let (name, value) = field.split_once('=').ok_or_else(|| invalid(format!("invalid value {field}")))?;
            Ok((name.trim().to_ascii_lowercase(), value.to_owned()))
        };
        fields.iter().map(pair).collect::<Result<_>>().map(Self)
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(at).1).filter(|value| !value.is_empty())
    }

    fn reference(&mut self) -> Result<Reference> {
        let text = self.take("ref").ok_or_else(|| invalid("ref is required for type=registry"))?;
        Reference::parse(&text)
    }

    fn path(&mut self, name: &str) -> Result<PathBuf> {
        let text = self.take(name).ok_or_else(|| invalid(format!("{name} is required for type=local")))?;
        Ok(PathBuf::from(text))
    }

    fn kind(&mut self) -> Result<String> {
        self.take("type").ok_or_else(|| invalid("type is required"))
    }

    /// Refuses what is left, but for fields that ask for what happens anyway.
    fn finish(self, accepted: &[(&str, &str)]) -> Result<()> {
        let left = self.0.into_iter().find(|(name, value)| !accepted.contains(&(name.as_str(), value.as_str())));
        left.map_or(Ok(()), |(name, value)| {
            let text = format!("{name}={value}: this version of lrun does not have that for caches");
            Err(Error::new(ErrorKind::Unsupported, text).hint("leave it out"))
        })
    }
}

fn unknown(kind: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("type={kind}: this version of lrun keeps caches in directories and registries"),
    )
    .hint("type is local or registry")
}

impl From {
    /// Reads the value of `--cache-from`.
    pub fn parse(text: &str) -> Result<Self> {
        let mut fields = Fields::parse(text)?;
        let from = match fields.kind()?.as_str() {
            "local" => Self::Local(fields.path("src")?),
            "registry" => Self::Image(fields.reference()?),
            kind => return Err(unknown(kind)),
        };
        fields.finish(&[])?;
        Ok(from)
    }
}

impl To {
    /// Reads the value of `--cache-to`.
    pub fn parse(text: &str) -> Result<Self> {
        let mut fields = Fields::parse(text)?;
        let place = match fields.kind()?.as_str() {
            "local" => Place::Local(fields.path("dest")?),
            "registry" => Place::Registry(fields.reference()?),
            "inline" => Place::Inline,
            kind => return Err(unknown(kind)),
        };
        if let Place::Registry(reference) = &place
            && reference.digest().is_some()
        {
            return Err(invalid("ref has a digest: a cache goes to a tag"));
        }
        let whole = match fields.take("mode").as_deref() {
            None | Some("min") => false,
            Some("max") if place != Place::Inline => true,
            Some(mode) => {
                return Err(invalid(format!("mode={mode}: min or max is expected, and min with type=inline")));
            }
        };
        let optional = match fields.take("ignore-error").as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => return Err(invalid(format!("ignore-error={other}: true or false is expected"))),
        };
        fields.finish(&[("oci-mediatypes", "true"), ("image-manifest", "true"), ("force-compression", "false")])?;
        Ok(Self { place, whole, optional })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reference(text: &str) -> Reference {
        Reference::parse(text).unwrap()
    }

    #[test]
    fn places_as_people_write_them() {
        for (text, expected) in [
            ("user/app:cache", From::Image(reference("user/app:cache"))),
            ("type=registry,ref=r.io/x", From::Image(reference("r.io/x"))),
            ("type=local,src=/c", From::Local(PathBuf::from("/c"))),
        ] {
            assert_eq!(From::parse(text).map_err(|error| error.to_string()), Ok(expected), "{text}");
        }
        for (text, place, whole, optional) in [
            ("type=local,dest=/c,mode=max", Place::Local(PathBuf::from("/c")), true, false),
            ("type=registry,ref=r.io/x:c,mode=min", Place::Registry(reference("r.io/x:c")), false, false),
            ("r.io/x:c", Place::Registry(reference("r.io/x:c")), false, false),
            ("type=inline", Place::Inline, false, false),
            ("type=local,dest=c,ignore-error=true,oci-mediatypes=true", Place::Local(PathBuf::from("c")), false, true),
        ] {
            assert_eq!(To::parse(text).map_err(|error| error.to_string()), Ok(To { place, whole, optional }), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for text in [
            "",
            "src=/c",
            "type=local",
            "type=gha",
            "type=registry",
            "type=registry,ref=UPPER",
            "type=local,src=/c,digest=x",
        ] {
            assert!(From::parse(text).is_err(), "{text}");
        }
        for text in [
            "type=local",
            "type=s3,bucket=b",
            "type=local,dest=c,mode=all",
            "type=inline,mode=max",
            "type=local,dest=c,compression=estargz",
        ] {
            assert!(To::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(type=(local|registry|inline),?)?.{0,30}") {
            let _ = From::parse(&text);
            let _ = To::parse(&text);
        }
    }
}
