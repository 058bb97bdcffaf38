//! Against Debian's docker-registry, with TLS and a password.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use lrun_tests::{Lrun, skip};

use crate::docker::{Registry, has, pushed, run};
use crate::fake::settings;
use crate::server::{Response, Server};

/// Log in, push, remove, pull, run; a second push sends nothing, another repository takes the layers over, and the
/// manifest stays what it was.
#[test]
fn an_image_goes_and_comes_back() {
    needs_registry!();
    let registry = Registry::with_password();
    let lrun = Lrun::with_busybox();
    registry.trusted_by(&lrun);
    let name = format!("{}/a/box", registry.name);
    let tagged = format!("{name}:latest");
    lrun.ok(&["tag", "busybox", &name]);
    let complaint = lrun.fails(1, &["push", "-q", &name]);
    assert!(
        complaint.contains("push access denied for ") && complaint.contains("': no basic auth credentials"),
        "{complaint}"
    );

    // A wrong password is not kept.
    let output = lrun.run_with(b"wrong", &["login", "-u", "ada", "--password-stdin", &registry.name]);
    assert_eq!(output.code, 1);
    let kept = lrun.folder().join("home/.docker/config.json");
    assert!(!kept.exists() && output.stderr.contains("401 Unauthorized"), "{}", output.stderr);
    registry.login(&lrun);
    let mode = || fs::metadata(&kept).expect("it is kept").permissions().mode() & 0o7777;
    assert_eq!(mode(), 0o600);
    // Also where a file that others can read was there.
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o644)).expect("chmod");
    registry.login(&lrun);
    assert_eq!(mode(), 0o600);

    let (digest, said) = pushed(&lrun, &name);
    assert!(
        said.starts_with(&format!("Using default tag: latest\nThe push refers to repository [{name}]\n"))
            && said.contains(": Pushed\n"),
        "{said}"
    );
    let id = lrun.inspect(&name, "{{.Id}}");
    let (again, said) = pushed(&lrun, &tagged);
    assert!(again == digest && said.contains(": Layer already exists\n"), "{said}");

    lrun.run(&["rmi", "-f", &id]);
    assert_eq!(lrun.ok(&["images", "-aq"]), "");
    let output = lrun.run(&["run", "--rm", "--network", "none", &name, "ls", "/var/lib/files/40"]);
    assert_eq!((output.code, output.stdout.as_str()), (0, "/var/lib/files/40\n"), "{}", output.stderr);
    assert_eq!(lrun.inspect(&name, "{{.Id}} {{index .RepoDigests 0}}"), format!("{id} {name}@{digest}"));

    let other = format!("{}/b/box:v1", registry.name);
    lrun.ok(&["tag", &name, &other]);
    let (moved, said) = pushed(&lrun, &other);
    assert!(moved == digest && said.contains(": Mounted from a/box\n"), "{said}");

    // One layer more: what is below stays where it is.
    lrun.ok(&["run", "--name", "one", "--network", "none", &name, "touch", "/new"]);
    lrun.ok(&["commit", "one", &format!("{name}:more")]);
    let (more, said) = pushed(&lrun, &format!("{name}:more"));
    assert!(said.contains(": Layer already exists\n") && said.contains(": Pushed\n") && more != digest, "{said}");

    // Debian's registry answers no questions, and is asked for its list.
    let search = lrun.ok(&["search", "--format", "{{.Name}} {{.StarCount}}", &format!("{}/box", registry.name)]);
    assert_eq!(search, format!("{name} 0\n{}/b/box 0", registry.name));
    lrun.ok(&["rm", "one"]);
    lrun.run(&["rmi", "-f", &lrun.inspect(&format!("{name}:more"), "{{.Id}}"), &id]);
    let output = lrun.run(&["pull", "-a", &name]);
    assert_eq!(output.stdout.lines().filter(|line| line.starts_with("Status: ")).count(), 2, "{output:?}");
    assert!(output.code == 0 && output.stdout.ends_with(&format!("\n{name}\n")), "{output:?}");
    assert_eq!(lrun.ok(&["images", "-q", &name]).lines().count(), 2);
    assert_eq!(lrun.ok(&["run", "--rm", "--network", "none", &format!("{name}:more"), "ls", "/new"]), "/new");

    let removed = format!("Removing login credentials for {}", registry.name);
    assert_eq!(lrun.ok(&["logout", &registry.name]), removed);
    assert_eq!(lrun.ok(&["logout", &registry.name]), format!("Not logged in to {}", registry.name));
    assert!(lrun.fails(1, &["pull", "-q", &format!("{name}:other")]).contains("denied"));
}

