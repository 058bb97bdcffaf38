//! Names, ids, labels and the file with the id: how a container is called and found.

use std::fs;

use lrun_tests::Lrun;

const NONE: [&str; 3] = ["run", "--network", "none"];

fn words<'a>(flags: &[&'a str], command: &[&'a str]) -> Vec<&'a str> {
    [&NONE[..], flags, &["busybox"], command].concat()
}

#[test]
fn an_id_is_64_digits_and_any_unique_beginning_finds_the_container() {
    let lrun = Lrun::with_busybox();
    let id = lrun.ok(&words(&["-d", "--name", "web"], &["true"]));
    assert!(id.len() == 64 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{id}");
    assert!(id[..12].bytes().any(|b| b.is_ascii_lowercase()), "a host name is never all digits: {id}");
    for text in [&id, &id[..12], &id[..3], "web", "/web"] {
        assert_eq!(lrun.inspect(text, "{{.Id}} {{.Name}}"), format!("{id} /web"), "{text}");
    }
    let created = lrun.ok(&["create", "--network", "none", "busybox", "true"]);
    assert!(created.len() == 64 && created != id);
}

#[test]
fn a_name_belongs_to_one_container() {
    let lrun = Lrun::with_busybox();
    let id = lrun.ok(&["create", "--name", "web", "busybox", "true"]);
    let taken = format!(
        "lrun: Conflict. The container name \"/web\" is already in use by container \"{id}\". You have to remove (or \
         rename) that container to be able to reuse that name.\n"
    );
    assert_eq!(lrun.fails(125, &words(&["--name", "web"], &["true"])), taken);
    assert_eq!(lrun.fails(1, &["create", "--name", "/web", "busybox", "true"]), taken);
    assert_eq!(lrun.ok(&["ps", "-aq", "--no-trunc"]), id, "nothing is left of them");
    lrun.ok(&["rm", "web"]);
    lrun.ok(&words(&["--name", "web"], &["true"]));
}

#[test]
fn names_that_nobody_gave_are_made_up() {
    let lrun = Lrun::with_busybox();
    for _ in 0..3 {
        lrun.ok(&["create", "busybox", "true"]);
    }
    let names = lrun.ok(&["ps", "-a", "--format", "{{.Names}}"]);
    let mut names: Vec<&str> = names.lines().collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 3, "{names:?}");
    for name in names {
        let (adjective, surname) = name.split_once('_').expect("two words");
        assert!(
            [adjective, surname].iter().all(|w| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase())),
            "{name}"
        );
    }
}

#[test]
fn labels_come_from_image_files_and_flags() {
    let lrun = Lrun::new();
    let archive = lrun_tests::images("busybox.tar");
    lrun.ok(&["import", "-c", "LABEL of=image changed=image", archive.to_str().expect("UTF-8"), "busybox"]);
    let file = lrun.file("labels", "# comment\nof.file=1\nbare\nchanged=file\nlast=file\n");
    let file = file.to_str().expect("UTF-8");
    lrun.ok(&[
        "create",
        "--name",
        "web",
        "--label-file",
        file,
        "-l",
        "last=flag",
        "-l",
        "empty",
        "-l",
        "a=b=c",
        "busybox",
        "true",
    ]);
    let expected = r#"{"a":"b=c","bare":"","changed":"file","empty":"","last":"flag","of":"image","of.file":"1"}"#;
    assert_eq!(lrun.inspect("web", "{{json .Config.Labels}}"), expected);
    assert_eq!(lrun.ok(&["ps", "-a", "--filter", "label=a=b=c", "--format", "{{.Names}}"]), "web");
    assert_eq!(lrun.ok(&["ps", "-aq", "--filter", "label=a=b"]), "");
    let wrong = lrun.fails(125, &words(&["-l", "=x"], &["true"]));
    assert!(wrong.contains("invalid argument \"=x\" for \"-l, --label\" flag"), "{wrong}");
    let missing = lrun.fails(125, &words(&["--label-file", "missing"], &["true"]));
    assert_eq!(missing, "lrun: read label file missing: no such file or directory\n");
}

