//! Other programs read what lrun writes, and lrun what they write, with the same digests.

use std::fs;
use std::process::Command;

use lrun_tests::{Lrun, Mode, mode, skip};

/// Whether a program is installed.
fn missing(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_err()
}

/// Runs a program in the test's folder, which must succeed.
#[track_caller]
fn tool(lrun: &Lrun, args: &[&str]) -> String {
    let mut command = Command::new(args[0]);
    command.args(&args[1..]).current_dir(lrun.folder()).env("HOME", lrun.folder().join("home"));
    command.env("TMPDIR", lrun.folder()).env("XDG_RUNTIME_DIR", lrun.folder().join("home"));
    let output = command.output().unwrap_or_else(|error| panic!("{args:?}: {error}"));
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn committed() -> (Lrun, String) {
    let lrun = Lrun::with_busybox();
    lrun.ok(&["run", "--name", "box", "--network", "none", "busybox", "sh", "-c", "echo one > /etc/one"]);
    lrun.ok(&["commit", "box", "base:v1"]);
    lrun.ok(&["rm", "box"]);
    let id = lrun.inspect("base:v1", "{{.Id}}");
    (lrun, id)
}

const LAYERS: &str = "{{json .RootFS.Layers}}";

/// Loads into a store of its own, where it has these layers; the id of the one image there, and what was said.
#[track_caller]
fn loaded(from: &Lrun, path: &str, layers: &str) -> (String, String) {
    let other = Lrun::new();
    let path = from.folder().join(path);
    let line = other.ok(&["load", "-i", path.to_str().expect("UTF-8")]);
    let id = other.ok(&["images", "-q", "--no-trunc"]);
    assert_eq!(other.ok(&["run", "--rm", "--network", "none", &id, "cat", "/etc/one"]), "one");
    assert_eq!(other.inspect(&id, LAYERS), layers, "{}", path.display());
    (id, line)
}

#[test]
fn skopeo_reads_and_writes_every_layout() {
    if missing("skopeo") {
        skip!("skopeo is not installed");
    }
    let (lrun, id) = committed();
    let layers = lrun.inspect("base:v1", LAYERS);
    let copy = |from: &str, to: &str| tool(&lrun, &["skopeo", "--insecure-policy", "copy", "-q", from, to]);
    lrun.ok(&["save", "-o", "docker.tar", "base:v1"]);
    lrun.ok(&["save", "--format", "oci-archive", "-o", "oci.tar", "base:v1"]);
    lrun.ok(&["save", "--format", "oci-dir", "-o", "layout", "base:v1"]);
    for (n, from) in ["docker-archive:docker.tar", "oci-archive:oci.tar", "oci:layout"].iter().enumerate() {
        let raw = tool(&lrun, &["skopeo", "inspect", "--config", "--raw", from]);
        let config: serde_json::Value = serde_json::from_str(&raw).expect("JSON");
        assert_eq!(config["rootfs"]["diff_ids"].to_string(), layers);
        copy(from, &format!("docker-archive:out{n}.tar:r.io/x:v1"));
        assert_eq!(
            loaded(&lrun, &format!("out{n}.tar"), &layers),
            (id.clone(), "Loaded image: r.io/x:v1".to_owned()),
            "{from}"
        );
        // skopeo compresses the layers of an OCI layout.
        copy(from, &format!("oci:out{n}:r.io/x:v2"));
        assert_eq!(loaded(&lrun, &format!("out{n}"), &layers).1, "Loaded image: r.io/x:v2", "{from}");
        copy(from, &format!("oci-archive:oci{n}.tar:v3"));
        assert!(loaded(&lrun, &format!("oci{n}.tar"), &layers).1.starts_with("Loaded image ID: "), "{from}");
    }
    copy("oci:layout", "dir:plain");
    let error = lrun.fails(1, &["load", "-i", "plain"]);
    assert!(error.contains("\"dir:\" layout"), "{error}");
}

#[test]
fn umoci_unpacks_and_changes_a_layout() {
    if missing("umoci") {
        skip!("umoci is not installed");
    }
    let (lrun, _) = committed();
    lrun.ok(&["save", "--format", "oci-dir", "-o", "layout", "base:v1"]);
    tool(&lrun, &["umoci", "unpack", "--rootless", "--image", "layout:v1", "bundle"]);
    assert_eq!(fs::read_to_string(lrun.folder().join("bundle/rootfs/etc/one")).expect("a file"), "one\n");
    fs::write(lrun.folder().join("bundle/rootfs/etc/two"), "two\n").expect("write a file");
    tool(&lrun, &["umoci", "repack", "--image", "layout:v2", "bundle"]);
    tool(&lrun, &["umoci", "config", "--image", "layout:v2", "--tag", "v3", "--config.env", "A=b"]);
    tool(&lrun, &["chmod", "-R", "u+rwX", "bundle"]);
    // It never closes the tars of these: they end after the last byte, without padding.
    fs::write(lrun.folder().join("three"), "three\n").expect("write a file");
    tool(&lrun, &["umoci", "insert", "--rootless", "--image", "layout:v3", "--tag", "v4", "three", "/etc/three"]);
    let other = Lrun::new();
    let loaded = other.run(&["load", "-i", lrun.folder().join("layout").to_str().expect("UTF-8")]);
    assert_eq!(loaded.stderr, "WARNING: the archive has no end marker: it may be cut off\n");
    let lines = loaded.stdout.trim_end();
    assert_eq!(lines, "Loaded image: base:v1\nLoaded image: base:v2\nLoaded image: base:v3\nLoaded image: base:v4");
    assert_eq!(
        other.ok(&["run", "--rm", "--network", "none", "base:v4", "cat", "/etc/two", "/etc/three"]),
        "two\nthree"
    );
    other.ok(&["save", "-o", "again.tar", "base:v4"]);
    assert_eq!(
        other.ok(&["run", "--rm", "--network", "none", "base:v3", "sh", "-c", "cat /etc/one /etc/two; echo $A"]),
        "one\ntwo\nb"
    );
    // What umoci says of its images is what they are here, and the layers below its own are those that it was given.
    let below = lrun.inspect("base:v1", LAYERS);
    assert_eq!(other.inspect("base:v1", LAYERS), below);
    for (tag, more) in [("v1", 0), ("v2", 1), ("v3", 1), ("v4", 2)] {
        let said = tool(&lrun, &["umoci", "stat", "--json", "--image", &format!("layout:{tag}")]);
        let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        let history = said["history"].as_array().expect("a history");
        let theirs: Vec<&str> =
            history.iter().filter_map(|step| step["diff_id"].as_str()).filter(|id| !id.is_empty()).collect();
        let ours = other.inspect(&format!("base:{tag}"), LAYERS);
        assert_eq!(serde_json::to_string(&theirs).expect("JSON"), ours, "{tag}");
        assert!(ours.starts_with(below.trim_end_matches(']')), "{tag}: {ours}");
        assert_eq!(theirs.len(), 2 + more, "{tag}");
    }
}

#[test]
fn podman_loads_and_saves() {
    if missing("podman") {
        skip!("podman is not installed");
    }
    if mode() == Mode::Single {
        skip!("podman stores no image with one id");
    }
    let (lrun, id) = committed();
    let layers = lrun.inspect("base:v1", LAYERS);
    let folder = lrun.folder().to_str().expect("UTF-8").to_owned();
    let (root, run) = (format!("{folder}/storage"), format!("{folder}/r"));
    let podman = |args: &[&str]| {
        let words =
            ["podman", "--root", &root, "--runroot", &run, "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"];
        tool(&lrun, &[&words[..], args].concat())
    };
    if Command::new("podman")
        .args(["--root", &root, "--runroot", &run, "--storage-driver", "vfs", "info"])
        .env("HOME", lrun.folder().join("home"))
        .env("XDG_RUNTIME_DIR", lrun.folder().join("home"))
        .output()
        .is_ok_and(|output| !output.status.success())
    {
        skip!("podman does not work for this user");
    }
    for format in ["docker-archive", "oci-archive"] {
        lrun.ok(&["save", "--format", format, "-o", "in.tar", "base:v1"]);
        assert!(podman(&["load", "-q", "-i", "in.tar"]).contains("/base:v1"), "{format}");
        assert_eq!(podman(&["images", "-q", "--no-trunc"]).trim(), id, "{format}");
        assert_eq!(podman(&["image", "inspect", "--format", LAYERS, &id]).trim(), layers, "{format}");
    }
    for format in ["docker-archive", "oci-archive", "oci-dir"] {
        podman(&["save", "-q", "--format", format, "-o", format, "base:v1"]);
        let (got, line) = loaded(&lrun, format, &layers);
        assert!(line.ends_with("base:v1"), "{format}: {line}");
        assert!(format != "docker-archive" || got == id, "{format}: {got}");
    }
    podman(&["save", "-q", "--format", "docker-dir", "-o", "docker-dir", "base:v1"]);
    let error = lrun.fails(1, &["load", "-i", "docker-dir"]);
    assert!(error.contains("\"docker-dir\""), "{error}");
    podman(&["rmi", "-af"]);
    if mode() != Mode::Root {
        podman(&["unshare", "rm", "-rf", &root, &run]);
    }
    // It keeps its namespaces open by a process that waits for nothing.
    let pause = fs::read_to_string(lrun.folder().join("home/libpod/tmp/pause.pid")).unwrap_or_default();
    if let Some(pid) = pause.trim().parse().ok().and_then(rustix::process::Pid::from_raw) {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("end podman's process");
    }
}

#[test]
fn buildah_adds_a_layer() {
    if missing("buildah") {
        skip!("buildah is not installed");
    }
    if mode() == Mode::Single {
        skip!("buildah stores no image with one id");
    }
    let (lrun, _) = committed();
    let layers = "{{range .RootFS.Layers}}{{println .}}{{end}}";
    let base = lrun.inspect("base:v1", layers);
    let [storage, run] = ["storage", "run"].map(|name| format!("{}/{name}", lrun.folder().display()));
    let buildah = |args: &[&str]| {
        let words = ["buildah", "--root", &storage, "--runroot", &run, "--storage-driver", "vfs"];
        tool(&lrun, &[&words[..], args].concat()).trim().to_owned()
    };
    lrun.file("two", "two\n");
    for (format, transport) in
        [("docker-archive", "docker-archive"), ("oci-archive", "oci-archive"), ("oci-dir", "oci")]
    {
        lrun.ok(&["save", "--format", format, "-o", format, "base:v1"]);
        let container = buildah(&["from", "-q", &format!("{transport}:{format}")]);
        buildah(&["copy", "-q", &container, "two", "/etc/two"]);
        let name = format!("r.io/{format}:v1");
        buildah(&["commit", "-q", &container, &format!("{transport}:new-{format}:{name}")]);
        let other = Lrun::new();
        let path = lrun.folder().join(format!("new-{format}"));
        assert_eq!(other.ok(&["load", "-i", path.to_str().expect("UTF-8")]), format!("Loaded image: {name}"));
        let said = other.ok(&["run", "--rm", "--network", "none", &name, "cat", "/etc/one", "/etc/two"]);
        assert_eq!(said, "one\ntwo", "{format}");
        assert!(other.inspect(&name, layers).starts_with(base.trim_end()), "{format}: the layers are the same");
    }
    buildah(&["rm", "-a"]);
    buildah(&["rmi", "-af"]);
    if mode() != Mode::Root {
        tool(&lrun, &["buildah", "unshare", "rm", "-rf", &storage, &run]);
    }
}
