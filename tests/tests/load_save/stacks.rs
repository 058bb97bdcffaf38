//! Layers that do not say what their directories are like, or that hide all below them.

use lrun_tests::{Entry, Lrun, Mode, Tar, images, mode};

use crate::made::{config, contents, docker};

/// Makes an image of busybox and these layers.
fn image(lrun: &Lrun, name: &str, layers: &[Vec<u8>]) {
    let busybox = std::fs::read(images("busybox.tar")).expect("busybox.tar");
    let all: Vec<&[u8]> = std::iter::once(&busybox[..]).chain(layers.iter().map(Vec::as_slice)).collect();
    let output = lrun.run_with(&docker(name, &config(&all, name), &all).tar(), &["load"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
}

fn directory(name: &str, mode: u32, uid: u32) -> Tar {
    Tar::new().entry(Entry { name: name.as_bytes(), kind: b'5', mode, uid, gid: uid, ..Entry::default() })
}

/// A layer with only `tmp/x` leaves /tmp as it is below, in containers, in what they commit and export, and takes that
/// away with the image.
#[test]
fn directories_without_an_entry_are_as_below() {
    let lrun = Lrun::new();
    let layers = [
        directory("./", 0o750, 0).entry(Entry { name: b"t/", kind: b'5', mode: 0o1777, ..Entry::default() }).finish(),
        directory("t/deep/", 0o2711, 50).file("t/deep/f", b"").finish(),
        Tar::new().file("t/x", b"x").file("t/deep/y", b"y").finish(),
    ];
    image(&lrun, "x:1", &layers);
    let owner = if mode() == Mode::Single { "0" } else { "50" };
    // One id: what belongs to others is root's, without its setgid bit.
    let deep = if mode() == Mode::Single { "711" } else { "2711" };
    let wanted = format!("/ 750 0\n/t 1777 0\n/t/deep {deep} {owner}\n/t/x 644 0");
    let shown = ["stat", "-c", "%n %a %u", "/", "/t", "/t/deep", "/t/x"];
    let run = |image: &str| lrun.ok(&[&["run", "--rm", "--network", "none", image][..], &shown].concat());
    assert_eq!(run("x:1"), wanted);
    assert_eq!(run("x:1"), wanted, "again");
    // The same below a commit, beside which the directories are found again.
    lrun.ok(&["run", "--name", "box", "--network", "none", "x:1", "touch", "/t/new"]);
    assert_eq!(lrun.ok(&["diff", "box"]), "C /t\nA /t/new");
    lrun.ok(&["commit", "box", "y:1"]);
    assert_eq!(run("y:1"), wanted);
    lrun.ok(&["commit", "--squash", "box", "z:1"]);
    assert_eq!(run("z:1"), wanted);
    let exported = lrun.run(&["export", "box"]);
    let listing = crate::made::filtered(&["tar", "-tv"], &exported.bytes);
    let listing = String::from_utf8_lossy(&listing).into_owned();
    let line = |end: &str| listing.lines().find(|line| line.ends_with(end)).unwrap_or_default().to_owned();
    assert!(line(" t/").starts_with("drwxrwxrwt") && line(" ./").starts_with("drwxr-x---"), "{listing}");
    // What was made goes with the last image of these layers.
    let stacks = || {
        let names = std::fs::read_dir(lrun.store().join("layers"))
            .expect("the layers")
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter(|name| name.starts_with("stack-")).count()
    };
    assert_eq!(stacks(), 1);
    lrun.ok(&["rm", "box"]);
    lrun.ok(&["rmi", "z:1"]);
    lrun.ok(&["rmi", "x:1"]);
    assert_eq!(stacks(), 1, "y needs it");
    lrun.ok(&["rmi", "y:1"]);
    assert_eq!(stacks(), 0);
    assert_eq!(contents(&lrun)["layers"], 0);
}

/// With one id, whose a directory is stays known under a layer that only goes through it.
#[test]
fn owners_are_known_through_layers_that_do_not_say_them() {
    let lrun = Lrun::new();
    let owned = directory("u/", 0o750, 1000).finish();
    image(&lrun, "x:1", &[owned, Tar::new().file("u/f", b"f").finish()]);
    lrun.ok(&["create", "--name", "box", "--network", "none", "x:1", "true"]);
    let owner = |tar: &[u8]| {
        let listing = crate::made::filtered(&["tar", "--numeric-owner", "-tv"], tar);
        let listing = String::from_utf8_lossy(&listing).into_owned();
        let line = listing.lines().find(|line| line.ends_with(" u/")).unwrap_or_default().to_owned();
        line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(owner(&lrun.run(&["export", "box"]).bytes), "drwxr-x--- 1000/1000");
    lrun.ok(&["run", "--name", "more", "--network", "none", "x:1", "touch", "/u/new"]);
    lrun.ok(&["commit", "--squash", "more", "y:1"]);
    lrun.ok(&["create", "--name", "flat", "--network", "none", "y:1", "true"]);
    assert_eq!(owner(&lrun.run(&["export", "flat"]).bytes), "drwxr-x--- 1000/1000");
}

/// An opaque root hides all layers below it.
#[test]
fn an_opaque_root_hides_everything() {
    let lrun = Lrun::new();
    let busybox = std::fs::read(images("busybox.tar")).expect("busybox.tar");
    let below = Tar::new().file("below", b"").finish();
    let layer = Tar::on(&busybox).file(".wh..wh..opq", b"").finish();
    let all: [&[u8]; 2] = [&below, &layer];
    let output = lrun.run_with(&docker("o:1", &config(&all, ""), &all).tar(), &["load"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(
        lrun.ok(&["run", "--rm", "--network", "none", "o:1", "sh", "-c", "ls -d /below /bin 2>/dev/null || true"]),
        "/bin"
    );
}

/// An image with as many layers as the kernel stacks, with a folder of directories on top and apt's setting below.
#[test]
fn the_deepest_image_has_room_for_what_the_engine_adds() {
    let lrun = Lrun::new();
    let number = |n: usize| Tar::new().file("n", n.to_string().as_bytes()).finish();
    let mut layers: Vec<Vec<u8>> = (0..494).map(number).collect();
    layers.push(directory("etc/apt/", 0o755, 0).dir("etc/apt/apt.conf.d/").finish());
    layers.push(directory("t/", 0o1777, 0).finish());
    layers.push(Tar::new().file("t/x", b"x").finish());
    image(&lrun, "deep:1", &layers);
    let script = "stat -c %a /t; cat /n /t/x; echo; ls /etc/apt/apt.conf.d";
    let said = lrun.ok(&["run", "--name", "box", "--network", "none", "deep:1", "sh", "-c", script]);
    let setting = if mode() == Mode::Single { "\n99lrun" } else { "" };
    assert_eq!(said, format!("1777\n493x{setting}"));
    assert_eq!(lrun.ok(&["diff", "box"]), "");
    lrun.ok(&["cp", "box:/t/x", "x"]);
}

/// overlayfs takes a folder once; an image may have a layer several times, an empty one it often has.
#[test]
fn an_image_may_have_a_layer_several_times() {
    let lrun = Lrun::new();
    let a = Tar::new().dir("d/").file("d/a", b"a").finish();
    let b = Tar::new().dir("d/").file("d/.wh.a", b"").file("d/b", b"b").finish();
    let (empty, bare) = (Tar::new().finish(), Tar::new().file("d/c", b"c").finish());
    for (name, layers, files) in [
        ("twice:1", vec![&a, &a], "a"),
        ("empty:1", vec![&empty, &empty, &a, &empty], "a"),
        ("again:1", vec![&a, &b, &a], "a\nb"),
        ("gone:1", vec![&b, &a, &b], "b"),
        ("bare:1", vec![&bare, &a, &bare, &b, &bare], "b\nc"),
    ] {
        let layers: Vec<Vec<u8>> = layers.into_iter().cloned().collect();
        image(&lrun, name, &layers);
        let list = ["ls", "/d"];
        let run = |image: &str| lrun.ok(&[&["run", "--rm", "--network", "none", image][..], &list].concat());
        assert_eq!(run(name), files, "{name}");
        lrun.ok(&["run", "--name", "box", "--network", "none", name, "touch", "/d/new"]);
        assert_eq!(lrun.ok(&["diff", "box"]), "C /d\nA /d/new", "{name}");
        let mut all: Vec<&str> = files.lines().chain(["new"]).collect();
        all.sort_unstable();
        lrun.ok(&["commit", "box", "more:1"]);
        assert_eq!(run("more:1").lines().collect::<Vec<_>>(), all, "{name}");
        lrun.ok(&["commit", "--squash", "box", "flat:1"]);
        assert_eq!(run("flat:1").lines().collect::<Vec<_>>(), all, "{name}");
        lrun.ok(&["cp", "-q", "box:/d", lrun.folder().join(name).to_str().expect("UTF-8")]);
        assert_eq!(std::fs::read_dir(lrun.folder().join(name)).expect("it is copied").count(), all.len());
        lrun.ok(&["rm", "box"]);
    }
    assert_eq!(lrun.ok(&["system", "check"]), "");
}

/// Scripts that know which layers are here send only the others.
#[test]
fn layers_that_are_here_need_not_be_in_an_archive() {
    let lrun = Lrun::new();
    let (a, b) = (Tar::new().file("a", b"a").finish(), Tar::new().file("b", b"b").finish());
    image(&lrun, "x:1", &[a.clone(), b.clone()]);
    let busybox = std::fs::read(images("busybox.tar")).expect("busybox.tar");
    let layers: [&[u8]; 3] = [&busybox, &b, &a];
    let other: [&[u8]; 3] = [&busybox, &b, b"none"];
    let archive = |layers: &[&[u8]], name: &str| {
        let list = ["0", "1", "2"];
        let manifest = serde_json::json!([{"Config": "c.json", "RepoTags": [name], "Layers": list}]).to_string();
        Tar::new().file("c.json", &config(layers, name)).file("manifest.json", manifest.as_bytes()).finish()
    };
    let output = lrun.run_with(&archive(&layers, "y:1"), &["load"]);
    assert_eq!((output.code, output.stdout.as_str()), (0, "Loaded image: y:1\n"), "{}", output.stderr);
    assert_eq!(lrun.ok(&["run", "--rm", "--network", "none", "y:1", "cat", "/a", "/b"]), "ab");
    let output = lrun.run_with(&archive(&other, "z:1"), &["load"]);
    assert!(output.code == 1 && output.stderr.contains("2 is missing from the archive"), "{output:?}");
}
