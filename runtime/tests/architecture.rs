//! The rules that keep the house in order, checked on the sources: imports go down only, `unsafe` lives in `sys`, the
//! library neither prints nor exits nor reads the environment, every file says what it owns, nothing grows too long.
//!
//! The checks read the text, not the syntax tree; they rely on rustfmt's layout. Each has a test of its own that shows it
//! can fail.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Top-level modules of the library and the floor each is on; see the table in `lib.rs`.
const FLOORS: &[(u32, &[&str])] = &[
    (0, &["sys"]),
    (1, &["error", "digest", "reference", "paths", "file", "settings"]),
    (2, &["idmap"]),
    (3, &["image", "cgroup", "network", "registry", "stdio"]),
    (4, &["sandbox"]),
    (5, &["container", "transfer"]),
    (6, &["build"]),
];
/// On this floor siblings may import each other, but not in a circle.
const VOCABULARY: u32 = 1;
const MAX_FILE_LINES: usize = 600;
const MAX_FUNCTION_LINES: usize = 100;
const MAX_LOCKED_PACKAGES: usize = 160;

/// What the library leaves to the command line, as whole words.
const NOT_IN_LIBRARY: &[&str] = &[
    "println!",
    "eprintln!",
    "print!",
    "eprint!",
    "dbg!",
    "process::exit",
    "process::abort",
    "std::env",
    "env::var",
    "env::var_os",
    "env::vars",
    "env::vars_os",
    "env::args",
    "env::args_os",
    "env::current_dir",
    "env::current_exe",
];
/// Of the environment's module, what is known when the program is built.
const NOT_ENVIRONMENT: &str = "std::env::consts";
/// How a file says whose process it is the code of.
const PROCESSES: &[&str] = &["process", "child", "monitor", "Runs in"];

fn floor(module: &str) -> Option<u32> {
    FLOORS.iter().find(|(_, modules)| modules.contains(&module)).map(|(floor, _)| *floor)
}

/// The same text, each character of a comment, string or character literal replaced by a space; lines stay.
fn without_comments_and_literals(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < chars.len() {
        let end = literal_end(&chars, i);
        if end == i {
            out.push(chars[i]);
            i += 1;
            continue;
        }
        out.extend(chars[i..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
        i = end;
    }
    out
}

/// Where the comment or literal that begins at `i` ends; `i` when none does.
fn literal_end(chars: &[char], i: usize) -> usize {
    let at = |k: usize| chars.get(k).copied().unwrap_or('\0');
    let find = |from: usize, end: &str| {
        let end: Vec<char> = end.chars().collect();
        (from..chars.len()).find(|k| chars[*k..].starts_with(&end)).map_or(chars.len(), |k| k + end.len())
    };
    match at(i) {
        '/' if at(i + 1) == '/' => find(i, "\n").saturating_sub(1).max(i + 2),
        '/' if at(i + 1) == '*' => find(i + 2, "*/"),
        '"' => {
            let mut k = i + 1;
            while k < chars.len() && at(k) != '"' {
                k += if at(k) == '\\' { 2 } else { 1 };
            }
            (k + 1).min(chars.len())
        }
        'r' if i == 0 || !(at(i - 1).is_alphanumeric() || at(i - 1) == '_') || at(i - 1) == 'b' => {
            let hashes = (i + 1..).take_while(|k| at(*k) == '#').count();
            if at(i + 1 + hashes) == '"' { find(i + 2 + hashes, &format!("\"{}", "#".repeat(hashes))) } else { i }
        }
        // A character literal, not a lifetime: it closes after one character or escape.
        '\'' if at(i + 1) == '\\' => find(i + 3, "'"),
        '\'' if at(i + 2) == '\'' => i + 3,
        _ => i,
    }
}

/// The part of a file before its test module.
fn production(text: &str) -> &str {
    text.find("\n#[cfg(test)]\nmod ").map_or(text, |end| &text[..=end])
}

/// First names of what follows a path prefix: `a::b` gives a; `{a::{x, y}, b}` gives a and b.
fn first_names(rest: &str) -> Vec<String> {
    let name = |s: &str| s.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = rest.strip_prefix('{') else { return vec![name(rest)] };
    let (mut names, mut depth, mut item) = (Vec::new(), 0, String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(name(std::mem::take(&mut item).trim_start())),
            _ if depth == 0 => item.push(c),
            _ => {}
        }
    }
    names.push(name(item.trim_start()));
    names.retain(|n| !n.is_empty());
    names
}

/// Top-level modules that this file's code names, with the line; `module` is the file's own path, as in `image::store`.
fn imports(module: &[&str], text: &str) -> Vec<(usize, String)> {
    let code = without_comments_and_literals(text);
    let mut found = Vec::new();
    let line_of = |at: usize| code[..at].matches('\n').count() + 1;
    let starts_word =
        |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '$');
    for (at, _) in code.match_indices("crate::").filter(|(at, _)| starts_word(*at)) {
        found.extend(first_names(&code[at + "crate::".len()..]).into_iter().map(|n| (line_of(at), n)));
    }
    for (at, _) in code.match_indices("super::").filter(|(at, _)| starts_word(*at)) {
        let mut rest = &code[at..];
        let mut ups = 0;
        while let Some(next) = rest.strip_prefix("super::") {
            rest = next;
            ups += 1;
        }
        match module.len().checked_sub(ups) {
            Some(0) | None => found.extend(first_names(rest).into_iter().map(|n| (line_of(at), n))),
            Some(_) => {}
        }
    }
    // `crate::Error` and the like are the root's re-exports of the vocabulary.
    found.retain(|(_, name)| name.starts_with(|c: char| c.is_lowercase()));
    found
}

