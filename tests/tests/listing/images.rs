//! `images`, `history`, `tag`, `rmi`.

use std::fs;

use lrun_tests::{Lrun, Tar};

use crate::{assert_harmless, json_lines, short, table};

const HEADERS: [&str; 5] = ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"];

/// A small image that differs from others of another content.
fn tiny(lrun: &Lrun, content: &str, name: &str) -> String {
    lrun.import_bytes(&Tar::new().file("file", content.as_bytes()).finish(), name)
}

#[test]
fn the_table_and_its_formats() {
    let lrun = Lrun::new();
    assert_eq!(lrun.ok(&["images"]), "REPOSITORY   TAG       IMAGE ID   CREATED   SIZE");
    let base = tiny(&lrun, &"x".repeat(1234), "localhost:5000/team/base:v1.0");
    let other = tiny(&lrun, "y", "other");
    lrun.ok(&["tag", "other", "docker.io/library/again"]);
    let text = lrun.ok(&["images"]);
    let rows = table(&text, &HEADERS);
    assert_eq!(rows.len(), 3, "{text}");
    for (row, name, tag, id, size) in [
        (&rows[0], "again", "latest", &other, "1B"),
        (&rows[1], "other", "latest", &other, "1B"),
        (&rows[2], "localhost:5000/team/base", "v1.0", &base, "1.23kB"),
    ] {
        assert_eq!([&row[0], &row[1], &row[2], &row[4]], [name, tag, short(id), size], "{text}");
        assert!(row[3].ends_with(" ago"), "{text}");
    }
    assert_eq!(lrun.ok(&["images", "-q"]), [short(&other), short(&other), short(&base)].join("\n"));
    assert_eq!(lrun.ok(&["images", "-q", "--no-trunc", "localhost:5000/team/base"]), base);
    let digests = lrun.ok(&["images", "--digests", "other"]);
    assert!(digests.starts_with("REPOSITORY   TAG       DIGEST    IMAGE ID "), "{digests}");
    assert!(
        digests.lines().nth(1).is_some_and(|row| row.starts_with("other        latest    <none>    ")),
        "{digests}"
    );
    assert_eq!(lrun.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}", "base"]), "", "the registry is part of it");
    for words in [&["image", "ls"][..], &["image", "list"]] {
        assert_eq!(lrun.ok(words), text);
    }
    let json = json_lines(&lrun.ok(&["images", "--format", "json", "--no-trunc"]));
    assert_eq!(
        (json.len(), &json[2]["Repository"], &json[2]["ID"]),
        (3, &"localhost:5000/team/base".into(), &base.into())
    );
    assert!(json.iter().all(|row| row.as_object().is_some_and(|row| row.values().all(|field| field.is_string()))));
    let own = lrun.ok(&["images", "other", "--format", r"table {{.ID}}\t{{.Tag}}"]);
    assert_eq!(own, format!("IMAGE ID       TAG\n{}   latest", short(&other)));
}

