//! Instructions and stages, checked.

use super::instruction::*;
use super::*;

#[test]
fn stages_and_what_they_name() {
    let text = "# escape=`\nARG A=1\nARG B\nFROM --platform=$P a:$A AS Base\nRUN a\nFROM base AS two\nFROM Base\n\
                FROM two AS base\nCOPY --from=BASE a b\n";
    let file = parsed(text).unwrap();
    assert_eq!(file.directives.escape, '`');
    assert_eq!((file.arguments.len(), file.stages.len()), (2, 4));
    let first = &file.stages[0];
    assert_eq!((first.name.as_deref(), first.instructions.len()), (Some("base"), 1));
    assert_eq!(first.original, "FROM --platform=$P a:$A AS Base");
    let lookup = |name: &str| (name == "A").then_some("9");
    let mut expander = Expander::new('`', &lookup);
    assert_eq!(first.base(&file.source, &mut expander).unwrap().text, "a:9");
    let error = first.platform(&file.source, &mut expander).unwrap_err().to_string();
    assert_eq!(error, "Dockerfile:4:6: empty platform value from expression $P");
    assert_eq!(
        [1, 2, 3].map(|n| file.base(n, &file.stages[n].base.text)),
        [Origin::Stage(0), Origin::Other("Base"), Origin::Stage(1)]
    );
    assert_eq!(["two", "BASE", "2"].map(|name| file.target(name).unwrap()), [1, 3, 2]);
    let error = file.target("tow").unwrap_err().to_string();
    assert_eq!(error, "target stage \"tow\" could not be found (did you mean two?)");
    assert!(file.target("4").is_err());
    let Command::Copy(copy) = &file.stages[3].instructions[0].command else { panic!() };
    assert_eq!(file.copy_from(&file.source, copy.from.as_ref().unwrap()).unwrap(), Origin::Stage(3));
    let from = |text: &str| Word { text: text.to_owned(), at: Position::START };
    assert_eq!(file.copy_from(&file.source, &from("0")).unwrap(), Origin::Stage(0));
    assert_eq!(file.copy_from(&file.source, &from("x:y")).unwrap(), Origin::Other("x:y"));
    assert!(file.copy_from(&file.source, &from("4")).is_err() && file.copy_from(&file.source, &from("-1")).is_err());
    assert_eq!(file.mount_from("0"), Origin::Other("0"));
    let file = parsed("FROM a\nRUN a \\\n\n b\n").unwrap();
    assert_eq!(file.empty_continuations, [4]);
    let blank = parsed("FROM $A").unwrap();
    let error = blank.stages[0].base(&blank.source, &mut Expander::new('\\', &|_| None)).unwrap_err();
    assert_eq!(error.to_string(), "Dockerfile:1:6: base name ($A) should not be blank");
}

#[test]
fn comments_before_instructions() {
    let text = "# escape=`\n# one\n# two\nFROM a\n# three\n#\n # four \n\nRUN a `\n# inside\nb\nRUN c\n";
    let nodes = parsed(text).unwrap().nodes;
    let comments: Vec<_> = nodes.iter().map(|node| (node.comments.join(","), node.description.as_deref())).collect();
    let expected = [("one,two", Some("two")), ("four", None), ("", None)];
    assert_eq!(comments, expected.map(|(comments, near)| (comments.to_owned(), near)));
}

#[test]
fn the_text_and_place_of_an_instruction() {
    let (_, run) = instruction("\n  run a \\\n # c\n\tb <<E\nc\nE\n");
    assert_eq!((run.name, run.at.line(), run.last_line), ("RUN", 3, 7));
    assert_eq!(run.original, "RUN a \tb <<E");
}

#[test]
fn copy_and_add() {
    let (_, copy) = instruction(
        "COPY --from=0 --chown=a:b --chmod=644 --link --parents=TRUE --exclude=*.c --exclude=d a/* <<E b <<-'F' c/\n\
         $x\nE\n\ty\nF\n",
    );
    let Command::Copy(copy) = copy.command else { panic!() };
    let files = &copy.files;
    assert_eq!((texts(&files.sources), files.destination.text.as_str()), (vec!["a/*", "b"], "c/"));
    let inline = |name: &str, content: &str, expand| InlineFile { name: name.into(), content: content.into(), expand };
    assert_eq!(files.inline, [inline("E", "$x\n", true), inline("F", "y\n", false)]);
    assert_eq!(texts(&files.exclude), ["*.c", "d"]);
    let flags = [&copy.from, &files.chown, &files.chmod].map(|word| word.as_ref().unwrap().text.as_str());
    assert_eq!((flags, files.link, copy.parents), (["0", "a:b", "644"], true, true));

    let (_, add) = instruction("ADD --keep-git-dir=false --checksum=sha256:a --unpack [\"a b\", \"/c\"]");
    let Command::Add(add) = add.command else { panic!() };
    assert_eq!((add.keep_git_dir, add.unpack, texts(&add.files.sources)), (Some(false), Some(true), vec!["a b"]));
    assert_eq!(add.checksum.unwrap().text, "sha256:a");
    let (_, add) = instruction("ADD --chown= a b");
    let Command::Add(add) = add.command else { panic!() };
    assert_eq!((add.files.chown, add.keep_git_dir, add.files.link), (None, None, false));
}

