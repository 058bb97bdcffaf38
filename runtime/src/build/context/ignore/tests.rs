//! What docker's own tables say, and a slow matcher to agree with.

use proptest::prelude::*;

use super::*;

fn ignored(patterns: &[&str], path: &str) -> bool {
    let patterns = Patterns::new(patterns.iter().map(|p| p.as_bytes())).expect("good patterns");
    patterns.of(path.as_bytes()).matched
}

#[test]
fn single_patterns() {
    let matching = [
        ("**", "file"),
        ("**/", "file"),
        ("**", "dir/file"),
        ("**/**", "dir/file"),
        ("dir/**", "dir/file"),
        ("dir/**", "dir/dir2/file"),
        ("**/dir", "dir"),
        ("**/dir", "dir/file"),
        ("**/dir2/*", "dir/dir2/file"),
        ("**/dir2/**", "dir/dir2/dir3/file"),
        ("**file", "file"),
        ("**file", "dir/file"),
        ("**file", "dir/myfile"),
        ("**/file", "dir/dir/file"),
        ("**/file*", "dir/dir/file.txt"),
        ("**/file*txt", "dir/dir/file.txt"),
        ("**/file*.txt*", "dir/dir/file.txt"),
        ("**/**/*.txt", "dir/dir/file.txt"),
        ("**/**/*.txt", "file.txt"),
        ("**/*.txt", "file.txt"),
        ("a**/*.txt", "a/file.txt"),
        ("a**/*.txt", "a/dir/dir/file.txt"),
        ("a/*.txt", "a/file.txt"),
        ("a/*.txt**", "a/file.txt"),
        ("a[b-d]e", "ace"),
        ("a[^b-d]e", "aze"),
        ("a[^x]b", "a/b"),
        (".*", ".foo"),
        ("abc.def", "abc.def"),
        ("abc?def", "abcZdef"),
        ("a\\\\", "a\\"),
        ("a\\*b", "a*b"),
        ("\\!a", "!a"),
        ("\\#a", "#a"),
        ("**/foo/bar", "foo/bar"),
        ("**/foo/bar", "dir/dir2/foo/bar"),
        ("abc/**", "abc/def/ghi"),
        ("**/.foo", ".foo"),
        ("a(b)c/def", "a(b)c/def"),
        ("a.|)$(}+{bc", "a.|)$(}+{bc"),
        ("dist/*.whl", "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl"),
        ("a*", "ab/c"),
        ("a*b?c*x", "abxbbxdbxebxczzx"),
        ("a?b", "a☺b"),
        ("a[^a]b", "a☺b"),
        ("[a-ζ]*", "α"),
        ("[\\]a]", "]"),
        ("[\\-x]", "-"),
        ("[*]", "*"),
        ("*x", "xxx"),
        ("dir", "dir/a/b/c"),
        ("./dir/", "dir/a"),
        ("x/../dir", "dir"),
        ("dir**", "dirty/x"),
        ("a b", "a b"),
        ("a]", "a]"),
        ("^a*", "^ab"),
        ("**/a]b", "x/a]b"),
    ];
    for (pattern, path) in matching {
        assert!(ignored(&[pattern], path), "{pattern} {path}");
    }
    let others = [
        ("**/**/*.txt2", "dir/dir/file.txt"),
        ("a/*.txt", "a/dir/file.txt"),
        ("a[b-d]e", "ae"),
        ("a[b-d]e", "aae"),
        (".*", "foo"),
        ("abc.def", "abcZdef"),
        ("abc?def", "abcdef"),
        ("abc/**", "abc"),
        ("**/.foo", "bar.foo"),
        ("a(b)c/def", "a(b)c/xyz"),
        ("a*/b", "a/c/b"),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/fff"),
        ("a*b?c*x", "abxbbxdbxebxczzy"),
        ("ab[^c]", "abc"),
        ("a???b", "a☺b"),
        ("*[a-ζ]", "A"),
        ("a?b", "a/b"),
        ("a*b", "a/b"),
        ("[\\-x]", "a"),
        ("../x", "x"),
        ("/x", "x"),
        (".", "x"),
        ("**/a*", "x\ny/a"),
        // With something special after it, a leading ** goes over directories only.
        ("**file*", "dir/myfile"),
        ("**/a]b", "xa]b"),
    ];
    for (pattern, path) in others {
        assert!(!ignored(&[pattern], path), "{pattern} {path}");
    }
}

