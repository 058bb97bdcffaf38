//! `manifest inspect` and `manifest referrers` of registries, honest and hostile.

use std::sync::atomic::{AtomicUsize, Ordering};

use lrun_tests::Lrun;
use serde_json::{Value, json};

use crate::fake::{BASIC, Content, INDEX, MANIFEST, architecture, digest, insecure, layer, logged_in, settings};
use crate::server::{Request, Response, Server};

fn content() -> Content {
    let mut content = Content::default();
    content.image("latest", architecture(), &[layer("a", 1000)]);
    content
}

/// An entry of a list of referrers.
fn referrer(name: &str, artifact_type: &str) -> Value {
    json!({"mediaType": MANIFEST, "digest": digest(name.as_bytes()), "size": 7, "artifactType": artifact_type,
        "annotations": {"made.by": name}})
}

fn list(entries: &[Value]) -> Response {
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
    Response::new(200, index.to_string()).header("Content-Type", INDEX)
}

/// A registry with one image, whose answers about referrers are these.
fn with(answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> (Lrun, Server, String) {
    let content = content();
    let server = Server::start("127.0.0.1", move |request| match request.path.contains("/referrers/") {
        true => answer(request),
        false => content.answer(request),
    });
    let lrun = Lrun::new();
    insecure(&lrun, &[&server.name()]);
    let name = format!("{}/x", server.name());
    (lrun, server, name)
}

/// Every page is read; a registry that does not filter is filtered; a name that comes twice is shown once.
#[test]
fn referrers_are_listed_page_after_page() {
    let subject = digest(&content().manifests["latest"].1);
    let first = format!("/v2/x/referrers/{subject}");
    let (lrun, server, name) = with(move |request| match request.path.split_once("?page=") {
        Some(("/v2/x/referrers/next", "2")) => list(&[referrer("c", "t/sbom"), referrer("a", "t/signature")]),
        _ if request.path.split('?').next() == Some(&first) => {
            list(&[referrer("a", "t/signature"), referrer("b", "t/sbom")])
                .header("Link", "</v2/x/referrers/next?page=2>; rel=\"next\"")
        }
        _ => Response::new(404, ""),
    });
    let short = |name: &str| digest(name.as_bytes());
    let listed = lrun.ok(&["manifest", "referrers", "--format", "{{.Digest}} {{.ArtifactType}}", &name]);
    let wanted = format!("{} t/signature\n{} t/sbom\n{} t/sbom", short("a"), short("b"), short("c"));
    assert_eq!(listed, wanted);
    let by_digest = format!("{name}@{subject}");
    let of_type = ["manifest", "referrers", "--artifact-type", "t/sbom", "--format", "{{.Digest}}", &by_digest];
    assert_eq!(lrun.ok(&of_type), format!("{}\n{}", short("b"), short("c")));
    assert!(server.requests().iter().any(|request| request.path.ends_with(&format!("{subject}?artifactType=t/sbom"))));
    let table = lrun.ok(&["manifest", "referrers", "--artifact-type", "t/signature", &name]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("DIGEST") && lines[1].ends_with("made.by=a") && lines.len() == 2, "{table}");
    let json: Value = serde_json::from_str(
        lrun.ok(&["manifest", "referrers", "--format", "json", &name]).lines().next().expect("one"),
    )
    .expect("JSON");
    assert_eq!((&json["ArtifactType"], &json["Annotations"]), (&json!("t/signature"), &json!("made.by=a")));
    assert_eq!(lrun.ok(&["manifest", "referrers", "--artifact-type", "none", "--format", "{{.Digest}}", &name]), "");
    assert_eq!(lrun.ok(&["images", "-aq"]), "", "nothing is pulled");
}

/// A registry that filtered may have known the type of what the list does not say it of.
#[test]
fn a_registry_that_filters_is_believed_about_what_it_leaves_out() {
    let (lrun, _, name) = with(|_| {
        let mut unsaid = referrer("b", "");
        unsaid.as_object_mut().expect("an object").remove("artifactType");
        list(&[referrer("a", "t/other"), unsaid]).header("OCI-Filters-Applied", "artifactType")
    });
    let listed = lrun.ok(&["manifest", "referrers", "--artifact-type", "t/x", "--format", "{{.Digest}}", &name]);
    assert_eq!(listed, digest(b"b"));
}

/// Registries without the list have an index under a tag that is made of the digest, or nothing.
#[test]
fn a_registry_without_the_list_has_a_tag() {
    let mut content = content();
    let subject = digest(&content.manifests["latest"].1);
    let index =
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [referrer("a", "t/x"), referrer("b", "t/y")]});
    content.manifest(&subject.replace(':', "-"), INDEX, &index);
    content.image("alone", architecture(), &[layer("b", 10)]);
    let server = Server::start("127.0.0.1", move |request| match request.path.contains("/referrers/") {
        true => Response::new(404, "404 page not found"),
        false => content.answer(request),
    });
    let lrun = Lrun::new();
    insecure(&lrun, &[&server.name()]);
    let name = format!("{}/x", server.name());
    let list =
        |name: &str| lrun.ok(&["manifest", "referrers", "--artifact-type", "t/y", "--format", "{{.Digest}}", name]);
    assert_eq!(list(&name), digest(b"b"));
    assert_eq!(list(&format!("{name}:alone")), "");
    assert!(lrun.fails(1, &["manifest", "referrers", &format!("{name}:none")]).contains("manifest unknown"));
}

