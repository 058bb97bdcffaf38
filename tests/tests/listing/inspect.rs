//! `inspect`.

use lrun_tests::{Lrun, Mode, mode};
use serde_json::Value;

use crate::short;

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn a_container_in_dockers_shape() {
    let lrun = Lrun::with_busybox();
    let id = lrun.ok(&[
        "run",
        "-d",
        "-i",
        "--name",
        "web",
        "-h",
        "box",
        "-u",
        "1000:50",
        "-w",
        "/tmp",
        "-e",
        "A=1",
        "-e",
        "B=x y",
        "-l",
        "role=db",
        "-v",
        "/:/var:ro",
        "--tmpfs",
        "/tmp",
        "--network",
        "none",
        "--cap-add",
        "net_raw",
        "--cap-drop",
        "CHOWN",
        "--ulimit",
        "nofile=512:1024",
        "--stop-signal",
        "INT",
        "--stop-timeout",
        "3",
        "--security-opt",
        "no-new-privileges",
        "--shm-size",
        "1m",
        "busybox",
        "sleep",
        "1000",
    ]);
    let text = lrun.ok(&["inspect", "web"]);
    assert!(text.starts_with("[\n    {\n        \"Id\": "), "docker's indentation: {text}");
    let object = &parsed(&text)[0];
    let at = |path: &str| object.pointer(path).unwrap_or_else(|| panic!("no {path}: {text}"));
    for (path, value) in [
        ("/Id", Value::from(id.as_str())),
        ("/Name", "/web".into()),
        ("/Path", "sleep".into()),
        ("/Args", vec!["1000"].into()),
        ("/State/Status", "running".into()),
        ("/State/Running", true.into()),
        ("/State/Paused", false.into()),
        ("/State/ExitCode", 0.into()),
        ("/State/FinishedAt", "0001-01-01T00:00:00Z".into()),
        ("/RestartCount", 0.into()),
        ("/Config/Hostname", "box".into()),
        ("/Config/User", "1000:50".into()),
        ("/Config/WorkingDir", "/tmp".into()),
        ("/Config/Cmd", vec!["sleep", "1000"].into()),
        ("/Config/Image", "busybox".into()),
        ("/Config/OpenStdin", true.into()),
        ("/Config/Tty", false.into()),
        ("/Config/Labels/role", "db".into()),
        ("/Config/StopSignal", "INT".into()),
        ("/Config/StopTimeout", 3.into()),
        ("/HostConfig/Binds", vec!["/:/var:ro"].into()),
        ("/HostConfig/NetworkMode", "none".into()),
        ("/HostConfig/CapAdd", vec!["CAP_NET_RAW"].into()),
        ("/HostConfig/CapDrop", vec!["CAP_CHOWN"].into()),
        ("/HostConfig/SecurityOpt", vec!["no-new-privileges"].into()),
        ("/HostConfig/ReadonlyRootfs", false.into()),
        ("/HostConfig/ShmSize", (1 << 20).into()),
        ("/HostConfig/AutoRemove", false.into()),
        ("/HostConfig/Ulimits/0/Name", "nofile".into()),
        ("/HostConfig/Ulimits/0/Hard", 1024.into()),
        ("/Mounts/0/Destination", "/var".into()),
        ("/Mounts/0/RW", false.into()),
        ("/Mounts/0/Type", "bind".into()),
    ] {
        assert_eq!(at(path), &value, "{path}");
    }
    assert_eq!(at("/Image"), &Value::from(lrun.inspect("busybox", "{{.Id}}")));
    assert!(at("/HostConfig/Tmpfs/~1tmp").is_string() && at("/NetworkSettings/Networks/none").is_object());
    let env = at("/Config/Env").as_array().expect("a list");
    assert!(env.contains(&"A=1".into()) && env.contains(&"B=x y".into()), "{env:?}");
    let pid = at("/State/Pid").as_i64().expect("a number");
    let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).expect("the first process, on the host");
    assert!(!comm.is_empty() && pid > 1);
    let log = at("/LogPath").as_str().expect("a path");
    assert!(std::path::Path::new(log).starts_with(lrun.store()), "{log}");
}

#[test]
fn an_end_is_told() {
    let lrun = Lrun::with_busybox();
    assert_eq!(lrun.run(&["run", "--name", "c1", "busybox", "sh", "-c", "exit 7"]).code, 7);
    let state = "{{.State.Status}} {{.State.ExitCode}} {{.State.Running}} {{.State.Pid}} {{json .State.Error}}";
    assert_eq!(lrun.inspect("c1", state), "exited 7 false 0 \"\"");
    assert!(lrun.inspect("c1", "{{.State.FinishedAt}}") > lrun.inspect("c1", "{{.State.StartedAt}}"));
    assert_eq!(lrun.run(&["run", "--name", "bad", "busybox", "/nope"]).code, 127);
    assert_eq!(lrun.inspect("bad", "{{.State.Running}} {{.State.ExitCode}}"), "false 127");
    assert!(lrun.inspect("bad", "{{.State.Error}}").contains("/nope"));
}

