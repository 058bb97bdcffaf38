//! Who is trusted with what: certificates of clients, identity tokens, proxies, and ways from TLS to plain text.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::{Arc, Mutex};

use lrun_tests::Lrun;
use serde_json::json;

use crate::docker::{Registry, pushed, run, trust};
use crate::fake::{BASIC, Content, MANIFEST, architecture, layer, logged_in, settings};
use crate::server::{Response, Server};
use crate::tls::Front;
use crate::uploads::{Shared, take};

/// A registry that knows its users by their certificates; what is in `certs.d` is shown to it, and to it alone.
#[test]
fn a_certificate_is_shown_to_its_registry() {
    needs_registry!();
    let registry = Registry::with("CA:TRUE", |folder| {
        let path = |name: &str| folder.join(name).to_str().expect("UTF-8").to_owned();
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=ada"]);
        command.args(["-addext", "extendedKeyUsage=clientAuth"]);
        run(command.args(["-keyout", &path("client.key"), "-out", &path("client.cert")]));
        (format!(", clientcas: [{}]", path("client.cert")), String::new())
    });
    let lrun = Lrun::with_busybox();
    let certs = trust(&lrun, registry.folder.path(), &registry.name);
    let name = format!("{}/box", registry.name);
    lrun.ok(&["tag", "busybox", &name]);
    let complaint = lrun.fails(1, &["push", &name]);
    assert!(complaint.contains(&format!("certs.d/{}/client.cert and client.key", registry.name)), "{complaint}");
    let copy = |file: &str| fs::copy(registry.folder.path().join(file), certs.join(file)).expect("copy");
    copy("client.cert");
    let complaint = lrun.fails(1, &["push", &name]);
    assert!(complaint.contains("client.key"), "{complaint}");
    copy("client.key");
    pushed(&lrun, &name);
    lrun.run(&["rmi", "-f", &lrun.inspect(&name, "{{.Id}}")]);
    assert_eq!(lrun.run(&["pull", "-q", &name]).code, 0);
    // The same server under a name that has no directory gets none.
    let other = name.replace("127.0.0.1", "localhost");
    lrun.fails(1, &["pull", &other]);
}

/// A token that a token server gave for a password is sent to that server alone, and never as a password.
#[test]
fn an_identity_token_is_exchanged_for_tokens() {
    let tokens = Server::start("127.0.0.1", |request| {
        let form = String::from_utf8_lossy(&request.body).into_owned();
        match request.method == "POST" && form.contains("refresh_token=id%2Btoken") {
            true => Response::new(200, r#"{"access_token": "tok", "expires_in": 300}"#),
            false => Response::new(401, r#"{"details": "incorrect token"}"#),
        }
    });
    let mut content = Content::default();
    content.image("latest", architecture(), &[layer("a", 1000)]);
    let realm = tokens.name();
    let server = Server::start("127.0.0.1", move |request| match request.header("authorization") {
        Some("Bearer tok") => content.answer(request),
        _ if request.path.contains("/basic/") => Response::new(401, "").header("WWW-Authenticate", "Basic realm=\"x\""),
        _ => Response::new(401, "")
            .header("WWW-Authenticate", format!("Bearer realm=\"http://{realm}/token\",service=\"s\"")),
    });
    let name = server.name();
    let mut lrun = Lrun::new();
    crate::fake::insecure(&lrun, &[&name]);
    let helper = lrun
        .file("docker-credential-tokens", "#!/bin/sh\necho '{\"Username\": \"<token>\", \"Secret\": \"id+token\"}'\n");
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).expect("chmod");
    lrun.set_env("PATH", &format!("{}:{}", lrun.folder().display(), std::env::var("PATH").expect("a PATH")));
    fs::create_dir_all(lrun.folder().join("home/.docker")).expect("a folder");
    // As `docker login` writes it: the user's name, no password, and the token.
    let in_file = json!({"auths": {&name: {"auth": "YWRhOg==", "identitytoken": "id+token"}}});
    let in_helper = json!({"auths": {&name: {}}, "credHelpers": {&name: "tokens"}});
    for (config, asked) in [(in_file, 1), (in_helper, 2)] {
        lrun.file("home/.docker/config.json", config.to_string());
        let output = lrun.run(&["pull", "-q", &format!("{name}/x")]);
        assert_eq!(output.code, 0, "{}", output.stderr);
        lrun.ok(&["rmi", &format!("{name}/x")]);
        let requests = tokens.requests();
        assert_eq!(requests.len(), asked);
        let form = String::from_utf8_lossy(&requests[asked - 1].body).into_owned();
        let wanted =
            "grant_type=refresh_token&client_id=lrun&refresh_token=id%2Btoken&service=s&scope=repository:x:pull";
        assert_eq!((form.as_str(), requests[asked - 1].header("authorization")), (wanted, None));
    }
    // One that asks for a password gets no token instead.
    assert_eq!(lrun.run(&["pull", &format!("{name}/basic/x")]).code, 1);
    let sent: Vec<_> = server.requests().iter().filter_map(|r| r.header("authorization").map(str::to_owned)).collect();
    assert!(sent.iter().all(|sent| sent == "Bearer tok"), "{sent:?}");
}

/// What a proxy was asked for: the heads of requests.
type Log = Arc<Mutex<Vec<String>>>;

/// A proxy on loopback for hosts that only it knows: whatever the name, it goes to the port of the name on 127.0.0.1.
fn proxy() -> (String, Log) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (name, log) = (listener.local_addr().expect("its number").to_string(), Log::default());
    let ours = Arc::clone(&log);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let log = Arc::clone(&ours);
            std::thread::spawn(move || forward(client, &log));
        }
    });
    (name, log)
}