/// The password is typed on a terminal and not shown.
#[test]
fn a_password_is_typed_unseen() {
    needs_registry!();
    let registry = Registry::with_password();
    let lrun = Lrun::new();
    registry.trusted_by(&lrun);
    let mut pty = lrun.pty(&["login", &registry.name]);
    pty.expect("Username: ");
    pty.line("ada");
    pty.expect("Password: ");
    assert!(!pty.is_cooked());
    pty.line("secret");
    let (shown, code) = pty.finish();
    assert!(code == 0 && shown.contains("Login Succeeded") && !shown.contains("secret"), "{shown}");
    let mut pty = lrun.pty(&["login", "-u", "ada", &registry.name]);
    pty.expect("Password: ");
    pty.send("sec\u{3}");
    let (shown, code) = pty.finish();
    assert!(code == 1 && shown.contains("interrupted"), "{shown}");
    let complaint = lrun.fails(1, &["login", "-u", "ada", &registry.name]);
    assert!(complaint.contains("Cannot perform an interactive login from a non TTY device"), "{complaint}");
}

/// What lrun pushes, skopeo reads; what skopeo copies there, lrun pulls.
#[test]
fn skopeo_reads_what_lrun_pushed() {
    needs_registry!();
    if !has("skopeo") {
        skip!("skopeo is not installed");
    }
    let lrun = Lrun::with_busybox();
    let registry = Registry::used_by(&lrun);
    let name = format!("{}/box", registry.name);
    lrun.ok(&["tag", "busybox", &name]);
    let (digest, _) = pushed(&lrun, &name);
    let place = lrun.folder().join("copied");
    let skopeo = |args: &[&str]| {
        let mut command = Command::new("skopeo");
        command.args(["--tmpdir", lrun.folder().to_str().expect("UTF-8"), "--insecure-policy", "copy"]).args(args);
        run(command.env("HOME", lrun.folder().join("home")))
    };
    let (source, folder) = (format!("docker://{name}@{digest}"), format!("oci:{}:x", place.display()));
    skopeo(&["--src-tls-verify=false", "--src-creds", "ada:secret", &source, &folder]);
    let copy = format!("docker://{}/copy:v2s2", registry.name);
    skopeo(&["--dest-tls-verify=false", "--dest-creds", "ada:secret", "--format", "v2s2", &folder, &copy]);
    let copied = format!("{}/copy:v2s2", registry.name);
    let output = lrun.run(&["pull", &copied]);
    assert!(output.code == 0 && output.stderr.contains(": Already exists\n"), "{}", output.stderr);
    assert_eq!(lrun.inspect(&copied, "{{.RootFS.Layers}}"), lrun.inspect(&name, "{{.RootFS.Layers}}"));
}

/// 44: a certificate that nobody vouches for ends it, and nothing was said before.
#[test]
fn an_unknown_certificate_ends_it() {
    needs_registry!();
    let registry = Registry::with_password();
    let lrun = Lrun::new();
    let complaint = lrun.fails(1, &["pull", &format!("{}/x", registry.name)]);
    assert!(
        complaint.contains("certificate") && complaint.contains(&format!("certs.d/{}/ca.crt", registry.name)),
        "{complaint}"
    );
    let output = lrun.run_with(b"secret", &["login", "-u", "ada", "--password-stdin", &registry.name]);
    assert_eq!(output.code, 1);
    assert!(!lrun.folder().join("home/.docker").exists());
    // One that is known is known by its name.
    registry.trusted_by(&lrun);
    let other = registry.name.replace("127.0.0.1", "localhost");
    let certs = lrun.folder().join("home/.config/lrun/certs.d");
    fs::rename(certs.join(&registry.name), certs.join(&other)).expect("rename");
    let complaint = lrun.fails(1, &["pull", &format!("{other}/x")]);
    assert!(complaint.contains("certificate not valid for name \"localhost\""), "{complaint}");
}