#[test]
fn the_last_pattern_that_matches_decides() {
    for (patterns, path, wanted) in [
        (&["**", "!util/docker/web"][..], "util/docker/web/foo", false),
        (&["**", "!util/docker/web", "util/docker/web/foo"], "util/docker/web/foo", true),
        (&["**", "!dist/*.whl"], "dist/a.whl", false),
        (&["*", "!src"], "src/a/b", false),
        (&["*", "!src/a"], "src/b", true),
        (&["!src", "*"], "src/b", true),
        (&["*.md", "!README*.md", "README-secret.md"], "README-secret.md", true),
        (&["*.md", "README-secret.md", "!README*.md"], "README-secret.md", false),
        (&["a", "!a/b", "a/b/c"], "a/b/c/d", true),
        (&["a", "!a/b", "a/b/c"], "a/b/d", false),
        // What could change nothing at a directory is not asked for again below it.
        (&["*/x", "!a"], "a/x", true),
        (&[], "a", false),
        (&["", "  "], "a", false),
    ] {
        assert_eq!(ignored(patterns, path), wanted, "{patterns:?} {path}");
    }
}

#[test]
fn lines_of_a_file() {
    let file = "\u{feff}# comment\r\n\r\n  /a/./b/ \r\n#x\n !  /c//d \n\u{a0}e/../f\u{2003}\n /\n #g\n..\n";
    let patterns = Patterns::parse(file.as_bytes()).expect("it is read");
    let texts: Vec<(bool, &[u8])> = patterns.list.iter().map(|p| (p.except, p.text.as_slice())).collect();
    let wanted: [(bool, &[u8]); 6] =
        [(false, b"a/b"), (true, b"c/d"), (false, b"f"), (false, b"/"), (false, b"#g"), (false, b"..")];
    assert_eq!(texts, wanted);
    assert!(Patterns::parse(b"# only\n").expect("it is read").is_empty());
    let reason = Patterns::parse(b"*\n!b\n").expect("it is read");
    assert_eq!(reason.reason(&reason.of(b"b")), Some(&b"b"[..]));
    assert_eq!(reason.reason(&reason.of(b"a")), Some(&b"*"[..]));
    assert_eq!(reason.reason(&Matched::default()), None);
    // Names that are not UTF-8 are compared byte by byte.
    assert!(Patterns::parse(b"\xff*\n").expect("it is read").of(b"\xffa").matched);
}

#[test]
fn bad_patterns_are_refused_with_their_text() {
    for pattern in ["!", "!/", "[", "a[", "[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[^", "[^bc", "\\", "[z-a]", "a\\d"]
    {
        let error = Patterns::parse(pattern.as_bytes()).expect_err(pattern);
        assert_eq!(error.kind(), crate::ErrorKind::Invalid);
        assert!(error.to_string().contains("pattern"), "{error}");
    }
    let long = "a".repeat(5000);
    assert!(Patterns::parse(long.as_bytes()).is_err());
}

#[test]
fn directories_are_left_out_where_no_exception_reaches() {
    for (patterns, directory, wanted) in [
        (&["*", "!src/a/b"][..], "src", true),
        (&["*", "!src/a/b"], "src/a", true),
        (&["*", "!src/a/b"], "src/a/b", false),
        (&["*", "!src/a/b"], "other", false),
        (&["*", "!src/a/b"], "src/x", false),
        (&["*", "!src/*.c"], "src", true),
        (&["*", "!src/*.c"], "src/x", false),
        (&["*", "!*/keep"], "any", true),
        (&["*", "!**/keep"], "any/where", true),
        (&["*", "!a[^x]b"], "a", true),
        (&["*", "a/b"], "a", false),
    ] {
        let patterns = Patterns::new(patterns.iter().map(|p| p.as_bytes())).expect("good patterns");
        assert_eq!(patterns.may_except_below(directory.as_bytes()), wanted, "{directory}");
    }
}

/// Patterns that would take a naive matcher for ever.
#[test]
fn no_pattern_takes_long() {
    let stars = "*a".repeat(200) + "**/" + &"**/a*".repeat(50);
    let path = "a/".repeat(1000) + &"a".repeat(1000) + "b";
    assert!(!ignored(&[&stars], &path));
}

/// docker's rules once more, as text and without any thought of speed.
mod slow {
    /// Whether pattern (after its special beginnings) matches path, by trying everything.
    fn text(pattern: &[char], path: &[char]) -> bool {
        let any = |rest: &[char], most: &dyn Fn(char) -> bool| {
            (0..=path.len()).take_while(|n| *n == 0 || most(path[n - 1])).any(|n| text(rest, &path[n..]))
        };
        match pattern {
            [] => path.is_empty(),
            ['*', '*'] | ['*', '*', '/'] => !path.contains(&'\n'),
            ['*', '*', rest @ ..] => {
                let rest = rest.strip_prefix(&['/']).unwrap_or(rest);
                let ends = |n: usize| n == 0 || path[n - 1] == '/';
                (0..=path.len()).any(|n| ends(n) && !path[..n].contains(&'\n') && text(rest, &path[n..]))
            }
            ['*', rest @ ..] => any(rest, &|c| c != '/'),
            ['?', rest @ ..] => path.first().is_some_and(|c| *c != '/') && text(rest, &path[1..]),
            ['\\', c, rest @ ..] => path.first() == Some(c) && text(rest, &path[1..]),
            ['[', '^', a, '-', b, ']', rest @ ..] => {
                path.first().is_some_and(|c| !(a..=b).contains(&c)) && text(rest, &path[1..])
            }
            ['[', a, '-', b, ']', rest @ ..] => {
                path.first().is_some_and(|c| (a..=b).contains(&c)) && text(rest, &path[1..])
            }
            [c, rest @ ..] => path.first() == Some(c) && text(rest, &path[1..]),
        }
    }