#[test]
fn templates_that_scripts_use() {
    let lrun = Lrun::with_busybox();
    let id = lrun.ok(&[
        "create", "--name", "c1", "-e", "A=1", "-e", "B=2", "-l", "com.x=y", "-l", "a=b", "busybox", "sh", "-c", "x y",
    ]);
    for (format, output) in [
        ("{{range .Config.Env}}{{println .}}{{end}}", "A=1\nB=2\n"),
        ("{{.State.Running}}", "false"),
        (r#"{{index .Config.Labels "com.x"}}|{{index .Config.Labels "none"}}|"#, "y||"),
        ("{{json .Config.Labels}}", r#"{"a":"b","com.x":"y"}"#),
        ("{{join .Config.Cmd \",\"}}", "sh,-c,x y"),
        ("{{len .Mounts}} {{len .Config.Env}}", "0 2"),
        ("{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}", "none"),
        ("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}", "a=b;com.x=y;"),
        ("{{with .State}}{{.Status}}{{end}} {{.HostConfig.RestartPolicy.Name}}", "created no"),
        ("{{.GraphDriver.Name}}", "overlay"),
        ("{{printf \"%.12s\" .Id}}", &id[..12]),
    ] {
        assert_eq!(lrun.ok(&["inspect", "--format", format, "c1"]), output, "{format}");
    }
    assert_eq!(lrun.ok(&["container", "inspect", "-f", "{{.Id}}", "c1", &id[..10]]), format!("{id}\n{id}"));
    let compact = lrun.ok(&["inspect", "-f", "json", "c1"]);
    assert!(compact.lines().count() == 1 && parsed(&compact)[0]["Id"] == id.as_str());
}

#[test]
fn a_bad_template_is_named() {
    let lrun = Lrun::with_busybox();
    lrun.ok(&["create", "--name", "c1", "busybox", "true"]);
    let output = lrun.run(&["inspect", "-f", "{{.Foo}}", "c1"]);
    let message = "template parsing error: template: :1:2: executing \"\" at <.Foo>: map has no entry for key \"Foo\"";
    assert_eq!((output.code, output.stdout.as_str()), (1, "\n"));
    assert_eq!(output.stderr, format!("lrun: {message}\n"));
    assert!(
        lrun.fails(64, &["inspect", "-f", "{{.Id", "c1"])
            .contains("template parsing error: template: :1: unclosed action")
    );
    // What fits one object is shown, whatever the other lacks.
    let mixed = lrun.run(&["inspect", "-f", "{{.Architecture}}", "c1", "busybox"]);
    assert_eq!((mixed.code, mixed.stdout.lines().count()), (1, 1), "{mixed:?}");
}

#[test]
fn what_is_found_is_shown_and_the_rest_is_an_error() {
    let lrun = Lrun::with_busybox();
    let id = lrun.ok(&["create", "--name", "named", "busybox", "true"]);
    let image = lrun.inspect("busybox", "{{.Id}}");
    let output = lrun.run(&["inspect", "nobody", "named", "Nobody2", "busybox"]);
    assert_eq!(output.code, 1);
    assert_eq!(output.stderr, "Error: No such object: nobody\nError: No such object: Nobody2\n");
    let found: Vec<Value> =
        parsed(&output.stdout).as_array().expect("an array").iter().map(|o| o["Id"].clone()).collect();
    assert_eq!(found, [id.as_str(), &image]);
    let nothing = lrun.run(&["inspect", "nobody"]);
    assert_eq!(
        (nothing.code, nothing.stdout.as_str(), nothing.stderr.as_str()),
        (1, "[]\n", "Error: No such object: nobody\n")
    );
    let formatted = lrun.run(&["inspect", "-f", "{{.Id}}", "nobody"]);
    assert_eq!((formatted.code, formatted.stdout.as_str()), (1, "\n"));
    for (args, error) in [
        (&["inspect", "--type", "container", "busybox"][..], "lrun: No such container: busybox\n"),
        (&["container", "inspect", "busybox"], "lrun: No such container: busybox\n"),
        (&["inspect", "--type", "image", "named"], "lrun: No such image: named:latest\n"),
        (&["image", "inspect", "named"], "lrun: No such image: named:latest\n"),
    ] {
        let output = lrun.run(args);
        assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (1, "[]\n", error), "{args:?}");
    }
}

#[test]
fn a_container_comes_before_an_image_of_the_same_name() {
    let lrun = Lrun::with_busybox();
    let id = lrun.ok(&["create", "--name", "busybox", "busybox", "true"]);
    assert_eq!(lrun.inspect("busybox", "{{.Id}}"), id);
    let image = lrun.ok(&["inspect", "--type", "image", "-f", "{{.Id}}", "busybox"]);
    assert!(image.starts_with("sha256:"));
    assert_eq!(lrun.inspect(short(&image), "{{.Id}}"), image);
    assert_eq!(lrun.inspect(&id[..3], "{{.Name}}"), "/busybox");
}

#[test]
fn an_image_in_dockers_shape() {
    let lrun = Lrun::with_busybox();
    lrun.ok(&["create", "--name", "c1", "busybox", "true"]);
    let changes = ["-c", "ENV A=1", "-c", "EXPOSE 80", "-c", "LABEL l=x", "-c", "CMD [\"sh\"]", "-c", "WORKDIR /srv"];
    let id =
        lrun.ok(&[&["commit", "-a", "Ada", "-m", "why"], &changes[..], &["c1", "reg.example:5000/made:1"]].concat());
    let object = &parsed(&lrun.ok(&["image", "inspect", "reg.example:5000/made:1"]))[0];
    let architecture = lrun.ok(&["version", "-f", "{{.Server.Arch}}"]);
    for (path, value) in [
        ("/Id", Value::from(id)),
        ("/RepoTags", vec!["reg.example:5000/made:1"].into()),
        ("/RepoDigests", Value::Array(vec![])),
        ("/Parent", lrun.inspect("busybox", "{{.Id}}").into()),
        ("/Comment", "why".into()),
        ("/DockerVersion", "".into()),
        ("/Author", "Ada".into()),
        ("/Architecture", architecture.into()),
        ("/Os", "linux".into()),
        ("/Config/Cmd", vec!["sh"].into()),
        ("/Config/WorkingDir", "/srv".into()),
        ("/Config/Labels/l", "x".into()),
        ("/RootFS/Type", "layers".into()),
    ] {
        assert_eq!(object.pointer(path), Some(&value), "{path}: {object}");
    }
    assert!(object["Config"]["ExposedPorts"]["80/tcp"].is_object(), "{object}");
    assert!(object["Metadata"]["LastTagTime"].as_str().is_some_and(|time| time.starts_with("20")), "{object}");
    assert_eq!(object.get("Descriptor"), None, "no registry has it");
    assert!(object["Size"].as_u64().is_some_and(|size| size > 0), "{object}");
}

#[test]
fn a_tree_of_layers_and_a_manifest_of_them() {
    let lrun = Lrun::with_busybox();
    lrun.ok(&["run", "--name", "c1", "--network", "none", "busybox", "sh", "-c", "echo x > /x"]);
    lrun.ok(&["commit", "c1", "made:1"]);
    let layers = |image: &str| -> Vec<String> {
        let shown = lrun.inspect(image, "{{range .RootFS.Layers}}{{println .}}{{end}}");
        shown.split_whitespace().map(str::to_owned).collect()
    };
    let (base, made) = (layers("busybox"), layers("made:1"));
    let tree = lrun.ok(&["image", "tree"]);
    let lines: Vec<&str> = tree.lines().collect();
    assert!(lines[0].starts_with("LAYER") && lines[0].ends_with("USED BY  IMAGES"), "{tree}");
    assert!(lines[1].starts_with(&base[0][7..19]) && lines[1].ends_with("2  busybox:latest"), "{tree}");
    assert!(lines[2].starts_with(&format!("\u{2514}\u{2500} {}", &made[1][7..19])), "{tree}");
    assert!(lines[2].ends_with("1  made:1") && lines.len() == 3, "{tree}");
    let json = parsed(&lrun.ok(&["image", "tree", "--format", "json", "made:1"]));
    assert_eq!(json[0]["Above"][0]["Images"][0]["Names"][0], "made:1");
    assert_eq!(json[0]["Images"], Value::Array(vec![]), "only what was asked for is named");
    assert_eq!(json[0]["UsedBy"], 2);
    assert!(lrun.fails(1, &["image", "tree", "nobody"]).contains("No such image"));
    assert!(lrun.fails(1, &["image", "tree", "--format", "x"]).contains("a tree is table or json"));

    let text = lrun.ok(&["manifest", "inspect", "made:1"]);
    assert!(text.starts_with("{\n\t\"schemaVersion\": 2,\n"), "{text}");
    let manifest = parsed(&text);
    assert_eq!(manifest["config"]["digest"], lrun.inspect("made:1", "{{.Id}}").as_str());
    let digests: Vec<&str> =
        manifest["layers"].as_array().expect("layers").iter().filter_map(|layer| layer["digest"].as_str()).collect();
    assert_eq!(digests, made);
}

#[test]
fn the_mapping_is_no_secret() {
    let lrun = Lrun::with_busybox();
    let expected = match mode() {
        Mode::Subids => "subids",
        Mode::Single => "single",
        Mode::Root => "root",
    };
    assert_eq!(lrun.ok(&["info", "-f", "{{.IdMapping}}"]), expected);
}
