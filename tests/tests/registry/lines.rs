//! Lines that break, and processes that want the same thing.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use lrun_tests::Lrun;
use serde_json::{Value, json};

use crate::fake::{Content, INDEX, MANIFEST, architecture, descriptor, digest, gzip, insecure, layer, through};
use crate::server::{Response, Server};

/// A connection that breaks in the middle of a layer, twice, goes on from there; the rest is not asked for again.
#[test]
fn a_download_that_breaks_goes_on_where_it_broke() {
    let tar = layer("big", 3 << 20);
    let mut content = Content::default();
    content.image("latest", architecture(), std::slice::from_ref(&tar));
    let blob = digest(&gzip(&tar));
    let size = content.blobs[&blob].len();
    let breaks = AtomicUsize::new(0);
    let server = Server::start("127.0.0.1", move |request| {
        let mut response = content.answer(request);
        if request.path.contains(&blob) && breaks.fetch_add(1, Ordering::Relaxed) < 2 {
            response.cut = Some(response.body.len() / 2);
        }
        response
    });
    let lrun = Lrun::new();
    insecure(&lrun, &[&server.name()]);
    let output = lrun.run(&["pull", &format!("{}/x", server.name())]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    let ranges: Vec<Option<String>> = server
        .requests()
        .iter()
        .filter(|request| request.path.contains("/blobs/") && request.path.contains(&digest(&gzip(&tar))))
        .map(|request| request.header("range").map(str::to_owned))
        .collect();
    let (half, most) = (size / 2, size - size / 2);
    assert_eq!(ranges, [None, Some(format!("bytes={half}-")), Some(format!("bytes={}-", half + most / 2))]);
}

/// There is no way from TLS to plain HTTP but the settings.
#[test]
fn a_server_without_tls_is_said_to_be_one() {
    let content = Content::default();
    let server = Server::start("127.0.0.1", move |request| content.answer(request));
    let complaint = Lrun::new().fails(1, &["pull", "-q", &format!("{}/x", server.name())]);
    assert!(complaint.contains(": the server does not speak TLS"), "{complaint}");
    assert!(complaint.contains(&format!("insecure = [\"{}\"]", server.name())), "{complaint}");
    assert!(server.requests().is_empty());
}

/// A helper that this machine lacks is told of, and the registry is asked as anybody may.
#[test]
fn a_missing_credential_helper_does_not_keep_from_what_is_everybodys() {
    let mut content = Content::default();
    content.image("latest", architecture(), &[layer("a", 1000)]);
    let server = Server::start("127.0.0.1", move |request| content.answer(request));
    let lrun = Lrun::new();
    insecure(&lrun, &[&server.name()]);
    std::fs::create_dir_all(lrun.folder().join("home/.docker")).expect("a folder");
    lrun.file("home/.docker/config.json", r#"{"credsStore": "of-another-machine"}"#);
    let output = lrun.run(&["pull", "-q", &format!("{}/x", server.name())]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    let warning = format!("WARNING: {} is asked without credentials: run docker-credential-of-another", server.name());
    assert!(output.stderr.starts_with(&warning), "{}", output.stderr);
    let output = lrun.run_with(b"secret", &["login", "-u", "a", "--password-stdin", &server.name()]);
    assert!(output.code == 1 && output.stderr.contains("docker-credential-of-another-machine"), "{}", output.stderr);
}

/// Whatever is cut off once is asked for again: the index, the manifest, the config, the layer.
#[test]
fn every_answer_that_breaks_is_asked_for_again() {
    let tar = layer("a", 100_000);
    let mut content = Content::default();
    let mut own = descriptor(MANIFEST, content.image("own", architecture(), &[tar]).to_string().as_bytes());
    own["platform"] = json!({"os": "linux", "architecture": architecture()});
    content.manifest("latest", INDEX, &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [own]}));
    let broken = Mutex::new(HashSet::new());
    let server = Server::start("127.0.0.1", move |request| {
        let mut response = content.answer(request);
        let is_content = request.path.contains("/manifests/") || request.path.contains("/blobs/");
        if is_content && request.method == "GET" && broken.lock().expect("the list").insert(request.path.clone()) {
            response.cut = Some(response.body.len() / 2);
        }
        response
    });
    let lrun = Lrun::new();
    insecure(&lrun, &[&server.name()]);
    lrun.ok(&["pull", "-q", &format!("{}/x", server.name())]);
    let mut asked: Vec<String> = server.requests().iter().map(|request| request.path.clone()).collect();
    asked.retain(|path| path.starts_with("/v2/x/"));
    let different: HashSet<&String> = asked.iter().collect();
    assert_eq!((asked.len(), different.len()), (8, 4), "{asked:?}");
}

/// An index of two platforms: the registry is gone in the middle of the second layer. Nothing has a name then, and the next
/// pull brings what is missing alone. Of the other platform nothing is asked.
#[test]
fn a_pull_of_an_index_goes_on_where_it_was_cut_off() {
    let (first, second) = (layer("a", 300_000), layer("b", 1 << 20));
    let mut content = Content::default();
    let platform = |of: &Value, architecture: &str| {
        let mut entry = descriptor(MANIFEST, of.to_string().as_bytes());
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        entry
    };
    let other = platform(&content.image("other", "s390x", &[layer("c", 1000)]), "s390x");
    let own = platform(&content.image("own", architecture(), &[first.clone(), second.clone()]), architecture());
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [other, own]});
    let index = content.manifest("latest", INDEX, &index)["digest"].as_str().expect("a digest").to_owned();
    let [first, second] = [first, second].map(|tar| digest(&gzip(&tar)));
    let gone = Arc::new(AtomicUsize::new(0));
    let (state, broken) = (Arc::clone(&gone), second.clone());
    let seen = Mutex::new(HashSet::new());
    let server = Server::start("127.0.0.1", move |request| {
        if state.load(Ordering::Relaxed) == 1 {
            return Response::new(404, "");
        }
        let mut response = content.answer(request);
        let is_new = seen.lock().expect("the paths").insert(request.path.clone());
        if is_new && request.path.contains(&broken) {
            response.cut = Some(response.body.len() / 2);
            // The first layer is whole by then.
            std::thread::sleep(std::time::Duration::from_millis(300));
            state.store(1, Ordering::Relaxed);
        }
        response
    });
    let lrun = Lrun::new();
    insecure(&lrun, &[&server.name()]);
    let name = format!("{}/x", server.name());
    lrun.fails(1, &["pull", "-q", &name]);
    assert_eq!(lrun.ok(&["images", "-aq"]), "");
    gone.store(2, Ordering::Relaxed);
    let before = server.requests().len();
    let output = lrun.run(&["pull", &name]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(output.stdout.contains(&format!("Digest: {index}\n")), "{}", output.stdout);
    assert_eq!(lrun.inspect(&name, "{{len .RootFS.Layers}} {{index .RepoDigests 0}}"), format!("2 {name}@{index}"));
    let requests = server.requests();
    let asked = |blob: &str, from: usize| requests[from..].iter().filter(|request| request.path.contains(blob)).count();
    assert_eq!((asked(&first, 0), asked(&first, before), asked(&second, before)), (1, 0, 1));
    assert_eq!(asked(other["digest"].as_str().expect("a digest"), 0), 0);
    lrun.ok(&["system", "check"]);
}

