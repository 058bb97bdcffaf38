//! What an image is made for: operating system, architecture, variant; and which image of an index suits best.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// A platform in Go's words, normalised: `linux/amd64`, `linux/arm/v7`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// Operating system.
    #[serde(default)]
    pub os: String,
    /// Architecture.
    #[serde(default)]
    pub architecture: String,
    /// Variant of the architecture; empty: the first of 64-bit ones.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// Go's names of systems and architectures: what a platform of one word can be.
const SYSTEMS: [&str; 17] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
    "zos",
];
const ARCHITECTURES: [&str; 24] = [
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "arm64",
    "arm64be",
    "armbe",
    "loong64",
    "mips",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "mipsle",
    "ppc",
    "ppc64",
    "ppc64le",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
];

impl Platform {
    /// Whether both are words of Go's.
    pub fn is_known(os: &str, architecture: &str) -> bool {
        SYSTEMS.contains(&os) && ARCHITECTURES.contains(&architecture)
    }

    /// The platform of these three, in their usual spelling.
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        let (os, architecture, variant) =
            (os.to_ascii_lowercase(), architecture.to_ascii_lowercase(), variant.to_ascii_lowercase());
        let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
            ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", if variant == "v1" { "" } else { variant }),
            ("aarch64" | "arm64", variant) => ("arm64", if matches!(variant, "8" | "v8") { "" } else { variant }),
            ("i386" | "i486" | "i586" | "i686" | "386", _) => ("386", ""),
            ("armhf", _) => ("arm", "v7"),
            ("armel", _) => ("arm", "v6"),
            ("arm", "") => ("arm", "v7"),
            (architecture, variant) => (architecture, variant),
        };
        let variant = match variant.as_bytes() {
            [b'0'..=b'9', ..] => format!("v{variant}"),
            _ => variant.to_owned(),
        };
        Self { os, architecture: architecture.to_owned(), variant }
    }

    /// `linux`, `linux/arm64`, `linux/arm/v7`, `arm64`; what is left out is `own`'s.
    pub fn parse(text: &str, own: &Self) -> Result<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let word =
            |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if !parts.iter().all(word) || parts.len() > 3 {
            let message = format!("\"{text}\" is an invalid OS/ARCH[/VARIANT]: components must be letters and digits");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        Ok(match parts.as_slice() {
            [one] if SYSTEMS.contains(&one.to_ascii_lowercase().as_str()) => {
                Self::new(one, &own.architecture, &own.variant)
            }
            [one] => {
                let platform = Self::new(&own.os, one, "");
                if !ARCHITECTURES.contains(&platform.architecture.as_str()) {
                    let message = format!("\"{one}\": unknown operating system or architecture");
                    return Err(Error::new(ErrorKind::Invalid, message));
                }
                platform
            }
            [os, architecture] => Self::new(os, architecture, ""),
            [os, architecture, variant, ..] => Self::new(os, architecture, variant),
            [] => own.clone(),
        })
    }

    /// How well an image for `offered` runs where `self` is wanted: `None` not at all, larger is better.
    ///
    /// A variant is a level (`v6`): every level up to the wanted one runs, the highest is best.
    fn suits(&self, offered: &Self) -> Option<u32> {
        let offered = Self::new(&offered.os, &offered.architecture, &offered.variant);
        if offered.os != self.os || offered.architecture != self.architecture {
            return None;
        }
        if offered.variant == self.variant {
            return Some(u32::MAX);
        }
        let level = |platform: &Self| match (platform.variant.strip_prefix('v'), platform.variant.as_str()) {
            (_, "") => Some(0),
            (Some(digits), _) => digits.split('.').next()?.parse::<u32>().ok(),
            _ => None,
        };
        let (wanted, level) = (level(self)?, level(&offered)?);
        (level <= wanted).then_some(level)
    }

    /// The first of those that suit best.
    pub fn choose<'a, T>(&self, offers: impl IntoIterator<Item = (&'a Self, T)>) -> Option<T> {
        let mut best: Option<(u32, T)> = None;
        for (platform, value) in offers {
            if let Some(fit) = self.suits(platform)
                && best.as_ref().is_none_or(|(known, _)| fit > *known)
            {
                best = Some((fit, value));
            }
        }
        best.map(|(_, value)| value)
    }

    /// Whether an image for `offered` runs where `self` is wanted.
    pub fn accepts(&self, offered: &Self) -> bool {
        self.suits(offered).is_some()
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match self.variant.as_str() {
            "" => Ok(()),
            variant => write!(f, "/{variant}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Platform {
        Platform::new("linux", "amd64", "")
    }

    #[test]
    fn platforms_are_normalised() {
        for (text, shown) in [
            ("linux", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("LINUX/AMD64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("arm64", "linux/arm64"),
            ("linux/aarch64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/7", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("windows", "windows/amd64"),
            ("i686", "linux/386"),
        ] {
            assert_eq!(Platform::parse(text, &own()).unwrap().to_string(), shown, "{text}");
        }
        for text in ["", "/", "linux/", "linux/arm/v7/x", "linux/a b", "linux//v7", "foobar"] {
            assert!(Platform::parse(text, &own()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_highest_variant_that_runs_is_chosen() {
        let offers = [
            "linux/arm/v5",
            "linux/arm/v7",
            "linux/arm/v6",
            "linux/arm64",
            "linux/amd64/v2",
            "linux/amd64",
            "windows/amd64",
        ];
        let offers: Vec<Platform> = offers.iter().map(|o| Platform::parse(o, &own()).unwrap()).collect();
        for (wanted, chosen) in [
            ("linux/arm/v7", Some("linux/arm/v7")),
            ("linux/arm/v8", Some("linux/arm/v7")),
            ("linux/arm/v6", Some("linux/arm/v6")),
            ("linux/arm64/v8", Some("linux/arm64")),
            ("linux/arm64/v9", Some("linux/arm64")),
            ("linux/amd64", Some("linux/amd64")),
            ("linux/amd64/v3", Some("linux/amd64/v2")),
            ("linux/riscv64", None),
            ("windows/arm64", None),
        ] {
            let wanted = Platform::parse(wanted, &own()).unwrap();
            let found = wanted.choose(offers.iter().map(|o| (o, o.to_string())));
            assert_eq!(found.as_deref(), chosen, "{wanted}");
        }
    }
}