/// 43: a registry over TLS that sends its users to a token server in plain text: that gets nothing, not even on the same
/// host.
#[test]
fn a_plain_realm_of_a_registry_over_tls_gets_nothing() {
    needs_registry!();
    let thief = Server::start("127.0.0.1", |_| Response::new(200, r#"{"token": "tok"}"#));
    let registry = Registry::start("CA:FALSE", |folder| {
        let (realm, bundle) = (thief.name(), folder.join("cert.pem"));
        format!(
            "auth: {{token: {{realm: 'http://{realm}/token', service: s, issuer: i, rootcertbundle: {}}}}}\n",
            bundle.display()
        )
    });
    let lrun = Lrun::new();
    registry.trusted_by(&lrun);
    crate::fake::logged_in(&lrun, &registry.name);
    let complaint = lrun.fails(1, &["pull", &format!("{}/x", registry.name)]);
    assert!(complaint.contains("where a password could be read on the way"), "{complaint}");
    let output = lrun.run_with(b"secret", &["login", "-u", "ada", "--password-stdin", &registry.name]);
    assert_eq!(output.code, 1, "{}", output.stderr);
    assert_eq!((thief.requests().len(), thief.oddities().len()), (0, 0));
}

/// Scripts that log in for one job keep that apart from the user's own.
#[test]
fn a_password_is_kept_in_the_directory_that_the_flag_config_names() {
    needs_registry!();
    let registry = Registry::with_password();
    let lrun = Lrun::with_busybox();
    registry.trusted_by(&lrun);
    let folder = lrun.folder().join("job");
    let config = folder.to_str().expect("UTF-8");
    let words = ["--config", config, "login", "-u", "ada", "--password-stdin", &registry.name];
    let output = lrun.run_with(b"secret", &words);
    assert_eq!((output.code, output.stdout.as_str()), (0, "Login Succeeded\n"), "{}", output.stderr);
    assert!(folder.join("config.json").exists() && !lrun.folder().join("home/.docker").exists());
    let name = format!("{}/box", registry.name);
    lrun.ok(&["tag", "busybox", &name]);
    lrun.ok(&["--config", config, "push", "-q", &name]);
    lrun.ok(&["rmi", &name]);
    assert!(lrun.fails(1, &["pull", "-q", &name]).contains("denied"));
    lrun.ok(&["--config", config, "run", "-q", "--rm", "--network", "none", &name, "true"]);
    let removed = format!("Removing login credentials for {}", registry.name);
    assert_eq!(lrun.ok(&["--config", config, "logout", &registry.name]), removed);
}

/// A credential helper keeps what `login` found right, gives it to `pull`, and forgets it.
#[test]
fn a_credential_helper_is_asked() {
    needs_registry!();
    let registry = Registry::with_password();
    let mut lrun = Lrun::with_busybox();
    registry.trusted_by(&lrun);
    let kept = lrun.folder().join("kept");
    let helper = lrun.file(
        "docker-credential-test",
        format!(
            "#!/bin/sh\ncase $1 in get) cat {0} 2>/dev/null || {{ echo 'credentials not found in native keychain'; exit 1; }};;\n\
             store) cat > {0};; erase) rm {0};; esac\n",
            kept.display()
        ),
    );
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).expect("chmod");
    let path = format!("{}:{}", lrun.folder().display(), std::env::var("PATH").expect("a PATH"));
    lrun.set_env("PATH", &path);
    fs::create_dir_all(lrun.folder().join("home/.docker")).expect("a folder");
    let config = lrun.file("home/.docker/config.json", r#"{"credsStore": "test", "HttpHeaders": {"X": "y"}}"#);
    let output = lrun.run_with(b"secret", &["login", "-u", "ada", "--password-stdin", &registry.name]);
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (0, "Login Succeeded\n", ""));
    assert!(fs::read_to_string(&kept).expect("it is kept").contains(r#""Secret":"secret""#));
    let text = fs::read_to_string(&config).expect("the file");
    assert!(!text.contains("YWRh") && text.contains("HttpHeaders") && text.contains(&registry.name), "{text}");
    let name = format!("{}/box", registry.name);
    lrun.ok(&["tag", "busybox", &name]);
    pushed(&lrun, &name);
    lrun.ok(&["logout", &registry.name]);
    assert!(!kept.exists());
    assert!(lrun.fails(1, &["pull", "-q", &format!("{name}:x")]).contains("denied"));
}

/// Names that have no list are told so; wrong servers and wrong settings, too.
#[test]
fn what_is_not_offered_is_said() {
    let lrun = Lrun::new();
    assert!(lrun.fails(1, &["login", "-u", "a", "-p", "b", "https://"]).contains("is no registry"));
    assert!(
        lrun.fails(1, &["push", "127.0.0.1:1/x"])
            .contains("An image does not exist locally with the tag: 127.0.0.1:1/x")
    );
    settings(&lrun, "[registries]\ninsecure = [\"http://x\"]\n");
    assert!(lrun.fails(1, &["pull", "x"]).contains("line 2: \"http://x\" is no registry"));
}
