//! `ps`.

use lrun_tests::Lrun;

use crate::{assert_harmless, json_lines, names, short, table};

const HEADERS: [&str; 7] = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"];

/// A created, an exited and a running container, in that order.
fn three() -> (Lrun, [String; 3]) {
    let lrun = Lrun::with_busybox();
    let made = lrun.ok(&["create", "--name", "made", "busybox", "true"]);
    assert_eq!(lrun.run(&["run", "--name", "ended", "busybox", "sh", "-c", "echo out >&2; exit 3"]).code, 3);
    let ended = lrun.inspect("ended", "{{.Id}}");
    let runs = lrun.ok(&["run", "-d", "--name", "runs", "busybox", "sleep", "1000"]);
    (lrun, [made, ended, runs])
}

#[test]
fn the_table_of_each_state() {
    let (lrun, [made, ended, runs]) = three();
    let text = lrun.ok(&["ps", "-a"]);
    let rows = table(&text, &HEADERS);
    assert_eq!(rows.len(), 3, "{text}");
    for (row, id, command, status, name) in [
        (&rows[0], &runs, "\"sleep 1000\"", "Up ", "runs"),
        (&rows[1], &ended, "\"sh -c 'echo out >&2…\"", "Exited (3) ", "ended"),
        (&rows[2], &made, "\"true\"", "Created", "made"),
    ] {
        assert_eq!([&row[0], &row[1], &row[2], &row[5], &row[6]], [short(id), "busybox", command, "", name], "{text}");
        assert!(row[3].ends_with(" ago") && row[4].starts_with(status), "{text}");
    }
    assert_eq!(table(&lrun.ok(&["ps"]), &HEADERS).len(), 1, "only what runs");
    assert_eq!(lrun.ok(&["ps", "-q"]), short(&runs));
    assert_eq!(lrun.ok(&["ps", "-aq", "--no-trunc"]), [runs.as_str(), &ended, &made].join("\n"));
    assert!(lrun.ok(&["ps", "-a", "--no-trunc"]).contains("\"sh -c 'echo out >&2; exit 3'\""));
    lrun.ok(&["rm", "-f", "made", "ended", "runs"]);
    let empty = "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES";
    assert_eq!(lrun.ok(&["ps", "-a"]), empty, "nothing but the header");
    assert_eq!(lrun.ok(&["ps", "-aq"]), "");
}

#[test]
fn the_last_ones_and_the_other_names_of_the_command() {
    let (lrun, _) = three();
    assert_eq!(names(&lrun, &["-n", "2"]), ["runs", "ended"]);
    assert_eq!(names(&lrun, &["--last=1"]), ["runs"]);
    assert_eq!(names(&lrun, &["-n", "-1"]), ["runs", "ended", "made"]);
    lrun.ok(&["rm", "-f", "runs"]);
    assert_eq!(lrun.ok(&["ps", "-l", "--format", "{{.Names}}"]), "ended", "whatever its state");
    let all = lrun.ok(&["ps", "-aq"]);
    for words in
        [&["container", "ls", "-aq"][..], &["container", "list", "-aq"], &["container", "ps", "-aq"], &["ls", "-aq"]]
    {
        assert_eq!(lrun.ok(words), all, "{words:?}");
    }
}