    fn one(pattern: &str, path: &str) -> bool {
        let special = |text: &str| text.contains(['*', '?', '[', ']', '\\']);
        match (pattern.strip_prefix("**"), pattern.strip_suffix("**")) {
            (Some(end), _) if !special(end) => path.ends_with(end) || end.strip_prefix('/') == Some(path),
            (_, Some(start)) if !special(start) => path.starts_with(start),
            _ => text(&pattern.chars().collect::<Vec<_>>(), &path.chars().collect::<Vec<_>>()),
        }
    }

    /// For each pattern whether it counts as matching, and the verdict.
    pub(super) fn verdict(patterns: &[(bool, String)], path: &str) -> (Vec<bool>, bool) {
        let above = path.rsplit_once('/').map(|(above, _)| verdict(patterns, above).0);
        let (mut each, mut ignored) = (Vec::new(), false);
        for (n, (except, pattern)) in patterns.iter().enumerate() {
            let inherited = above.as_ref().is_some_and(|above| above[n]);
            let matches = inherited || (*except == ignored && one(pattern, path));
            if matches {
                ignored = !except;
            }
            each.push(matches);
        }
        (each, ignored)
    }
}

fn pattern() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec!["a", "b", "ab", "é", "."]),
        2 => Just("/"),
        2 => Just("*"),
        2 => Just("**"),
        1 => Just("?"),
        1 => prop::sample::select(vec!["[a-b]", "[^a-a]", "[.-0]", "\\*", "\\.", "]", "^"]),
    ];
    let text = prop::collection::vec(piece, 1..6).prop_map(|pieces| pieces.concat());
    // An exception of the root alone is refused.
    text.prop_filter("not the root", |text| clean(text.as_bytes()) != b"/")
}

fn path() -> impl Strategy<Value = String> {
    let name = "[ab.é*\n\\]^]{1,3}".prop_filter("a name", |name| name != "." && name != "..");
    prop::collection::vec(name, 1..5).prop_map(|names| names.join("/"))
}

fn cleaned(patterns: &[(bool, String)]) -> Vec<(bool, String)> {
    let clean = |text: &String| String::from_utf8(clean(text.as_bytes())).expect("it was UTF-8");
    patterns.iter().map(|(except, text)| (*except, clean(text))).collect()
}

fn compiled(patterns: &[(bool, String)]) -> Patterns {
    let texts: Vec<String> = patterns.iter().map(|(e, text)| format!("{}{text}", if *e { "!" } else { "" })).collect();
    Patterns::new(texts.iter().map(|text| text.as_bytes())).expect("good patterns")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn agrees_with_the_slow_matcher(
        patterns in prop::collection::vec((any::<bool>(), pattern()), 1..4),
        path in path(),
    ) {
        let patterns = cleaned(&patterns);
        prop_assert_eq!(compiled(&patterns).of(path.as_bytes()).matched, slow::verdict(&patterns, &path).1);
    }

    #[test]
    fn what_is_left_out_as_a_whole_has_nothing_in_it(
        patterns in prop::collection::vec((any::<bool>(), pattern()), 1..4),
        path in path(),
    ) {
        let patterns = cleaned(&patterns);
        let matcher = compiled(&patterns);
        let verdict = |path: &str| slow::verdict(&patterns, path).1;
        for (at, _) in path.match_indices('/') {
            let directory = &path[..at];
            if verdict(directory) && !matcher.may_except_below(directory.as_bytes()) {
                prop_assert!(verdict(&path), "{} hides {}", directory, path);
            }
            if !verdict(directory) && !matcher.may_match_below(directory.as_bytes()) {
                prop_assert!(!verdict(&path), "{} has no match below, but {}", directory, path);
            }
        }
    }

    #[test]
    fn no_file_panics(file in prop::collection::vec(any::<u8>(), 0..100), path in prop::collection::vec(any::<u8>(), 0..30)) {
        if let Ok(patterns) = Patterns::parse(&file) {
            let _ = (patterns.of(&path), patterns.may_except_below(&path), patterns.may_match_below(&path));
        }
    }

    #[test]
    fn no_pattern_panics(text in "[\\[\\]*?!a-c/\\\\^é.-]{0,12}", path in "[a-cé/.]{0,12}") {
        if let Ok(patterns) = Patterns::parse(text.as_bytes()) {
            let _ = patterns.of(path.as_bytes());
        }
    }
}
