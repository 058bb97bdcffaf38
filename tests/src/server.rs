//! A small HTTP server on loopback that writes down what it receives, and answers what a test wants.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What came in.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, say.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// What came after them.
    pub body: Vec<u8>,
}

impl Request {
    /// The first header of this name, which is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What goes out.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Beside the length.
    pub headers: Vec<(String, String)>,
    /// The content.
    pub body: Vec<u8>,
    /// The connection breaks after so many bytes of the body.
    pub cut: Option<usize>,
    /// So many more bytes of nothing follow, as promised.
    pub endless: u64,
}

impl Response {
    /// An answer with this body.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, body: body.into(), ..Self::default() }
    }

    /// The same with one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// A running server. It ends with the test's process.
#[derive(Clone)]
pub struct Server {
    address: SocketAddr,
    log: Arc<Mutex<Vec<Request>>>,
    /// First bytes of whatever was no HTTP.
    odd: Arc<Mutex<Vec<Vec<u8>>>>,
    /// Bytes that were written of bodies.
    sent: Arc<Mutex<u64>>,
    limit: Arc<Limit>,
}

/// After how many bytes of a request's body the connection breaks, told its head.
type Limit = dyn Fn(&Request) -> Option<usize> + Send + Sync;

impl Server {
    /// On a port of this loopback address.
    pub fn start(host: &str, handler: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        Self::breaking(host, |_| None, handler)
    }

    /// The same, that breaks connections while it is sent something. The handler gets what came by then; nobody gets its
    /// answer.
    pub fn breaking(
        host: &str,
        limit: impl Fn(&Request) -> Option<usize> + Send + Sync + 'static,
        handler: impl Fn(&Request) -> Response + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((host, 0)).expect("a port");
        let address = listener.local_addr().expect("its number");
        let server =
            Self { address, log: Arc::default(), odd: Arc::default(), sent: Arc::default(), limit: Arc::new(limit) };
        let (ours, handler) = (server.clone(), Arc::new(handler));
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (ours, handler) = (ours.clone(), Arc::clone(&handler));
                std::thread::spawn(move || ours.serve(connection, &*handler));
            }
        });
        server
    }

    /// `host:port`.
    pub fn name(&self) -> String {
        self.address.to_string()
    }

    /// Everything that came in so far.
    pub fn requests(&self) -> Vec<Request> {
        self.log.lock().expect("the log").clone()
    }

    /// What came in that was no HTTP.
    pub fn oddities(&self) -> Vec<Vec<u8>> {
        self.odd.lock().expect("the log").clone()
    }

    /// Bytes of bodies that went out.
    pub fn sent(&self) -> u64 {
        *self.sent.lock().expect("the count")
    }

    fn serve(&self, connection: TcpStream, handler: &dyn Fn(&Request) -> Response) {
        let _ = connection.set_read_timeout(Some(Duration::from_secs(30)));
        let Ok(mut out) = connection.try_clone() else { return };
        let mut input = BufReader::new(connection);
        while let Some((request, broken)) = self.read(&mut input) {
            self.log.lock().expect("the log").push(request.clone());
            let response = handler(&request);
            if broken || !self.write(&mut out, &request, &response) {
                let _ = out.shutdown(std::net::Shutdown::Both);
                return;
            }
        }
        // As servers answer what they do not understand, a TLS handshake for one.
        let _ = out.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n");
    }

    /// A request, and whether the connection breaks in it.
    fn read(&self, input: &mut BufReader<TcpStream>) -> Option<(Request, bool)> {
        let mut line = Vec::new();
        input.read_until(b'\n', &mut line).ok().filter(|got| *got > 0)?;
        let text = String::from_utf8_lossy(&line).into_owned();
        let words: Vec<&str> = text.split_whitespace().collect();
        let [method, path, version] = words[..] else {
            self.odd.lock().expect("the log").push(line);
            return None;
        };
        if !version.starts_with("HTTP/1.") {
            self.odd.lock().expect("the log").push(line);
            return None;
        }
        let mut request =
            Request { method: method.to_owned(), path: path.to_owned(), headers: Vec::new(), body: Vec::new() };
        loop {
            let mut line = String::new();
            input.read_line(&mut line).ok().filter(|got| *got > 0)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let limit = (self.limit)(&request);
        let end = limit.unwrap_or(usize::MAX);
        if request.header("transfer-encoding") == Some("chunked") {
            while request.body.len() < end {
                let mut line = String::new();
                input.read_line(&mut line).ok()?;
                let size = usize::from_str_radix(line.trim(), 16).ok()?;
                let mut chunk = vec![0; size + 2];
                input.read_exact(&mut chunk).ok()?;
                request.body.extend_from_slice(&chunk[..size]);
                if size == 0 {
                    break;
                }
            }
        } else if let Some(length) = request.header("content-length").and_then(|text| text.parse().ok()) {
            request.body = vec![0; end.min(length)];
            input.read_exact(&mut request.body).ok()?;
        }
        request.body.truncate(end);
        Some((request, limit.is_some()))
    }

    /// `false`: the connection is over.
    fn write(&self, out: &mut TcpStream, request: &Request, response: &Response) -> bool {
        let length = response.body.len() as u64 + response.endless;
        let mut head = format!("HTTP/1.1 {} X\r\nContent-Length: {length}\r\n", response.status);
        for (name, value) in &response.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if out.write_all(format!("{head}\r\n").as_bytes()).is_err() {
            return false;
        }
        if request.method == "HEAD" {
            return true;
        }
        let end = response.cut.unwrap_or(response.body.len());
        if out.write_all(&response.body[..end]).is_err() {
            return false;
        }
        *self.sent.lock().expect("the count") += end as u64;
        let nothing = vec![b' '; 64 << 10];
        let mut left = response.endless;
        while left > 0 {
            if out.write_all(&nothing).is_err() {
                return false;
            }
            *self.sent.lock().expect("the count") += nothing.len() as u64;
            left = left.saturating_sub(nothing.len() as u64);
        }
        response.cut.is_none()
    }
}