#[test]
fn each_filter() {
    let lrun = Lrun::with_busybox();
    lrun.ok(&["create", "--name", "c1", "busybox", "true"]);
    lrun.ok(&["commit", "-c", "LABEL os=linux", "c1", "me/labelled:1"]);
    let unnamed = lrun.ok(&["commit", "-m", "no name", "c1"]);
    lrun.ok(&["tag", "busybox", "ghcr.io/a/b:2"]);
    let list = |args: &[&str]| {
        let listed = lrun.ok(&[&["images", "--format", "{{.Repository}}:{{.Tag}}"], args].concat());
        let mut lines: Vec<String> = listed.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let all = ["<none>:<none>", "busybox:latest", "ghcr.io/a/b:2", "me/labelled:1"];
    let cases: &[(&[&str], &[&str])] = &[
        (&[], &all),
        (&["-a"], &all),
        (&["busybox"], &["busybox:latest"]),
        (&["busybox:latest"], &["busybox:latest"]),
        (&["busybox:1"], &[]),
        (&["docker.io/library/busybox"], &["busybox:latest"]),
        (&["ghcr.io/*/b"], &["ghcr.io/a/b:2"]),
        (&["-f", "dangling=true"], &["<none>:<none>"]),
        (&["-f", "dangling=false"], &all[1..]),
        (&["-f", "label=os"], &["me/labelled:1"]),
        (&["-f", "label=os=linux"], &["me/labelled:1"]),
        (&["-f", "label=os=none"], &[]),
        (&["-f", "reference=me/*"], &["me/labelled:1"]),
        (&["-f", "reference=me/*:1", "-f", "reference=b*"], &["busybox:latest", "me/labelled:1"]),
        (&["-f", "since=busybox"], &["<none>:<none>", "me/labelled:1"]),
        (&["-f", "before=me/labelled:1"], &["busybox:latest", "ghcr.io/a/b:2"]),
        (&["-f", "until=1h"], &[]),
        (&["-f", "until=2999-01-01"], &all),
    ];
    for (args, expected) in cases {
        assert_eq!(list(args), *expected, "{args:?}");
    }
    assert_eq!(lrun.ok(&["images", "-qf", "dangling=true", "--no-trunc"]), unnamed);
    for (filter, message) in [
        ("dangling=perhaps", "invalid filter 'dangling=perhaps'"),
        ("since=nobody", "No such image: nobody"),
        ("status=running", "invalid filter 'status'"),
        ("until=soon", "invalid time \"soon\""),
        ("reference=[", "syntax error in pattern '['"),
    ] {
        assert!(lrun.fails(1, &["images", "--filter", filter]).starts_with(&format!("lrun: {message}")), "{filter}");
    }
}

#[test]
fn names_have_registries_ports_tags_and_digests() {
    let lrun = Lrun::new();
    let id = tiny(&lrun, "x", "127.0.0.1:5000/a-b/c__d:V1.x");
    assert_eq!(lrun.inspect("127.0.0.1:5000/a-b/c__d:V1.x", "{{.Id}}"), id);
    for target in ["localhost/x", "index.docker.io/library/short", "reg.example/a:b"] {
        lrun.ok(&["tag", "127.0.0.1:5000/a-b/c__d:V1.x", target]);
    }
    let names = ["127.0.0.1:5000/a-b/c__d:V1.x", "localhost/x:latest", "reg.example/a:b", "short:latest"];
    let mut tags: Vec<String> = serde_json::from_str(&lrun.inspect(short(&id), "{{json .RepoTags}}")).expect("a list");
    tags.sort();
    assert_eq!(tags, names);
    // A digest is looked up among the digests that registries gave; there are none yet.
    let digest = format!("short@{id}");
    assert_eq!(lrun.fails(1, &["history", &digest]), format!("lrun: No such image: {digest}\n"));
    lrun.ok(&["create", "--name", "box", "short", "true"]);
    let archive = lrun_tests::images("busybox.tar");
    let archive = archive.to_str().expect("UTF-8");
    for (target, message) in [
        (digest.as_str(), "refusing to create a tag with a digest reference"),
        ("sha256:x", "refusing to create an ambiguous tag using digest algorithm as name"),
        ("UPPER", "invalid reference format: repository name (library/UPPER) must be lowercase"),
        ("a:b:c", "invalid reference format"),
        ("../../etc", "invalid reference format"),
        ("x y", "invalid reference format"),
        (&id["sha256:".len()..], "invalid repository name"),
    ] {
        for command in [["tag", "short", target], ["commit", "box", target], ["import", archive, target]] {
            let error = lrun.fails(1, &command);
            assert!(error.starts_with(&format!("lrun: {message}")), "{command:?}: {error}");
        }
    }
    assert_eq!(lrun.fails(1, &["tag", "nobody", "new"]), "lrun: No such image: nobody:latest\n");
    assert_eq!(lrun.ok(&["images", "-q"]).lines().count(), 4, "nothing was changed");
    // A tag moves; what it named before loses it.
    let second = tiny(&lrun, "y", "other");
    lrun.ok(&["tag", "other", "short"]);
    assert_eq!(lrun.inspect("short", "{{.Id}}"), second);
    assert_eq!(lrun.ok(&["image", "tag", &id, "short"]), "", "by id, and back again");
    assert_eq!(lrun.inspect("short", "{{.Id}}"), id);
}

/// Registries give digests; here the record gets one by hand.
#[test]
fn a_digest_names_the_image_that_a_registry_gave() {
    let lrun = Lrun::new();
    let id = tiny(&lrun, "x", "reg.example:5000/team/tool:v1");
    let other = tiny(&lrun, "y", "other");
    let path = lrun.store().join(format!("images/{}.json", &id["sha256:".len()..]));
    let digest = format!("sha256:{}", "ab".repeat(32));
    let record = fs::read_to_string(&path).expect("the record");
    let mut record: serde_json::Value = serde_json::from_str(&record).expect("JSON");
    record["repo_digests"] = vec![format!("reg.example:5000/team/tool@{digest}")].into();
    fs::write(&path, record.to_string()).expect("write the record");

    let name = format!("reg.example:5000/team/tool@{digest}");
    assert_eq!(lrun.inspect(&name, "{{.Id}} {{index .RepoDigests 0}}"), format!("{id} {name}"));
    let tagged = format!("reg.example:5000/team/tool:gone@{digest}");
    assert_eq!(lrun.inspect(&tagged, "{{.Id}}"), id, "beside a digest the tag is only a comment");
    let wrong = format!("reg.example:5000/team/tool@{other}");
    assert_eq!(lrun.fails(1, &["history", &wrong]), format!("lrun: No such image: {wrong}\n"));
    let digests = |args: &[&str]| {
        let all = [&["images", "--format", "{{.Repository}} {{.Tag}} {{.Digest}}"], args].concat();
        lrun.ok(&all)
    };
    assert_eq!(digests(&["reg.example:5000/team/tool"]), format!("reg.example:5000/team/tool v1 {digest}"));
    assert_eq!(digests(&["other"]), "other latest <none>");
    let table = lrun.ok(&["images", "--digests", "--filter", "reference=*/team/*"]);
    assert!(table.contains(&format!("reg.example:5000/team/tool   v1        {digest}   {}", short(&id))), "{table}");
    lrun.ok(&["tag", &name, "mine"]);
    assert_eq!(lrun.inspect("mine", "{{.Id}}"), id);
    lrun.ok(&["rmi", "mine"]);
    let removed = lrun.ok(&["rmi", "reg.example:5000/team/tool:v1"]);
    let expected = format!("Untagged: reg.example:5000/team/tool:v1\nUntagged: {name}\nDeleted: {id}\nDeleted: ");
    assert!(removed.starts_with(&expected), "{removed}");
}

/// podman's words: all images, those that may be missing, and the question whether there is one.
#[test]
fn all_images_at_once() {
    let lrun = Lrun::with_busybox();
    lrun.ok(&["tag", "busybox", "again:1"]);
    lrun.ok(&["create", "--name", "box", "busybox", "true"]);
    lrun.ok(&["commit", "box", "child"]);
    for (code, name) in [(0, "again:1"), (0, "child"), (1, "again"), (1, "none")] {
        let output = lrun.run(&["image", "exists", name]);
        assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (code, "", ""), "{name}");
    }
    let output = lrun.run(&["rmi", "-a"]);
    assert!(output.code == 1 && output.stderr.contains("is using its referenced image"), "{}", output.stderr);
    assert_eq!(lrun.ok(&["images", "--format", "{{.Repository}}"]).lines().count(), 1);
    lrun.ok(&["rm", "box"]);
    assert!(lrun.ok(&["rmi", "-af"]).contains("Untagged: "));
    assert_eq!(lrun.ok(&["images", "-aq"]), "");
    assert_eq!(lrun.ok(&["rmi", "-i", "busybox"]), "");
    assert_eq!(lrun.fails(1, &["rmi", " "]), "lrun: image name cannot be blank\n");
}