/// Imports that go up, or sideways.
fn upward_imports(module: &[&str], text: &str) -> Vec<String> {
    let Some(own) = module.first().and_then(|m| floor(m)) else {
        return vec![format!("module {} is on no floor", module.join("::"))];
    };
    let allowed = |name: &str| {
        name == module[0] || floor(name).is_none_or(|other| other < own || other == own && own == VOCABULARY)
    };
    let wrong = imports(module, text).into_iter().filter(|(_, name)| !allowed(name));
    wrong.map(|(line, name)| format!("line {line}: {} imports {name}", module[0])).collect()
}

/// A circle among modules, if there is one.
fn circle(edges: &BTreeMap<String, Vec<String>>) -> Option<Vec<String>> {
    fn visit(at: &str, edges: &BTreeMap<String, Vec<String>>, path: &mut Vec<String>) -> bool {
        path.push(at.to_owned());
        if path.iter().filter(|p| *p == at).count() > 1 {
            return true;
        }
        for next in edges.get(at).into_iter().flatten() {
            if visit(next, edges, path) {
                return true;
            }
        }
        path.pop();
        false
    }
    edges.keys().find_map(|start| {
        let mut path = Vec::new();
        visit(start, edges, &mut path).then_some(path)
    })
}

fn unsafe_code(text: &str) -> Vec<String> {
    let code = without_comments_and_literals(text);
    let is_word = |line: &str| line.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word == "unsafe");
    let lines = code.lines().enumerate().filter(|(_, line)| is_word(line));
    lines.map(|(n, _)| format!("line {}: unsafe outside sys/", n + 1)).collect()
}

fn library_side_effects(text: &str) -> Vec<String> {
    let code = without_comments_and_literals(text);
    let mut found = Vec::new();
    for (n, line) in code.lines().enumerate() {
        let line = line.replace(NOT_ENVIRONMENT, "");
        let hit = NOT_IN_LIBRARY.iter().find(|what| has_word(&line, what));
        found.extend(hit.map(|what| format!("line {}: {what} in the library", n + 1)));
    }
    found
}

fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| !line[..at].ends_with(part) && !line[at + word.len()..].starts_with(part))
}

/// Ends of processes in files that do not say whose: only a child that lrun forked itself may end so.
fn ended_processes(text: &str) -> Vec<String> {
    let header: String = text.lines().take_while(|line| line.starts_with("//!")).collect();
    if PROCESSES.iter().any(|word| header.contains(word)) {
        return Vec::new();
    }
    let code = without_comments_and_literals(text);
    let lines = code.lines().enumerate().filter(|(_, line)| has_word(line, "exit_now") || has_word(line, "_exit"));
    lines.map(|(n, _)| format!("line {}: ends a process, and the header does not say whose", n + 1)).collect()
}

fn missing_header(text: &str) -> Vec<String> {
    if text.starts_with("//! ") { Vec::new() } else { vec!["no leading //! that says what the file owns".into()] }
}

/// Length in lines of every function, by rustfmt's indentation: it ends at the brace below its `fn`.
fn functions(text: &str) -> Vec<(String, usize)> {
    let code = without_comments_and_literals(text);
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let Some(at) = line.find("fn ").filter(|at| *at == indent || line[indent..*at].ends_with(' ')) else {
            continue;
        };
        if line.trim_end().ends_with(';') || line[indent..at].contains(['=', ':', '<']) {
            continue;
        }
        let closing = format!("{}}}", " ".repeat(indent));
        let end = if line.trim_end().ends_with('}') {
            Some(start)
        } else {
            lines[start..].iter().position(|l| l.trim_end() == closing).map(|n| start + n)
        };
        found.extend(end.map(|end| (first_names(&line[at + 3..]).concat(), end - start + 1)));
    }
    found
}