#[test]
fn formats_that_scripts_use() {
    let mut lrun = Lrun::with_busybox();
    lrun.set_env("TZ", "HERE-5:30");
    let id = lrun.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "-l",
        "role=db",
        "-l",
        "a=1",
        "-v",
        "/:/host",
        "--network",
        "none",
        "busybox",
        "sleep",
        "1000",
    ]);
    assert_eq!(lrun.ok(&["ps", "--no-trunc", "--format", "{{.ID}} {{.State}}"]), format!("{id} running"));
    let row = &json_lines(&lrun.ok(&["ps", "--format", "json"]))[0];
    for (field, value) in [
        ("ID", short(&id)),
        ("Names", "web"),
        ("Image", "busybox"),
        ("Command", "\"sleep 1000\""),
        ("Labels", "a=1,role=db"),
        ("Mounts", "/"),
        ("LocalVolumes", "0"),
        ("Networks", "none"),
        ("Ports", ""),
        ("State", "running"),
        ("Size", "0B"),
    ] {
        assert_eq!(row[field], value, "{field}: {row}");
    }
    assert!(row["CreatedAt"].as_str().is_some_and(|at| at.ends_with(" +0530 HERE")), "in the user's zone: {row}");
    assert!(row["Status"].as_str().is_some_and(|status| status.starts_with("Up ")), "{row}");
    let own = lrun.ok(&["ps", "--format", r#"table {{.Names}}\t{{.Label "role"}}\t{{upper .State}}"#]);
    assert_eq!(own, "NAMES     role      STATE\nweb       db        RUNNING");
    assert_eq!(lrun.ok(&["ps", "--format", r#"{{if eq .State "running"}}{{println .Names}}{{end}}"#]), "web\n");
    assert_eq!(lrun.ok(&["ps", "--format", "{{json .Names}}"]), "\"web\"");
    let platform = lrun.inspect("busybox", "{{.Os}}/{{.Architecture}}");
    assert_eq!(lrun.ok(&["ps", "--format", "table {{.Platform}}"]), format!("PLATFORM\n{platform}"));
    // There docker has an object.
    assert!(row.get("Platform").is_none(), "{row}");
    let quiet = lrun.run(&["ps", "-q", "--format", "{{.Names}}"]);
    assert_eq!((quiet.code, quiet.stdout.trim_end()), (0, short(&id)));
    let warning = "WARNING: Ignoring custom format, because both --format and --quiet are set.\n";
    assert_eq!(quiet.stderr, warning);
    for (format, message) in [
        ("{{.Foo}}", "can't evaluate field Foo"),
        ("{{.Names", "unclosed action"),
        ("{{nope .Names}}", "function \"nope\" not defined"),
    ] {
        let error = lrun.fails(1, &["ps", "--format", format]);
        assert!(error.starts_with("lrun: template: ") && error.contains(message), "{error}");
    }
}

#[test]
fn each_filter() {
    let lrun = Lrun::with_busybox();
    let first =
        lrun.ok(&["create", "--name", "first", "-l", "role=db", "-l", "keep", "-v", "/etc:/conf", "busybox", "true"]);
    assert_eq!(lrun.run(&["run", "--name", "second", "-l", "role=web", "busybox", "sh", "-c", "exit 3"]).code, 3);
    lrun.ok(&["commit", "second", "derived"]);
    lrun.ok(&["run", "-d", "--name", "third", "--network", "none", "derived", "sleep", "1000"]);
    let prefix = &first[..20];
    let cases: &[(&[&str], &[&str])] = &[
        (&[&format!("id={prefix}")], &["first"]),
        (&["name=ir"], &["third", "first"]),
        (&["name=^first$"], &["first"]),
        (&["name=^/first$"], &["first"]),
        (&["name=first", "name=second"], &["second", "first"]),
        (&["label=role"], &["third", "second", "first"]),
        (&["label=role=db"], &["first"]),
        (&["label=role", "label=keep"], &["first"]),
        (&["status=created"], &["first"]),
        (&["status=exited", "status=running"], &["third", "second"]),
        (&["status=paused"], &[]),
        (&["exited=3"], &["second"]),
        (&["exited=0"], &[]),
        (&["ancestor=busybox"], &["third", "second", "first"]),
        (&["ancestor=derived"], &["third"]),
        (&["ancestor=nobody"], &[]),
        (&["before=third"], &["second", "first"]),
        (&["since=first"], &["third", "second"]),
        (&[&format!("since={prefix}"), "before=third"], &["second"]),
        (&["volume=/conf"], &["first"]),
        (&["volume=/etc"], &["first"]),
        (&["network=none"], &["third"]),
        (&["publish=80"], &[]),
        (&["expose=80/tcp"], &[]),
        (&["health=none", "name=third"], &["third"]),
        (&["status=exited", "label=role=web", "name=sec"], &["second"]),
        (&["label=role=web"], &["third", "second"]),
    ];
    for (filters, expected) in cases {
        let args: Vec<&str> = filters.iter().flat_map(|filter| ["--filter", filter]).collect();
        assert_eq!(names(&lrun, &args), *expected, "{filters:?}");
    }
    let of_image = |image: &str| names(&lrun, &["-f", &format!("ancestor={image}")]);
    assert_eq!(of_image(&lrun.inspect("derived", "{{.Id}}")), ["third"]);
    assert_eq!(lrun.ok(&["ps", "-f", "status=exited", "--format", "{{.Names}}"]), "second", "a status implies -a");
    for (filter, message) in [
        ("status=gone", "invalid filter 'status=gone'"),
        ("colour=red", "invalid filter 'colour'"),
        ("name", "bad format of filter 'name' (expected name=value)"),
        ("before=nobody", "No such container: nobody"),
        ("exited=x", "invalid filter 'exited=x'"),
    ] {
        let error = lrun.fails(1, &["ps", "-a", "--filter", filter]);
        assert!(error.starts_with(&format!("lrun: {message}")), "{error}");
    }
}

#[test]
fn exposed_ports_show_while_the_container_runs() {
    let lrun = Lrun::with_busybox();
    lrun.ok(&["create", "--name", "c1", "busybox", "sleep", "1000"]);
    lrun.ok(&["commit", "-c", "EXPOSE 8001", "-c", "EXPOSE 8000 53/udp", "c1", "server"]);
    lrun.ok(&["run", "-d", "--name", "s1", "server", "sleep", "1000"]);
    let ports = || lrun.ok(&["ps", "-a", "-f", "name=s1", "--format", "{{.Ports}}"]);
    assert_eq!(ports(), "53/udp, 8000-8001/tcp");
    assert_eq!(names(&lrun, &["-f", "expose=8000-9000/tcp"]), ["s1"]);
    assert_eq!(
        lrun.inspect("s1", "{{json .NetworkSettings.Ports}}"),
        r#"{"53/udp":null,"8000/tcp":null,"8001/tcp":null}"#
    );
    lrun.ok(&["rm", "-f", "c1"]);
    lrun.ok(&["kill", "s1"]);
    lrun.ok(&["wait", "s1"]);
    assert_eq!(ports(), "");
}

#[test]
fn sizes_count_what_the_container_wrote() {
    let lrun = Lrun::with_busybox();
    let script = "mkdir -p /d/closed; head -c 12345 /dev/zero > /d/closed/f; ln /d/closed/f /d/again; rm /etc/passwd; \
        chmod 000 /d/closed; exec sleep 1000";
    lrun.ok(&["run", "-d", "--name", "w1", "busybox", "sh", "-c", script]);
    lrun_tests::eventually("12.3kB are written", || {
        lrun.ok(&["ps", "--format", "{{.Size}}"]).starts_with("12.3kB (virtual ")
    });
    let text = lrun.ok(&["ps", "-s"]);
    assert!(text.lines().next().is_some_and(|header| header.ends_with("NAMES     SIZE")), "{text}");
    assert!(text.lines().nth(1).is_some_and(|row| row.ends_with("MB)")), "{text}");
    let whole = json_lines(&lrun.ok(&["ps", "--format", "{{json .}}"]));
    assert!(whole[0]["Size"].as_str().is_some_and(|size| size.starts_with("12.3kB")), "{whole:?}");
    let inspected = lrun.ok(&["inspect", "-s", "-f", "{{.SizeRw}} {{.SizeRootFs}}", "w1"]);
    let (own, all) = inspected.split_once(' ').expect("two numbers");
    let image: u64 = lrun.inspect("busybox", "{{.Size}}").parse().expect("a number");
    assert_eq!((own, all.parse::<u64>().expect("a number")), ("12345", image + 12345));

    lrun.ok(&["kill", "w1"]);
    lrun.ok(&["wait", "w1"]);
    lrun.ok(&["commit", "w1", "written"]);
    assert_eq!(lrun.inspect("w1", "{{.SizeRw}}"), "12345", "what a commit took still is the container's");
    lrun.ok(&["rm", "w1"]);
    lrun.ok(&["create", "--name", "fresh", "written", "true"]);
    assert!(lrun.ok(&["ps", "-as", "--format", "{{.Size}}"]).starts_with("0B (virtual "));
}

/// Where the name of a container's image no longer means that image, the image's id is shown.
#[test]
fn an_image_that_lost_its_name_is_shown_by_id() {
    let lrun = Lrun::with_busybox();
    let id = lrun.inspect("busybox", "{{.Id}}");
    lrun.ok(&["tag", "busybox", "registry.example:5000/team/tool:1"]);
    lrun.ok(&["create", "--name", "c1", "registry.example:5000/team/tool:1", "true"]);
    lrun.ok(&["create", "--name", "by_id", short(&id), "true"]);
    let images = || lrun.ok(&["ps", "-a", "--format", "{{.Image}}"]);
    assert_eq!(images(), format!("{}\nregistry.example:5000/team/tool:1", short(&id)));
    lrun.ok(&["rmi", "registry.example:5000/team/tool:1"]);
    assert_eq!(images(), format!("{0}\n{0}", short(&id)));
    assert_eq!(lrun.ok(&["ps", "-a", "-f", "name=c1", "--no-trunc", "--format", "{{.Image}}"]), id);
    assert_eq!(lrun.inspect("c1", "{{.Config.Image}} {{.Image}}"), format!("registry.example:5000/team/tool:1 {id}"));
}

#[test]
fn nothing_that_a_container_says_moves_the_cursor() {
    let lrun = Lrun::with_busybox();
    let evil = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{202e}x\n";
    lrun.ok(&["create", "--name", "c1", "-l", &format!("l={evil}"), "busybox", "echo", evil]);
    assert_harmless(&lrun.ok(&["ps", "-a", "--no-trunc"]));
    assert_harmless(&lrun.ok(&["ps", "-a", "--format", "json", "--no-trunc"]));
    assert_harmless(&lrun.ok(&["ps", "-a", "--format", r#"table {{.Labels}}\t{{.Label "l"}}"#]));
    for args in [
        &["ps", "-a"][..],
        &["ps", "-a", "--format", "{{.Labels}}{{.Command}}"],
        &["ps", "-a", "--format", r#"{{.Label "l"}}"#],
        &["ps", "-a", "--format", "{{printf \"%s\" .Labels}}"],
    ] {
        let (shown, code) = lrun.pty(args).finish();
        assert_eq!(code, 0, "{shown}");
        assert!(!shown.contains('\u{1b}') && !shown.contains('\u{7}') && !shown.contains('\u{202e}'), "{shown:?}");
    }
    let raw = lrun.ok(&["ps", "-a", "--format", r#"{{.Label "l"}}"#]);
    assert_eq!(raw, evil, "a script gets the label as it is");
}

#[test]
fn containers_are_sorted_as_it_is_asked_for() {
    let lrun = Lrun::with_busybox();
    lrun.ok(&["tag", "busybox", "alike"]);
    let create = |name: &str, image: &str, command: &str| {
        lrun.ok(&["create", "--name", name, "--network", "none", image, command]);
    };
    create("bb", "busybox", "true");
    create("aa", "busybox", "ls");
    create("cc", "alike", "id");
    lrun.ok(&["start", "-a", "aa"]);
    let sorted = |by: &str| lrun.ok(&["ps", "-a", "--sort", by, "--format", "{{.Names}}"]).replace('\n', " ");
    assert_eq!(lrun.ok(&["ps", "-a", "--format", "{{.Names}}"]).replace('\n', " "), "cc aa bb");
    for (by, wanted) in [
        ("names", "aa bb cc"),
        ("created", "bb aa cc"),
        ("command", "cc aa bb"),
        ("image", "cc aa bb"),
        ("status", "cc bb aa"),
    ] {
        assert_eq!(sorted(by), wanted, "{by}");
    }
    assert_eq!(sorted("size").len(), 8);
    assert_eq!(sorted("runningfor"), "cc aa bb");
    assert_eq!(lrun.run(&["ps", "--sort", "colour"]).code, 125);
}
