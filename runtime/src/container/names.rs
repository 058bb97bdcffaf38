//! Ids and names of containers, given and generated.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::fill_random;
use crate::digest::random_hex;
use crate::error::{Error, ErrorKind, Result};

const ID_LEN: usize = 64;
const SHORT_LEN: usize = 12;
const NAME_MAX: usize = 255;
/// Tries with a generated name before the short id is taken.
const TRIES: usize = 6;

/// A container's id: 64 lowercase hex digits, the first 12 never all decimal (they are the default host name).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId(Box<str>);

impl ContainerId {
    /// A new random id.
    pub fn random() -> Result<Self> {
        loop {
            let id = random_hex(ID_LEN / 2)?;
            if id.bytes().take(SHORT_LEN).any(|b| b.is_ascii_lowercase()) {
                return Ok(Self(id.into()));
            }
        }
    }

    /// Reads a whole id.
    pub fn parse(text: &str) -> Result<Self> {
        match text.len() == ID_LEN && text.bytes().all(is_hex) {
            true => Ok(Self(text.into())),
            false => Err(Error::new(ErrorKind::Invalid, format!("invalid container id {text:?}"))),
        }
    }

    /// The 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits.
    pub fn short(&self) -> &str {
        self.0.get(..SHORT_LEN).unwrap_or_default()
    }
}

/// A container's name: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, at most 255 characters. Always a safe file name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerName(Box<str>);

