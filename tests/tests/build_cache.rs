//! What builds keep for later: what of it counts, what goes, and that nothing of it is lost beside other work.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lrun_tests::Lrun;
use lrun_tests::build::{build, build_ok, built, cached, context, in_image, owner};

/// What is in the cache whose name begins like this.
fn left(lrun: &Lrun, kind: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(lrun.store().join("cache")).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let is_of_kind = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(kind));
    paths.filter(is_of_kind).collect()
}

#[test]
fn a_proxy_counts_where_it_is_declared() {
    let lrun = Lrun::with_busybox();
    let a = ["-t", "t", "--build-arg", "HTTP_PROXY=http://a:1"];
    let b = ["-t", "t", "--build-arg", "HTTP_PROXY=http://b:2"];
    let quiet = context(&lrun, "quiet", "FROM busybox\nRUN echo $HTTP_PROXY > /proxy\n", &[]);
    assert_eq!(cached(&build(&lrun, &quiet, &a)), 0);
    assert_eq!(cached(&build(&lrun, &quiet, &b)), 1);
    let history = lrun.ok(&["history", "--no-trunc", "t"]);
    assert!(!history.contains("http://"), "{history}");
    let declared = context(&lrun, "declared", "FROM busybox\nARG HTTP_PROXY\nRUN echo $HTTP_PROXY > /proxy\n", &[]);
    for (flags, proxy) in [(&a, "http://a:1"), (&b, "http://b:2")] {
        let output = build(&lrun, &declared, &flags[..]);
        assert_eq!(output.code, 0, "{}", output.stderr);
        assert_eq!(in_image(&lrun, "t", "cat /proxy"), proxy);
        let history = lrun.ok(&["history", "--no-trunc", "t"]);
        assert!(history.contains(&format!("RUN |1 HTTP_PROXY={proxy} /bin/sh -c echo")), "{history}");
    }
    // The same again, in lower case another one.
    assert_eq!(cached(&build(&lrun, &declared, &b)), 2);
    let lower = ["-t", "t", "--build-arg", "HTTP_PROXY=http://b:2", "--build-arg", "http_proxy=http://c:3"];
    assert_eq!(cached(&build(&lrun, &declared, &lower)), 2);
    let history = lrun.ok(&["history", "--no-trunc", "t"]);
    assert!(history.contains("RUN |1 HTTP_PROXY=http://b:2 /bin/sh"), "{history}");
}

#[test]
fn the_machine_that_a_command_finds_counts() {
    let lrun = Lrun::with_busybox();
    let it = context(&lrun, "it", "FROM busybox\nRUN cat /etc/hosts > /hosts; ulimit -n; df /dev/shm\n", &[]);
    let all: [&[&str]; 5] = [
        &[],
        &["--add-host", "made.up:10.1.2.3"],
        &["--ulimit", "nofile=99:100"],
        &["--ulimit", "nofile=98:100"],
        &["--shm-size", "3m"],
    ];
    for cached_steps in [0, 1] {
        for flags in all {
            assert_eq!(cached(&build_ok(&lrun, &it, flags)), cached_steps, "{flags:?}");
        }
    }
    // A name's address is what it happens to be today.
    assert_eq!(cached(&build_ok(&lrun, &it, &["--add-host", "made.up:10.1.2.4"])), 1);
}

#[test]
fn stages_are_run_again_by_their_names_in_any_case() {
    let lrun = Lrun::with_busybox();
    let dockerfile = "FROM busybox AS Base\nRUN echo 1 > /1\nFROM base\nRUN echo 2 > /2\n";
    let folder = context(&lrun, "it", dockerfile, &[]);
    assert_eq!(build(&lrun, &folder, &[]).code, 0);
    for (filter, expected) in [("Base", 0), ("base", 0), ("BASE,1", 0), ("1", 1), ("0", 0)] {
        let output = build(&lrun, &folder, &["--no-cache-filter", filter]);
        assert!(!output.stderr.contains("--no-cache-filter"), "{}", output.stderr);
        // Where a command makes the same again, its layer has another time.
        assert_eq!((output.code, cached(&output)), (0, expected), "{filter}: {}", output.stderr);
    }
    let output = build(&lrun, &folder, &["--no-cache-filter", "basic,busybox,2"]);
    assert_eq!((output.code, cached(&output)), (0, 2), "{}", output.stderr);
    for name in ["basic", "busybox", "2"] {
        let warning = format!("--no-cache-filter: the Dockerfile has no stage \"{name}\"");
        assert!(output.stderr.contains(&warning), "{}", output.stderr);
    }
}

