//! Debian's docker-registry on loopback, with TLS: how the tests start it and speak to it.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lrun_tests::Lrun;

/// A running docker-registry; ended when dropped.
pub struct Registry {
    child: Child,
    /// `host:port`.
    pub name: String,
    pub folder: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn has(program: &str) -> bool {
    let found = |folder: &str| Path::new(folder).join(program).exists();
    std::env::var("PATH").is_ok_and(|path| path.split(':').any(found))
}

/// What is missing of the programs that these tests need.
pub fn missing() -> Option<&'static str> {
    [("docker-registry", "docker-registry"), ("openssl", "openssl"), ("htpasswd", "apache2-utils")]
        .into_iter()
        .find(|(program, _)| !has(program))
        .map(|(_, package)| package)
}

/// Skips a test where docker-registry, or what starts it, is missing.
macro_rules! needs_registry {
    () => {
        if let Some(package) = $crate::docker::missing() {
            lrun_tests::skip!("{package} is not installed");
        }
    };
}

pub fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Makes `cert.pem` and `key.pem` in a folder: for 127.0.0.1 and reg.test, signed by nobody else, with these basic
/// constraints.
pub fn certificate_in(folder: &Path, constraints: &str) {
    let path = |name: &str| folder.join(name).to_str().expect("UTF-8").to_owned();
    let constraints = format!("basicConstraints=critical,{constraints}");
    let names = "subjectAltName=IP:127.0.0.1,DNS:reg.test";
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=lrun test"]);
    command.args(["-addext", names, "-addext", &constraints]);
    run(command.args(["-keyout", &path("key.pem"), "-out", &path("cert.pem")]));
}

/// Has lrun know the certificate that lies in a folder as that of a server.
pub fn trust(lrun: &Lrun, folder: &Path, server: &str) -> PathBuf {
    let certs = lrun.folder().join("home/.config/lrun/certs.d").join(server);
    fs::create_dir_all(&certs).expect("a folder");
    fs::copy(folder.join("cert.pem"), certs.join("ca.crt")).expect("the certificate");
    certs
}

impl Registry {
    /// With TLS by a certificate that nobody signed, an authority's (`CA:TRUE`) or not, and the users that `auth`, a part of
    /// its configuration, lets in.
    pub fn start(certificate: &str, auth: impl FnOnce(&Path) -> String) -> Self {
        Self::with(certificate, |folder| (String::new(), auth(folder)))
    }

    /// The same with what `parts` gives: more of `tls`, and of the whole configuration.
    pub fn with(certificate: &str, parts: impl FnOnce(&Path) -> (String, String)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        certificate_in(folder.path(), certificate);
        let (tls, rest) = parts(folder.path());
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: '127.0.0.1:{port}', tls: {{certificate: {}, key: {}{tls}}}}}\n{rest}",
            path("data"),
            path("cert.pem"),
            path("key.pem"),
        );
        fs::write(path("config.yml"), text).expect("the configuration");
        let log = fs::File::create(path("log")).expect("a log");
        let child = Command::new("docker-registry")
            .args(["serve", &path("config.yml")])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("docker-registry");
        let end = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "docker-registry: {}", fs::read_to_string(path("log")).unwrap_or_default());
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, name: format!("127.0.0.1:{port}"), folder }
    }

    /// For the user ada with the password secret.
    pub fn with_password() -> Self {
        Self::start("CA:TRUE", |folder| {
            let users = folder.join("users");
            let line = run(Command::new("htpasswd").args(["-Bbn", "-C", "4", "ada", "secret"]));
            fs::write(&users, line).expect("the users");
            format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", users.display())
        })
    }

    /// The same, whose certificate lrun knows, and where it is logged in.
    pub fn used_by(lrun: &Lrun) -> Self {
        let registry = Self::with_password();
        registry.trusted_by(lrun);
        registry.login(lrun);
        registry
    }

    /// Has lrun know its certificate.
    pub fn trusted_by(&self, lrun: &Lrun) {
        trust(lrun, self.folder.path(), &self.name);
    }

    pub fn login(&self, lrun: &Lrun) {
        let output = lrun.run_with(b"secret\n", &["login", "-u", "ada", "--password-stdin", &self.name]);
        assert_eq!((output.code, output.stdout.as_str()), (0, "Login Succeeded\n"), "{}", output.stderr);
    }
}

/// The digest that `push` prints.
pub fn pushed(lrun: &Lrun, name: &str) -> (String, String) {
    let output = lrun.run(&["push", name]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    let digest = output.stdout.split_whitespace().find(|word| word.starts_with("sha256:")).expect("a digest");
    (digest.to_owned(), output.stderr)
}
