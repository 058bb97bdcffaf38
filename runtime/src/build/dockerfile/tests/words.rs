//! Substitution, quotes, escapes, splitting.

use super::*;

const VARIABLES: [(&str, &str); 7] = [
    ("A", "x"),
    ("EMPTY", ""),
    ("PATH", "/usr/bin:/bin"),
    ("FILE", "archive.tar.gz"),
    ("STARS", "a*b?c"),
    ("SPACES", " b  c "),
    ("LINES", "ab\ncd\nab"),
];

fn lookup(name: &str) -> Option<&'static str> {
    VARIABLES.iter().find(|(n, _)| *n == name).map(|(_, value)| *value)
}

fn table(escape: char, cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        let found = Expander::new(escape, &lookup).text(text).unwrap_or_else(|error| format!("error: {error}"));
        assert_eq!(found, *expected, "{text}");
    }
}

#[test]
fn quotes_and_escapes() {
    table(
        '\\',
        &[
            ("a b", "a b"),
            ("'a $A \\' \"b $A 'c'\"", "a $A \\ b x 'c'"),
            (r#"\a\\\'\"\$A"#, r#"a\'"$A"#),
            (r#""\a\\\"\$A""#, r#"\a\"$A"#),
            ("a\\", "a"),
            ("<a <<b", "<a <<b"),
            ("'a", "error: unexpected end of statement while looking for matching single-quote"),
            ("\"a\\\"", "error: unexpected end of statement while looking for matching double-quote"),
        ],
    );
    table('`', &[("a`$A\\b \"`\"`c\"", "a$A\\b \"`c"), ("`", "")]);
}

#[test]
fn variables_and_defaults() {
    table(
        '\\',
        &[
            ("$A${A}$NONE.$A_b", "xx."),
            ("$ $. a$", "$ $. a$"),
            ("$1a $$ $@ ${#}", "a   "),
            ("${A:-b}${NONE:-b}${EMPTY:-b}", "xbb"),
            ("${A-b}${NONE-b}${EMPTY-b}", "xb"),
            ("${A:+b}${NONE:+b}${EMPTY:+b}", "b"),
            ("${A+b}${NONE+b}${EMPTY+b}", "bb"),
            ("${A:?b}${A?}${EMPTY?}", "xx"),
            ("${NONE:-a ${NONE:-'}'} \"}\" \\} $A}", "a } } } x"),
            ("\"${NONE:-\"a\"}\"", "a"),
            ("${NONE?no $A}", "error: NONE: no x"),
            ("${EMPTY:?}", "error: EMPTY: is not allowed to be empty"),
            ("${NONE?}", "error: NONE: is not allowed to be unset"),
            ("${A:?${NONE?inner}}", "error: NONE: inner"),
            ("${}", "error: syntax error: bad substitution"),
            ("${:-a}", "error: syntax error: bad substitution"),
            ("${", "error: syntax error: missing '}'"),
            ("${A", "error: syntax error: missing '}'"),
            ("${A:", "error: syntax error: missing '}'"),
            ("${A:-b", "error: unexpected end of statement while looking for matching }"),
            ("${A:=b}", "error: unsupported modifier (:=) in substitution"),
            ("${A:#b}", "error: unsupported modifier (:#) in substitution"),
            ("${A!}", "error: unsupported modifier (!) in substitution"),
        ],
    );
}

#[test]
fn patterns() {
    table(
        '\\',
        &[
            ("${FILE%.*} ${FILE%%.*} ${FILE#*.} ${FILE##*.}", "archive.tar archive tar.gz gz"),
            ("${PATH#/*/} ${PATH##*/} ${PATH%/*} ${PATH%%/*}.", "bin:/bin bin /usr/bin: ."),
            ("${FILE#} ${FILE%%} ${FILE#z} ${FILE%a}", "archive.tar.gz archive.tar.gz archive.tar.gz archive.tar.gz"),
            ("${FILE#???????} ${FILE%%?z} ${FILE##*}.", ".tar.gz archive.tar. ."),
            ("${STARS#a\\*} ${STARS%\\?c} ${STARS#*\\**b}", "b?c a*b ?c"),
            ("${FILE/ar/AR} ${FILE//ar/AR} ${FILE/#/}", "ARchive.tar.gz ARchive.tAR.gz archive.tar.gz"),
            ("${PATH//\\//_} ${PATH/:*/} ${PATH//bin/}", "_usr_bin:_bin /usr/bin /usr/:/"),
            ("${FILE//a*r/-} ${FILE/a*r/-} ${FILE//?/}.", "-.gz -.gz ."),
            ("${FILE//./$A} ${FILE/${NONE:-tar}/'z p'}", "archivextarxgz archive.z p.gz"),
            ("${A//*/b} ${EMPTY/*/b} ${A///-}", "b b -x-"),
            ("${NONE#a}${NONE%%a}${NONE/a/b}", ""),
            ("${FILE/a/\\}b}", "\\}brchive.tar.gz"),
            ("${LINES#a*} ${LINES##a*}", "b\ncd\nab \ncd\nab"),
            ("${LINES//a*/-}", "-\ncd\n-"),
            ("${LINES//b*c/-}", "ab\ncd\nab"),
            ("${FILE#\\x}", "error: invalid pattern (\\x) in substitution: invalid escape '\\x'"),
            ("${FILE/a}", "error: unexpected end of statement while looking for matching /"),
        ],
    );
}

#[test]
fn splitting_into_words() {
    let cases: [(&str, &[&str]); 10] = [
        ("a  b\tc ", &["a", "b", "c"]),
        ("a$SPACES.", &["a", "b", "c", "."]),
        ("a\"$SPACES\".", &["a b  c ."]),
        ("a${NONE:-b c}d", &["ab", "cd"]),
        ("a\\ b 'c d'e", &["a b", "c de"]),
        ("'' \"\" $NONE", &[]),
        ("<< a b", &["<< a", "b"]),
        ("8${NONE:-0}", &["80"]),
        ("\u{3000}a\u{3000}b", &["a", "b"]),
        ("", &[]),
    ];
    for (text, words) in cases {
        assert_eq!(Expander::new('\\', &lookup).words(text).unwrap(), words, "{text}");
    }
}

#[test]
fn bodies_of_heredocs_keep_their_quotes() {
    let mut expander = Expander::new('`', &lookup);
    let body = "it's \"$A\" ${NONE:-'b'} \\$A \\n `$A <<C\n";
    assert_eq!(expander.body(body).unwrap(), "it's \"x\" 'b' $A n `x <<C\n");
}

#[test]
fn what_was_used() {
    let mut expander = Expander::new('\\', &lookup);
    expander.text("$A '$FILE' ${NONE:-$EMPTY} ${A:+$OTHER} ${PATH#$STARS}").unwrap();
    let names = |set: &std::collections::BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(names(expander.used()), "A EMPTY PATH STARS");
    assert_eq!(names(expander.unset()), "NONE OTHER");
}

#[test]
fn sizes_and_depths_are_limited() {
    let long = "a".repeat(1 << 19);
    let lookup = |name: &str| match name {
        "LONG" => Some(long.as_str()),
        _ => None,
    };
    let error = |text: &str| Expander::new('\\', &lookup).text(text).unwrap_err();
    assert!(error("$LONG$LONG$LONG").contains("longer than 1048576 bytes"));
    assert!(error("${LONG//a/bbbb}").contains("longer than 1048576 bytes"));
    assert!(error("${LONG#*a*a*a*a*a}").contains("too long"));
    let nested = |depth: usize| format!("{}b{}", "${X:-".repeat(depth), "}".repeat(depth));
    assert_eq!(Expander::new('\\', &lookup).text(&nested(100)).unwrap(), "b");
    assert!(error(&nested(101)).contains("more than 100 deep"));
    assert!(error(&"${X:-".repeat(100_000)).contains("more than 100 deep"));
}