fn too_long(text: &str) -> Vec<String> {
    let text = production(text);
    let lines = text.lines().count();
    let mut found = Vec::new();
    if lines > MAX_FILE_LINES {
        found.push(format!("{lines} lines of production code, more than {MAX_FILE_LINES}"));
    }
    let long = functions(text).into_iter().filter(|(_, n)| *n > MAX_FUNCTION_LINES);
    found.extend(long.map(|(name, n)| format!("fn {name} has {n} lines, more than {MAX_FUNCTION_LINES}")));
    found
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// Every Rust file below `folder` of the repository: its path from there, its text.
fn sources(folder: &str) -> Vec<(String, String)> {
    let root = repository().join(folder);
    let (mut found, mut folders) = (Vec::new(), vec![root.clone()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap_or_else(|e| panic!("{}: {e}", next.display())) {
            let path = entry.expect("a directory entry").path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(&root).expect("below the root").to_string_lossy().into_owned();
                found.push((name, fs::read_to_string(&path).expect("UTF-8 source")));
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {folder}: the check looks in the wrong place");
    found.sort();
    found
}

/// `image/store.rs` is `image::store`, `image/mod.rs` is `image`.
fn module_path(file: &str) -> Vec<&str> {
    file.trim_end_matches(".rs").split('/').filter(|part| *part != "mod").collect()
}

fn is_test_file(file: &str) -> bool {
    file.split('/').any(|part| part == "tests" || part == "tests.rs" || part.ends_with("_tests.rs"))
}

/// Applies a check to files and fails with the list of what it found.
fn check(folder: &str, files: impl Fn(&str) -> bool, rule: impl Fn(&str, &str) -> Vec<String>) {
    let mut found = Vec::new();
    for (file, text) in sources(folder).iter().filter(|(file, _)| files(file)) {
        found.extend(rule(file, text).into_iter().map(|what| format!("{folder}/{file}: {what}")));
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn imports_go_down_only() {
    let files = |file: &str| file != "lib.rs" && !is_test_file(file);
    check("runtime/src", files, |file, text| upward_imports(&module_path(file), production(text)));
}

#[test]
fn the_vocabulary_has_no_circle() {
    let mut edges: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (file, text) in sources("runtime/src").iter().filter(|(file, _)| file != "lib.rs" && !is_test_file(file)) {
        let module = module_path(file);
        if floor(module[0]) != Some(VOCABULARY) {
            continue;
        }
        let names = imports(&module, production(text)).into_iter().map(|(_, name)| name);
        let siblings = names.filter(|name| name != module[0] && floor(name) == Some(VOCABULARY));
        edges.entry(module[0].to_owned()).or_default().extend(siblings);
    }
    assert_eq!(circle(&edges), None);
}

#[test]
fn unsafe_lives_in_sys() {
    check("runtime/src", |file| !file.starts_with("sys/") && file != "sys.rs", |_, text| unsafe_code(text));
    for folder in ["cli/src", "tests/src", "tests/tests", "tests/escape"] {
        check(folder, |_| true, |_, text| unsafe_code(text));
    }
    for main in ["cli/src/main.rs", "tests/src/lib.rs"] {
        let text = fs::read_to_string(repository().join(main)).expect(main);
        assert!(text.contains("#![forbid(unsafe_code)]"), "{main}: no #![forbid(unsafe_code)]");
    }
}

#[test]
fn the_library_leaves_terminal_exit_and_environment_to_the_cli() {
    check("runtime/src", |file| !is_test_file(file), |_, text| library_side_effects(production(text)));
    check("runtime/src", |file| !is_test_file(file), |_, text| ended_processes(production(text)));
}

#[test]
fn every_file_says_what_it_owns() {
    for folder in ["runtime/src", "runtime/tests", "cli/src", "tests/src", "tests/tests", "tests/escape"] {
        check(folder, |_| true, |_, text| missing_header(text));
    }
}

#[test]
fn files_and_functions_stay_readable() {
    for folder in ["runtime/src", "cli/src", "tests/src"] {
        check(folder, |file| !is_test_file(file), |_, text| too_long(text));
    }
}

#[test]
fn dependencies_stay_few() {
    let lock = fs::read_to_string(repository().join("Cargo.lock")).expect("Cargo.lock");
    // Those for other systems are locked, and never built.
    let foreign = |name: &str| name.starts_with("windows") || name.starts_with("wasi");
    let names = lock.split("\n[[package]]\nname = \"").skip(1);
    let packages = names.filter(|name| !foreign(name)).count();
    assert!(packages > 50, "the names of packages are looked for in the wrong place");
    assert!(packages <= MAX_LOCKED_PACKAGES, "{packages} packages are locked, more than {MAX_LOCKED_PACKAGES}");
}

/// The checks themselves: each finds what it is for, and nothing in text that only looks like it.
mod the_checks {
    use super::*;

    #[test]
    fn upward_and_sideways_imports_are_found() {
        for (module, text, wrong) in [
            ("digest", "use crate::image::store::Store;", "line 1: digest imports image"),
            ("image::store", "\nfn f() { crate::container::record::load() }", "line 2: image imports container"),
            (
                "image",
                "use crate::{\n    error::Result,\n    network::{self, Pasta},\n};",
                "line 1: image imports network",
            ),
            ("image::store", "use super::super::stdio;", "line 1: image imports stdio"),
            ("idmap", "use super::{digest, sandbox};", "line 1: idmap imports sandbox"),
            ("sys", "use crate::error::Error;", "line 1: sys imports error"),
        ] {
            let module: Vec<&str> = module.split("::").collect();
            assert_eq!(upward_imports(&module, text), [wrong], "{text}");
        }
        assert_eq!(upward_imports(&["drawer"], ""), ["module drawer is on no floor"]);
    }

    #[test]
    fn downward_imports_comments_and_literals_pass() {
        for (module, text) in [
            ("image::store", "use crate::{digest::Digest, error::{self, Result}, image::index};\nuse super::config;"),
            ("digest", "// use crate::image;\n/* crate::sandbox:: */\nlet s = \"crate::container::x\";"),
            ("digest", "use crate::{Error, Result}; use crate::error::ErrorKind; let c = '\"'; // crate::image::x"),
            ("digest", "let s = r#\"crate::image::\"#; let l: &'a str = x; use other_crate::image;"),
        ] {
            let module: Vec<&str> = module.split("::").collect();
            assert_eq!(upward_imports(&module, text), [""; 0], "{text}");
        }
    }

    #[test]
    fn circles_are_found() {
        let edge = |a: &str, b: &str| (a.to_owned(), vec![b.to_owned()]);
        assert_eq!(circle(&BTreeMap::from([edge("digest", "error"), edge("file", "error")])), None);
        let found = circle(&BTreeMap::from([edge("digest", "file"), edge("file", "digest")]));
        assert_eq!(found, Some(vec!["digest".to_owned(), "file".to_owned(), "digest".to_owned()]));
    }

    #[test]
    fn unsafe_is_found_in_code_only() {
        assert_eq!(unsafe_code("// unsafe\nlet s = \"unsafe\";\nforbid(unsafe_code)"), [""; 0]);
        assert_eq!(unsafe_code("fn f() {\n    unsafe { g() }\n}"), ["line 2: unsafe outside sys/"]);
    }

    #[test]
    fn printing_exits_and_environment_are_found() {
        for text in ["println!(\"x\")", "std::process::exit(1)", "use std::env;", "let h = std::env::var(\"HOME\");"] {
            assert_eq!(library_side_effects(text).len(), 1, "{text}");
        }
        for text in ["fn f() { env::args() }", "use std::env::{self, consts};", "std::process::abort()"] {
            assert_eq!(library_side_effects(text).len(), 1, "{text}");
        }
        for text in [
            "//! println!\nenv!(\"CARGO_PKG_VERSION\"); my_println!(x)",
            "process::exit_code(&error); std::env::consts::ARCH",
            "options::env::parse(env)",
        ] {
            assert_eq!(library_side_effects(text), [""; 0], "{text}");
        }
        assert_eq!(ended_processes("//! Layers.\nfn f() { sys::process::exit_now(1) }").len(), 1);
        assert_eq!(ended_processes("//! A child that unpacks.\nfn f() { exit_now(1) }"), [""; 0]);
    }

    #[test]
    fn missing_headers_are_found() {
        assert_eq!(missing_header("use std::fs;\n//! late").len(), 1);
        assert_eq!(missing_header("//! Owns it.\n").len(), 0);
    }

    #[test]
    fn long_files_and_functions_are_found() {
        let body = "        let x = \"}\";\n".repeat(MAX_FUNCTION_LINES);
        let text =
            format!("impl T {{\n    pub(crate) fn long<T: Fn()>() {{\n{body}    }}\n\n    fn short() {{}}\n}}\n");
        assert_eq!(functions(&text), [("long".to_owned(), MAX_FUNCTION_LINES + 2), ("short".to_owned(), 1)]);
        assert_eq!(too_long(&text), [format!("fn long has 102 lines, more than {MAX_FUNCTION_LINES}")]);
        let lines = "const A: u8 = 1;\n".repeat(MAX_FILE_LINES);
        assert_eq!(too_long(&format!("{lines}\n#[cfg(test)]\nmod tests {{\n{lines}}}\n")).len(), 1);
        assert_eq!(too_long(&lines), [""; 0]);
    }
}
