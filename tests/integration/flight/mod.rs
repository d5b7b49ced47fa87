//! `semsql serve` as clients of Flight SQL see it.

mod auth;
mod cancel;
mod hostile;
mod limits;
mod process;
mod protocol;
mod python;
mod sandbox;
mod writes;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow_flight::FlightInfo;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use datafusion::prelude::SessionContext;
use datafusion_semantic::models::Registry;
use datafusion_semantic::server::{self, Server, ServerConfig};
use datafusion_semantic::session;
use futures::TryStreamExt;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::mock::{self, Counts};

pub type Client = FlightSqlServiceClient<Channel>;

/// A server of a test, over a session with the models of the mock. Dropped, it ends at once.
pub struct Serving {
    pub address: SocketAddr,
    pub metrics: Option<SocketAddr>,
    pub counts: Arc<Counts>,
    stop: Option<oneshot::Sender<()>>,
    tasks: JoinSet<()>,
}

/// A session as `semsql serve` opens it, whose default models are the mock's.
async fn mock_session(toml: &str, config: &ServerConfig) -> (SessionContext, Arc<Counts>) {
    let counts = Arc::new(Counts::default());
    let ctx = server::session(toml, &config.limits).unwrap();
    let registry = Registry::default().with_provider(Arc::new(mock::provider(Arc::clone(&counts))));
    datafusion_semantic::register_with(&ctx, registry).unwrap();
    for set in ["provider = 'mock'", "text_model = 'mock'", "image_model = 'mock'"] {
        run(&ctx, &format!("SET semantic.{set}")).await;
    }
    (ctx, counts)
}

/// Runs a statement in the session itself, without the server.
pub async fn run(ctx: &SessionContext, sql: &str) {
    session::sql(ctx, sql).await.unwrap().collect().await.unwrap();
}

/// Serves with the table `server` and the options of a configuration file, after some statements.
pub async fn serve_with(toml: &str, init: &[&str]) -> Serving {
    let toml = format!("server.bind = '127.0.0.1:0'\n{toml}");
    let config = ServerConfig::parse(&toml).unwrap();
    let (ctx, counts) = mock_session(&toml, &config).await;
    for sql in init {
        run(&ctx, sql).await;
    }
    let server = Server::bind(ctx, config).await.unwrap();
    let (address, metrics) = (server.address(), server.metrics_address());
    let (stop, stopped) = oneshot::channel::<()>();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let stopped = async move {
            // dropped: at once
            let _ = stopped.await;
        };
        server.serve(stopped).await.unwrap();
    });
    Serving { address, metrics, counts, stop: Some(stop), tasks }
}

pub async fn serve(toml: &str) -> Serving {
    serve_with(toml, &[]).await
}

impl Serving {
    pub async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.connect().await.unwrap()
    }

    pub async fn client(&self) -> Client {
        client(self.channel().await)
    }

    /// Asks it to end, and waits until it has.
    pub async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.tasks.join_next().await;
    }

    /// A page of the second port: the status line and all that follows.
    pub async fn page(&self, path: &str) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(self.metrics.unwrap()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

/// A client that takes messages of any size.
pub fn client(channel: Channel) -> Client {
    let inner = FlightServiceClient::new(channel).max_decoding_message_size(usize::MAX);
    FlightSqlServiceClient::new_from_inner(inner)
}

/// The rows that a client is promised.
pub async fn fetch(client: &mut Client, info: FlightInfo) -> Result<Vec<RecordBatch>, String> {
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let rows = client.do_get(ticket).await.map_err(|error| error.to_string())?;
    rows.try_collect().await.map_err(|error| error.to_string())
}

/// The rows of a statement, or its error.
pub async fn query(client: &mut Client, sql: &str) -> Result<Vec<RecordBatch>, String> {
    let info = client.execute(sql.to_owned(), None).await.map_err(|error| error.to_string())?;
    fetch(client, info).await
}

/// The rows as text.
pub async fn table(client: &mut Client, sql: &str) -> String {
    let batches = query(client, sql).await.unwrap();
    arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string()
}

/// Waits until something holds, for at most some seconds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}");
}
