//! From text to the parse tree, in its printed form.

use super::*;

fn tree(bytes: &[u8]) -> String {
    match Source::new("Dockerfile", bytes).and_then(|source| Tree::parse(&source)) {
        Ok(tree) => tree.to_string().trim_end().to_owned(),
        Err(error) => format!("error: {error}"),
    }
}

/// Each text with its tree.
fn table(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(tree(text.as_bytes()), *expected, "{text:?}");
    }
}

#[test]
fn lines_comments_and_continuations() {
    table(&[
        ("from  a\t b", r#"(from "a" "b")"#),
        ("\u{feff}FROM a", r#"(from "a")"#),
        ("FROM a\r\nRUN b \\\r\n c\r\n", "(from \"a\")\n(run \"b  c\")"),
        ("  FROM a  ", r#"(from "a")"#),
        ("# c\n\n\t# d\nFROM a # no comment", r##"(from "a" "#" "no" "comment")"##),
        ("RUN a \\\n# inside\n   # indented\nb", r#"(run "a b")"#),
        ("RUN a \\\n\n  \nb\nRUN c", "(run \"a b\")\n(run \"c\")"),
        ("RUN a\\  \nb", r#"(run "ab")"#),
        ("RUN a\\\\\nRUN b", "(run \"a\\\\\\\\\")\n(run \"b\")"),
        ("RUN a\\", r#"(run "a")"#),
        ("RU\\\nN a", r#"(run "a")"#),
        ("\\\nRUN a", r#"(run "a")"#),
        ("RUN a \\ b", r#"(run "a \\ b")"#),
        ("", "error: Dockerfile:1:1: file with no instructions"),
        ("# only\n\n", "error: Dockerfile:1:1: file with no instructions"),
    ]);
    let latin = b"# caf\xe9\nFROM a\nRUN caf\xe9";
    assert_eq!(tree(latin), "error: Dockerfile:3:1: this line is not UTF-8");
    assert_eq!(tree(&latin[..14]), "(from \"a\")");
}

#[test]
fn directives_stand_at_the_top() {
    table(&[
        ("# escape=`\nRUN a `\n b\\", r#"(run "a  b\\")"#),
        ("#  EsCaPe  =  `  \nRUN a `\nb", r#"(run "a b")"#),
        ("# syntax=x\n# check=skip=all\n# escape=`\nRUN a `\nb", r#"(run "a b")"#),
        ("# comment\n# escape=`\nRUN a `", r#"(run "a `")"#),
        ("\n# escape=`\nRUN a `", r#"(run "a `")"#),
        ("# unknown=1\n# escape=`\nRUN a `", r#"(run "a `")"#),
        ("RUN a\n# escape=`\nRUN b `", "(run \"a\")\n(run \"b `\")"),
        ("#!/bin/sh\n# escape=`\nRUN a `", r#"(run "a `")"#),
        ("# escape=\nRUN a", r#"(run "a")"#),
        ("# escape=x\nRUN a", "error: Dockerfile:1:1: invalid escape token \"x\": it is ` or \\"),
        ("#escape=`\n#escape=`\nRUN a", "error: Dockerfile:2:1: only one escape parser directive can be used"),
        ("#syntax=a\n# Syntax=b", "error: Dockerfile:2:1: only one syntax parser directive can be used"),
    ]);
    let source = Source::new("f", b"# syntax = docker/dockerfile:1 \n# check=skip=A;error=true\nFROM a").unwrap();
    let directives = Tree::parse(&source).unwrap().directives;
    assert_eq!(directives.syntax.unwrap().text, "docker/dockerfile:1");
    assert_eq!(directives.check.unwrap().text, "skip=A;error=true");
}

#[test]
fn flags_end_at_the_first_argument() {
    table(&[
        ("COPY --a --b=c --d=\"e f\" g h --i", r#"(copy ["--a" "--b=c" "--d=e f"] "g" "h" "--i")"#),
        ("COPY --a='b \"c' --d\\ e f g", r#"(copy ["--a=b \"c" "--d e"] "f" "g")"#),
        ("COPY --a -- --b c", r#"(copy ["--a"] "--b" "c")"#),
        ("COPY -a b", r#"(copy "-a" "b")"#),
        ("RUN --mount=type=bind,source=ä true", r#"(run ["--mount=type=bind,source=ä"] "true")"#),
        ("RUN --a", r#"(run ["--a"])"#),
        ("RUN --", "(run)"),
        ("RUN --a\\", r#"(run ["--a"])"#),
    ]);
}

#[test]
fn json_or_else_text() {
    table(&[
        (r#"RUN [ "a", "b c" ]"#, r#"(run "a" "b c")"#),
        (r#"RUN ["a\u00e9\n"]"#, r#"(run "aé\n")"#),
        ("CMD []", "(cmd)"),
        ("CMD", "(cmd)"),
        ("RUN ['a']", r#"(run "['a']")"#),
        (r#"RUN ["a"] b"#, r#"(run "[\"a\"] b")"#),
        (r#"COPY ["a b", "c"]"#, r#"(copy "a b" "c")"#),
        (r#"COPY ["a" "c"]"#, r#"(copy "[\"a\"" "\"c\"]")"#),
        (r#"VOLUME ["/a"]"#, r#"(volume "/a")"#),
        (r#"HEALTHCHECK --interval=1s CMD ["a"]"#, r#"(healthcheck ["--interval=1s"] "CMD" "a")"#),
        ("HEALTHCHECK  none", r#"(healthcheck "none")"#),
        ("RUN [1]", "error: Dockerfile:1:5: only strings can be in the JSON array of an instruction"),
        (
            r#"ENTRYPOINT ["a", ["b"]]"#,
            "error: Dockerfile:1:12: only strings can be in the JSON array of an instruction",
        ),
    ]);
}

#[test]
fn names_with_values() {
    table(&[
        ("ENV a b  c ", r#"(env "a" "b  c" "")"#),
        ("ENV a=b c=\"d e\" f='g h' i=j\\ k", r#"(env "a" "b" "=" "c" "\"d e\"" "=" "f" "'g h'" "=" "i" "j\\ k" "=")"#),
        ("LABEL \"a b\"=c =d e=", r#"(label "\"a b\"" "c" "=" "" "d" "=" "e" "" "=")"#),
        ("LABEL a=\"b\\\"c\" d='e\\' f=g", r#"(label "a" "\"b\\\"c\"" "=" "d" "'e\\'" "=" "f" "g" "=")"#),
        ("ENV", "(env)"),
        ("ENV a", "error: Dockerfile:1:5: ENV must have two arguments"),
        ("ENV a=b c", "error: Dockerfile:1:9: no = in \"c\": the form is ENV name=value"),
        ("ARG a b=c d=\"e f\"", r#"(arg "a" "b=c" "d=\"e f\"")"#),
    ]);
}

#[test]
fn nested_and_unknown_instructions() {
    table(&[
        ("ONBUILD copy --a b c", r#"(onbuild (copy ["--a"] "b" "c"))"#),
        ("ONBUILD", "(onbuild)"),
        ("ONBUILD ONBUILD RUN a", "error: Dockerfile:1:9: Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("Foo bar", "(foo)"),
        ("USER a b", r#"(user "a b")"#),
        ("EXPOSE 1 2/udp", r#"(expose "1" "2/udp")"#),
    ]);
    assert!(tree("ONBUILD ".repeat(100_000).as_bytes()).starts_with("error: "));
}

#[test]
fn printed_characters() {
    let values = "CMD [\"\\u0007\\u0008\\f\\n\\r\\t\\u000b\\u0001\\u007f\\u0085\\u200b\\ud83d\\ude00'e\\u0301\"]";
    table(&[(values, "(cmd \"\\a\\b\\f\\n\\r\\t\\v\\x01\\x7f\\u0085\\u200b😀'e\u{301}\")")]);
}

/// The heredocs of the first instruction: name, body, whether variables are replaced.
fn heredocs(text: &str) -> Vec<(String, String, bool)> {
    let source = Source::new("Dockerfile", text.as_bytes()).unwrap();
    let tree = Tree::parse(&source).unwrap_or_else(|error| panic!("{text}: {error}"));
    tree.nodes[0].heredocs.iter().map(|h| (h.name.clone(), h.content(), h.expand)).collect()
}

#[test]
fn heredocs_of_run_copy_and_add() {
    let one = |name: &str, body: &str, expand| vec![(name.to_owned(), body.to_owned(), expand)];
    let cases = [
        ("RUN <<A\nb\n # c\nA\n", one("A", "b\n # c\n", true)),
        ("RUN <<-A\n\t\tb\n\tc \\\n\tA\nRUN d", one("A", "b\nc \\\n", true)),
        ("RUN <<'A'\nA", one("A", "", false)),
        ("RUN <<\"A b\" c\n$d\nA b", one("A b", "$d\n", false)),
        ("RUN <<A\"B\"\nAB", one("AB", "", false)),
        ("RUN <<A\\'B\nA'B", one("A'B", "", true)),
        ("RUN a 3<< A\n\r\nA\r\n", one("A", "\r\n", true)),
        ("RUN \\\n <<A\nA", one("A", "", true)),
        ("ONBUILD COPY <<A /b\nc\nA", one("A", "c\n", true)),
        ("RUN <<$A\n$A", one("$A", "", true)),
        ("RUN a \"<<A\"\n", vec![]),
        ("RUN a<<A\n", vec![]),
        ("RUN a <<<A\n", vec![]),
        ("RUN it's <<A\n", vec![]),
        ("RUN [\"<<A\"]\n", vec![]),
        ("USER <<A\n", vec![]),
        ("CMD <<A\n", vec![]),
    ];
    for (text, expected) in cases {
        assert_eq!(heredocs(text), expected, "{text:?}");
    }
    let two = heredocs("ADD <<A <<B /c\nB\nA\nA\nB\n");
    assert_eq!(two, [one("A", "B\n", true), one("B", "A\n", true)].concat());
    assert_eq!(tree(b"FROM a\nRUN <<A\nb"), "error: Dockerfile:2:1: unterminated heredoc: no line \"A\" follows");
    assert!(tree(b"RUN <<A'b\nA").starts_with("(run"), "a quote that does not close makes the line plain");
}
