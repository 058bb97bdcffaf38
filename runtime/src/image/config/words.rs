//! Words of Dockerfile instructions: splitting, quotes, escapes and `$VARIABLE`s.
//!
//! Dockerfile reference, "Environment replacement" and "Parser directives".

use std::iter::Peekable;
use std::str::Chars;

use crate::error::{Error, ErrorKind, Result};

/// Splits at white space outside quotes; quotes and escapes stay for [`expand`].
pub(super) fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', Some('"') | None) => {
                word.push(c);
                word.extend(chars.next());
            }
            (c, None) if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            (c, Some(open)) if c == open => {
                quote = None;
                word.push(c);
            }
            ('"' | '\'', None) => {
                quote = Some(c);
                word.push(c);
            }
            _ => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Removes quotes and escapes and replaces `$NAME`, `${NAME}`, `${NAME:-word}` and `${NAME:+word}`.
pub(super) fn expand(word: &str, env: &[String]) -> Result<String> {
    let mut chars = word.chars().peekable();
    expand_until(&mut chars, None, env)
}

fn missing(what: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("unexpected end of statement while looking for matching {what}"))
}

fn expand_until(chars: &mut Peekable<Chars<'_>>, end: Option<char>, env: &[String]) -> Result<String> {
    let mut out = String::new();
    while let Some(c) = chars.next() {
        match c {
            c if Some(c) == end => return Ok(out),
            '\\' => out.extend(chars.next()),
            '\'' => loop {
                match chars.next() {
                    Some('\'') => break,
                    Some(c) => out.push(c),
                    None => return Err(missing("single-quote")),
                }
            },
            '"' => double_quoted(chars, env, &mut out)?,
            '$' => variable(chars, env, &mut out)?,
            c => out.push(c),
        }
    }
    match end {
        Some(_) => Err(missing("}")),
        None => Ok(out),
    }
}

fn double_quoted(chars: &mut Peekable<Chars<'_>>, env: &[String], out: &mut String) -> Result<()> {
    loop {
        match chars.next() {
            Some('"') => return Ok(()),
            Some('$') => variable(chars, env, out)?,
            Some('\\') => match chars.next() {
                Some(c @ ('"' | '$' | '\\')) => out.push(c),
                Some(c) => out.extend(['\\', c]),
                None => out.push('\\'),
            },
            Some(c) => out.push(c),
            None => return Err(missing("double-quote")),
        }
    }
}

fn variable(chars: &mut Peekable<Chars<'_>>, env: &[String], out: &mut String) -> Result<()> {
    let braced = chars.next_if_eq(&'{').is_some();
    let mut name = String::new();
    while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
        name.push(c);
    }
    let value = env.iter().rev().find_map(|v| v.strip_prefix(&name)?.strip_prefix('='));
    if !braced {
        match name.is_empty() {
            true => out.push('$'),
            false => out.push_str(value.unwrap_or_default()),
        }
        return Ok(());
    }
    let bad = || Error::new(ErrorKind::Invalid, "bad substitution");
    let value = value.filter(|_| !name.is_empty());
    match chars.next() {
        Some('}') if !name.is_empty() => out.push_str(value.unwrap_or_default()),
        Some(':') if !name.is_empty() => {
            let modifier = chars.next();
            let word = expand_until(chars, Some('}'), env)?;
            let set = value.filter(|v| !v.is_empty());
            match modifier {
                Some('-') => out.push_str(set.unwrap_or(&word)),
                Some('+') => out.push_str(set.map_or("", |_| &word)),
                _ => return Err(Error::new(ErrorKind::Invalid, "unsupported modifier in substitution")),
            }
        }
        None => return Err(missing("}")),
        Some(_) => return Err(bad()),
    }
    Ok(())
}

/// A duration in Go's form (`1h2m3.5s`, `250ms`) in nanoseconds, not negative.
pub fn duration(text: &str) -> Result<i64> {
    let invalid = || Error::new(ErrorKind::Invalid, format!("invalid duration {text:?}"));
    if text == "0" {
        return Ok(0);
    }
    let mut rest = text;
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let number_len = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(invalid)?;
        let (number, tail) = rest.split_at(number_len);
        let unit_len = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_len);
        let scale = match unit {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(invalid()),
        };
        total += number.parse::<f64>().map_err(|_| invalid())? * scale;
        rest = tail;
    }
    if text.is_empty() || total >= i64::MAX as f64 {
        return Err(invalid());
    }
    Ok(total.round() as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn splitting_keeps_quotes_together() {
        let cases: [(&str, &[&str]); 6] = [
            ("a=b  c=d", &["a=b", "c=d"]),
            ("a=\"b c\" d='e f'", &["a=\"b c\"", "d='e f'"]),
            ("a=b\\ c d", &["a=b\\ c", "d"]),
            ("a=\"it's \\\" x\" y", &["a=\"it's \\\" x\"", "y"]),
            ("a='\\' b", &["a='\\'", "b"]),
            ("  ", &[]),
        ];
        for (text, words) in cases {
            assert_eq!(split(text), words, "{text}");
        }
    }

    #[test]
    fn expansion_of_quotes_escapes_and_variables() {
        let env = ["A=x".to_owned(), "E=".to_owned(), "A_B=y".to_owned()];
        let cases = [
            ("plain", "plain"),
            ("\"b c\"'d e'", "b cd e"),
            ("\\$A \\\" \\\\", "$A \" \\"),
            ("\"\\n\\$\"", "\\n$"),
            ("$A-$A_B-${A}B-$NO.", "x-y-xB-."),
            ("'$A'\"$A\"", "$Ax"),
            ("${NO:-d$A}${E:-e}${A:-f}", "dxex"),
            ("${NO:+d}${E:+e}${A:+'f}'}", "f}"),
            ("$ $$", "$ $$"),
        ];
        for (word, result) in cases {
            assert_eq!(expand(word, &env).unwrap(), result, "{word}");
        }
        for word in ["'a", "\"a", "${", "${A", "${}", "${A:?b}", "${A!}", "${A:-b"] {
            assert_eq!(expand(word, &env).unwrap_err().kind(), ErrorKind::Invalid, "{word}");
        }
    }

    #[test]
    fn durations() {
        for (text, nanoseconds) in
            [("0", 0), ("250ms", 250_000_000), ("1m30.5s", 90_500_000_000), ("1h", 3600 * 1_000_000_000)]
        {
            assert_eq!(duration(text).unwrap(), nanoseconds, "{text}");
        }
        for text in ["", "5", "s", "-1s", "1x", "1.2.3s", "99999999999h", "1s x"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[a$\\\\{}:+\"' =-]{0,24}|\\PC{0,20}") {
            for word in split(&text) {
                let _ = expand(&word, &["a=$a".to_owned()]);
            }
            let _ = duration(&text);
        }
    }
}