#[test]
fn commands() {
    let command = |text: &str| match instruction(text).1.command {
        Command::Cmd(line) | Command::Entrypoint(line) => line,
        Command::Run(run) => run.command,
        other => panic!("{other:?}"),
    };
    let shell = |text: &str| CommandLine::Shell(text.to_owned());
    assert_eq!(command("CMD a  $b 'c'"), shell("a  $b 'c'"));
    assert_eq!(command("CMD [ \"a\", \"$b\" ]"), CommandLine::Exec(vec!["a".into(), "$b".into()]));
    assert_eq!(command("ENTRYPOINT []"), CommandLine::Exec(vec![]));
    assert_eq!((command("CMD"), command("RUN")), (shell(""), shell("")));
    let (_, shell) = instruction("SHELL [\"bash\", \"-c\"]");
    assert_eq!(shell.command, Command::Shell(vec!["bash".into(), "-c".into()]));
}

#[test]
fn what_a_run_starts() {
    let shell = |text: &str| Invocation::Shell(text.to_owned());
    for (text, expected) in [
        ("RUN a b", shell("a b")),
        ("RUN [\"a\", \"b\"]", Invocation::Exec(vec!["a".into(), "b".into()])),
        ("RUN <<E\na\n\tb\nE", shell("a\n\tb\n")),
        ("RUN <<-E\n\ta\n\tE", shell("a\n")),
        (
            "RUN <<E\n#!/bin/python\na\nE",
            Invocation::Program { name: "E".into(), content: "#!/bin/python\na\n".into() },
        ),
        ("RUN cat <<E | sh\na\nE", shell("cat <<E | sh\na\nE")),
        ("RUN cat <<A 3<<B\na\nA\nb\nB", shell("cat <<A 3<<B\na\nA\nb\nB")),
    ] {
        let Command::Run(run) = instruction(text).1.command else { panic!() };
        assert_eq!(run.invocation(), expected, "{text}");
    }
}

/// The one mount of a RUN, before and after it is expanded.
fn mounts(mount: &str) -> (Mount, Mount) {
    let (file, run) = instruction(&format!("RUN --mount={mount} true"));
    let lookup = |name: &str| (name == "A").then_some("x");
    let expanded = run.expand(&file.source, &mut Expander::new('\\', &lookup)).unwrap();
    let one = |run: Instruction| match run.command {
        Command::Run(run) => run.mounts.into_iter().next().unwrap(),
        other => panic!("{other:?}"),
    };
    (one(run), one(expanded))
}

#[test]
fn mounts_of_a_run() {
    let text = |text: &str| Some(text.to_owned());
    let base = |kind, read_only| Mount { kind, read_only, ..Mount::default() };
    for (mount, expected) in [
        ("target=/a", Mount { target: text("/a"), ..base(MountKind::Bind, true) }),
        ("type=bind,src=b,DST=/a,rw", Mount { source: text("b"), target: text("/a"), ..base(MountKind::Bind, false) }),
        (
            "type=cache,id=c,destination=/a,sharing=LOCKED,mode=0700,uid=1,gid=2,ro=1",
            Mount {
                id: text("c"),
                target: text("/a"),
                sharing: Some(Sharing::Locked),
                mode: Some(0o700),
                uid: Some(1),
                gid: Some(2),
                ..base(MountKind::Cache, true)
            },
        ),
        ("type=cache,target=/a", Mount { target: text("/a"), ..base(MountKind::Cache, false) }),
        ("type=tmpfs,target=/a,size=1.5k", Mount { target: text("/a"), size: 1536, ..base(MountKind::Tmpfs, false) }),
        (
            "type=secret,id=s,env=,required=true",
            Mount { id: text("s"), env: text(""), required: true, ..base(MountKind::Secret, true) },
        ),
        ("type=ssh,required", Mount { required: true, ..base(MountKind::Ssh, true) }),
        ("'\"target=/a,b\",type=bind'", Mount { target: text("/a,b"), ..base(MountKind::Bind, true) }),
    ] {
        let (before, after) = mounts(mount);
        assert_eq!((&before, &after), (&expected, &expected), "{mount}");
    }
    let (before, after) = mounts("type=cache,from=b,target=/$A");
    assert_eq!((before.from.as_ref().unwrap().text.as_str(), before.target), ("b", None));
    assert_eq!((after.kind, after.target.as_deref()), (MountKind::Cache, Some("/x")));
}

