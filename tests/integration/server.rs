//! An HTTP server of a test, on this machine, that remembers what it was asked.
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

/// A request without body.
#[derive(Debug, Clone)]
pub struct Request {
    /// With its query string.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

pub struct Server {
    pub port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Serves until the process ends. `answer` gives the bytes that are sent, headers included.
    pub fn start(answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&requests), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                let mut stream = stream.unwrap();
                thread::spawn(move || {
                    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                    let first = lines.next().unwrap_or_default();
                    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
                    let headers = lines.take_while(|line| !line.is_empty());
                    let headers = headers.filter_map(|line| {
                        let (name, value) = line.split_once(": ")?;
                        Some((name.to_lowercase(), value.to_owned()))
                    });
                    let request = Request { path, headers: headers.collect() };
                    log.lock().unwrap().push(request.clone());
                    // the client may have gone
                    let _ = stream.write_all(&answer(&request));
                });
            }
        });
        Self { port, requests }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The requests since the last question.
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }

    /// Their paths, sorted.
    pub fn take_paths(&self) -> Vec<String> {
        let mut paths: Vec<String> = self.take().into_iter().map(|request| request.path).collect();
        paths.sort();
        paths
    }
}

/// An answer with a status line like `200 OK`, headers that end with line breaks, and a body.
pub fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A file, or the range of it that is asked for.
pub fn file(request: &Request, body: &[u8]) -> Vec<u8> {
    let Some(range) = request.header("range").and_then(|range| range.strip_prefix("bytes=")) else {
        return answer("200 OK", "accept-ranges: bytes\r\n", body);
    };
    let (first, last) = range.split_once('-').unwrap();
    let end = last.parse().map_or(body.len(), |last: usize| (last + 1).min(body.len()));
    let start = match first.parse() {
        Ok(start) => start,
        Err(_) => body.len() - last.parse::<usize>().unwrap().min(body.len()),
    };
    if start >= body.len() {
        return answer(
            "416 Range Not Satisfiable",
            &format!("content-range: bytes */{}\r\n", body.len()),
            b"",
        );
    }
    let end = if first.is_empty() { body.len() } else { end };
    let range = format!("content-range: bytes {start}-{}/{}\r\n", end - 1, body.len());
    answer("206 Partial Content", &range, &body[start..end])
}

/// A redirect.
pub fn redirect(location: &str) -> Vec<u8> {
    answer("302 Found", &format!("location: {location}\r\n"), b"")
}
