//! How many columns of a terminal a text takes, and cutting it to fit.

/// Ranges that take two columns (Unicode's East Asian Wide and Fullwidth, and emoji), as in UAX #11.
const WIDE: [(char, char); 17] = [
    ('\u{1100}', '\u{115f}'),
    ('\u{231a}', '\u{231b}'),
    ('\u{23e9}', '\u{23ec}'),
    ('\u{2e80}', '\u{303e}'),
    ('\u{3041}', '\u{33ff}'),
    ('\u{3400}', '\u{4dbf}'),
    ('\u{4e00}', '\u{9fff}'),
    ('\u{a000}', '\u{a4cf}'),
    ('\u{a960}', '\u{a97f}'),
    ('\u{ac00}', '\u{d7a3}'),
    ('\u{f900}', '\u{faff}'),
    ('\u{fe30}', '\u{fe6f}'),
    ('\u{ff01}', '\u{ff60}'),
    ('\u{ffe0}', '\u{ffe6}'),
    ('\u{1f300}', '\u{1f64f}'),
    ('\u{1f680}', '\u{1faff}'),
    ('\u{20000}', '\u{3fffd}'),
];

/// Ranges that take none: combining marks, joiners, variation selectors.
const ZERO: [(char, char); 7] = [
    ('\u{0300}', '\u{036f}'),
    ('\u{1ab0}', '\u{1aff}'),
    ('\u{1dc0}', '\u{1dff}'),
    ('\u{200b}', '\u{200d}'),
    ('\u{20d0}', '\u{20ff}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{fe20}', '\u{fe2f}'),
];

fn of_char(c: char) -> usize {
    let within = |ranges: &[(char, char)]| ranges.iter().any(|&(first, last)| (first..=last).contains(&c));
    match c {
        c if c < '\u{0300}' => 1,
        _ if within(&ZERO) => 0,
        _ if within(&WIDE) => 2,
        _ => 1,
    }
}

/// The columns that a text without control characters takes.
pub fn of(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().map(of_char).sum() }
}

/// The text if it fits into `max` columns, else its beginning and `…`, together at most `max` columns.
pub fn ellipsis(text: &str, max: usize) -> String {
    if of(text) <= max {
        return text.to_owned();
    }
    let mut used = 0;
    let mut out: String = text
        .chars()
        .take_while(|&c| {
            used += of_char(c);
            used < max
        })
        .collect();
    if max > 0 {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_text() {
        for (text, columns) in [("", 0), ("bash", 4), ("…", 1), ("日本", 4), ("e\u{301}", 1), ("🎉", 2), ("ü", 1)]
        {
            assert_eq!(of(text), columns, "{text}");
        }
    }

    #[test]
    fn cuts_to_columns() {
        for (text, max, cut) in [
            ("short", 20, "short"),
            ("exactly twenty chars", 20, "exactly twenty chars"),
            ("docker-entrypoint.sh nginx", 20, "docker-entrypoint.s…"),
            ("日本語日本語", 5, "日本…"),
            ("日本語日本語", 6, "日本…"),
            ("abc", 1, "…"),
            ("abc", 0, ""),
        ] {
            assert_eq!(ellipsis(text, max), cut, "{text} in {max}");
            assert!(of(cut) <= max);
        }
    }
}
