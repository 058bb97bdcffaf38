//! `build`: files that come from elsewhere: named contexts, addresses, repositories; and how they are copied.

use std::fs;
use std::path::{Path, PathBuf};

use lrun_tests::{Lrun, Output};

/// A folder with these files.
fn folder(lrun: &Lrun, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = lrun.folder().join(name);
    for (path, content) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
        fs::write(path, content).expect("a file");
    }
    folder
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn build(lrun: &Lrun, context: &str, flags: &[&str]) -> Output {
    lrun.run(&[&["build", "--network", "none"], flags, &[context]].concat())
}

/// The image's id.
#[track_caller]
fn built(lrun: &Lrun, context: &str, flags: &[&str]) -> String {
    let output = build(lrun, context, &[&["-q"], flags].concat());
    assert_eq!(output.code, 0, "{}", output.stderr);
    output.stdout.trim_end().to_owned()
}

#[track_caller]
fn in_image(lrun: &Lrun, image: &str, script: &str) -> String {
    lrun.ok(&["run", "--rm", "--network", "none", "--entrypoint", "", image, "sh", "-c", script])
}

#[test]
fn a_named_context_stands_for_a_stage_or_an_image() {
    let lrun = Lrun::with_busybox();
    let dockerfile = "FROM nowhere.invalid/base:1 AS base\nRUN exit 1\nFROM base\nCOPY --from=tools /tool /tool\nCOPY --from=data . /data\nCOPY --from=busybox:latest bin/sh /again\n";
    let main = folder(&lrun, "main", &[("Dockerfile", dockerfile)]);
    let data = folder(&lrun, "data", &[(".dockerignore", "*.log"), ("a", "a"), ("b.log", "b"), ("d/c", "c")]);
    let tools = folder(&lrun, "tools", &[("Dockerfile", "FROM busybox\nRUN echo tool > /tool\n")]);
    built(&lrun, text(&tools), &["-t", "tools:v1"]);
    let data_context = format!("data={}", text(&data));
    let flags = [
        "--build-context",
        "base=docker-image://busybox",
        "--build-context",
        "tools=docker-image://tools:v1",
        "--build-context",
        &data_context,
        "-t",
        "made",
    ];
    let id = built(&lrun, text(&main), &flags);
    assert_eq!(
        in_image(&lrun, "made", "cat /tool; cd /data; find . | sort"),
        "tool\n.\n./.dockerignore\n./a\n./d\n./d/c"
    );
    assert_eq!(in_image(&lrun, "made", "test -x /again; stat -c '%u:%g' /data/a"), "0:0");
    assert_eq!(built(&lrun, text(&main), &flags), id);
    // A stage is on files; the target itself is replaced.
    let on_files = folder(&lrun, "on-files", &[("Dockerfile", "FROM data AS last\nCOPY Dockerfile /x\n")]);
    let flags = ["--build-context", &data_context, "-t", "files"];
    built(&lrun, text(&on_files), &flags);
    assert_eq!(lrun.inspect("files", "{{len .RootFS.Layers}}"), "2");
    let last = built(&lrun, text(&on_files), &["--build-context", "last=docker-image://busybox"]);
    assert_eq!(last, lrun.inspect("busybox", "{{.Id}}"));
    for (given, said) in [
        ("x", "expected key=value"),
        ("=x", "expected key=value"),
        ("Upper=/", "invalid context name"),
        ("x=/no/such/place", "failed to get build context x"),
        ("x=target:y", "bake"),
    ] {
        let output = build(&lrun, text(&main), &["--build-context", given]);
        assert!(matches!(output.code, 1 | 125) && output.stderr.contains(said), "{given}: {}", output.stderr);
    }
}

#[test]
fn a_named_context_is_an_image_of_a_layout() {
    let lrun = Lrun::with_busybox();
    let layout = lrun.folder().join("layout");
    lrun.ok(&["save", "--format", "oci-dir", "-o", text(&layout), "busybox"]);
    let main = folder(&lrun, "main", &[("Dockerfile", "FROM base\nRUN echo made > /made\n")]);
    let lrun = Lrun::new();
    for suffix in ["", ":latest"] {
        let context = format!("base=oci-layout://{}{suffix}", text(&layout));
        built(&lrun, text(&main), &["--build-context", &context, "-t", "made"]);
        assert_eq!(in_image(&lrun, "made", "cat /made"), "made");
    }
    assert_eq!(lrun.ok(&["images", "-q"]).lines().count(), 1, "the base got no name");
    let context = format!("base=oci-layout://{}:other", text(&layout));
    let output = build(&lrun, text(&main), &["--build-context", &context]);
    assert!(output.code == 1 && output.stderr.contains("no image other"), "{}", output.stderr);
}