#[test]
fn an_image_goes_with_its_last_name() {
    let lrun = Lrun::new();
    let id = tiny(&lrun, "x", "one");
    lrun.ok(&["tag", "one", "two:2"]);
    assert_eq!(lrun.ok(&["rmi", "one"]), "Untagged: one:latest");
    let conflict = |message: &str| format!("lrun: conflict: unable to delete {} {message}\n", short(&id));
    lrun.ok(&["tag", "two:2", "three"]);
    let several = conflict("(must be forced) - image is referenced in multiple repositories");
    assert_eq!(lrun.fails(1, &["rmi", short(&id)]), several);
    lrun.ok(&["rmi", "three"]);
    let chain = lrun.inspect("two:2", "{{index .RootFS.Layers 0}}");
    assert_eq!(lrun.ok(&["rmi", &id]), format!("Untagged: two:2\nDeleted: {id}\nDeleted: {chain}"));
    assert_eq!(lrun.ok(&["images", "-aq"]), "");
    assert_eq!(fs::read_dir(lrun.store().join("layers")).expect("the layers").count(), 0, "nothing is left of it");

    let id = tiny(&lrun, "x", "one");
    lrun.ok(&["tag", "one", "two"]);
    let forced = lrun.ok(&["image", "rm", "-f", short(&id)]);
    assert_eq!(forced, format!("Untagged: one:latest\nUntagged: two:latest\nDeleted: {id}\nDeleted: {chain}"));
}

