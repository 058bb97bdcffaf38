//! Rows 43 to 46 of the classes of attack: servers that want other people's passwords, plain text, or to be believed.

use std::sync::{Arc, Mutex};

use lrun_tests::Lrun;
use serde_json::{Value, json};

use crate::fake::{
    BASIC, CONFIG, Content, INDEX, LAYER, MANIFEST, architecture, descriptor, digest, gzip, insecure, layer, logged_in,
    through,
};
use crate::server::{Request, Response, Server};

/// Every authorization that a server received.
fn authorizations(server: &Server) -> Vec<String> {
    server.requests().iter().filter_map(|request| request.header("authorization").map(str::to_owned)).collect()
}

/// Nothing of an image is in the store, or in its staging directory.
#[track_caller]
fn is_empty(lrun: &Lrun, what: &str) {
    assert_eq!(lrun.ok(&["images", "-aq"]), "", "{what}");
    for folder in ["layers", "staging", "refs"] {
        let entries = std::fs::read_dir(lrun.store().join(folder)).map_or(0, Iterator::count);
        assert_eq!(entries, 0, "{what}: {folder}");
    }
}

fn content() -> Content {
    let mut content = Content::default();
    content.image("latest", architecture(), &[layer("a", 1000)]);
    content
}

/// Asks for the password, then answers.
fn guarded(request: &Request, answer: impl FnOnce() -> Response) -> Response {
    match request.header("authorization") {
        Some(BASIC) => answer(),
        _ => Response::new(401, "").header("WWW-Authenticate", "Basic realm=\"x\""),
    }
}