#[test]
fn notes_and_ports_are_kept_for_those_who_ask() {
    let lrun = Lrun::with_busybox();
    lrun.ok(&words(
        &["-d", "--name", "web", "--annotation", "a=b", "--expose", "80", "--expose", "90-91/udp"],
        &["top"],
    ));
    let asked = "{{json .HostConfig.Annotations}} {{json .Config.ExposedPorts}} {{json .NetworkSettings.Ports}}";
    let expected = r#"{"a":"b"} {"80/tcp":{},"90/udp":{},"91/udp":{}} {"80/tcp":null,"90/udp":null,"91/udp":null}"#;
    assert_eq!(lrun.inspect("web", asked), expected);
    assert_eq!(lrun.ok(&["ps", "--format", "{{.Ports}}", "--filter", "expose=80"]), "80/tcp, 90-91/udp");
    assert_eq!(lrun.ok(&["port", "web"]), "");
    let nowhere = lrun.fails(1, &["port", "web", "80"]);
    assert!(nowhere.starts_with("lrun: no public port '80/tcp' published for web\n"), "{nowhere}");
    lrun.ok(&["rm", "-f", "web"]);
    let wrong = lrun.fails(125, &words(&["--expose", "80:80"], &["true"]));
    let text = "invalid argument \"80:80\" for \"--expose\" flag: invalid range format for --expose: ";
    assert!(wrong.contains(text), "{wrong}");
    // What was exposed is the image's that comes of it.
    lrun.ok(&["create", "--name", "web", "--expose", "80", "busybox", "true"]);
    lrun.ok(&["commit", "web", "of-web"]);
    assert_eq!(lrun.inspect("of-web", "{{json .Config.ExposedPorts}}"), r#"{"80/tcp":{}}"#);
}

#[test]
fn the_id_is_written_to_a_new_file_only() {
    let lrun = Lrun::with_busybox();
    let file = lrun.folder().join("id");
    let id = lrun.ok(&words(&["-d", "--cidfile", "id", "--name", "web"], &["true"]));
    assert_eq!(fs::read_to_string(&file).expect("the file"), id);
    let found = lrun.fails(125, &words(&["--cidfile", "id"], &["true"]));
    assert_eq!(found, "lrun: container ID file found, make sure the other container isn't running or delete id\n");
    let nowhere = lrun.fails(125, &words(&["--cidfile", "no/where"], &["true"]));
    assert_eq!(nowhere, "lrun: create the container ID file no/where: no such file or directory\n");
    assert_eq!(lrun.ok(&["ps", "-aq", "--no-trunc"]), id, "only the first was made");
    // A file of a container that never came to be does not stay, so that the command can be given again.
    lrun.fails(125, &words(&["--cidfile", "other", "--name", "web"], &["true"]));
    assert!(!lrun.folder().join("other").exists());
    let other = lrun.ok(&["create", "--cidfile", "other", "busybox", "true"]);
    assert_eq!(fs::read_to_string(lrun.folder().join("other")).expect("the file"), other);
}

#[test]
fn a_container_that_removes_itself_leaves_nothing() {
    let lrun = Lrun::with_busybox();
    for (command, code) in [(&["true"][..], 0), (&["false"], 1), (&["missing"], 127)] {
        assert_eq!(lrun.run(&words(&["--rm", "--name", "web"], command)).code, code);
    }
    lrun.fails(125, &words(&["--rm", "-u", "nobody"], &["true"]));
    lrun.ok(&words(&["-d", "--rm"], &["true"]));
    lrun_tests::eventually("it is gone", || lrun.ok(&["ps", "-aq"]).is_empty());
    let containers = fs::read_dir(lrun.store().join("containers")).expect("the store").count();
    let names = fs::read_dir(lrun.store().join("names")).expect("the store").count();
    assert_eq!((containers, names), (0, 0));
}
