//! TLS before a server of a test: python3 speaks it and passes requests on, one by one.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use lrun_tests::Lrun;

use crate::docker::{certificate_in, trust};
use crate::server::Server;

const PROGRAM: &str = r#"
import http.client, http.server, ssl, sys
cert, key, port = sys.argv[1:]
class Front(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *args): pass
    def pass_on(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        back = http.client.HTTPConnection("127.0.0.1", int(port))
        back.request(self.command, self.path, body, dict(self.headers))
        answer = back.getresponse()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders(): self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.read())
    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Front)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
"#;

/// A running front; ended when dropped.
pub struct Front {
    child: Child,
    /// `host:port`.
    pub name: String,
    folder: tempfile::TempDir,
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Front {
    pub fn start(back: &Server) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        certificate_in(folder.path(), "CA:FALSE");
        let port = back.name().rsplit_once(':').expect("a port").1.to_owned();
        let mut command = Command::new("python3");
        command.args(["-c", PROGRAM]).args([folder.path().join("cert.pem"), folder.path().join("key.pem")]).arg(port);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("python3");
        let mut port = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut port).expect("its port");
        Self { child, name: format!("127.0.0.1:{}", port.trim()), folder }
    }

    /// Has lrun know its certificate.
    pub fn trusted_by(&self, lrun: &Lrun) {
        trust(lrun, self.folder.path(), &self.name);
    }
}