/// A server that knows no ranges sends all of it again: what came already is passed over.
#[test]
fn a_server_without_ranges_is_read_from_the_start() {
    let mut content = Content::default();
    content.image("latest", architecture(), &[layer("big", 1 << 20)]);
    let broken = AtomicUsize::new(0);
    let server = Server::start("127.0.0.1", move |request| {
        let mut plain = request.clone();
        plain.headers.retain(|(name, _)| name != "range");
        let mut response = content.answer(&plain);
        if response.body.len() > 1 << 19 && broken.fetch_add(1, Ordering::Relaxed) == 0 {
            response.cut = Some(600_000);
        }
        response
    });
    let lrun = Lrun::new();
    insecure(&lrun, &[&server.name()]);
    let output = lrun.run(&["pull", "-q", &format!("{}/x", server.name())]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    assert_eq!(output.stdout, format!("{}/x:latest\n", server.name()));
}

/// A server that is busy is asked again, one that answers otherwise is not.
#[test]
fn a_busy_server_is_asked_again() {
    let mut content = Content::default();
    content.image("latest", architecture(), &[layer("a", 100)]);
    let asked = AtomicUsize::new(0);
    let server = Server::start("127.0.0.1", move |request| match asked.fetch_add(1, Ordering::Relaxed) {
        0 => Response::new(503, ""),
        1 => Response::new(429, "").header("Retry-After", "0"),
        _ => content.answer(request),
    });
    let lrun = Lrun::new();
    insecure(&lrun, &[&server.name()]);
    assert_eq!(lrun.run(&["pull", &format!("{}/x", server.name())]).code, 0);
    let before = server.requests().len();
    let gone = format!("{}/x:gone", server.name());
    let complaint = lrun.fails(1, &["pull", &gone]);
    assert!(complaint.contains(&format!("manifest for {gone} not found: manifest unknown")), "{complaint}");
    assert_eq!(server.requests().len(), before + 1);
}

/// Four processes that want one image at once fetch each layer once.
#[test]
fn processes_fetch_a_layer_once() {
    let mut content = Content::default();
    content.image("latest", architecture(), &[layer("a", 400_000), layer("b", 500_000), layer("c", 600_000)]);
    let layers: Vec<String> = content.blobs.iter().filter(|(_, b)| b.len() > 10_000).map(|(d, _)| d.clone()).collect();
    let counts = Arc::new(Mutex::new(Vec::new()));
    let ours = Arc::clone(&counts);
    let server = Server::start("127.0.0.1", move |request| {
        if let Some((_, blob)) = request.path.split_once("/blobs/") {
            std::thread::sleep(std::time::Duration::from_millis(50));
            ours.lock().expect("the count").push(blob.to_owned());
        }
        content.answer(request)
    });
    let lrun = Lrun::new();
    insecure(&lrun, &[&server.name()]);
    lrun.ok(&["images"]);
    let name = format!("{}/x", server.name());
    let running: Vec<_> = (0..4).map(|_| lrun.spawn(&["pull", "-q", &name])).collect();
    for pull in running {
        let output = pull.wait();
        assert_eq!(output.code, 0, "{}", output.stderr);
    }
    let counts = counts.lock().expect("the count");
    for layer in layers {
        assert_eq!(counts.iter().filter(|blob| **blob == layer).count(), 1, "{layer}");
    }
    assert_eq!(std::fs::read_dir(lrun.store().join("staging")).expect("staging").count(), 0);
}

/// What is printed, what is already here, and what is up to date.
#[test]
fn pull_says_what_docker_says() {
    let shared = layer("a", 1000);
    let mut content = Content::default();
    content.image("latest", architecture(), std::slice::from_ref(&shared));
    content.image("two", architecture(), &[shared.clone(), layer("b", 1000)]);
    let (first, second) = (digest(&gzip(&shared)), digest(&gzip(&layer("b", 1000))));
    let (latest, two) = (digest(&content.manifests["latest"].1), digest(&content.manifests["two"].1));
    let server = Server::start("127.0.0.1", move |request| content.answer(request));
    let lrun = Lrun::new();
    insecure(&lrun, &[&server.name()]);
    let name = format!("{}/x", server.name());
    let short = |digest: &str| digest[7..19].to_owned();
    let output = lrun.run(&["pull", &name]);
    let result = |digest: &str, status: &str, tag: &str| format!("Digest: {digest}\nStatus: {status} {name}:{tag}\n");
    let (newer, same) = ("Downloaded newer image for", "Image is up to date for");
    assert_eq!(output.stdout, format!("{}{name}:latest\n", result(&latest, newer, "latest")));
    let said = format!("Using default tag: latest\nlatest: Pulling from x\n{}: Pull complete\n", short(&first));
    assert_eq!(output.stderr, said);
    let output = lrun.run(&["image", "pull", &format!("{name}:latest")]);
    assert_eq!(output.stderr, "latest: Pulling from x\n");
    assert_eq!(output.stdout, format!("{}{name}:latest\n", result(&latest, same, "latest")));
    let output = lrun.run(&["pull", &format!("{name}:two")]);
    let said = format!("two: Pulling from x\n{}: Already exists\n{}: Pull complete\n", short(&first), short(&second));
    assert_eq!((output.stderr, output.stdout), (said, format!("{}{name}:two\n", result(&two, newer, "two"))));
    assert_eq!(lrun.inspect(&format!("{name}:two"), "{{index .RepoDigests 0}}"), format!("{name}@{two}"));
    // By digest: no tag is made, and the image is found by it.
    lrun.ok(&["rmi", &format!("{name}:two")]);
    let pinned = format!("{name}@{two}");
    assert_eq!(lrun.run(&["pull", "-q", &pinned]).stdout, format!("{pinned}\n"));
    assert_eq!(lrun.ok(&["images", "-q", "--filter", "dangling=true"]).lines().count(), 1);
    let id = lrun.inspect(&pinned, "{{.Id}}");
    // A digest is a name, too: what was made from the image and its other names come and go without it, and it without them.
    lrun.ok(&["create", "--name", "made", &pinned, "x"]);
    lrun.ok(&["commit", "made", "child"]);
    lrun.ok(&["rm", "--no-trash", "made"]);
    assert!(!lrun.ok(&["rmi", "child"]).contains(&id));
    lrun.ok(&["tag", &pinned, "mine"]);
    assert_eq!(lrun.ok(&["rmi", &pinned]), format!("Untagged: {pinned}"));
    assert_eq!(lrun.run(&["inspect", &pinned]).code, 1);
    assert_eq!(lrun.inspect("mine", "{{.Id}} {{.RepoDigests}}"), format!("{id} []"));
    assert_eq!(lrun.fails(1, &["pull", "-q", "scratch"]), "lrun: 'scratch' is a reserved name\n");
}

/// `run` and `create` pull what is missing, and what `--pull` says.
#[test]
fn run_pulls_as_it_is_told() {
    let mut content = Content::default();
    let busybox = std::fs::read(lrun_tests::images("busybox.tar")).expect("busybox.tar");
    content.image("latest", architecture(), &[busybox]);
    let server = Server::start("127.0.0.1", move |request| content.answer(request));
    let lrun = Lrun::new();
    insecure(&lrun, &[&server.name()]);
    let name = format!("{}/x", server.name());
    let run =
        |flags: &[&str]| lrun.run(&[&["run", "--rm", "--network", "none"][..], flags, &[&name, "echo", "hi"]].concat());
    let output = run(&["--pull", "never"]);
    assert_eq!((output.code, server.requests().len()), (125, 0), "{}", output.stderr);
    let output = run(&[]);
    assert_eq!((output.code, output.stdout.as_str()), (0, "hi\n"), "{}", output.stderr);
    let first = format!("Unable to find image '{name}:latest' locally\nlatest: Pulling from x\n");
    assert!(
        output.stderr.starts_with(&first) && output.stderr.contains("Status: Downloaded newer"),
        "{}",
        output.stderr
    );
    let asked = server.requests().len();
    assert_eq!((run(&[]).stderr.as_str(), server.requests().len()), ("", asked), "it is here");
    let output = run(&["--pull", "always"]);
    assert!(output.stderr.contains("Status: Image is up to date"), "{}", output.stderr);
    assert_eq!((run(&["--pull", "newer", "-q"]).stderr.as_str(), server.requests().len()), ("", asked + 2));
    assert_eq!(run(&["--pull", "sometimes"]).code, 125);
    // A registry that is gone: newer is content with what is here, always is not.
    let gone = "127.0.0.1:1/x";
    lrun.ok(&["tag", &name, gone]);
    let run = |when: &str| lrun.run(&["run", "--rm", "--network", "none", "--pull", when, gone, "true"]);
    assert_eq!((run("newer").code, run("always").code, run("missing").code), (0, 125, 0));
}

/// A name without a registry is docker.io's. What cannot be reached is said in docker's words and lrun's, and nothing is made.
#[test]
fn what_cannot_be_pulled_is_said() {
    let lrun = Lrun::new();
    let output = lrun.run(&["run", "--network", "none", "nothing:v1", "true"]);
    let said = "Unable to find image 'nothing:v1' locally\nlrun: pull nothing:v1: https://registry-1.docker.io: ";
    assert!(output.code == 125 && output.stderr.starts_with(said), "{}", output.stderr);
    assert_eq!(lrun.ok(&["ps", "-aq"]), "");
}

/// The image for this machine, or for the one that is asked for, is chosen from an index.
#[test]
fn an_index_gives_the_image_for_the_platform() {
    let mut content = Content::default();
    let other = if architecture() == "arm64" { "amd64" } else { "arm64" };
    let mut manifests = Vec::new();
    for name in [other, architecture()] {
        let document = content.image(name, name, &[layer(name, 100)]);
        let mut entry = content.manifest(name, crate::fake::MANIFEST, &document);
        entry["platform"] = json!({"os": "linux", "architecture": name});
        manifests.push(entry);
    }
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    let inner = content.manifest("inner", INDEX, &index);
    content.manifest("latest", INDEX, &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [inner]}));
    let top = digest(&content.manifests["latest"].1);
    let server = Server::start("127.0.0.1", move |request| content.answer(request));
    let lrun = Lrun::new();
    insecure(&lrun, &[&server.name()]);
    let name = format!("{}/x", server.name());
    lrun.run(&["pull", "-q", &name]);
    assert_eq!(
        lrun.inspect(&name, "{{.Architecture}} {{index .RepoDigests 0}}"),
        format!("{} {name}@{top}", architecture())
    );
    assert_eq!(lrun.run(&["pull", "-q", "--platform", &format!("linux/{other}"), &name]).code, 0);
    assert_eq!(lrun.inspect(&name, "{{.Architecture}}"), other);
    let complaint = lrun.fails(1, &["pull", "--platform", "linux/s390x", &name]);
    assert!(complaint.contains("no matching manifest for linux/s390x in the manifest list entries"), "{complaint}");
    let complaint = lrun.fails(1, &["pull", "--platform", "linux/s390x", &format!("{name}:{other}")]);
    assert!(complaint.contains("does not provide the specified platform (linux/s390x)"), "{complaint}");
    let output = lrun.run(&["pull", "-q", &format!("{name}:{other}")]);
    assert!(output.stderr.starts_with("WARNING: The requested image's platform"), "{}", output.stderr);
}