#[test]
fn health_checks() {
    let check = |text: &str| match instruction(text).1.command {
        Command::Healthcheck(check) => check,
        other => panic!("{other:?}"),
    };
    assert_eq!(check("HEALTHCHECK none").test, ["NONE"]);
    assert_eq!(check("HEALTHCHECK CMD a  b").test, ["CMD-SHELL", "a  b"]);
    let found = check(
        "HEALTHCHECK --interval=1m --timeout=2s --start-period=3ms --start-interval=0s --retries=4 cmd [\"a\", \"b\"]",
    );
    assert_eq!(found.test, ["CMD", "a", "b"]);
    let times = [found.interval, found.timeout, found.start_period, found.start_interval, found.retries];
    assert_eq!(times, [60_000_000_000, 2_000_000_000, 3_000_000, 0, 4]);
}

#[test]
fn ports() {
    let ports = |words: &[&str]| exposed(words.iter().copied()).map_err(|error| error.to_string());
    for (word, expected) in [
        ("80", vec!["80/tcp"]),
        ("80/", vec!["80/tcp"]),
        ("53/UDP", vec!["53/udp"]),
        ("8000-8002/sctp", vec!["8000/sctp", "8001/sctp", "8002/sctp"]),
        ("8080:80", vec!["80/tcp"]),
        ("127.0.0.1:8080:80/udp", vec!["80/udp"]),
        ("[::1]::80", vec!["80/tcp"]),
        ("8000-8001:80-81", vec!["80/tcp", "81/tcp"]),
    ] {
        assert_eq!(ports(&[word]).unwrap(), expected, "{word}");
    }
    for word in ["", "/tcp", "x", "-1", "65536", "2-1", "1.2.3:1:2", "a:80", "8000:80-81", "80/tcp:80"] {
        assert!(ports(&[word]).is_err(), "{word}");
    }
    assert!(ports(&["0-65535"; 3]).is_ok());
    assert!(ports(&["0-65535"; 4]).is_err());
}

#[test]
fn arguments_and_the_rest() {
    let (_, arg) = instruction("ARG a b= c=\"$d e\"");
    let Command::Arg(arguments) = arg.command else { panic!() };
    let shown = arguments.iter().map(|a| (a.name.text.as_str(), a.default.as_ref().map(|d| d.text.as_str())));
    assert_eq!(shown.collect::<Vec<_>>(), [("a", None), ("b", Some("")), ("c", Some("\"$d e\""))]);
    let (_, trigger) = instruction("onbuild  RUN <<E a\nb\nE\n");
    let Command::OnBuild(trigger) = trigger.command else { panic!() };
    assert_eq!(trigger.text, "RUN <<E a\nb\nE");
    let (_, volume) = instruction("VOLUME /a [\"b\"]");
    let Command::Volume(volumes) = volume.command else { panic!() };
    assert_eq!(texts(&volumes), ["/a", "[\"b\"]"]);
    assert!(matches!(instruction("MAINTAINER a b <c>").1.command, Command::Maintainer(word) if word.text == "a b <c>"));
    let two = parsed("FROM a\nCMD b\nCMD c\nRUN --network=none --security=insecure d").unwrap();
    let Command::Run(run) = &two.stages[0].instructions[2].command else { panic!() };
    assert_eq!((run.network, run.security), (Network::None, Security::Insecure));
}

#[test]
fn triggers_of_a_base_image() {
    let trigger = Trigger::parse("ONBUILD of a", "COPY <<E /b\n$c\nE").unwrap();
    let Command::Copy(copy) = &trigger.instruction.command else { panic!() };
    assert_eq!(copy.files.inline[0].content, "$c\n");
    for (text, expected) in [
        ("RUN a\nRUN b", "an ONBUILD trigger is a single instruction"),
        ("FROM a", "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD RUN a", "ONBUILD isn't allowed as an ONBUILD trigger"),
        ("FOO", "unknown instruction: FOO"),
        ("", "file with no instructions"),
    ] {
        let error = Trigger::parse("ONBUILD of a", text).unwrap_err().to_string();
        assert_eq!(error, format!("ONBUILD of a:1:1: {expected}"), "{text:?}");
    }
}