#[test]
fn a_check_leaves_alone_what_a_build_is_writing() {
    let lrun = Lrun::with_busybox();
    let folder = context(&lrun, "it", "FROM busybox\nRUN echo 1 > /1\n", &[]);
    built(&lrun, &folder, &[]);
    let cache = lrun.store().join("cache");
    let written = cache.join(".tmp-0123456789abcdef");
    fs::write(&written, "half").expect("a file");
    assert_eq!(lrun.ok(&["system", "check"]), "");
    assert_eq!(lrun.ok(&["system", "check", "--repair"]), "");
    assert!(written.exists());
    // What goes meanwhile is no reason to stop.
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let names: Vec<PathBuf> = (0..200).map(|n| cache.join(format!("{n:064x}.json"))).collect();
            while !done.load(Ordering::Relaxed) {
                names.iter().for_each(|name| fs::write(name, "damaged").expect("a file"));
                for name in &names {
                    // Whoever removes it first.
                    let _ = fs::remove_file(name);
                }
            }
        });
        let outputs: Vec<_> = (0..15).map(|_| lrun.run(&["system", "check", "--repair"])).collect();
        done.store(true, Ordering::Relaxed);
        for output in outputs {
            assert_eq!((output.code, output.stderr.as_str()), (0, ""));
        }
    });
    assert_eq!(cached(&build(&lrun, &folder, &[])), 1);
}

