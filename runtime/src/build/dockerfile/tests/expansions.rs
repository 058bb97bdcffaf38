//! What is replaced in which instruction.

use super::*;

fn lookup(name: &str) -> Option<&'static str> {
    [("A", "x"), ("P", "80 81/udp"), ("EMPTY", ""), ("S", "TERM")].iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
}

/// The instruction after its expansion, or its error.
fn expanded(text: &str) -> std::result::Result<Command, String> {
    let (file, instruction) = instruction(text);
    let result = instruction.expand(&file.source, &mut Expander::new('\\', &lookup));
    result.map(|instruction| instruction.command).map_err(|error| error.to_string())
}

#[test]
fn files_and_bodies() {
    let Ok(Command::Copy(copy)) =
        expanded("COPY --chown=$A:$A --chmod=$EMPTY --exclude=$A '$A' $A <<E <<'F' /$A\n'$A'\nE\n$A\nF")
    else {
        panic!()
    };
    let files = copy.files;
    assert_eq!((texts(&files.sources), files.destination.text.as_str()), (vec!["$A", "x"], "/x"));
    assert_eq!((files.chown.unwrap().text.as_str(), files.chmod), ("x:x", None));
    assert_eq!(texts(&files.exclude), ["$A"]);
    assert_eq!(files.inline.iter().map(|f| f.content.as_str()).collect::<Vec<_>>(), ["'x'\n", "$A\n"]);
    let Ok(Command::Add(add)) = expanded("ADD --checksum=$A https://h/$A b") else { panic!() };
    assert_eq!((add.checksum.unwrap().text.as_str(), texts(&add.files.sources)), ("x", vec!["https://h/x"]));
    assert_eq!(
        expanded("COPY <<E a\n${A?\nE").unwrap_err(),
        "Dockerfile:2:1: heredoc E: unexpected end of statement while looking for matching }"
    );
}

#[test]
fn values_and_words() {
    let pairs = |text: &str| match expanded(text).unwrap() {
        Command::Env(pairs) | Command::Label(pairs) => {
            pairs.into_iter().map(|p| (p.name.text, p.value.text)).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(pairs("ENV a=$A b$A=\"$A y\" c='$A'"), [pair("a", "x"), pair("bx", "x y"), pair("c", "$A")]);
    assert_eq!(pairs("LABEL a  $A \"y\""), [pair("a", "x y")]);
    assert_eq!(expanded("ENV a=b $EMPTY=c").unwrap_err(), "Dockerfile:2:9: ENV names can not be blank");
    let words = |text: &str| match expanded(text).unwrap() {
        Command::Expose(words) | Command::Volume(words) => words.into_iter().map(|w| w.text).collect::<Vec<_>>(),
        Command::User(word) | Command::Workdir(word) | Command::StopSignal(word) => vec![word.text],
        other => panic!("{other:?}"),
    };
    assert_eq!(words("EXPOSE 1 $P 2${NONE:-3}/$NONE"), ["1", "80", "81/udp", "23/"]);
    assert_eq!(words("VOLUME /$A \"/b\""), ["/x", "/b"]);
    assert_eq!(words("VOLUME [\"/$A b\"]"), ["/x b"]);
    assert_eq!(
        (words("USER $A:'b'"), words("WORKDIR /a b/$A"), words("STOPSIGNAL SIG$S")),
        (vec!["x:b".into()], vec!["/a b/x".into()], vec!["SIGTERM".into()])
    );
    for (text, error) in [
        ("EXPOSE $A", "2:8: invalid containerPort: x"),
        ("VOLUME $EMPTY", "2:8: VOLUME specified can not be an empty string"),
        ("STOPSIGNAL $A", "2:12: Invalid signal: x"),
        ("USER ${NONE:?who}", "2:6: NONE: who"),
        ("RUN --mount=type=$A true", "2:5: --mount: unsupported mount type \"x\""),
    ] {
        assert_eq!(expanded(text).unwrap_err(), format!("Dockerfile:{error}"), "{text}");
    }
}

#[test]
fn nothing_is_replaced_in_what_the_shell_reads() {
    for text in [
        "RUN a $A '${'",
        "RUN [\"$A\"]",
        "RUN <<E\n$A ${\nE",
        "CMD $A",
        "ENTRYPOINT [\"$A\"]",
        "HEALTHCHECK CMD $A",
        "SHELL [\"$A\"]",
        "ONBUILD ENV a=$A",
        "MAINTAINER $A",
        "ARG a=$A",
    ] {
        assert_eq!(expanded(text).unwrap(), instruction(text).1.command, "{text}");
    }
    let (file, arg) = instruction("ARG a='b '$A");
    let Command::Arg(arguments) = arg.command else { panic!() };
    let mut expander = Expander::new('\\', &lookup);
    assert_eq!(file.source.expand(arguments[0].default.as_ref().unwrap(), &mut expander).unwrap().text, "b x");
}

#[test]
fn an_instruction_uses_so_much_of_values_and_the_next_as_much() {
    let long = "x".repeat(1 << 19);
    let lookup = |_: &str| Some(long.as_str());
    let mut expander = Expander::new('\\', &lookup);
    let (file, two) = instruction("VOLUME $A $A");
    let (other, three) = instruction("VOLUME $A $A $A");
    assert!(two.expand(&file.source, &mut expander).is_ok() && two.expand(&file.source, &mut expander).is_ok());
    let error = three.expand(&other.source, &mut expander).unwrap_err().to_string();
    assert_eq!(error, "Dockerfile:2:14: the values of variables are longer than 1048576 bytes");
}
