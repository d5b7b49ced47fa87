//! An HTTP server that answers as a script says, and keeps what it was asked. Also of `benches/providers.rs`.
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// How many came before it.
    pub number: usize,
    /// Since the server was started.
    pub at: Duration,
    pub path: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

/// What the server does about a request.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// Time before the answer.
    pub delay: Duration,
    /// Whether the connection is closed in the middle of the body.
    pub cut: bool,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: vec![], body: body.into(), delay: Duration::ZERO, cut: false }
    }

    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    pub fn cut(self) -> Self {
        Self { cut: true, ..self }
    }
}

/// What a server has seen; it runs until the runtime that started it ends.
#[derive(Debug)]
pub struct Server {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    log: Mutex<Log>,
    started: Instant,
}

#[derive(Debug, Default)]
struct Log {
    requests: Vec<Request>,
    in_flight: usize,
    most_in_flight: usize,
}

impl Server {
    pub async fn start(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Arc<Self> {
        Self::start_at(([127, 0, 0, 1], 0).into(), script).await
    }

    pub async fn start_at(
        address: SocketAddr,
        script: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Arc<Self> {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Arc::new(Self { url, log: Mutex::default(), started: Instant::now() });
        let (this, script) = (Arc::clone(&server), Arc::new(script));
        spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (this, script) = (Arc::clone(&this), Arc::clone(&script));
                // a connection that breaks is the client's business
                spawn(async move { drop(this.serve(stream, script.as_ref()).await) });
            }
        });
        server
    }

    /// The requests until now.
    pub fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().requests.clone()
    }

    pub fn count(&self) -> usize {
        self.log.lock().unwrap().requests.len()
    }

    pub fn most_in_flight(&self) -> usize {
        self.log.lock().unwrap().most_in_flight
    }

    async fn serve(
        &self,
        stream: TcpStream,
        script: &(impl Fn(&Request) -> Reply + Sync),
    ) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufStream::with_capacity(1 << 16, 1 << 16, stream);
        while let Some(request) = self.read(&mut stream).await? {
            let reply = script(&request);
            tokio::time::sleep(reply.delay).await;
            self.log.lock().unwrap().in_flight -= 1;
            let mut head = format!("HTTP/1.1 {} X\r\ncontent-length: {}\r\n", reply.status, reply.body.len());
            for (name, value) in &reply.headers {
                head.extend([*name, ": ", value, "\r\n"]);
            }
            stream.write_all(format!("{head}\r\n").as_bytes()).await?;
            let end = if reply.cut { reply.body.len() / 2 } else { reply.body.len() };
            stream.write_all(&reply.body[..end]).await?;
            stream.flush().await?;
            if reply.cut {
                break;
            }
        }
        Ok(())
    }

    async fn read(&self, stream: &mut BufStream<TcpStream>) -> std::io::Result<Option<Request>> {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut headers = HashMap::new();
        loop {
            line.clear();
            stream.read_line(&mut line).await?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or_default();
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let mut log = self.log.lock().unwrap();
        log.in_flight += 1;
        log.most_in_flight = log.most_in_flight.max(log.in_flight);
        let request = Request { number: log.requests.len(), at: self.started.elapsed(), path, headers, body };
        log.requests.push(request.clone());
        Ok(Some(request))
    }
}

fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    #[expect(clippy::disallowed_methods, reason = "the runtime of the test ends it")]
    tokio::spawn(task);
}
