//! What errors say: file, line, column, the line with a mark, and what may have been meant.

use super::*;

fn error(text: &str) -> crate::Error {
    Dockerfile::parse("Dockerfile", text.as_bytes()).expect_err(text)
}

#[test]
fn refusals_of_files() {
    for (text, expected) in [
        ("ARG a", "1:1: dockerfile contains no stages to build"),
        ("RUN a\nFROM b", "1:1: no build stage in current context: RUN before the first FROM"),
        ("FROM a\nRNU b", "2:1: unknown instruction: RNU (did you mean RUN?)"),
        ("FROM a\n  expse 1", "2:3: unknown instruction: expse (did you mean expose?)"),
        ("FROM a\nNOTHING b", "2:1: unknown instruction: NOTHING"),
        ("FROM", "1:1: FROM requires either one or three arguments: FROM base [AS name]"),
        ("FROM a b", "1:1: FROM requires either one or three arguments: FROM base [AS name]"),
        (
            "FROM a AS 1b",
            "1:11: invalid name for build stage: \"1b\": a letter, then letters, digits, '-', '_' and '.'",
        ),
        ("FROM --platfrom=a b", "1:6: unknown flag: --platfrom (did you mean --platform?)"),
        ("FROM --platform b", "1:6: missing a value on flag: --platform"),
    ] {
        assert_eq!(error(text).to_string(), format!("Dockerfile:{expected}"), "{text:?}");
        assert_eq!(error(text).kind(), crate::ErrorKind::Invalid);
    }
}