fn forward(mut client: TcpStream, log: &Log) {
    let mut input = BufReader::new(client.try_clone().expect("it"));
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if input.read_line(&mut head).unwrap_or(0) == 0 {
            return;
        }
    }
    log.lock().expect("the log").push(head.clone());
    let authority = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).expect("a tunnel");
    let port = authority.rsplit_once(':').expect("a port").1.parse::<u16>().expect("a port");
    let mut server = TcpStream::connect(("127.0.0.1", port)).expect("the server");
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("write");
    let (mut back, mut to) = (server.try_clone().expect("it"), client.try_clone().expect("it"));
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut back, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    let _ = std::io::copy(&mut input, &mut server);
    let _ = server.shutdown(Shutdown::Write);
}

/// Proxies are those of the environment: a tunnel to registries over TLS, which see nothing of the proxy's password; what
/// NO_PROXY names, and this machine, are spoken to directly.
#[test]
fn proxies_are_those_of_the_environment() {
    needs_registry!();
    let registry = Registry::with_password();
    let (proxy, log) = proxy();
    let mut lrun = Lrun::with_busybox();
    let name = registry.name.replace("127.0.0.1", "reg.test");
    trust(&lrun, registry.folder.path(), &name);
    lrun.set_env("HTTPS_PROXY", &format!("http://eve:pass@{proxy}"));
    let login = lrun.run_with(b"secret", &["login", "-u", "ada", "--password-stdin", &name]);
    assert_eq!(login.code, 0, "{}", login.stderr);
    let image = format!("{name}/box");
    lrun.ok(&["tag", "busybox", &image]);
    pushed(&lrun, &image);
    lrun.run(&["rmi", "-f", &lrun.inspect(&image, "{{.Id}}")]);
    assert_eq!(lrun.run(&["pull", "-q", &image]).code, 0);
    let heads = log.lock().expect("the log").clone();
    assert!(!heads.is_empty());
    for head in &heads {
        assert!(head.starts_with(&format!("CONNECT {name} HTTP/1.1\r\n")), "{head}");
        assert!(head.to_lowercase().contains("proxy-authorization: basic zxzlonbhc3m="), "{head}");
        assert!(!head.contains("YWRhOnNlY3JldA=="), "{head}");
    }
    // Around the proxy there is no such host.
    for (variable, value) in [("NO_PROXY", "other.example,.test"), ("no_proxy", "reg.test"), ("NO_PROXY", "*")] {
        lrun.set_env(variable, value);
        let complaint = lrun.fails(1, &["pull", &image]);
        assert!(complaint.contains("address"), "{complaint}");
        lrun.set_env(variable, "");
    }
    assert_eq!(log.lock().expect("the log").len(), heads.len());
    // One that does not answer is named.
    lrun.set_env("HTTPS_PROXY", "http://eve:pass@127.0.0.1:1");
    let complaint = lrun.fails(1, &["pull", &image]);
    assert!(complaint.contains("refused") && complaint.contains("the proxy 127.0.0.1:1,"), "{complaint}");
    assert!(!complaint.contains("pass"), "{complaint}");
    lrun.set_env("HTTPS_PROXY", "ftp://127.0.0.1:1");
    assert!(lrun.fails(1, &["pull", &image]).contains("look at the variables HTTPS_PROXY"));
}

