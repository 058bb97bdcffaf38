//! Any bytes and any lines of pieces: nothing panics, errors name a place. What is written is read back.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

const PIECES: &[&str] = &[
    "FROM ",
    "RUN ",
    "COPY ",
    "ADD ",
    "ENV ",
    "ARG ",
    "LABEL ",
    "EXPOSE ",
    "HEALTHCHECK ",
    "ONBUILD ",
    "CMD ",
    "SHELL ",
    "STOPSIGNAL ",
    "VOLUME ",
    "USER ",
    "\n",
    "\n",
    "\n",
    "\r\n",
    " ",
    "\t",
    "\\\n",
    "\\",
    "`",
    "# ",
    "# escape=`\n",
    "'",
    "\"",
    "$A",
    "${A",
    "}",
    ":-",
    "/",
    "#",
    "%",
    "*",
    "?",
    "<<E",
    "<<-",
    "E",
    "E\n",
    "--mount=type=cache,",
    "--from=",
    "target=",
    "--",
    "=",
    ",",
    "[\"",
    "\"]",
    "a",
    "80",
    "ä",
    "\u{feff}",
    "\0",
    "AS",
    "NONE",
    "CMD",
];

/// Parses and expands all that there is in it.
fn exercise(bytes: &[u8]) -> std::result::Result<(), TestCaseError> {
    let lookup = |name: &str| (name == "A").then_some("x y*");
    let file = match Dockerfile::parse("Dockerfile", bytes) {
        Ok(file) => file,
        Err(error) => {
            prop_assert!(error.to_string().starts_with("Dockerfile:") && error.excerpt_text().is_some());
            return Ok(());
        }
    };
    let mut expander = Expander::new(file.directives.escape, &lookup);
    prop_assert!(!file.stages.is_empty());
    for instruction in file.stages.iter().flat_map(|stage| &stage.instructions).chain(&file.arguments) {
        prop_assert!(instruction.at.line() <= instruction.last_line);
        prop_assert!(instruction.original.to_ascii_uppercase().starts_with(instruction.name));
        if let Err(error) = instruction.expand(&file.source, &mut expander) {
            prop_assert!(error.to_string().starts_with("Dockerfile:") && error.excerpt_text().is_some());
        }
        if let Command::Run(run) = &instruction.command {
            run.invocation();
        }
        if let Command::OnBuild(trigger) = &instruction.command {
            let _ = Trigger::parse("trigger", &trigger.text);
        }
    }
    Ok(())
}

/// An instruction with words that need no quotes, and how it is written.
fn written() -> impl Strategy<Value = (String, Vec<String>, String)> {
    let word = "[a-z0-9/.:@ä-]{1,8}".prop_filter("no flag", |word| !word.starts_with("--"));
    let gap = select(vec![" ", "\t", "  ", " \\\n", " \\\n# c\n", " \\  \n\n\t", " \\\r\n "]);
    let name = select(vec!["COPY", "copy", "Add"]);
    let between = select(vec!["\n", "\n\n", "\r\n", "\n# comment \\\n", "  \n  "]);
    (name, vec((word, gap), 2..6), between).prop_map(|(name, parts, between)| {
        let mut text = name.to_owned();
        for (word, gap) in &parts {
            text.push_str(gap);
            text.push_str(word);
        }
        let words = parts.into_iter().map(|(word, _)| word).collect();
        (name.to_ascii_uppercase(), words, text + between)
    })
}

proptest! {
    #[test]
    fn random_bytes(bytes in vec(any::<u8>(), 0..200)) {
        exercise(&bytes)?;
        exercise(&[b"FROM a\nRUN ".as_slice(), &bytes].concat())?;
    }

    #[test]
    fn lines_of_pieces(pieces in vec(select(PIECES), 0..40)) {
        exercise(pieces.concat().as_bytes())?;
        exercise(format!("FROM a\n{}", pieces.concat()).as_bytes())?;
    }

    #[test]
    fn words_of_pieces(pieces in vec(select(&PIECES[26..]), 0..30)) {
        let lookup = |name: &str| (name == "A").then_some("x y*");
        let mut expander = Expander::new('\\', &lookup);
        let text = pieces.concat();
        let _ = expander.words(&text);
        let _ = expander.body(&text);
        if let Ok(plain) = expander.text(&text) {
            // Quoting with single quotes changes nothing.
            let quoted = format!("'{}'", plain.replace('\'', "'\\''"));
            prop_assert_eq!(expander.text(&quoted), Ok(plain));
        }
    }

    #[test]
    fn what_is_written_is_read(instructions in vec(written(), 1..8)) {
        let text: String = instructions.iter().map(|(_, _, text)| text.as_str()).collect();
        let file = parsed(&format!("FROM a\n{text}")).map_err(TestCaseError::fail)?;
        prop_assert_eq!(file.stages[0].instructions.len(), instructions.len());
        for (found, (name, words, _)) in file.stages[0].instructions.iter().zip(&instructions) {
            let (Command::Copy(instruction::Copy { files, .. }) | Command::Add(instruction::Add { files, .. })) =
                &found.command else { return Err(TestCaseError::fail("another instruction")) };
            prop_assert_eq!(found.name, name.as_str());
            let all: Vec<&str> = texts(&files.sources).into_iter().chain([files.destination.text.as_str()]).collect();
            prop_assert_eq!(&all, words);
        }
    }
}