#[test]
fn what_stages_have_hashed_side_by_side_is_all_remembered() {
    let lrun = Lrun::with_busybox();
    let dockerfile = "FROM busybox AS a\nCOPY a /a\nFROM busybox AS b\nCOPY b /b\nFROM busybox AS c\nCOPY c /c\nFROM busybox\nCOPY --from=a /a /a\nCOPY --from=b /b /b\nCOPY --from=c /c /c\n";
    let files: Vec<String> = ["a", "b", "c"].iter().flat_map(|of| (0..5).map(move |n| format!("{of}/{n}"))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|name| (name.as_str(), "content")).collect();
    let folder = context(&lrun, "it", dockerfile, &files);
    // What was changed just before is not remembered.
    std::thread::sleep(Duration::from_secs(4));
    let output = build(&lrun, &folder, &["-t", "t"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    let hashes = fs::read(lrun.store().join("cache/files")).expect("it is saved");
    let count = u32::from_le_bytes(hashes[12..16].try_into().expect("four bytes"));
    assert_eq!(count as usize, files.len());
}

#[test]
fn a_plain_prune_takes_what_is_known_of_images_that_are_gone() {
    let lrun = Lrun::with_busybox();
    let dockerfile = "FROM busybox AS a\nRUN echo 1 > /1\nFROM busybox\nCOPY --from=a /1 /2\nCOPY here /\n";
    let folder = context(&lrun, "it", dockerfile, &[("here", "here")]);
    built(&lrun, &folder, &["-t", "t"]);
    let all = ["found-", "steps-", "files-"];
    assert!(all.iter().all(|kind| left(&lrun, kind).len() == 1));
    lrun.ok(&["builder", "prune", "-f"]);
    assert!(all.iter().all(|kind| left(&lrun, kind).len() == 1));
    assert_eq!(cached(&build(&lrun, &folder, &["-t", "t"])), 3);
    lrun.ok(&["rmi", "-f", "t"]);
    lrun.ok(&["image", "prune", "-f"]);
    let pruned = lrun.ok(&["builder", "prune", "-f"]);
    assert_eq!(pruned.lines().filter(|line| line.len() == 64).count(), 3, "{pruned}");
    for kind in all {
        assert!(left(&lrun, kind).is_empty(), "{kind}");
    }
    let usage = lrun.ok(&["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Size}} {{.Reclaimable}}"]);
    assert!(usage.contains("Build Cache 0 0B 0B"), "{usage}");
}

#[test]
fn an_argument_fixes_the_time_of_what_is_made() {
    let mut lrun = Lrun::with_busybox();
    lrun.set_env("SOURCE_DATE_EPOCH", "1100000000");
    let folder = context(&lrun, "it", "FROM busybox\nRUN echo 1 > /1\n", &[]);
    for (given, created) in [("1000000000", "2001-09-09T01:46:40Z"), ("", "2004-11-09T11:33:20Z")] {
        let id = built(&lrun, &folder, &["--build-arg", &format!("SOURCE_DATE_EPOCH={given}"), "--no-cache"]);
        assert_eq!(lrun.inspect(&id, "{{.Created}}").trim_end(), created);
        assert_eq!(built(&lrun, &folder, &["--build-arg", &format!("SOURCE_DATE_EPOCH={given}"), "--no-cache"]), id);
    }
    let said = lrun.fails(1, &["build", "--build-arg", "SOURCE_DATE_EPOCH=soon", folder.to_str().expect("UTF-8")]);
    assert!(said.contains("invalid SOURCE_DATE_EPOCH: soon: seconds since 1970 are expected"), "{said}");
    // The Dockerfile's own time, where nobody says another.
    let folder = context(&lrun, "own", "ARG SOURCE_DATE_EPOCH=900000000\nFROM base\nLABEL a=b\n", &[]);
    for (environment, created) in [("1100000000", "2004-11-09T11:33:20Z"), ("", "1998-07-09T16:00:00Z")] {
        lrun.set_env("SOURCE_DATE_EPOCH", environment);
        let id = built(&lrun, &folder, &["--build-context", "base=docker-image://scratch"]);
        assert_eq!(lrun.inspect(&id, "{{.Created}} {{.RootFS.Layers}}").trim_end(), format!("{created} []"));
    }
    let text = folder.to_str().expect("UTF-8");
    let unused =
        ["build", "--build-arg", "A=1", "--build-arg", "no_proxy=x", "--build-context", "base=docker-image://scratch"];
    let said = lrun.run(&[&unused[..], &[text]].concat()).stderr;
    assert!(said.contains("WARNING: One or more build-args [A] were not consumed\n"), "{said}");
}

/// The files have the time here that they have wherever the image is loaded; written out, all have it.
#[test]
fn a_time_that_is_fixed_is_the_files_own() {
    let mut lrun = Lrun::with_busybox();
    lrun.set_env("SOURCE_DATE_EPOCH", "1100000000");
    let dockerfile = "FROM busybox\nCOPY f /x/\nRUN cd /x; ln -s f l; ln f h; mkdir d; touch -d @5 old\n";
    let folder = context(&lrun, "it", dockerfile, &[("f", "f")]);
    let id = built(&lrun, &folder, &["-t", "fixed"]);
    let times = "stat -c '%Y %n' /x /x/f /x/l /x/h /x/d /x/old";
    let late = |name: &str| format!("1100000000 {name}\n");
    let wanted = ["/x", "/x/f", "/x/l", "/x/h", "/x/d"].map(late).concat() + "5 /x/old";
    assert_eq!(in_image(&lrun, "fixed", times), wanted);
    let saved = lrun.run(&["save", "fixed"]).bytes;
    let other = Lrun::new();
    assert_eq!(other.run_with(&saved, &["load"]).code, 0);
    assert_eq!(in_image(&other, "fixed", times), wanted);
    assert_eq!((other.inspect("fixed", "{{.Id}}"), lrun.ok(&["system", "check"])), (id, String::new()));
    let out = lrun.folder().join("out");
    build_ok(&lrun, &folder, &["-o", out.to_str().expect("UTF-8")]);
    for name in ["x", "x/f", "x/old", "bin/busybox"] {
        let modified = fs::symlink_metadata(out.join(name)).and_then(|meta| meta.modified()).expect("it is there");
        assert_eq!(modified, std::time::UNIX_EPOCH + Duration::from_secs(1_100_000_000), "{name}");
    }
}

#[test]
fn a_build_brings_a_layer_that_is_damaged_anew() {
    let lrun = Lrun::with_busybox();
    let dockerfile = "FROM busybox\nRUN echo content > /made\nRUN sed s/content/copied/ /made > /copy\n";
    let folder = context(&lrun, "it", dockerfile, &[]);
    let flags = ["-t", "t", "--build-arg", "SOURCE_DATE_EPOCH=1000000000"];
    let id = built(&lrun, &folder, &flags);
    let layers = lrun.inspect("t", "{{range .RootFS.Layers}}{{.}} {{end}}");
    let digest = layers.split(' ').nth(1).and_then(|digest| digest.strip_prefix("sha256:")).expect("a digest");
    let layer = lrun.store().join("layers").join(digest);
    let made = layer.join("diff/made");
    fs::write(&made, "damaged").expect("the layer is the user's");
    // Nothing else has the same, so that it cannot be mended.
    let output = lrun.run(&["system", "check", "--repair"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(layer.join("damaged").exists());
    // What a cached step made does not count where it is damaged.
    let output = build(&lrun, &folder, &flags);
    assert_eq!((output.code, cached(&output)), (0, 1), "{}", output.stderr);
    assert_eq!(lrun.inspect("t", "{{.Id}}").trim().trim_start_matches("sha256:"), id.trim_start_matches("sha256:"));
    assert_eq!(in_image(&lrun, "t", "cat /made /copy"), "content\ncopied");
    assert!(!layer.join("damaged").exists());
    lrun.ok(&["system", "prune", "-f"]);
    assert_eq!(lrun.ok(&["system", "check"]), "");
    let folders = fs::read_dir(lrun.store().join("layers")).expect("a folder");
    assert!(folders.flatten().all(|entry| !entry.file_name().to_string_lossy().starts_with("build-")));
}

/// What `COPY --link` makes lies on whatever is below it, and does not change when that does.
#[test]
fn a_linked_layer_is_made_once_for_every_base() {
    let lrun = Lrun::with_busybox();
    let dockerfile = "FROM busybox AS files\nRUN mkdir /made && echo made > /made/file\n\
        FROM busybox\nARG base=1\nRUN mkdir -p -m 1777 /shared && mkdir -m 700 /own && ln -s own /link && echo $base > /own/base\n\
        COPY --link file /shared/\nCOPY --link file /link/\nCOPY --link --from=files /made /new/deep\n\
        COPY --link --chown=7:8 dir /given\nADD --link archive.tar /own/\nCOPY --link empty /void\nCOPY --link <<E /own/text\nwords\nE\n";
    let folder = context(&lrun, "linked", dockerfile, &[("file", "file\n"), ("dir/x", "x\n")]);
    fs::create_dir(folder.join("empty")).expect("a folder");
    let archive = lrun_tests::Tar::new().file("unpacked", b"unpacked\n").finish();
    fs::write(folder.join("archive.tar"), archive).expect("a file");
    build_ok(&lrun, &folder, &["-t", "first"]);
    let second = build_ok(&lrun, &folder, &["-t", "second", "--build-arg", "base=2"]);
    // All but the RUN that has the argument.
    assert_eq!(cached(&second), 9, "{}", second.stderr);
    for (image, base) in [("first", "1"), ("second", "2")] {
        let look = |script: &str| in_image(&lrun, image, script);
        assert_eq!(
            look("cat /own/base /shared/file /own/unpacked /own/text /new/deep/file"),
            format!("{base}\nfile\nunpacked\nwords\nmade")
        );
        // What was there keeps its mode, and a link is no way into a directory.
        assert_eq!(look("stat -c %a /shared /own /new /void"), "1777\n700\n755\n755");
        assert_eq!(
            look("ls -A /own; cat /link/file; test -L /link || echo no link"),
            "base\ntext\nunpacked\nfile\nno link"
        );
        assert_eq!(look("stat -c '%u:%g' /given /given/x"), format!("{0}\n{0}", owner("7:8")));
    }
    let layers = |image: &str| lrun.inspect(image, "{{join .RootFS.Layers \" \"}}");
    let (first, second) = (layers("first"), layers("second"));
    let (first, second): (Vec<_>, Vec<_>) = (first.split(' ').collect(), second.split(' ').collect());
    assert_eq!((first.len(), &first[2..]), (second.len(), &second[2..]));
    assert_ne!(first[1], second[1]);
    // Somewhere else they are the same.
    lrun.ok(&["save", "-o", "linked.tar", "second"]);
    let other = Lrun::new();
    other.ok(&["load", "-i", lrun.folder().join("linked.tar").to_str().expect("UTF-8")]);
    assert_eq!(
        in_image(&other, "second", "stat -c %a /shared /own /new /void; cat /new/deep/file"),
        "1777\n700\n755\n755\nmade"
    );
    for store in [&lrun, &other] {
        assert_eq!(store.ok(&["system", "check"]), "");
    }
    // An index that is lost is made again: the layer's facts tell what has no entry.
    for layer in first[2..].iter().collect::<BTreeSet<_>>() {
        let hex = layer.strip_prefix("sha256:").expect("a digest");
        fs::remove_file(lrun.store().join("layers").join(hex).join("index")).expect("an index");
    }
    assert_eq!(lrun.run(&["system", "check", "--repair"]).code, 0);
    lrun.ok(&["system", "check"]);
}

#[test]
fn the_owner_of_a_linked_layer_is_found_in_the_image() {
    let lrun = Lrun::with_busybox();
    let dockerfile =
        "FROM busybox\nRUN echo ada:x:7:8::/:/bin/sh >> /etc/passwd\nCOPY --link --chown=ada file /given/\n";
    let folder = context(&lrun, "named", dockerfile, &[("file", "file\n")]);
    built(&lrun, &folder, &["-t", "named"]);
    assert_eq!(in_image(&lrun, "named", "stat -c '%u:%g' /given /given/file"), format!("{0}\n{0}", owner("7:8")));
    let unknown = "FROM busybox\nCOPY --link --chown=nobody-here file /given/\n";
    let output = build(&lrun, &context(&lrun, "unknown", unknown, &[("file", "")]), &[]);
    assert!(output.code != 0 && output.stderr.contains("nobody-here"), "{}", output.stderr);
}