/// A registry in plain text has a variable of its own, and the proxy makes its requests: it is sent absolute URLs, as Go's
/// programs send them, and its own password apart from the registry's. What NO_PROXY names, and this machine, are spoken to
/// directly.
#[test]
fn the_proxy_makes_the_requests_to_a_plain_registry() {
    let mut content = Content::default();
    content.image("latest", architecture(), &[layer("a", 200_000), layer("b", 100_000)]);
    let name = "reg.test:5000";
    let got = Shared::default();
    let ours = Arc::clone(&got);
    let proxy = Server::start("127.0.0.1", move |request| match request.header("authorization") {
        Some(BASIC) if request.path.contains("/pushed/") => take(&ours, request),
        Some(BASIC) => content.answer(request),
        _ => Response::new(401, "").header("WWW-Authenticate", "Basic realm=\"x\""),
    });
    let mut lrun = Lrun::new();
    settings(&lrun, &format!("[registries]\ninsecure = [{name:?}]\n"));
    logged_in(&lrun, name);
    lrun.set_env("HTTPS_PROXY", "http://127.0.0.1:1");
    lrun.set_env("http_proxy", &format!("http://eve:pass@{}", proxy.name()));
    let image = format!("{name}/x");
    let output = lrun.run(&["pull", "-q", &image]);
    assert_eq!((output.code, output.stdout), (0, format!("{image}:latest\n")), "{}", output.stderr);
    // Bodies that go out, of known size and not.
    let there = format!("{name}/pushed/x");
    lrun.ok(&["tag", &image, &there]);
    assert_eq!(lrun.run(&["push", "-q", &there]).code, 0);
    assert!(!got.lock().expect("what came").manifest.is_empty());
    let (requests, eve) = (proxy.requests(), Some("Basic ZXZlOnBhc3M="));
    assert!(requests.iter().any(|request| request.method == "PATCH"), "{requests:?}");
    for request in &requests {
        assert!(request.path.starts_with(&format!("http://{name}/v2/")), "{} {}", request.method, request.path);
        assert_eq!((request.header("host"), request.header("proxy-authorization")), (Some(name), eve));
    }
    // Around the proxy there is no such host, and this machine is never reached through one.
    for value in ["reg.test", ".test", "*"] {
        lrun.set_env("NO_PROXY", value);
        let complaint = lrun.fails(1, &["pull", &image]);
        assert!(complaint.contains("address"), "{complaint}");
    }
    lrun.set_env("NO_PROXY", "other.test,reg.test:5001,10.0.0.0/8");
    assert_eq!(lrun.run(&["pull", "-q", &image]).code, 0);
    let before = proxy.requests().len();
    assert!(before > requests.len());
    let own = "127.0.0.1:1";
    settings(&lrun, &format!("[registries]\ninsecure = [{own:?}]\n"));
    assert!(lrun.fails(1, &["pull", &format!("{own}/x")]).contains("refused"));
    assert_eq!(proxy.requests().len(), before);
}

/// 43, 44: from TLS there is no way to plain text: not by a redirect, not by where an upload goes, not by a next page.
#[test]
fn from_tls_nothing_leads_to_plain_text() {
    let thief = Server::start("127.0.0.2", |_| Response::new(200, "{}").header("Content-Type", MANIFEST));
    let mut content = Content::default();
    content.image("latest", architecture(), &[layer("a", 1000)]);
    let target = format!("http://{}", thief.name());
    let server = Server::start("127.0.0.1", move |request| match (request.method.as_str(), request.path.as_str()) {
        (_, path) if path.starts_with("/v2/redirect/") => {
            Response::new(307, "").header("Location", target.clone() + path)
        }
        ("GET", path) if path.starts_with("/v2/blobs/blobs/") => {
            Response::new(302, "").header("Location", target.clone())
        }
        ("GET", path) if path.ends_with("/tags/list") => {
            Response::new(200, r#"{"tags": ["latest"]}"#).header("Link", format!("<{target}{path}?n=2>; rel=next"))
        }
        ("HEAD", _) => Response::new(404, ""),
        ("POST", path) => Response::new(202, "").header("Location", target.clone() + path),
        _ => content.answer(request),
    });
    let front = Front::start(&server);
    let lrun = Lrun::with_busybox();
    front.trusted_by(&lrun);
    logged_in(&lrun, &front.name);
    for (command, repository, wanted) in [
        (&["pull"][..], "redirect/x", "which is not reached over TLS"),
        (&["pull"], "blobs", "which is not reached over TLS"),
        (&["push"], "upload/x", "which is not reached over TLS"),
        (&["pull", "-a"], "tags/x", "the list goes on at another server"),
        (&["manifest", "referrers"], "redirect/x", "which is not reached over TLS"),
    ] {
        let name = format!("{}/{repository}", front.name);
        if command == ["push"] {
            lrun.ok(&["tag", "busybox", &name]);
        }
        let complaint = lrun.fails(1, &[command, &[&name]].concat());
        assert!(complaint.contains(wanted), "{command:?} {repository}: {complaint}");
    }
    assert!(!server.requests().is_empty());
    assert_eq!((thief.requests().len(), thief.oddities().len()), (0, 0), "{:?}", thief.requests());
}