impl ContainerName {
    /// Reads a name as a user types it; the one leading slash that `inspect` shows may be there.
    pub fn parse(text: &str) -> Result<Self> {
        let name = text.strip_prefix('/').unwrap_or(text);
        let mut bytes = name.bytes();
        let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
        if !first || name.len() < 2 || !bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')) {
            let message = format!("Invalid container name ({text}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        if name.len() > NAME_MAX {
            let message = format!("Invalid container name, longer than {NAME_MAX} characters");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        Ok(Self(name.into()))
    }

    /// The name, without a slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

pub(super) fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// Names to try for a container that was given none: six generated ones, then its short id.
pub(super) fn candidates(id: &ContainerId) -> Result<Vec<ContainerName>> {
    let mut random = [0; TRIES * 3 * 2];
    fill_random(&mut random)?;
    let numbers: Vec<usize> = random.chunks_exact(2).map(|b| usize::from(b[0]) << 8 | usize::from(b[1])).collect();
    let mut names = Vec::with_capacity(TRIES + 1);
    for (attempt, numbers) in numbers.chunks_exact(3).enumerate() {
        let adjective = ADJECTIVES[numbers[0] % ADJECTIVES.len()];
        let surname = SURNAMES[numbers[1] % SURNAMES.len()];
        let digit = if attempt == 0 { String::new() } else { (numbers[2] % 10).to_string() };
        names.push(ContainerName::parse(&format!("{adjective}_{surname}{digit}"))?);
    }
    names.push(ContainerName::parse(id.short())?);
    Ok(names)
}

macro_rules! text_newtype {
    ($type:ident) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

text_newtype!(ContainerId);
text_newtype!(ContainerName);

const ADJECTIVES: [&str; 104] = [
    "able",
    "agile",
    "airy",
    "alert",
    "ample",
    "amused",
    "apt",
    "artful",
    "astute",
    "balanced",
    "bold",
    "brave",
    "breezy",
    "bright",
    "brisk",
    "calm",
    "candid",
    "careful",
    "cheerful",
    "civil",
    "clear",
    "clever",
    "cool",
    "cordial",
    "cosy",
    "crisp",
    "curious",
    "daring",
    "deft",
    "diligent",
    "direct",
    "dreamy",
    "eager",
    "earnest",
    "easy",
    "elated",
    "elegant",
    "exact",
    "fair",
    "fearless",
    "festive",
    "firm",
    "fleet",
    "fluent",
    "fond",
    "frank",
    "free",
    "fresh",
    "frugal",
    "gallant",
    "gentle",
    "genuine",
    "glad",
    "graceful",
    "handy",
    "happy",
    "hardy",
    "honest",
    "hopeful",
    "humble",
    "inventive",
    "jolly",
    "jovial",
    "keen",
    "kind",
    "lively",
    "logical",
    "loyal",
    "lucid",
    "lucky",
    "mellow",
    "merry",
    "mild",
    "modest",
    "neat",
    "nimble",
    "noble",
    "patient",
    "peaceful",
    "placid",
    "playful",
    "polite",
    "precise",
    "prompt",
    "proud",
    "quick",
    "quiet",
    "ready",
    "robust",
    "serene",
    "sharp",
    "silent",
    "sincere",
    "smart",
    "steady",
    "sturdy",
    "subtle",
    "sunny",
    "tidy",
    "tranquil",
    "upbeat",
    "vivid",
    "warm",
    "witty",
];

const SURNAMES: [&str; 168] = [
    "abel",
    "ada",
    "agnesi",
    "alhazen",
    "ampere",
    "archimedes",
    "aryabhata",
    "avicenna",
    "avogadro",
    "babbage",
    "backus",
    "banach",
    "bardeen",
    "bernoulli",
    "bessel",
    "bohr",
    "boltzmann",
    "boole",
    "borg",
    "bose",
    "boyle",
    "brahe",
    "brunel",
    "cantor",
    "carnot",
    "carson",
    "cauchy",
    "cavendish",
    "cerf",
    "chandrasekhar",
    "chebyshev",
    "chomsky",
    "church",
    "clarke",
    "cochran",
    "codd",
    "conway",
    "copernicus",
    "coulomb",
    "cray",
    "curie",
    "dahl",
    "dalton",
    "darwin",
    "davinci",
    "debye",
    "dedekind",
    "descartes",
    "diesel",
    "dijkstra",
    "dirac",
    "doppler",
    "easley",
    "eckert",
    "edison",
    "ehrenfest",
    "einstein",
    "elgamal",
    "engelbart",
    "eratosthenes",
    "euclid",
    "euler",
    "faraday",
    "fermat",
    "fermi",
    "feynman",
    "fibonacci",
    "fourier",
    "franklin",
    "fresnel",
    "galilei",
    "galois",
    "gauss",
    "germain",
    "gibbs",
    "godel",
    "goodall",
    "gosling",
    "haber",
    "halley",
    "hamilton",
    "hamming",
    "harrison",
    "heisenberg",
    "helmholtz",
    "hero",
    "herschel",
    "hertz",
    "hilbert",
    "hoare",
    "hodgkin",
    "hooke",
    "hopper",
    "hubble",
    "huffman",
    "huygens",
    "hypatia",
    "jacobi",
    "jemison",
    "joliot",
    "joule",
    "kalman",
    "kapitza",
    "kelvin",
    "kepler",
    "kernighan",
    "khayyam",
    "khorana",
    "kilby",
    "kirchhoff",
    "knuth",
    "kolmogorov",
    "kovalevskaya",
    "lagrange",
    "lamarr",
    "landau",
    "laplace",
    "lavoisier",
    "leavitt",
    "leibniz",
    "liskov",
    "lovelace",
    "mandelbrot",
    "markov",
    "maxwell",
    "mayer",
    "mccarthy",
    "meitner",
    "mendel",
    "mendeleev",
    "milner",
    "minsky",
    "moore",
    "nash",
    "neumann",
    "newton",
    "nobel",
    "noether",
    "noyce",
    "ohm",
    "oppenheimer",
    "panini",
    "pascal",
    "pasteur",
    "pauling",
    "perlman",
    "planck",
    "poincare",
    "poisson",
    "ptolemy",
    "raman",
    "ramanujan",
    "riemann",
    "ritchie",
    "rubin",
    "rutherford",
    "sagan",
    "schrodinger",
    "shannon",
    "stokes",
    "tesla",
    "thompson",
    "turing",
    "villani",
    "volta",
    "watt",
    "wiles",
    "wirth",
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_follow_the_grammar() {
        let longest = "a".repeat(255);
        for name in ["ab", "a-b_c.d", "0x", "A1", longest.as_str()] {
            assert_eq!(ContainerName::parse(name).unwrap().as_str(), name);
            assert_eq!(ContainerName::parse(&format!("/{name}")).unwrap().as_str(), name);
        }
        let long = "a".repeat(300);
        let bad = [
            "",
            "a",
            "/",
            "//ab",
            ".",
            "..",
            "../x",
            "a/b",
            ".ab",
            "-ab",
            "_ab",
            "a b",
            "ab\0",
            "ab\n",
            "aé",
            "a․․",
            long.as_str(),
        ];
        for name in bad {
            assert_eq!(ContainerName::parse(name).unwrap_err().kind(), ErrorKind::Invalid, "{name:?}");
        }
        insta::assert_snapshot!(ContainerName::parse("../x").unwrap_err(), @"Invalid container name (../x), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed");
    }

    #[test]
    fn ids_are_random_hex_and_never_look_like_a_number() {
        let mut seen = HashSet::new();
        for _ in 0..500 {
            let id = ContainerId::random().unwrap();
            assert_eq!(ContainerId::parse(id.as_str()).unwrap(), id);
            assert!(id.short().len() == 12 && id.short().bytes().any(|b| b.is_ascii_alphabetic()), "{id}");
            assert!(seen.insert(id));
        }
        let upper = "A".repeat(64);
        for text in ["", "..", "abc", upper.as_str()] {
            assert!(ContainerId::parse(text).is_err());
        }
    }

    #[test]
    fn generated_names_are_distinct_words_then_a_digit_then_the_id() {
        assert_eq!(ADJECTIVES.iter().collect::<HashSet<_>>().len(), ADJECTIVES.len());
        assert_eq!(SURNAMES.iter().collect::<HashSet<_>>().len(), SURNAMES.len());
        assert!(ADJECTIVES.iter().chain(&SURNAMES).all(|w| w.bytes().all(|b| b.is_ascii_lowercase())));
        assert!(!ADJECTIVES.contains(&"boring") && !SURNAMES.contains(&"wozniak"));
        let id = ContainerId::random().unwrap();
        let names = candidates(&id).unwrap();
        assert_eq!(names.len(), TRIES + 1);
        assert_eq!(names.last().unwrap().as_str(), id.short());
        for (attempt, name) in names.iter().take(TRIES).enumerate() {
            let digits = name.as_str().bytes().filter(u8::is_ascii_digit).count();
            assert_eq!((digits, name.as_str().matches('_').count()), (usize::from(attempt > 0), 1), "{name}");
        }
    }

    proptest! {
        #[test]
        fn an_accepted_name_is_one_plain_path_component(text in "[a-zA-Z0-9_./-]{0,12}|\\PC{0,12}") {
            if let Ok(name) = ContainerName::parse(&text) {
                let path = std::path::Path::new(name.as_str());
                prop_assert_eq!(path.components().count(), 1);
                prop_assert_eq!(path.file_name().and_then(|n| n.to_str()), Some(name.as_str()));
            }
        }
    }
}