#[test]
fn what_a_container_uses_stays() {
    let lrun = Lrun::with_busybox();
    let image = lrun.inspect("busybox", "{{.Id}}");
    let ended = lrun.ok(&["create", "--name", "ended", "busybox", "true"]);
    let used = |id: &str| {
        let image = short(&image);
        let reason = format!("container {} is using its referenced image {image}", short(id));
        format!("lrun: conflict: unable to remove repository reference \"busybox\" (must force) - {reason}\n")
    };
    assert_eq!(lrun.fails(1, &["rmi", "busybox"]), used(&ended));
    let stopped = format!("image is being used by stopped container {}", short(&ended));
    let by_id = format!("lrun: conflict: unable to delete {} (must be forced) - {stopped}\n", short(&image));
    assert_eq!(lrun.fails(1, &["rmi", short(&image)]), by_id);
    lrun.ok(&["tag", "busybox", "second"]);
    assert_eq!(lrun.ok(&["rmi", "second"]), "Untagged: second:latest", "another name may go");

    let runs = lrun.ok(&["run", "-d", "--name", "runs", "busybox", "sleep", "1000"]);
    assert_eq!(lrun.fails(1, &["rmi", "busybox"]), used(&runs), "the running one is named");
    let running = format!("image is being used by running container {}", short(&runs));
    let by_id = format!("lrun: conflict: unable to delete {} (cannot be forced) - {running}\n", short(&image));
    assert_eq!(lrun.fails(1, &["rmi", "-f", &image]), by_id);
    lrun.ok(&["rm", "-f", "runs"]);

    assert_eq!(lrun.ok(&["rmi", "-f", "busybox"]), "Untagged: busybox:latest", "the image stays for the container");
    assert_eq!(lrun.ok(&["start", "-a", "ended"]), "");
    lrun.ok(&["rm", "ended"]);
    assert!(lrun.ok(&["rmi", &image]).starts_with(&format!("Deleted: {image}\nDeleted: sha256:")));
}

#[test]
fn parents_go_with_their_last_child_unless_they_are_kept() {
    let lrun = Lrun::with_busybox();
    let base = lrun.inspect("busybox", "{{.Id}}");
    let derive = |from: &str, to: &[&str]| {
        lrun.ok(&["run", "--name", "c1", from, "sh", "-c", "date >> /f"]);
        let id = lrun.ok(&[&["commit", "c1"], to].concat());
        lrun.ok(&["rm", "c1"]);
        id
    };
    let middle = derive("busybox", &[]);
    let top = derive(&middle, &["top"]);
    assert_eq!(lrun.inspect("top", "{{.Parent}}"), middle);
    assert_eq!(
        lrun.ok(&["images", "-q"]),
        format!("{}\n{}", short(&top), short(&base)),
        "the step is shown with -a only"
    );
    assert_eq!(lrun.ok(&["images", "-aq"]).lines().count(), 3);
    let child = format!(
        "lrun: conflict: unable to delete {} (cannot be forced) - image has dependent child images\n",
        short(&middle)
    );
    assert_eq!(lrun.fails(1, &["rmi", "-f", &middle]), child);
    lrun.ok(&["tag", "top", "again"]);
    lrun.ok(&["rmi", "again"]);
    let lines = lrun.ok(&["rmi", "--no-prune", "top"]);
    assert!(lines.contains(&format!("Deleted: {top}")) && !lines.contains(&middle), "{lines}");
    let top = derive(&middle, &["top"]);
    let lines = lrun.ok(&["rmi", "top"]);
    assert!(lines.contains(&format!("Deleted: {top}")) && lines.contains(&format!("Deleted: {middle}")), "{lines}");
    assert_eq!(lrun.ok(&["images", "-aq"]), short(&base));
}