/// 43, 46: lists without end, of another server, of what is no list: refused, within bounds and without credentials.
#[test]
fn lists_that_are_none_are_refused() {
    let other = Server::start("127.0.0.2", |_| list(&[]));
    let target = other.name();
    type Answer = Box<dyn Fn(&Request) -> Response + Send + Sync>;
    let pages = AtomicUsize::new(0);
    let cases: Vec<(Answer, &str)> = vec![
        (
            Box::new(move |_| list(&[]).header("Link", format!("<http://{target}/v2/x/more>; rel=next"))),
            "the list goes on at another server",
        ),
        (Box::new(|request| list(&[]).header("Link", format!("<{}>; rel=next", request.path))), "does not end"),
        (
            Box::new(move |_| {
                let page = pages.fetch_add(1, Ordering::Relaxed);
                let entries: Vec<Value> = (0..2000).map(|n| referrer(&format!("{page} {n}"), "t")).collect();
                list(&entries).header("Link", format!("</v2/x/referrers/{page}>; rel=next"))
            }),
            "more than 10000 entries",
        ),
        (Box::new(|_| Response { endless: 1 << 30, ..list(&[]) }), "is larger than"),
        (Box::new(|_| Response::new(200, "{}").header("Content-Type", "text/html")), "is no index"),
        (
            Box::new(|_| {
                let mut bad = referrer("a", "t");
                bad["digest"] = json!("sha256:../../etc/passwd");
                list(&[bad])
            }),
            "invalid digest",
        ),
        (Box::new(|_| Response::new(307, "").header("Location", "http://127.0.0.2:1/")), "answered 307"),
    ];
    for (answer, wanted) in cases {
        let (lrun, server, name) = with(answer);
        logged_in(&lrun, &server.name());
        let complaint = lrun.fails(1, &["manifest", "referrers", &name]);
        assert!(complaint.contains(wanted), "{wanted}: {complaint}");
        assert!(server.requests().len() < 20 && server.sent() < 64 << 20, "{wanted}");
    }
    assert_eq!((other.requests().len(), other.oddities().len()), (0, 0));
    // What is said of it moves no cursor.
    let (lrun, _, name) = with(|_| {
        let mut odd = referrer("a", "t\u{1b}[2J");
        odd["annotations"] = json!({"x": "a\nb"});
        list(&[odd])
    });
    let table = lrun.ok(&["manifest", "referrers", &name]);
    assert!(table.lines().count() == 2 && !table.contains('\u{1b}'), "{table:?}");
}

/// Of an image and of an index, plain and with everything about each image, as docker prints it.
#[test]
fn manifests_of_registries_are_inspected() {
    let mut content = content();
    let image = content.manifests["latest"].clone();
    let other = content.image("other", "s390x", &[layer("b", 10)]);
    let mut entries = vec![content.manifest("other", MANIFEST, &other)];
    entries[0]["platform"] = json!({"architecture": "s390x", "os": "linux"});
    let document: Value = serde_json::from_slice(&image.1).expect("JSON");
    entries.push(content.manifest("latest", MANIFEST, &document));
    entries[1]["platform"] = json!({"architecture": "arm", "os": "linux", "variant": "v7"});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
    content.manifest("index", INDEX, &index);
    let server = Server::start("127.0.0.1", move |request| match request.header("authorization") {
        Some(BASIC) => content.answer(request),
        _ => Response::new(401, "").header("WWW-Authenticate", "Basic realm=\"x\""),
    });
    let lrun = Lrun::new();
    logged_in(&lrun, &server.name());
    let name = format!("{}/x", server.name());
    // Over TLS, unless the user says otherwise.
    assert!(lrun.fails(1, &["manifest", "inspect", &name]).contains("  hint: "));
    assert_eq!(server.requests().len(), 0);
    let inspect = |args: &[&str]| lrun.ok(&[&["manifest", "inspect", "--insecure"], args].concat());
    let value = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    let plain = inspect(&[&name]);
    assert!(plain.starts_with("{\n\t\"schemaVersion\": 2,\n\t\"mediaType\""), "{plain}");
    assert_eq!(value(&plain), document);
    assert_eq!(value(&inspect(&[&format!("{name}:index")])), index);
    let by_digest = format!("{name}@{}", digest(&image.1));
    assert_eq!(value(&inspect(&[&by_digest])), document);

    let one = value(&inspect(&["-v", &name]));
    let wanted = json!({"mediaType": MANIFEST, "digest": digest(&image.1), "size": image.1.len(),
        "platform": {"architecture": architecture(), "os": "linux"}});
    assert_eq!((&one["Ref"], &one["Descriptor"]), (&json!(format!("{name}:latest")), &wanted));
    assert_eq!((&one["OCIManifest"], one.get("SchemaV2Manifest")), (&document, None));
    let each = value(&inspect(&["--verbose", &format!("{name}:index")]));
    let each = each.as_array().expect("one for each image");
    assert_eq!((each.len(), &each[0]["OCIManifest"], &each[1]["OCIManifest"]), (2, &other, &document));
    assert_eq!(each[1]["Ref"], format!("{name}:index@{}", digest(&image.1)));
    assert_eq!(each[1]["Descriptor"]["platform"], json!({"architecture": "arm", "os": "linux", "variant": "v7"}));
    assert!(
        lrun.fails(1, &["manifest", "inspect", "--insecure", &format!("{name}:none")]).contains("manifest unknown")
    );

    // What is here is printed from here, but for the other images of an index.
    settings(&lrun, &format!("[registries]\ninsecure = [{:?}]\n", server.name()));
    assert_eq!(lrun.run(&["pull", "-q", &name]).code, 0);
    let before = server.requests().len();
    assert_eq!(value(&lrun.ok(&["manifest", "inspect", "-v", &name])), one);
    assert_eq!(server.requests().len(), before);
}
