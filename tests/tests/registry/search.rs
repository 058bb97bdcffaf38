//! `search`: a registry that answers, one that does not, and what docker.io is not asked.

use lrun_tests::Lrun;
use serde_json::json;

use crate::fake::{insecure, settings};
use crate::server::{Request, Response, Server};

/// Three repositories, for whatever is looked for.
fn answer(request: &Request) -> Response {
    let found = |name: &str, description: &str, stars: u32, official: bool| {
        json!({
            "name": name, "description": description, "star_count": stars, "is_official": official, "is_automated": false,
        })
    };
    let results = [
        found("busybox", "Busybox base image.", 316, true),
        found("radial/busyboxplus", "Full-chain, Internet enabled, busybox made from scratch. Comes in git.", 8, false),
        found("bad\u{1b}[2J", "", 0, false),
    ];
    match request.path.starts_with("/v1/search?") {
        true => Response::new(200, json!({"num_results": 3, "query": "busybox", "results": results}).to_string()),
        false => Response::new(404, ""),
    }
}

/// The registry is asked as docker asks, and what it says is shown with docker's columns, filters and formats.
#[test]
fn a_registry_that_answers() {
    let server = Server::start("127.0.0.1", answer);
    let (lrun, name) = (Lrun::new(), server.name());
    settings(&lrun, &format!("[registries]\nunqualified-search = {name:?}\ninsecure = [{name:?}]\n"));
    let table = lrun.ok(&["search", "--format", r"table {{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}", "busybox"]);
    let expected = [
        "DESCRIPTION                                     STARS     OFFICIAL",
        "Busybox base image.                             316       [OK]",
        "Full-chain, Internet enabled, busybox made f…   8         ",
        "                                                0         ",
    ];
    assert_eq!(table, expected.join("\n"));
    assert_eq!(server.requests()[0].path, "/v1/search?q=busybox&n=25");
    assert!(lrun.ok(&["search", "busybox"]).contains(r"/bad\x1b[2J  "), "a table is harmless");
    let names = |arguments: &[&str]| {
        let shown = lrun.ok(&[&["search", "--format", "{{.Name}}"], arguments].concat());
        shown.replace(&format!("{name}/"), "").lines().map(str::to_owned).collect::<Vec<_>>()
    };
    for (arguments, shown) in [
        (&["-f", "stars=3"][..], &["busybox", "radial/busyboxplus"][..]),
        (&["--filter", "stars=3", "--filter", "is-official=true"], &["busybox"]),
        (&["-f", "is-official=false", "-f", "stars=1"], &["radial/busyboxplus"]),
        (&["--limit", "1"], &["busybox"]),
    ] {
        assert_eq!(names(&[arguments, &[&format!("{name}/a/b")]].concat()), shown, "{arguments:?}");
    }
    assert_eq!(server.requests().last().map(|request| request.path.as_str()), Some("/v1/search?q=a/b&n=1"));
    let whole = lrun.ok(&["search", "--no-trunc", "--format", "json", "--limit", "2", "busybox"]);
    assert_eq!(
        whole.lines().nth(1).expect("two lines"),
        format!(
            r#"{{"Description":"Full-chain, Internet enabled, busybox made from scratch. Comes in git.","IsOfficial":"false","Name":"{name}/radial/busyboxplus","StarCount":"8"}}"#
        )
    );
    let output = lrun.run(&["search", "-f", "is-automated=true", "--format", "{{.Name}}", "busybox"]);
    assert!(output.code == 0 && output.stdout.is_empty(), "{output:?}");
    assert!(output.stderr.starts_with("WARNING: the \"is-automated\" filter is deprecated"), "{}", output.stderr);
}

/// A registry that does not know the question, or answers with a page for people, is asked for its list.
#[test]
fn a_registry_that_has_a_list() {
    for status in [404, 200] {
        let server = Server::start("127.0.0.1", move |request| match request.path.starts_with("/v2/_catalog") {
            true => Response::new(200, r#"{"repositories": ["a/one", "b/two", "b/other"]}"#),
            false => Response::new(status, "<html>"),
        });
        let (lrun, name) = (Lrun::new(), server.name());
        insecure(&lrun, &[&name]);
        let table = lrun.ok(&["search", &format!("{name}/one")]);
        let column = format!("{name}/a/one").len() + 3;
        let rows =
            [("NAME", "DESCRIPTION   STARS     OFFICIAL"), (&format!("{name}/a/one"), "              0         ")];
        assert_eq!(table, rows.map(|(name, rest)| format!("{name:column$}{rest}")).join("\n"));
        let all = lrun.ok(&["search", "--format", "{{.Name}}", "--limit", "2", &format!("{name}/")]);
        assert_eq!(all, format!("{name}/a/one\n{name}/b/two"));
    }
}

/// What is no question is not asked.
#[test]
fn what_is_no_search() {
    let lrun = Lrun::new();
    for (arguments, complaint) in [
        (&["docker.io/"][..], "docker.io offers no list of its repositories"),
        (&["--limit", "101", "debian"], "limit 101 is outside the range of [1, 100]"),
        (
            &["https://docker.io/debian"],
            "invalid repository name: repository name (https://docker.io/debian) should not",
        ),
        (&["-f", "stars=many", "debian"], "invalid filter 'stars=many'"),
        (&["-f", "name=x", "debian"], "invalid filter 'name'"),
        (&["--format", "{{.Nothing}}", "--limit", "101", "debian"], "limit 101"),
    ] {
        let said = lrun.fails(1, &[&["search"], arguments].concat());
        assert!(said.starts_with(&format!("lrun: {complaint}")), "{said}");
    }
}
