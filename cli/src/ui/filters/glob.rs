//! Shell patterns as Go's path.Match has them: `*` and `?` stop at slashes, `[a-z]` and `[^a-z]`, `\` quotes.

use lrun_runtime::error::{Error, ErrorKind, Result};

/// A parsed pattern.
pub struct Glob(Vec<Part>);

enum Part {
    /// This character.
    Literal(char),
    /// Any one character but a slash.
    One,
    /// Any number of characters but slashes.
    Many,
    /// One of these ranges, or none of them; never a slash.
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Glob {
    /// Parses a pattern.
    ///
    /// # Errors
    ///
    /// `Invalid`, for an open bracket or a lone backslash at the end.
    pub fn parse(pattern: &str) -> Result<Self> {
        let bad = || Error::new(ErrorKind::Invalid, format!("syntax error in pattern '{pattern}'"));
        let mut parts = Vec::new();
        let mut chars = pattern.chars().peekable();
        while let Some(c) = chars.next() {
            parts.push(match c {
                '*' => Part::Many,
                '?' => Part::One,
                '\\' => Part::Literal(chars.next().ok_or_else(bad)?),
                '[' => {
                    let negated = chars.next_if_eq(&'^').is_some();
                    let mut ranges = Vec::new();
                    while ranges.is_empty() || chars.next_if_eq(&']').is_none() {
                        let first = class_char(&mut chars).ok_or_else(bad)?;
                        let last = match chars.next_if_eq(&'-') {
                            Some(_) => class_char(&mut chars).ok_or_else(bad)?,
                            None => first,
                        };
                        ranges.push((first, last));
                    }
                    Part::Class { negated, ranges }
                }
                c => Part::Literal(c),
            });
        }
        Ok(Self(parts))
    }

    /// Whether the pattern matches all of the text.
    pub fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        // Where to go on when the last star takes one more character: only the last star needs that.
        let (mut part, mut at) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        loop {
            match self.0.get(part) {
                Some(Part::Many) => {
                    star = Some((part + 1, at));
                    part += 1;
                    continue;
                }
                Some(one) if text.get(at).is_some_and(|&c| one.takes(c)) => {
                    part += 1;
                    at += 1;
                    continue;
                }
                None if at == text.len() => return true,
                _ => {}
            }
            match star {
                Some((after, from)) if text.get(from).is_some_and(|&c| c != '/') => {
                    star = Some((after, from + 1));
                    part = after;
                    at = from + 1;
                }
                _ => return false,
            }
        }
    }
}

impl Part {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Literal(own) => *own == c,
            Self::One => c != '/',
            Self::Many => false,
            Self::Class { negated, ranges } => {
                c != '/' && ranges.iter().any(|&(first, last)| (first..=last).contains(&c)) != *negated
            }
        }
    }
}

/// One character inside brackets; a bare `]` or `-` is none.
fn class_char(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    match chars.next()? {
        '\\' => chars.next(),
        '-' | ']' => None,
        c => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_of_path_match() {
        for (pattern, text, matches) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*", "ab/c", false),
            ("a*/b", "abc/b", true),
            ("a*/b", "a/c/b", false),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", false),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            (r"a\*b", "a*b", true),
            (r"a\*b", "ab", false),
            ("a?b", "a☺b", true),
            ("a?b", "a/b", false),
            ("a[^a]b", "a/b", false),
            ("[a-ζ]*", "α", true),
            (r"[\-x]", "-", true),
            ("*x", "xxx", true),
            ("", "", true),
            ("", "a", false),
            ("stage0:*", "stage0:latest", true),
        ] {
            assert_eq!(Glob::parse(pattern).unwrap().matches(text), matches, "{pattern} on {text}");
        }
        for pattern in ["[", "[]", "[a", "[^", "[-x]", "[x-", "a\\", "[a-]"] {
            assert!(Glob::parse(pattern).is_err(), "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn no_pattern_hangs_or_panics(pattern in "[a*?\\[\\]^\\\\/-]{0,20}", text in "[a/]{0,30}") {
            if let Ok(glob) = Glob::parse(&pattern) {
                glob.matches(&text);
            }
        }
    }
}
