//! Mirrors: what is asked of them, and what is not.

use lrun_tests::Lrun;
use serde_json::{Value, json};

use crate::fake::{Content, INDEX, MANIFEST, architecture, descriptor, digest, layer, settings, through};
use crate::server::{Response, Server};

/// What becomes of the answer about the manifest or blob of a name.
type Change = Box<dyn Fn(&str, Response) -> Response + Send + Sync>;

/// `Authorization` of a user whose password is `secret`.
fn basic(user: &str) -> String {
    let encoded = through(&["base64", "-w0"], format!("{user}:secret").as_bytes());
    format!("Basic {}", String::from_utf8(encoded).expect("base64"))
}

/// A mirror is asked first; what it does not have comes from the registry itself. Names without a registry are searched
/// where `config.toml` says.
#[test]
fn mirrors_and_short_names_follow_the_settings() {
    let mut content = Content::default();
    content.image("latest", architecture(), &[layer("a", 100)]);
    let own = content.clone();
    let mirror = Server::start("127.0.0.1", move |request| match request.path.contains("/both/") {
        true => content.answer(request),
        false => Response::new(404, ""),
    });
    let server = Server::start("127.0.0.1", move |request| own.answer(request));
    let lrun = Lrun::new();
    let (mirror_name, name) = (mirror.name(), server.name());
    let text = format!(
        "[registries]\nunqualified-search = {name:?}\ninsecure = [{mirror_name:?}, {name:?}]\n\
         [registries.mirrors]\n{name:?} = [{mirror_name:?}]\n"
    );
    settings(&lrun, &text);
    assert_eq!(lrun.run(&["pull", "-q", "both"]).stdout, format!("{name}/both:latest\n"));
    assert_eq!(server.requests().len(), 0, "the mirror has it");
    let output = lrun.run(&["pull", "-q", "own"]);
    assert_eq!((output.code, output.stdout), (0, format!("{name}/own:latest\n")));
    assert!(output.stderr.starts_with(&format!("WARNING: {mirror_name}: ")), "{}", output.stderr);
    settings(&lrun, "[registries]\n\nsecure = []\n");
    let complaint = lrun.fails(1, &["pull", "x"]);
    assert!(complaint.contains("config.toml: line 3: unknown field `secure`"), "{complaint}");
}

/// What a mirror lacks of an image, and what it breaks off, comes from the next one or from the registry itself, from where
/// it broke. Each gets its own password, and the layers that are nowhere are an error of the last.
#[test]
fn what_a_mirror_lacks_comes_from_the_next() {
    let mut content = Content::default();
    content.image("latest", architecture(), &[layer("a", 300_000), layer("b", 400_000), layer("c", 500_000)]);
    let document: Value = serde_json::from_slice(&content.manifests["latest"].1).expect("JSON");
    let mut entry = content.manifest("inner", MANIFEST, &document);
    entry["platform"] = json!({"os": "linux", "architecture": architecture()});
    let child = entry["digest"].as_str().expect("a digest").to_owned();
    content.manifest("latest", INDEX, &json!({"schemaVersion": 2, "manifests": [entry]}));
    let of = |at: &str| document.pointer(at).and_then(|text| text.as_str()).expect("a digest").to_owned();
    let (config, first, second, third) =
        (of("/config/digest"), of("/layers/0/digest"), of("/layers/1/digest"), of("/layers/2/digest"));
    let start = |host: &str, user: &str, change: Change| {
        let (content, wanted) = (content.clone(), basic(user));
        Server::start(host, move |request| match request.header("authorization") == Some(&wanted) {
            true => change(request.path.rsplit('/').next().unwrap_or_default(), content.answer(request)),
            false => Response::new(401, "").header("WWW-Authenticate", "Basic realm=\"x\""),
        })
    };
    let (half, lost, broken) = (first.clone(), second.clone(), third.clone());
    let one = start(
        "127.0.0.2",
        "one",
        Box::new(move |name, mut response| {
            if [&child, &config, &lost].into_iter().any(|gone| gone == name) {
                return Response::new(404, "");
            }
            // Begins each time, and never gets on.
            if name == half || name == broken {
                response.cut = Some(if response.status == 206 { 0 } else { 100_000 });
            }
            response
        }),
    );
    let gone = third.clone();
    let two = start(
        "127.0.0.3",
        "two",
        Box::new(move |name, response| if name == gone { Response::new(403, "") } else { response }),
    );
    let origin = start("127.0.0.1", "three", Box::new(|_, response| response));
    let lrun = Lrun::new();
    let names = [one.name(), two.name(), origin.name()];
    settings(
        &lrun,
        &format!(
            "[registries]\ninsecure = {names:?}\n[registries.mirrors]\n{:?} = [{:?}, {:?}]\n",
            names[2], names[0], names[1]
        ),
    );
    let auths: serde_json::Map<String, Value> = names
        .iter()
        .zip(["one", "two", "three"])
        .map(|(name, user)| (name.clone(), json!({"username": user, "password": "secret"})))
        .collect();
    std::fs::create_dir_all(lrun.folder().join("home/.docker")).expect("a folder");
    lrun.file("home/.docker/config.json", json!({ "auths": auths }).to_string());
    let output = lrun.run(&["pull", &format!("{}/x", origin.name())]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(output.stderr.matches(&format!("WARNING: {}: ", names[0])).count(), 5, "{}", output.stderr);
    assert_eq!(output.stderr.matches(&format!("WARNING: {}: ", names[1])).count(), 1, "{}", output.stderr);
    // Each was sent its own user's password, and no other's.
    for (server, user) in [(&one, "one"), (&two, "two"), (&origin, "three")] {
        let sent: Vec<String> =
            server.requests().iter().filter_map(|r| r.header("authorization").map(str::to_owned)).collect();
        assert!(!sent.is_empty() && sent.iter().all(|sent| *sent == basic(user)), "{user}: {sent:?}");
    }
    // The registry itself was asked for one layer alone, from where the mirror had broken it off.
    let asked: Vec<_> = origin.requests().into_iter().filter(|r| r.header("authorization").is_some()).collect();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].path.ends_with(&third), "{asked:?}");
    assert_eq!(asked[0].header("range"), Some("bytes=100000-"));
    let ranges: Vec<_> = two.requests().into_iter().filter(|r| r.path.ends_with(&first)).collect();
    assert!(ranges.iter().any(|r| r.header("range") == Some("bytes=100000-")), "{ranges:?}");
}