/// 43: a redirect to another origin gets no password, and its own wish for one is not heard.
#[test]
fn a_redirect_gets_no_credentials() {
    let blobs = content();
    let other = Server::start("127.0.0.2", move |request| match request.path.contains("/greedy/") {
        true => Response::new(401, "").header("WWW-Authenticate", "Basic realm=\"give\""),
        false => blobs.answer(request),
    });
    let (target, manifests) = (other.name(), content());
    let server = Server::start("127.0.0.1", move |request| {
        guarded(request, || match request.path.contains("/blobs/") {
            true => Response::new(307, "").header("Location", format!("http://{target}{}", request.path)),
            false => manifests.answer(request),
        })
    });
    let lrun = Lrun::new();
    insecure(&lrun, &[&server.name()]);
    logged_in(&lrun, &server.name());
    let output = lrun.run(&["pull", &format!("{}/x", server.name())]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(authorizations(&server).iter().all(|sent| sent == BASIC) && !authorizations(&server).is_empty());
    assert_eq!((other.requests().len(), authorizations(&other)), (2, vec![]));
    lrun.ok(&["rmi", &format!("{}/x", server.name())]);
    let complaint = lrun.fails(1, &["pull", &format!("{}/greedy/x", server.name())]);
    assert!(complaint.contains(&other.name()), "{complaint}");
    assert_eq!(authorizations(&other), Vec::<String>::new());
}

/// 43: the same for tokens; and the token server alone gets the password.
#[test]
fn tokens_stay_at_their_registry() {
    let tokens = Server::start("127.0.0.1", |_| Response::new(200, r#"{"token": "tok"}"#));
    let blobs = content();
    let other = Server::start("127.0.0.2", move |request| blobs.answer(request));
    let (realm, target, manifests) = (tokens.name(), other.name(), content());
    let server = Server::start("127.0.0.1", move |request| match request.header("authorization") {
        Some("Bearer tok") if request.path.contains("/blobs/") => {
            Response::new(302, "").header("Location", format!("http://{target}{}", request.path))
        }
        Some("Bearer tok") => manifests.answer(request),
        _ => Response::new(401, "").header(
            "WWW-Authenticate",
            format!("Bearer realm=\"http://{realm}/token\",service=\"s\",scope=\"registry:catalog:*\""),
        ),
    });
    let lrun = Lrun::new();
    insecure(&lrun, &[&server.name()]);
    logged_in(&lrun, &server.name());
    let output = lrun.run(&["pull", &format!("{}/x", server.name())]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(authorizations(&tokens), [BASIC]);
    let asked = &tokens.requests()[0].path;
    assert_eq!(asked, "/token?service=s&scope=repository:x:pull&account=ada", "no more than what is needed");
    assert!(authorizations(&server).iter().all(|sent| sent == "Bearer tok"));
    assert_eq!(authorizations(&other), Vec::<String>::new());
}

/// 43: a realm in plain text on another host gets nothing, not even a request.
#[test]
fn a_realm_elsewhere_in_plain_text_gets_nothing() {
    let thief = Server::start("127.0.0.2", |_| Response::new(200, r#"{"token": "tok"}"#));
    let realm = thief.name();
    let server = Server::start("127.0.0.1", move |_| {
        Response::new(401, "").header("WWW-Authenticate", format!("Bearer realm=\"http://{realm}/token\""))
    });
    let lrun = Lrun::new();
    insecure(&lrun, &[&server.name()]);
    logged_in(&lrun, &server.name());
    let complaint = lrun.fails(1, &["pull", &format!("{}/x", server.name())]);
    assert!(complaint.contains("where a password could be read on the way"), "{complaint}");
    assert_eq!((thief.requests().len(), thief.oddities().len()), (0, 0));
    assert_eq!(authorizations(&server), Vec::<String>::new());
}

/// 43: an upload that is sent elsewhere is sent without the password.
#[test]
fn an_upload_elsewhere_gets_no_credentials() {
    let other = Server::start("127.0.0.2", |request| match request.method.as_str() {
        "PATCH" => Response::new(202, "").header("Location", request.path.clone()),
        _ => Response::new(201, ""),
    });
    let target = other.name();
    let server = Server::start("127.0.0.1", move |request| {
        guarded(request, || match request.method.as_str() {
            "HEAD" => Response::new(404, ""),
            "POST" => Response::new(202, "").header("Location", format!("http://{target}/upload/1?state=x")),
            _ => Response::new(201, ""),
        })
    });
    let lrun = Lrun::with_busybox();
    insecure(&lrun, &[&server.name()]);
    logged_in(&lrun, &server.name());
    let name = format!("{}/x", server.name());
    lrun.ok(&["tag", "busybox", &name]);
    let output = lrun.run(&["push", &name]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    let got = other.requests();
    assert_eq!(got.iter().map(|r| r.method.as_str()).collect::<Vec<_>>(), ["PATCH", "PUT", "PUT"]);
    assert_eq!(authorizations(&other), Vec::<String>::new());
    // The layer and the digest that it was completed with are one.
    assert!(got[1].path.ends_with(&format!("&digest={}", digest(&got[0].body))), "{}", got[1].path);
    assert!(
        server.requests().iter().any(|request| request.method == "PUT" && request.path == "/v2/x/manifests/latest")
    );
}

/// 43: URLs that a manifest names are not gone to.
#[test]
fn foreign_layers_are_not_fetched() {
    let elsewhere = Server::start("127.0.0.2", |_| Response::new(200, ""));
    let mut content = content();
    let mut document: Value = serde_json::from_slice(&content.manifests["latest"].1).expect("JSON");
    let url = format!("http://{}/layer", elsewhere.name());
    document["layers"][0]["urls"] = json!([url]);
    content.blobs.retain(|_, bytes| bytes.starts_with(b"{"));
    content.manifest("gone", MANIFEST, &document);
    document["layers"][0]["mediaType"] = json!("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
    content.manifest("foreign", MANIFEST, &document);
    let server = Server::start("127.0.0.1", move |request| content.answer(request));
    let lrun = Lrun::new();
    insecure(&lrun, &[&server.name()]);
    let complaint = lrun.fails(1, &["pull", &format!("{}/x:foreign", server.name())]);
    assert!(complaint.contains("lrun goes to no URL that an image names"), "{complaint}");
    assert_eq!(lrun.run(&["pull", &format!("{}/x:gone", server.name())]).code, 1);
    assert_eq!((elsewhere.requests().len(), elsewhere.oddities().len()), (0, 0));
    is_empty(&lrun, "foreign");
}

/// 45: a layer is compressed as the manifest lists it, or refused: what came in goes out again.
#[test]
fn a_layer_that_is_not_what_it_is_listed_as_is_refused() {
    const KIND: &str = "application/vnd.oci.image.layer.v1.tar";
    let tar = layer("a", 1000);
    let forms = [("", tar.clone()), ("+gzip", gzip(&tar)), ("+zstd", through(&["zstd", "-q", "-c"], &tar))];
    for (said, _) in &forms {
        for (is, bytes) in forms.iter().filter(|(is, _)| is != said) {
            let (complaint, _) = refused("form", "", |content| {
                let mut document: Value = serde_json::from_slice(&content.manifests["latest"].1).expect("JSON");
                document["layers"][0] = descriptor(&format!("{KIND}{said}"), bytes);
                content.blob(bytes);
                content.manifest("latest", MANIFEST, &document);
            });
            assert!(complaint.contains(&format!("it is listed as \"{KIND}{said}\", and is ")), "{is}: {complaint}");
        }
    }
}

/// 44: a registry that does not speak TLS gets no plain text, whatever the name.
#[test]
fn there_is_no_way_back_to_plain_text() {
    let content = content();
    let server = Server::start("127.0.0.1", move |request| content.answer(request));
    let lrun = Lrun::with_busybox();
    logged_in(&lrun, &server.name());
    let port = server.name().rsplit_once(':').expect("a port").1.to_owned();
    for name in [format!("{}/x", server.name()), format!("localhost:{port}/x")] {
        lrun.ok(&["tag", "busybox", &name]);
        for command in ["pull", "push"] {
            let complaint = lrun.fails(1, &[command, &name]);
            assert!(complaint.contains("  hint: "), "{complaint}");
        }
    }
    let output = lrun.run_with(b"secret", &["login", "-u", "ada", "--password-stdin", &server.name()]);
    assert_eq!(output.code, 1, "{}", output.stderr);
    assert_eq!(server.requests().len(), 0, "{:?}", server.requests());
    let first: Vec<u8> = server.oddities().iter().filter_map(|bytes| bytes.first().copied()).collect();
    assert!(!first.is_empty() && first.iter().all(|byte| *byte == 0x16), "TLS handshakes alone: {first:?}");
}

/// A registry whose content `change` has changed; the error of a pull, after which nothing is left.
fn refused(what: &str, name: &str, change: impl FnOnce(&mut Content)) -> (String, Server) {
    let mut content = content();
    change(&mut content);
    let server = Server::start("127.0.0.1", move |request| content.answer(request));
    let lrun = Lrun::new();
    insecure(&lrun, &[&server.name()]);
    let complaint = lrun.fails(1, &["pull", &format!("{}/x{name}", server.name())]);
    is_empty(&lrun, what);
    (complaint, server)
}

/// 45: documents of two minds, and bytes that are not what their digest says.
#[test]
fn what_does_not_agree_is_refused() {
    let (complaint, _) = refused("type", "", |content| {
        content.manifests.get_mut("latest").expect("it").0 = INDEX.to_owned();
    });
    assert!(complaint.contains("and its server that it is"), "{complaint}");
    let (complaint, _) = refused("both", "", |content| {
        let mut both: Value = serde_json::from_slice(&content.manifests["latest"].1).expect("JSON");
        both["manifests"] = json!([]);
        content.manifest("latest", MANIFEST, &both);
    });
    assert!(complaint.contains("an image and an index at once"), "{complaint}");
    let wanted = digest(b"wanted");
    let (complaint, _) = refused("manifest by digest", &format!("@{wanted}"), |content| {
        let other = content.manifests["latest"].clone();
        content.manifests.insert(wanted.clone(), other);
    });
    assert!(complaint.contains("is not what its digest says"), "{complaint}");
    let (complaint, _) = refused("config", "", |content| {
        content.blobs.values_mut().filter(|bytes| bytes.starts_with(b"{")).for_each(|bytes| bytes[0] = b' ');
    });
    assert!(complaint.contains("is not what its digest says"), "{complaint}");
    let tar = layer("a", 1000);
    let packed = digest(&gzip(&tar));
    let (complaint, _) = refused("exchanged layer", "", |content| {
        // As many bytes, and a whole layer, but another.
        let other = gzip(&layer("b", 1000));
        content.blobs.insert(packed.clone(), other);
    });
    assert!(
        complaint.contains("download is damaged, or was exchanged") || complaint.contains("larger than"),
        "{complaint}"
    );
    for (size, wanted) in [(-1, "it is larger than"), (1, "the connection ended before the layer did")] {
        let (complaint, _) = refused("size of a layer", "", |content| {
            let mut document: Value = serde_json::from_slice(&content.manifests["latest"].1).expect("JSON");
            let right = document["layers"][0]["size"].as_i64().expect("a size");
            document["layers"][0]["size"] = json!(right + size);
            content.manifest("latest", MANIFEST, &document);
        });
        assert!(complaint.contains(wanted), "{complaint}");
    }
    let (complaint, _) = refused("diff ID", "", |content| {
        let config = json!({"os": "linux", "architecture": architecture(), "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest(b"another")]}})
        .to_string();
        content.blob(config.as_bytes());
        let mut document: Value = serde_json::from_slice(&content.manifests["latest"].1).expect("JSON");
        document["config"] = descriptor(CONFIG, config.as_bytes());
        content.manifest("latest", MANIFEST, &document);
    });
    assert!(complaint.contains("as the image says"), "{complaint}");
    let (complaint, _) = refused("number of layers", "", |content| {
        let mut document: Value = serde_json::from_slice(&content.manifests["latest"].1).expect("JSON");
        let again = document["layers"][0].clone();
        document["layers"].as_array_mut().expect("layers").push(again);
        content.manifest("latest", MANIFEST, &document);
    });
    assert!(complaint.contains("the manifest has 2 layers"), "{complaint}");
}

/// 46: digests that are paths, indexes without end, manifests without end.
#[test]
fn digests_indexes_and_sizes_have_bounds() {
    for bad in ["sha256:../../../../etc/passwd", "sha256:..%2f..", "md5:d41d8cd98f00b204e9800998ecf8427e", ""] {
        let (complaint, server) = refused("digest", "", |content| {
            let mut document: Value = serde_json::from_slice(&content.manifests["latest"].1).expect("JSON");
            document["layers"][0]["digest"] = json!(bad);
            content.manifest("latest", MANIFEST, &document);
        });
        assert!(complaint.contains("invalid digest"), "{complaint}");
        assert_eq!(server.requests().len(), 1);
    }
    let platform = json!({"os": "linux", "architecture": architecture()});
    let (complaint, server) = refused("deep index", "", |content| {
        let mut entry = descriptor(MANIFEST, &content.manifests["latest"].1);
        for depth in 0..10_000 {
            entry["platform"] = platform.clone();
            let tag = if depth == 9_999 { "latest" } else { "inner" };
            entry =
                content.manifest(tag, INDEX, &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}));
        }
    });
    assert!(complaint.contains("more than 4 deep"), "{complaint}");
    assert!(server.requests().len() <= 6, "{}", server.requests().len());
    let (complaint, _) = refused("wide index", "", |content| {
        let entries = vec![descriptor(MANIFEST, b"x"); 10_000];
        content.manifest("latest", INDEX, &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}));
    });
    assert!(complaint.contains("more than 2048"), "{complaint}");
    let (complaint, _) = refused("many layers", "", |content| {
        let tars = vec![layer("a", 10); 499];
        content.image("latest", architecture(), &tars[..1]);
        let mut document: Value = serde_json::from_slice(&content.manifests["latest"].1).expect("JSON");
        let config = json!({"os": "linux", "architecture": architecture(), "config": {},
            "rootfs": {"type": "layers", "diff_ids": vec![digest(&tars[0]); 499]}})
        .to_string();
        content.blob(config.as_bytes());
        document["config"] = descriptor(CONFIG, config.as_bytes());
        document["layers"] = json!(vec![descriptor(LAYER, &gzip(&tars[0])); 499]);
        content.manifest("latest", MANIFEST, &document);
    });
    assert!(complaint.contains("499 layers"), "{complaint}");
    let server = Server::start("127.0.0.1", |_| Response {
        endless: 1 << 30,
        ..Response::new(200, "{").header("Content-Type", MANIFEST)
    });
    let lrun = Lrun::new();
    insecure(&lrun, &[&server.name()]);
    let complaint = lrun.fails(1, &["pull", &format!("{}/x", server.name())]);
    assert!(complaint.contains("is larger than"), "{complaint}");
    assert!(server.sent() < 64 << 20, "{}", server.sent());
    is_empty(&lrun, "endless manifest");
}

/// Redirects that do not end, and to what is no place to go.
#[test]
fn redirects_end() {
    let seen = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&seen);
    let server = Server::start("127.0.0.1", move |request| {
        *counted.lock().expect("the count") += 1;
        match request.path.contains("/file/") {
            true => Response::new(302, "").header("Location", "file:///etc/passwd"),
            false => Response::new(302, "").header("Location", request.path.clone()),
        }
    });
    let lrun = Lrun::new();
    insecure(&lrun, &[&server.name()]);
    let complaint = lrun.fails(1, &["pull", &format!("{}/x", server.name())]);
    assert!(complaint.contains("redirects without end"), "{complaint}");
    assert_eq!(*seen.lock().expect("the count"), 6);
    let complaint = lrun.fails(1, &["pull", &format!("{}/file/x", server.name())]);
    assert!(complaint.contains("only http and https are spoken"), "{complaint}");
}