#[test]
fn several_at_once_and_the_missing_ones() {
    let lrun = Lrun::new();
    tiny(&lrun, "x", "one");
    let output = lrun.run(&["rmi", "nobody", "one", "Bad"]);
    assert_eq!(output.code, 1);
    assert!(output.stdout.starts_with("Untagged: one:latest\n"), "{}", output.stdout);
    let errors: Vec<&str> = output.stderr.lines().collect();
    let bad = "lrun: invalid reference format: repository name (library/Bad) must be lowercase";
    assert_eq!(errors, ["lrun: No such image: nobody:latest", bad]);
    let forced = lrun.run(&["rmi", "-f", "nobody"]);
    assert_eq!((forced.code, forced.stderr.as_str()), (0, "lrun: No such image: nobody:latest\n"), "as docker has it");
    assert_eq!(lrun.fails(1, &["rmi", "sha256:0123"]), "lrun: No such image: sha256:0123\n");
    assert_eq!(lrun.fails(1, &["history", "nobody"]), "lrun: No such image: nobody:latest\n");
}

#[test]
fn an_image_is_for_one_platform_only() {
    let lrun = Lrun::new();
    tiny(&lrun, "x", "here");
    for command in [&["history"][..], &["image", "inspect"], &["inspect"], &["rmi"]] {
        let refused = lrun.run(&[command, &["--platform", "plan9/mips", "here"]].concat());
        let expected = "lrun: image here was found but does not provide the specified platform (plan9/mips)\n";
        assert!(refused.code == 1 && refused.stderr.starts_with(expected), "{command:?}: {refused:?}");
        lrun.ok(&[command, &["--platform", "linux", "here"]].concat());
    }
    assert_eq!(lrun.ok(&["images", "-q"]), "", "rmi came last");
}

#[test]
fn histories() {
    let lrun = Lrun::new();
    let base = lrun.import_bytes(&Tar::new().file("bin", &[b'x'; 2000]).finish(), "base");
    lrun.ok(&[
        "create",
        "--name",
        "c1",
        "base",
        "/bin/sh",
        "-c",
        "a command that is much longer than the column has space for",
    ]);
    let empty = lrun.ok(&["commit", "-m", "first message", "-a", "Ada", "c1", "second"]);
    let text = lrun.ok(&["history", "second"]);
    let rows = table(&text, &["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"]);
    assert_eq!(rows.len(), 2, "{text}");
    assert_eq!([&rows[0][0], &rows[0][3], &rows[0][4]], [short(&empty), "0B", "first message"], "{text}");
    assert!(rows[0][2].starts_with("/bin/sh -c a command that is much longer") && rows[0][2].ends_with('…'), "{text}");
    assert_eq!(
        [&rows[1][0], &rows[1][2], &rows[1][3], &rows[1][4]],
        [short(&base), "", "2kB", "Imported from -"],
        "{text}"
    );
    assert_eq!(lrun.ok(&["history", "-q", "--no-trunc", "second"]), format!("{empty}\n{base}"));
    assert!(lrun.ok(&["history", "--no-trunc", "second"]).contains("longer than the column has space for"));
    let exact = lrun.ok(&["history", "--human=false", "second"]);
    assert!(exact.starts_with("IMAGE          CREATED AT "), "{exact}");
    assert!(exact.lines().nth(2).is_some_and(|row| row.contains("Z ") && row.contains(" 2000 ")), "{exact}");
    let json = json_lines(&lrun.ok(&["image", "history", "--format", "json", "second"]));
    assert_eq!((json.len(), &json[0]["Comment"], &json[1]["Size"]), (2, &"first message".into(), &"2kB".into()));
    // What the store no longer has is missing.
    lrun.ok(&["rm", "c1"]);
    assert_eq!(lrun.ok(&["history", "--format", "{{.ID}} {{.Size}}", "second"]).lines().count(), 2);
}

#[test]
fn nothing_that_an_image_says_moves_the_cursor() {
    let lrun = Lrun::new();
    let evil = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{202e}";
    let tar = lrun.file("x.tar", Tar::new().file("f", b"x").finish());
    let label = format!("LABEL l=\"{evil}\"");
    lrun.ok(&["import", "-m", evil, "-c", &label, tar.to_str().expect("UTF-8"), "evil"]);
    assert_harmless(&lrun.ok(&["history", "evil"]));
    assert_harmless(&lrun.ok(&["history", "--no-trunc", "--format", "json", "evil"]));
    assert_harmless(&lrun.ok(&["inspect", "evil"]));
    for args in [
        &["history", "evil"][..],
        &["history", "--format", "{{.Comment}}", "evil"],
        &["inspect", "evil"],
        &["inspect", "-f", "{{.Comment}}{{.Config.Labels}}{{json .Config}}", "evil"],
        &["inspect", "-f", "{{index .Config.Labels \"l\"}}", "evil"],
        &["inspect", evil],
        &["rmi", evil],
    ] {
        let (shown, _) = lrun.pty(args).finish();
        assert!(!shown.contains('\u{1b}') && !shown.contains('\u{7}') && !shown.contains('\u{202e}'), "{shown:?}");
    }
    assert_eq!(lrun.inspect("evil", "{{.Comment}}"), evil, "a script gets the text as it is");
}