/// The same bytes, some of them changed: in the middle, which decoders notice or do not, and at the end, the checksum.
fn changed(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes[at] ^= 0x55;
    bytes
}

/// A mirror that sends wrong bytes, of the right number or of another, does not end a pull, and its bytes go nowhere: the
/// layer is asked for again where else it is, from the first byte. Where all of them are wrong, both digests are named.
#[test]
fn wrong_bytes_of_a_mirror_are_fetched_from_the_next() {
    let mut content = Content::default();
    // A plain layer is wrong only by its digest; of a packed one the decoder may say so before the last byte came.
    let tars: Vec<Vec<u8>> = (0..6).map(|n| layer(&format!("file{n}"), 700_000 + n)).collect();
    let mut document = content.image("latest", architecture(), &tars);
    document["layers"][0] = descriptor("application/vnd.oci.image.layer.v1.tar", &tars[0]);
    content.blob(&tars[0]);
    content.manifest("latest", MANIFEST, &document);
    let digests: Vec<String> =
        (0..6).map(|n| document["layers"][n]["digest"].as_str().expect("a digest").to_owned()).collect();
    let number = {
        let digests = digests.clone();
        move |path: &str| digests.iter().position(|digest| path.ends_with(digest.as_str()))
    };
    let (own, of_one) = (content.clone(), number.clone());
    let one = Server::start("127.0.0.2", move |request| {
        let mut response = own.answer(request);
        let bytes = std::mem::take(&mut response.body);
        let (middle, last) = (bytes.len() / 2, bytes.len().saturating_sub(6));
        response.body = match of_one(&request.path) {
            Some(0 | 1) => changed(bytes, middle),
            Some(2) => changed(bytes, last),
            Some(3) => [bytes, b"more".to_vec()].concat(),
            // Wrong, and then it breaks off for good: what came is mixed with the right bytes of the next.
            Some(4) => {
                response.cut = Some(if response.status == 206 { 0 } else { 100_000 });
                changed(bytes, 50_000.min(middle))
            }
            _ => bytes,
        };
        response
    });
    let (own, of_two) = (content.clone(), number.clone());
    let two = Server::start("127.0.0.3", move |request| {
        let mut response = own.answer(request);
        if of_two(&request.path) == Some(1) {
            response.body = changed(response.body, 5000);
        }
        response
    });
    let own = content.clone();
    let origin = Server::start("127.0.0.1", move |request| own.answer(request));
    let lrun = Lrun::new();
    let names = [one.name(), two.name(), origin.name()];
    let mirrors = format!("[registries.mirrors]\n{:?} = {:?}\n", names[2], &names[..2]);
    settings(&lrun, &format!("[registries]\ninsecure = {names:?}\n{mirrors}"));
    let name = format!("{}/x", names[2]);
    let output = lrun.run(&["pull", "-q", &name]);
    assert_eq!((output.code, output.stdout.as_str()), (0, format!("{name}:latest\n").as_str()), "{}", output.stderr);
    for (at, digest) in digests.iter().enumerate() {
        let of = |registry: &str| output.stderr.matches(&format!("WARNING: {registry}: layer {digest}: ")).count();
        let wanted = [(1, 0), (1, 1), (1, 0), (1, 0), (1, 0), (0, 0)][at];
        assert_eq!((of(&names[0]), of(&names[1])), wanted, "layer {at}: {}", output.stderr);
    }
    // The registry itself was asked for the one layer that no mirror had right, and for all of it.
    let asked = origin.requests();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].path.ends_with(&digests[1]) && asked[0].header("range").is_none(), "{asked:?}");
    let wanted: Vec<String> = tars.iter().map(|tar| digest(tar)).collect();
    assert_eq!(lrun.inspect(&name, "{{range .RootFS.Layers}}{{.}} {{end}}").trim_end(), wanted.join(" "));
    assert_eq!(lrun.ok(&["system", "check"]), "");
    assert_eq!(std::fs::read_dir(lrun.store().join("staging")).expect("staging").count(), 0);

    // Nobody has it right: nothing is made.
    let other = Lrun::new();
    let wrong = Server::start("127.0.0.1", move |request| {
        let mut response = content.answer(request);
        if number(&request.path) == Some(0) {
            response.body = changed(response.body, 600_000);
        }
        response
    });
    let text = format!(
        "[registries]\ninsecure = [{0:?}, {1:?}]\n[registries.mirrors]\n{1:?} = [{0:?}]\n",
        names[0],
        wrong.name()
    );
    settings(&other, &text);
    let complaint = other.fails(1, &["pull", "-q", &format!("{}/x", wrong.name())]);
    let got = digest(&changed(tars[0].clone(), 600_000));
    let wanted = format!("layer {}: what came is {got}: the download is damaged, or was exchanged", digests[0]);
    assert!(complaint.contains(&wanted), "{complaint}");
    assert_eq!(other.ok(&["images", "-aq"]), "");
}
