//! A corpus of Dockerfiles with known parse trees, where `LRUN_DOCKERFILE_CORPUS` names its folder:
//! `parse/<case>/{Dockerfile,result}` with the tree's printed form, `reject/<case>/Dockerfile`, and the tables
//! `envVarTest` and `wordsTest` of substitution and splitting.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::*;

const VARIABLE: &str = "LRUN_DOCKERFILE_CORPUS";

/// The folder, or a note that the test was skipped.
fn corpus() -> Option<PathBuf> {
    let folder = std::env::var_os(VARIABLE).map(PathBuf::from);
    if folder.is_none() {
        let thread = std::thread::current();
        let line = format!("{} (unit): {VARIABLE} names no folder\n", thread.name().unwrap_or("test"));
        print!("skipped: {line}");
        if let Some(path) = std::env::var_os("LRUN_TEST_SKIPS") {
            let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
            file.write_all(line.as_bytes()).unwrap();
        }
    }
    folder
}

fn cases(folder: &Path) -> Vec<PathBuf> {
    let mut cases: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(!cases.is_empty(), "{}: no cases", folder.display());
    cases
}

fn tree(case: &Path) -> Result<Tree> {
    Tree::parse(&Source::new("Dockerfile", &fs::read(case.join("Dockerfile")).unwrap())?)
}

/// Rows of a table: without comments and empty lines.
fn rows(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty())
}

#[test]
fn the_corpus_gives_its_trees_words_and_refusals() {
    let Some(corpus) = corpus() else { return };
    let mut wrong = Vec::new();
    let mut done = 0;
    for case in cases(&corpus.join("parse")) {
        let expected = fs::read_to_string(case.join("result")).unwrap();
        let found = tree(&case).map_or_else(|error| error.to_string(), |tree| tree.to_string());
        done += 1;
        if found != expected {
            wrong.push(format!("{}:\n{found}instead of\n{expected}", case.display()));
        }
    }
    for case in cases(&corpus.join("reject")) {
        done += 1;
        if let Ok(tree) = tree(&case) {
            wrong.push(format!("{}: accepted:\n{tree}", case.display()));
        }
    }
    let variables = [("PWD", "/home"), ("SHELL", "bash"), ("KOREAN", "한국어"), ("NULL", "")];
    let lookup = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
    for row in rows(&fs::read_to_string(corpus.join("envVarTest")).unwrap()) {
        let [system, word, expected] = row.split('|').map(str::trim).collect::<Vec<_>>()[..] else { panic!("{row}") };
        if system == "W" {
            continue;
        }
        done += 1;
        let found = Expander::new('\\', &lookup).text(word).unwrap_or_else(|_| "error".to_owned());
        if found != expected {
            wrong.push(format!("envVarTest: {row}: {found:?}"));
        }
    }
    done += words_table(&fs::read_to_string(corpus.join("wordsTest")).unwrap(), &mut wrong);
    assert!(done > 200, "only {done} cases");
    assert!(wrong.is_empty(), "{} of {done} wrong:\n{}", wrong.len(), wrong.join("\n"));
    println!("{done} of {done}");
}

/// The words of each row, in the environment that the rows before it make; how many there were.
fn words_table(table: &str, wrong: &mut Vec<String>) -> usize {
    let mut variables: Vec<(String, String)> = Vec::new();
    let mut done = 0;
    for row in table.lines().filter(|line| !line.starts_with('#')) {
        if let Some((name, value)) = row.strip_prefix("ENV ").and_then(|pair| pair.split_once('=')) {
            variables.push((name.trim_start().to_owned(), value.to_owned()));
            continue;
        }
        let Some((words, expected)) = row.split_once('|') else { panic!("{row}") };
        done += 1;
        let lookup = |name: &str| variables.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        let found = Expander::new('\\', &lookup).words(words.trim());
        let found = found.map_or_else(|_| "error".to_owned(), |words| words.join(","));
        if found != expected.trim_start_matches(' ') {
            wrong.push(format!("wordsTest: {row}: {found:?}"));
        }
    }
    done
}