#[test]
fn refusals_of_instructions() {
    let mut wrong = Vec::new();
    for (text, expected) in [
        (
            "COPY a",
            "2:1: COPY requires at least two arguments, but only one was provided. Destination could not be determined",
        ),
        (
            "ADD [\"a\"]",
            "2:1: ADD requires at least two arguments, but only one was provided. Destination could not be determined",
        ),
        ("COPY --form=a b c", "2:6: unknown flag: --form (did you mean --from?)"),
        ("ADD --from=a b c", "2:5: unknown flag: --from"),
        ("COPY --from=a --from=b c d", "2:15: duplicate flag specified: --from"),
        ("COPY --link=yes a b", "2:6: expecting boolean value for flag --link, not: yes"),
        ("COPY --link= a b", "2:6: missing a value on flag: --link"),
        (
            "COPY --from=$A b c",
            "2:6: variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround",
        ),
        ("COPY a <<E\nE", "2:8: COPY cannot accept a heredoc as a destination"),
        ("COPY <<E it's /", "2:6: heredoc E has no body: it is in JSON, or a quote does not close"),
        ("COPY [\"<<E\", \"/\"]", "2:6: heredoc E has no body: it is in JSON, or a quote does not close"),
        ("COPY <<'E b\nE", "3:1: unknown instruction: E"),
        ("ENV", "2:1: ENV requires at least one argument"),
        ("LABEL =a", "2:7: LABEL names can not be blank"),
        ("LABEL a=b =c", "2:11: LABEL names can not be blank"),
        ("ARG", "2:1: ARG requires at least one argument"),
        ("ARG a =b", "2:7: ARG names can not be blank"),
        ("ARG --a b", "2:5: unknown flag: --a"),
        ("EXPOSE", "2:1: EXPOSE requires at least one argument"),
        ("EXPOSE 80 90000", "2:11: invalid containerPort: 90000"),
        ("EXPOSE 0-65535 0-65535 0-65535 1", "2:32: EXPOSE names more than 196608 ports"),
        ("EXPOSE 80/htp", "2:8: invalid proto: htp"),
        ("VOLUME", "2:1: VOLUME requires at least one argument"),
        ("VOLUME [\" \"]", "2:8: VOLUME specified can not be an empty string"),
        ("USER", "2:1: USER requires exactly one argument"),
        ("WORKDIR", "2:1: WORKDIR requires exactly one argument"),
        ("MAINTAINER", "2:1: MAINTAINER requires exactly one argument"),
        ("STOPSIGNAL", "2:1: STOPSIGNAL requires exactly one argument"),
        ("STOPSIGNAL SIGSHINY", "2:12: Invalid signal: SIGSHINY"),
        ("SHELL", "2:1: SHELL requires at least one argument"),
        ("SHELL []", "2:1: SHELL requires at least one argument"),
        ("SHELL sh -c", "2:7: SHELL requires the arguments to be in JSON form: not \"sh -c\""),
        ("CMD --a b", "2:5: unknown flag: --a"),
        ("RUN []", "2:1: RUN names no program"),
        ("RUN [\"a\\u0000\"]", "2:1: RUN holds a NUL byte"),
        ("RUN --network=hots a", "2:5: invalid value for --network: \"hots\" (did you mean host?)"),
        ("RUN --security=none a", "2:5: invalid value for --security: \"none\""),
        ("ONBUILD", "2:1: ONBUILD requires at least one argument"),
        ("ONBUILD ONBUILD RUN a", "2:9: Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("ONBUILD from a", "2:9: FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD MAINTAINER a", "2:9: MAINTAINER isn't allowed as an ONBUILD trigger"),
        ("HEALTHCHECK", "2:1: HEALTHCHECK requires at least one argument"),
        ("HEALTHCHECK NONE a", "2:13: HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK CMD", "2:13: Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK CONNECT a", "2:13: Unknown type \"CONNECT\" in HEALTHCHECK (try CMD)"),
        ("HEALTHCHECK --interval=1 CMD a", "2:13: --interval: invalid duration \"1\""),
        ("HEALTHCHECK --timeout=5us CMD a", "2:13: --timeout cannot be less than 1ms"),
        ("HEALTHCHECK --retries=-1 CMD a", "2:13: --retries cannot be negative (-1)"),
        ("HEALTHCHECK --retires=1 CMD a", "2:13: unknown flag: --retires (did you mean --retries?)"),
    ] {
        let found = error(&format!("FROM scratch\n{text}")).to_string();
        if found != format!("Dockerfile:{expected}") {
            wrong.push(format!("{text:?}: {found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn refusals_of_mounts() {
    for (mount, expected) in [
        ("type=bnd", "unsupported mount type \"bnd\" (did you mean bind?)"),
        ("type=tmp", "unsupported mount type \"tmp\" (did you mean tmpfs?)"),
        ("type=bind,trget=/a", "unexpected key 'trget' in 'trget=/a' (did you mean target?)"),
        ("type=bind,rx", "invalid field 'rx' must be a key=value pair"),
        ("ro=maybe", "invalid value for ro: maybe"),
        ("size=1m,type=tmpfs", "unexpected key 'size' for mount type 'bind'"),
        ("type=tmpfs,size=many", "invalid value for size: many"),
        ("type=cache,required", "unexpected key 'required' for mount type 'cache'"),
        ("type=cache,sharing=all", "unsupported sharing value \"all\""),
        ("type=bind,sharing=shared", "invalid cache sharing set for bind mount"),
        ("type=bind,uid=1", "uid not allowed for \"bind\" type mounts"),
        ("type=cache,mode=9", "invalid value for mode: 9"),
        ("type=secret,id=a,from=b", "secret mount should not have a from"),
        ("type=secret,id=a,source=b", "both source and id can't be set"),
        ("type=secret", "invalid secret mount. one of source, target required"),
        ("type=cache,\\\"a", "parse error: extraneous or missing \" in quoted field"),
        ("from=$a", "'from' doesn't support variable expansion, define alias stage instead"),
    ] {
        let found = error(&format!("FROM scratch\nRUN --mount={mount} true")).to_string();
        assert!(found.starts_with("Dockerfile:2:5: ") && found.ends_with(expected), "{mount}: {found}");
    }
}

#[test]
fn the_line_is_shown_with_a_mark() {
    let excerpt = |text: &str| error(text).excerpt_text().unwrap().to_owned();
    assert_eq!(excerpt("FROM a\nCOPY \\\n\tä --x \\\n\tb\nUSER"), "5 | USER\n  | ^");
    assert_eq!(excerpt("FROM a\nENV a=ä \\\n\tä=b c \\\n d=e"), "3 | \tä=b c \\\n  | \t    ^");
    assert_eq!(excerpt("FROM a\nRUN \u{1b}[2J \\\n [1]\n[\nONBUILD FROM b"), "4 | [\n  | ^");
    let long = excerpt(&format!("FROM a\nEXPOSE {}x", "1 ".repeat(1000)));
    let [line, mark] = long.lines().collect::<Vec<_>>()[..] else { panic!("{long}") };
    assert!(line.len() < 130 && line.as_bytes()[mark.find('^').unwrap()] == b'x', "{long}");
}

#[test]
fn limits_of_a_file() {
    let instructions = "FROM a\n".repeat(INSTRUCTIONS_MAX);
    assert!(parsed(&instructions).is_ok());
    assert!(parsed(&format!("{instructions}FROM b")).unwrap_err().ends_with("more than 10000 instructions"));
    let size = "#".repeat(SIZE_MAX);
    assert!(parsed(&size).unwrap_err().ends_with("no instructions"));
    assert_eq!(parsed(&format!("{size}#")).unwrap_err(), "Dockerfile: larger than 1048576 bytes");
}

#[test]
fn long_lines_take_linear_time() {
    let pieces =
        ["a ", "\\\n", "# c\n\\\n", "<<A ", "--a=b ", "'", "\"a\" ", "a=b ", "$A ", "${A:-", "[", "ä", "0-65535 "];
    for head in ["RUN ", "COPY ", "ENV ", "ARG ", "RUN --mount=", "EXPOSE "] {
        for piece in pieces {
            let text = format!("FROM a\n{head}{}", piece.repeat(SIZE_MAX / 4 / piece.len()));
            let started = std::time::Instant::now();
            let _ = parsed(&text);
            // Linear, that is 0.1 s without optimization; quadratic, it would be minutes.
            let took = started.elapsed();
            assert!(took.as_secs() < 20, "{head}{piece:?}: {took:?}");
        }
    }
}

#[test]
fn many_heredocs_cost_no_more_than_their_text() {
    let names: Vec<String> = (0..40_000).map(|n| format!("a{n}")).collect();
    let line = |names: &[String]| names.iter().map(|name| format!("<<{name} ")).collect::<String>();
    let ends = |names: &[String]| names.iter().map(|name| format!("{name}\n")).collect::<String>();
    let started = std::time::Instant::now();
    let (_, copy) = instruction(&format!("COPY {}/\n{}", line(&names), ends(&names)));
    let Command::Copy(copy) = copy.command else { panic!() };
    assert_eq!(copy.files.inline.len(), names.len());
    let same = vec!["a".to_owned(); 50_000];
    let (_, copy) = instruction(&format!("COPY {}/\n{}{}\na\n", line(&same), ends(&same[1..]), "b".repeat(1 << 18)));
    let Command::Copy(copy) = copy.command else { panic!() };
    assert_eq!((copy.files.inline.len(), copy.files.inline[0].content.len()), (1, (1 << 18) + 1));
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}