/// Layers as they are, and compressed in each way that manifests know.
#[test]
fn layers_in_every_form_are_pulled() {
    let tars = [layer("plain", 1000), layer("gzip", 2000), layer("zstd", 3000), layer("frames", 4000)];
    let mut content = Content::default();
    let mut document = content.image("latest", architecture(), &tars);
    let zstd = through(&["zstd", "-qc19"], &tars[2]);
    // As zstd:chunked ends: with a frame that is to be passed over.
    let frames = [through(&["zstd", "-qc"], &tars[3]), b"\x50\x2a\x4d\x18\x04\x00\x00\x00toc!".to_vec()].concat();
    let of = "application/vnd.oci.image.layer.v1.tar";
    let forms =
        [(0, of.to_owned(), tars[0].clone()), (2, format!("{of}+zstd"), zstd), (3, format!("{of}+zstd"), frames)];
    for (at, media_type, bytes) in forms {
        content.blob(&bytes);
        document["layers"][at] = descriptor(&media_type, &bytes);
    }
    content.manifest("latest", MANIFEST, &document);
    let server = Server::start("127.0.0.1", move |request| content.answer(request));
    let lrun = Lrun::new();
    insecure(&lrun, &[&server.name()]);
    let name = format!("{}/x", server.name());
    let output = lrun.run(&["pull", &name]);
    assert_eq!((output.code, output.stderr.matches(": Pull complete").count()), (0, 4), "{}", output.stderr);
    let wanted: Vec<String> = tars.iter().map(|tar| digest(tar)).collect();
    assert_eq!(lrun.inspect(&name, "{{range .RootFS.Layers}}{{.}} {{end}}").trim_end(), wanted.join(" "));
}
