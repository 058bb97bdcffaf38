//! Makes foreign text (names, labels, histories, errors) harmless before a terminal sees it.
//!
//! Dangerous are the control characters (C0, DEL, C1: a terminal obeys them), the bidirectional controls and the two
//! line separators of Unicode (they reorder or break what the reader sees). They are shown in the notation of a string
//! literal: `\x1b`, `\u202e`, `\n`.

use std::borrow::Cow;
use std::fmt::Write;

/// For one line of output (a table cell, a name, an error): nothing that moves the cursor survives.
pub fn line(text: &str) -> Cow<'_, str> {
    replace(text, is_dangerous)
}

/// For text that may have lines of its own (a template's result on a terminal): newlines and tabs survive.
pub fn text(text: &str) -> Cow<'_, str> {
    replace(text, |c| is_dangerous(c) && c != '\n' && c != '\t')
}

/// For finished JSON: what the serializer leaves as it is (DEL, C1, bidirectional controls) becomes `\uXXXX`, which
/// means the same to every reader of JSON. Newlines outside strings stay.
pub fn json(json: String) -> String {
    if json.is_ascii() && !json.contains('\x7f') {
        return json;
    }
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if is_dangerous(c) && !c.is_ascii_whitespace() {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// A string literal in double quotes, as the COMMAND column shows one.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if is_dangerous(c) || is_invisible(c) => push_escaped(&mut out, c),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Spaces other than the space, format characters and what is for private use: escaped inside quotes.
fn is_invisible(c: char) -> bool {
    (c.is_whitespace() && c != ' ')
        || matches!(c,
            '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{e0fff}' | '\u{f0000}'..)
}

fn replace(text: &str, dangerous: impl Fn(char) -> bool) -> Cow<'_, str> {
    let Some(first) = text.find(&dangerous) else { return Cow::Borrowed(text) };
    let (clean, rest) = text.split_at(first);
    let mut out = String::with_capacity(text.len() + 8);
    out.push_str(clean);
    for c in rest.chars() {
        if dangerous(c) {
            push_escaped(&mut out, c);
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

fn push_escaped(out: &mut String, c: char) {
    // Writing to a String cannot fail.
    let _ = match c {
        '\n' => out.write_str("\\n"),
        '\t' => out.write_str("\\t"),
        '\r' => out.write_str("\\r"),
        '\x07' => out.write_str("\\a"),
        '\x08' => out.write_str("\\b"),
        '\x0b' => out.write_str("\\v"),
        '\x0c' => out.write_str("\\f"),
        c if c.is_ascii() => write!(out, "\\x{:02x}", u32::from(c)),
        c if u32::from(c) > 0xffff => write!(out, "\\U{:08x}", u32::from(c)),
        c => write!(out, "\\u{:04x}", u32::from(c)),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_kind_of_danger_is_shown_not_done() {
        for (input, shown) in [
            ("plain näme 日本 …", "plain näme 日本 …"),
            ("\x1b[31mred", "\\x1b[31mred"),
            ("\u{9b}31m", "\\u009b31m"),
            ("a\u{7f}b\0", "a\\x7fb\\x00"),
            ("evil\u{202e}gpj.exe", "evil\\u202egpj.exe"),
            ("\u{2066}x\u{2069}\u{61c}\u{200f}", "\\u2066x\\u2069\\u061c\\u200f"),
            ("two\nlines\tand\rover", "two\\nlines\\tand\\rover"),
            ("\x07\x08\x0b\x0c", "\\a\\b\\v\\f"),
        ] {
            assert_eq!(line(input), shown);
        }
        assert_eq!(text("two\nlines\tand\x1b]0;x\x07"), "two\nlines\tand\\x1b]0;x\\a");
    }

    #[test]
    fn json_keeps_its_meaning() {
        let value = serde_json::json!({"a\u{9b}": "\u{202e}\x7f\x1b\n", "b": ["ü"]});
        let shown = json(serde_json::to_string_pretty(&value).unwrap());
        assert!(!shown.chars().any(|c| is_dangerous(c) && c != '\n'), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }

    #[test]
    fn quotes_like_a_string_literal() {
        for (input, quoted) in [
            ("bash", r#""bash""#),
            (r#"sh -c "a\b""#, r#""sh -c \"a\\b\"""#),
            ("a\tb\u{a0}\u{200b}\u{e000}\x1b", r#""a\tb\u00a0\u200b\ue000\x1b""#),
            ("…日本\u{f0001}", "\"…日本\\U000f0001\""),
        ] {
            assert_eq!(quote(input), quoted);
        }
    }

    proptest! {
        #[test]
        fn nothing_dangerous_survives(input in any::<String>()) {
            prop_assert!(!line(&input).contains(is_dangerous));
            prop_assert!(!quote(&input).contains(is_dangerous));
        }
    }
}
