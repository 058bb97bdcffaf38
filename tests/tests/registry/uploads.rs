//! What push sends: layers side by side, and lines that break while they go.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lrun_tests::Lrun;

use crate::docker::{Registry, pushed};
use crate::fake::{BASIC, Content, MANIFEST, architecture, digest, insecure, layer, logged_in, through};
use crate::server::{Request, Response, Server};

/// What a registry that takes blobs has got.
#[derive(Default)]
pub struct Got {
    uploads: HashMap<String, Vec<u8>>,
    begun: usize,
    blobs: HashMap<String, Vec<u8>>,
    pub manifest: Vec<u8>,
}

pub type Shared = Arc<Mutex<Got>>;

/// A registry's answers to a push.
pub fn take(got: &Shared, request: &Request) -> Response {
    let mut got = got.lock().expect("what came");
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let told = |bytes: &[u8]| {
        let last = bytes.len().saturating_sub(1);
        Response::new(202, "").header("Range", format!("0-{last}"))
    };
    let unknown = Response::new(404, r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#);
    let name = path.rsplit('/').next().unwrap_or_default();
    match request.method.as_str() {
        "HEAD" => got.blobs.get(name).map_or(Response::new(404, ""), |bytes| Response::new(200, bytes.clone())),
        "POST" => {
            got.begun += 1;
            let id = got.begun.to_string();
            got.uploads.insert(id.clone(), Vec::new());
            told(&[]).header("Location", format!("{path}{id}"))
        }
        "PUT" if path.contains("/manifests/") => {
            got.manifest.clone_from(&request.body);
            Response::new(201, "")
        }
        "PUT" => {
            let Some(mut bytes) = got.uploads.remove(name) else { return unknown };
            bytes.extend(&request.body);
            let wanted = query.split('&').find_map(|pair| pair.strip_prefix("digest=")).expect("a digest");
            assert_eq!(wanted, digest(&bytes), "a blob is what its digest says");
            got.blobs.insert(wanted.to_owned(), bytes);
            Response::new(201, "")
        }
        "DELETE" => got.uploads.remove(name).map_or(unknown, |_| Response::new(204, "")),
        "GET" => got.uploads.get(name).map_or(unknown, |bytes| Response { status: 204, ..told(bytes) }),
        _ => {
            let Some(bytes) = got.uploads.get_mut(name) else { return unknown };
            let from = request.header("content-range").and_then(|range| range.split_once('-'));
            if from.is_some_and(|(from, _)| from != bytes.len().to_string()) {
                return Response { status: 416, ..told(bytes) };
            }
            bytes.extend(&request.body);
            told(bytes).header("Location", path)
        }
    }
}

/// A lrun that has an image of these layers under the name of another registry's.
fn with_image(target: &Server, tars: &[Vec<u8>]) -> (Lrun, String) {
    let mut content = Content::default();
    content.image("latest", architecture(), tars);
    let source = Server::start("127.0.0.1", move |request| content.answer(request));
    let lrun = Lrun::new();
    insecure(&lrun, &[&source.name(), &target.name()]);
    let (from, to) = (format!("{}/x", source.name()), format!("{}/y", target.name()));
    assert_eq!(lrun.run(&["pull", "-q", &from]).code, 0);
    lrun.ok(&["tag", &from, &to]);
    (lrun, to)
}

/// The bytes that the requests of one kind carried, in their order.
fn sent(server: &Server, method: &str) -> Vec<(Option<String>, usize)> {
    let requests = server.requests().into_iter().filter(|request| request.method == method);
    requests.map(|r| (r.header("content-range").map(str::to_owned), r.body.len())).collect()
}

/// Three at most are on their way at once, and more than one is. Each may be the first to be asked for the password.
#[test]
fn layers_go_side_by_side() {
    let (got, now, most) = (Shared::default(), AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let (ours, seen) = (Arc::clone(&got), Arc::clone(&most));
    let target = Server::start("127.0.0.1", move |request| {
        if request.header("authorization") != Some(BASIC) {
            std::thread::sleep(Duration::from_millis(50));
            return Response::new(401, "").header("WWW-Authenticate", "Basic realm=\"x\"");
        }
        if request.method == "PATCH" {
            seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(300));
            now.fetch_sub(1, Ordering::SeqCst);
        }
        take(&ours, request)
    });
    let tars: Vec<Vec<u8>> = (0..6).map(|n| layer(&format!("f{n}"), 1000 + n)).collect();
    let (lrun, name) = with_image(&target, &tars);
    logged_in(&lrun, &target.name());
    let output = lrun.run(&["push", &name]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(output.stderr.matches(": Pushed\n").count(), 6, "{}", output.stderr);
    let most = most.load(Ordering::SeqCst);
    assert!((2..=3).contains(&most), "{most} at once");
    // In the manifest they are in their order.
    let got = got.lock().expect("what came");
    let manifest: serde_json::Value = serde_json::from_slice(&got.manifest).expect("a manifest");
    for (entry, tar) in manifest["layers"].as_array().expect("layers").iter().zip(&tars) {
        let blob = &got.blobs[entry["digest"].as_str().expect("a digest")];
        assert_eq!(digest(&through(&["gzip", "-dc"], blob)), digest(tar));
    }
}

/// Layers compressed with zstd go, and come back; a registry that has the other form is not sent a second one.
#[test]
fn layers_compressed_with_zstd_go_and_come_back() {
    let got = Shared::default();
    let ours = Arc::clone(&got);
    let target = Server::start("127.0.0.1", move |request| {
        let got = ours.lock().expect("what came");
        let blob =
            request.path.rsplit('/').next().and_then(|name| got.blobs.get(name)).filter(|_| request.method == "GET");
        if let Some(bytes) = blob {
            return Response::new(200, bytes.clone());
        }
        if request.method == "GET" && request.path.contains("/manifests/") {
            return Response::new(200, got.manifest.clone()).header("Content-Type", MANIFEST);
        }
        drop(got);
        take(&ours, request)
    });
    let tars = [layer("a", 100_000), layer("b", 1000)];
    let (lrun, name) = with_image(&target, &tars);
    let output = lrun.run(&["push", "--compression-format", "zstd", &name]);
    assert_eq!((output.code, output.stderr.matches(": Pushed\n").count()), (0, 2), "{}", output.stderr);
    {
        let got = got.lock().expect("what came");
        let manifest: serde_json::Value = serde_json::from_slice(&got.manifest).expect("a manifest");
        for (entry, tar) in manifest["layers"].as_array().expect("layers").iter().zip(&tars) {
            assert_eq!(entry["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
            let blob = &got.blobs[entry["digest"].as_str().expect("a digest")];
            assert_eq!(digest(&through(&["zstd", "-dcq"], blob)), digest(tar));
        }
    }
    let output = lrun.run(&["push", "--compression-format", "gzip", &name]);
    assert_eq!(output.stderr.matches(": Layer already exists\n").count(), 2, "{}", output.stderr);
    let layers = lrun.inspect(&name, "{{.RootFS.Layers}}");
    lrun.run(&["rmi", "-f", &lrun.inspect(&name, "{{.Id}}")]);
    let output = lrun.run(&["pull", &name]);
    assert_eq!((output.code, output.stderr.matches(": Pull complete\n").count()), (0, 2), "{}", output.stderr);
    assert_eq!(lrun.inspect(&name, "{{.RootFS.Layers}}"), layers);
    assert!(lrun.fails(125, &["push", "--compression-format", "xz", &name]).contains("gzip"));
}

/// A line that breaks while a layer goes, and again while the rest does: each time it goes on where the registry is.
#[test]
fn an_upload_that_breaks_goes_on_where_the_registry_is() {
    let (got, breaks) = (Shared::default(), AtomicUsize::new(0));
    let ours = Arc::clone(&got);
    let limit = move |request: &Request| {
        let at = (request.method == "PATCH").then(|| breaks.fetch_add(1, Ordering::Relaxed));
        at.and_then(|at| [300_000, 200_000].get(at).copied())
    };
    let target = Server::breaking("127.0.0.1", limit, move |request| take(&ours, request));
    let (lrun, name) = with_image(&target, &[layer("big", 3 << 20)]);
    let output = lrun.run(&["push", &name]);
    assert!(output.code == 0 && output.stderr.contains(": Pushed\n"), "{}", output.stderr);
    let size = got.lock().expect("what came").blobs.values().map(Vec::len).max().expect("a blob");
    let range = |from: usize| Some(format!("{from}-{}", size - 1));
    let wanted = [(None, 300_000), (range(300_000), 200_000), (range(500_000), size - 500_000)];
    assert_eq!(sent(&target, "PATCH"), wanted);
    assert_eq!(sent(&target, "GET").len(), 2, "it was asked how far it is");
}

/// A registry that lost bytes, more than are at hand, gets them again; one that lost the upload begins anew.
#[test]
fn what_a_registry_lost_is_sent_again() {
    for (kept, cut, size) in
        [(Some(1_000_000), 20 << 20, 24 << 20), (Some(1), 300_000, 400_000), (None, 300_000, 400_000)]
    {
        let (got, breaks) = (Shared::default(), AtomicUsize::new(0));
        let ours = Arc::clone(&got);
        let limit = move |request: &Request| {
            let first = request.method == "PATCH" && breaks.fetch_add(1, Ordering::Relaxed) == 0;
            first.then_some(cut)
        };
        let target = Server::breaking("127.0.0.1", limit, move |request| {
            let lost = request.method == "PATCH" && request.body.len() == cut;
            let response = take(&ours, request);
            match kept {
                _ if !lost => {}
                Some(kept) => ours.lock().expect("it").uploads.values_mut().for_each(|bytes| bytes.truncate(kept)),
                None => ours.lock().expect("it").uploads.clear(),
            }
            response
        });
        let (lrun, name) = with_image(&target, &[layer("big", size)]);
        let output = lrun.run(&["push", &name]);
        assert!(output.code == 0 && output.stderr.contains(": Pushed\n"), "{kept:?}: {}", output.stderr);
        let from = if kept == Some(1_000_000) { 1_000_000 } else { 0 };
        let next = sent(&target, "PATCH")[1].0.clone().expect("a chunk");
        assert!(next.starts_with(&format!("{from}-")), "{kept:?}: {next}");
    }
}

/// A registry that is busy, whose token ended meanwhile, or that forgot the upload, is asked again.
#[test]
fn a_registry_that_is_busy_for_a_while_gets_the_layer() {
    for status in [503, 429, 401, 404] {
        let (got, refusals) = (Shared::default(), AtomicUsize::new(0));
        let ours = Arc::clone(&got);
        let tokens = Server::start("127.0.0.1", |_| Response::new(200, r#"{"token": "tok"}"#));
        let realm = tokens.name();
        let target = Server::start("127.0.0.1", move |request| {
            let ended = request.method == "PATCH" && refusals.fetch_add(1, Ordering::Relaxed) == 0;
            if status == 401 && (ended || request.header("authorization").is_none()) {
                let bearer = format!("Bearer realm=\"http://{realm}/token\"");
                return Response::new(401, "").header("WWW-Authenticate", bearer);
            }
            if ended { Response::new(status, "").header("Retry-After", "0") } else { take(&ours, request) }
        });
        let (lrun, name) = with_image(&target, &[layer("a", 100_000)]);
        let output = lrun.run(&["push", &name]);
        assert!(output.code == 0 && output.stderr.contains(": Pushed\n"), "{status}: {}", output.stderr);
        assert_eq!(tokens.requests().len(), if status == 401 { 2 } else { 0 });
    }
}

/// A line that always breaks, and a registry that tells what cannot be: the error is said once, and nothing else fails.
#[test]
fn an_upload_that_never_ends_is_given_up() {
    let got = Shared::default();
    let ours = Arc::clone(&got);
    let limit = |request: &Request| (request.method == "PATCH").then_some(0);
    let target = Server::breaking("127.0.0.1", limit, move |request| match request.path.contains("/liar/") {
        true if request.method == "GET" => Response::new(204, "").header("Range", "0-99999999999"),
        _ => take(&ours, request),
    });
    let (lrun, name) = with_image(&target, &[layer("a", 100_000), layer("b", 100_000)]);
    let id = lrun.inspect(&name, "{{.Id}}");
    let complaint = lrun.fails(1, &["push", &name]);
    assert!(complaint.contains("layer ") && !complaint.contains("given up"), "{complaint}");
    assert!(sent(&target, "PATCH").len() <= 10, "{:?}", sent(&target, "PATCH"));
    let liar = name.replace("/y", "/liar/y");
    lrun.ok(&["tag", &name, &liar]);
    let complaint = lrun.fails(1, &["push", &liar]);
    assert!(complaint.contains("says that it has 100000000000 bytes of"), "{complaint}");
    assert_eq!(lrun.inspect(&name, "{{.Id}}"), id);
    assert_eq!(lrun.ok(&["system", "check"]), "");
}

/// An answer to the end of an upload that got lost: the blob is there, and that is enough.
#[test]
fn an_end_whose_answer_got_lost_is_an_end() {
    let (got, lost) = (Shared::default(), Arc::new(AtomicUsize::new(0)));
    let (ours, loses) = (Arc::clone(&got), Arc::clone(&lost));
    let target = Server::start("127.0.0.1", move |request| {
        let response = take(&ours, request);
        let first = request.path.contains("digest=") && loses.fetch_add(1, Ordering::Relaxed) == 0;
        if first { Response { cut: Some(0), status: 500, ..Response::default() } } else { response }
    });
    let (lrun, name) = with_image(&target, &[layer("a", 1000)]);
    assert_eq!(lrun.run(&["push", &name]).code, 0);
    assert!(lost.load(Ordering::Relaxed) >= 2);
}

/// The same against docker's registry, behind a line that breaks: TLS and all.
#[test]
fn docker_registry_goes_on_where_it_was() {
    needs_registry!();
    let registry = Registry::with_password();
    let breaks = Arc::new(Mutex::new(vec![900_000, 1_300_000]));
    let line = breaking_line(&registry.name, &breaks);
    let lrun = Lrun::with_busybox();
    registry.trusted_by(&lrun);
    let certs = lrun.folder().join("home/.config/lrun/certs.d");
    std::fs::rename(certs.join(&registry.name), certs.join(&line)).expect("rename");
    let login = lrun.run_with(b"secret", &["login", "-u", "ada", "--password-stdin", &line]);
    assert_eq!(login.code, 0, "{}", login.stderr);
    let name = format!("{line}/box");
    lrun.run(&[
        "run",
        "--name",
        "noise",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "head -c 3000000 /dev/urandom > /noise",
    ]);
    lrun.ok(&["commit", "noise", &name]);
    let sum = |name: &str| lrun.ok(&["run", "--rm", "--network", "none", name, "md5sum", "/noise"]);
    let before = sum(&name);
    let (_, said) = pushed(&lrun, &name);
    assert!(said.contains(": Pushed\n") && breaks.lock().expect("the breaks").is_empty(), "{said}");
    lrun.ok(&["rm", "--no-trash", "noise"]);
    lrun.run(&["rmi", "-f", &lrun.inspect(&name, "{{.Id}}")]);
    assert_eq!(lrun.run(&["pull", "-q", &name]).code, 0);
    assert_eq!(sum(&name), before);
}

/// A way to `target` whose first large transfers break after these numbers of bytes.
fn breaking_line(target: &str, breaks: &Arc<Mutex<Vec<usize>>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let name = listener.local_addr().expect("its number").to_string();
    let (target, breaks) = (target.to_owned(), Arc::clone(breaks));
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(&target).expect("the registry");
            let (mut back_from, mut back_to) = (server.try_clone().expect("it"), client.try_clone().expect("it"));
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut back_from, &mut back_to);
                let _ = back_to.shutdown(Shutdown::Write);
            });
            let breaks = Arc::clone(&breaks);
            std::thread::spawn(move || forward(client, server, &breaks));
        }
    });
    name
}

fn forward(mut from: TcpStream, mut to: TcpStream, breaks: &Mutex<Vec<usize>>) {
    let (mut bytes, mut passed) = (vec![0; 16 << 10], 0);
    while let Ok(got @ 1..) = from.read(&mut bytes) {
        passed += got;
        let mut left = breaks.lock().expect("the breaks");
        if left.first().is_some_and(|at| passed > *at) {
            left.remove(0);
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            return;
        }
        drop(left);
        if to.write_all(&bytes[..got]).is_err() {
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