#[test]
fn an_ambiguous_beginning_names_nothing() {
    let lrun = Lrun::new();
    let ids: Vec<String> = (0..17).map(|n| tiny(&lrun, &format!("{n}"), &format!("n{n}"))).collect();
    // Two of seventeen begin with the same digit.
    let digit = |id: &String| id["sha256:".len()..][..1].to_owned();
    let shared = ids.iter().map(digit).find(|d| ids.iter().filter(|id| digit(id) == *d).count() > 1).expect("a digit");
    for args in [&["inspect", &shared][..], &["rmi", &shared], &["history", &shared], &["tag", &shared, "new"]] {
        let output = lrun.run(args);
        let message = format!("lrun: Multiple IDs found with provided prefix: {shared}\n");
        assert_eq!((output.code, output.stderr), (1, message), "{args:?}");
    }
    assert_eq!(lrun.ok(&["images", "-q"]).lines().count(), 17);
    for id in &ids {
        assert_eq!(lrun.inspect(&id[..40], "{{.Id}}"), *id, "sha256: and some digits");
        assert_eq!(lrun.inspect(&id["sha256:".len()..][..20], "{{.Id}}"), *id);
    }
}

/// Records that look like a real one's, so that no hundreds of layers have to reach the disk; without its checksum, as they
/// once were.
#[test]
fn hundreds_of_images() {
    let lrun = Lrun::new();
    let id = tiny(&lrun, "x", "real");
    let hex = &id["sha256:".len()..];
    let record = fs::read_to_string(lrun.store().join(format!("images/{hex}.json"))).expect("the record");
    let (record, _) = record.split_once(",\"xxh3\":").expect("a checksum");
    let record = format!("{record}}}\n");
    let made: Vec<_> = (0..500)
        .map(|n| {
            let other = format!("{n:064x}");
            let path = lrun.store().join(format!("images/{other}.json"));
            fs::write(&path, record.replace(hex, &other)).expect("write a record");
            let folder = lrun.store().join(format!("refs/docker.io/many/image-{n}"));
            fs::create_dir_all(&folder).expect("make a repository");
            fs::write(folder.join(":v1"), format!("{{\"image\":\"{other}\",\"manifest\":null}}"))
                .expect("write a name");
            path
        })
        .collect();
    assert_eq!(lrun.ok(&["images", "-q"]).lines().count(), 501);
    assert_eq!(lrun.ok(&["images", "many/image-499:v1", "--no-trunc", "-q"]), format!("sha256:{:064x}", 499));
    assert_eq!(lrun.ok(&["images", "-q", "--filter", "reference=many/image-1??"]).lines().count(), 100);
    let removed = lrun.ok(&["rmi", "many/image-7:v1"]);
    assert_eq!(removed, format!("Untagged: many/image-7:v1\nDeleted: sha256:{:064x}", 7), "others use its layer");
    for path in made {
        let _ = fs::remove_file(path);
    }
    fs::remove_dir_all(lrun.store().join("refs/docker.io/many")).expect("remove the names");
    assert_eq!(lrun.ok(&["images", "-q"]), short(&id));
}

/// `untag` takes names away, the given or all; the image stays.
#[test]
fn names_are_taken_away_and_the_image_stays() {
    let lrun = Lrun::with_busybox();
    let id = lrun.inspect("busybox", "{{.Id}}");
    for name in ["one", "two:v1", "three"] {
        lrun.ok(&["tag", "busybox", name]);
    }
    let names = || lrun.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    lrun.ok(&["untag", "busybox", "one", "two:v1"]);
    assert_eq!(names(), "busybox:latest\nthree:latest");
    let complaint = lrun.fails(1, &["untag", "busybox", "three", "two:v1"]);
    assert!(complaint.contains("two:v1: image") && complaint.contains("has no such name"), "{complaint}");
    assert_eq!(names(), "busybox:latest\nthree:latest");
    lrun.ok(&["image", "untag", &id]);
    assert_eq!(names(), "<none>:<none>");
    assert_eq!(lrun.ok(&["run", "--rm", "--network", "none", &id, "echo", "there"]), "there");
}
