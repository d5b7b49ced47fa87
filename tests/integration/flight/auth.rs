//! Who is let in.
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{Action, Criteria, Empty, FlightData, FlightDescriptor, HandshakeRequest, Ticket};
use datafusion_semantic::server::auth::hash_password;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};
use tonic::{Code, Request};

use super::{Client, client, query, serve};

const TOKEN: &str = "a static token";

fn write_users(file: &Path, users: &[(&str, &str)], token: Option<&str>) {
    use std::fmt::Write;
    let mut text = "[users]\n".to_owned();
    for (name, password) in users {
        writeln!(text, "{name} = '{}'", hash_password(password).unwrap()).unwrap();
    }
    if let Some(digest) = token {
        writeln!(text, "[tokens]\ndashboard = '{digest}'").unwrap();
    }
    fs::write(file, text).unwrap();
}

fn sha256(text: &str) -> String {
    // of coreutils, as the documentation says
    let mut child = std::process::Command::new("sha256sum")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

async fn logged_in(channel: Channel, name: &str, password: &str) -> Result<Client, String> {
    let mut client = client(channel);
    client.handshake(name, password).await.map_err(|error| error.to_string())?;
    Ok(client)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_needs_a_good_token() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("auth.toml");
    write_users(&file, &[("ada", "correct horse")], Some(&sha256(TOKEN)));
    let serving = serve(&format!("server.auth_file = '{}'", file.display())).await;
    let channel = serving.channel().await;

    for authorization in
        [None, Some("Bearer"), Some("Bearer "), Some("Bearer forged"), Some("Basic YWRhOng="), Some("\u{7f}")]
    {
        let with = |value: Option<&'static str>| {
            move |mut request: Request<()>| {
                if let Some(value) = value.and_then(|value| value.parse().ok()) {
                    request.metadata_mut().insert("authorization", value);
                }
                Ok(request)
            }
        };
        let mut raw = FlightServiceClient::with_interceptor(channel.clone(), with(authorization));
        let message = futures::stream::iter([FlightData::default()]);
        let codes = [
            raw.get_flight_info(FlightDescriptor::new_cmd("x")).await.map(drop),
            raw.get_schema(FlightDescriptor::new_cmd("x")).await.map(drop),
            raw.poll_flight_info(FlightDescriptor::new_cmd("x")).await.map(drop),
            raw.do_get(Ticket::new("x")).await.map(drop),
            raw.do_put(message.clone()).await.map(drop),
            raw.do_exchange(message).await.map(drop),
            raw.do_action(Action::new("x", "")).await.map(drop),
            raw.list_actions(Empty {}).await.map(drop),
            raw.list_flights(Criteria::default()).await.map(drop),
        ];
        for code in codes {
            assert_eq!(code.unwrap_err().code(), Code::Unauthenticated, "{authorization:?}");
        }
    }

    for (name, password) in
        [("ada", "wrong"), ("ada", ""), ("bob", "correct horse"), ("", ""), ("ada:x", "y")]
    {
        let error = logged_in(channel.clone(), name, password).await.err().unwrap();
        assert!(error.contains("the user name or the password is wrong"), "{error}");
    }
    let mut raw = FlightServiceClient::new(channel.clone());
    let error = raw.handshake(futures::stream::iter([HandshakeRequest::default()])).await.unwrap_err();
    assert_eq!(error.code(), Code::Unauthenticated);

    let mut ada = logged_in(channel.clone(), "ada", "correct horse").await.unwrap();
    query(&mut ada, "SELECT 1").await.unwrap();
    let mut dashboard = client(channel.clone());
    dashboard.set_token(TOKEN.to_owned());
    query(&mut dashboard, "SELECT 1").await.unwrap();
    dashboard.set_token(sha256(TOKEN));
    query(&mut dashboard, "SELECT 1").await.unwrap_err();

    // what is planned for one is not for another
    dashboard.set_token(TOKEN.to_owned());
    let info = ada.execute("SELECT 1".to_owned(), None).await.unwrap();
    let error = super::fetch(&mut dashboard, info.clone()).await.unwrap_err();
    assert!(error.contains("there is no such handle"), "{error}");
    super::fetch(&mut ada, info).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_expire_and_end_with_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("auth.toml");
    write_users(&file, &[("ada", "one"), ("bob", "two")], Some(&sha256(TOKEN)));
    let toml = format!("server.token_seconds = 6\nserver.auth_file = '{}'", file.display());
    let serving = serve(&toml).await;
    let channel = serving.channel().await;
    let mut ada = logged_in(channel.clone(), "ada", "one").await.unwrap();
    let mut bob = logged_in(channel.clone(), "bob", "two").await.unwrap();
    let logged = Instant::now();
    let mut dashboard = client(channel.clone());
    dashboard.set_token(TOKEN.to_owned());
    query(&mut dashboard, "SELECT 1").await.unwrap();

    // a file that cannot be read changes nothing
    fs::write(&file, "[users]\nada = 'no hash'").unwrap();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    query(&mut ada, "SELECT 1").await.unwrap();
    // another password and no static token; bob stays as he is
    let bobs = {
        write_users(&file, &[("ada", "three")], None);
        fs::read_to_string(&file).unwrap()
    };
    assert!(bobs.contains("ada"));
    let mut refused = false;
    for _ in 0..50 {
        refused = query(&mut ada, "SELECT 1").await.is_err();
        if refused {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(refused);
    query(&mut dashboard, "SELECT 1").await.unwrap_err();
    query(&mut bob, "SELECT 1").await.unwrap_err();
    let mut ada = logged_in(channel.clone(), "ada", "three").await.unwrap();
    let again = Instant::now();
    query(&mut ada, "SELECT 1").await.unwrap();
    assert!(logged.elapsed() < Duration::from_mins(1));
    tokio::time::sleep(Duration::from_secs(6).saturating_sub(again.elapsed())).await;
    let error = query(&mut ada, "SELECT 1").await.unwrap_err();
    assert!(error.contains("the bearer token is wrong or has expired: log in again"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_nobody_has_takes_as_long_as_a_wrong_password() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("auth.toml");
    write_users(&file, &[("ada", "one")], None);
    let serving = serve(&format!("server.auth_file = '{}'", file.display())).await;
    let channel = serving.channel().await;
    let mut times = [vec![], vec![]];
    for _ in 0..7 {
        for (name, times) in ["ada", "nobody"].into_iter().zip(&mut times) {
            let started = Instant::now();
            assert!(logged_in(channel.clone(), name, "wrong").await.is_err());
            times.push(started.elapsed());
        }
    }
    let [known, unknown] = times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64()
    });
    // without the work of a hash it would be a hundredth
    assert!(unknown > known / 5.0, "{unknown} {known}");
}

/// An authority, and what it signs.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn sign(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

async fn tls_query(port: u16, tls: ClientTlsConfig) -> Result<(), String> {
    let endpoint = Channel::from_shared(format!("https://localhost:{port}")).unwrap();
    let channel = endpoint.tls_config(tls).unwrap().connect().await.map_err(|error| format!("{error:?}"))?;
    query(&mut client(channel), "SELECT 1").await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_keeps_out_who_has_no_certificate_of_the_authority() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) = (Authority::new(), Authority::new());
    let (cert, key) = ours.sign();
    let path = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name).display().to_string()
    };
    let server = format!(
        "server.tls_cert = '{}'\nserver.tls_key = '{}'\n",
        path("cert.pem", &cert),
        path("key.pem", &key)
    );
    let trusting = |authority: &Authority| {
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&authority.pem)).domain_name("localhost")
    };

    let serving = serve(&server).await;
    let port = serving.address.port();
    tls_query(port, trusting(&ours)).await.unwrap();
    assert!(tls_query(port, trusting(&other)).await.is_err());
    let plain = Channel::from_shared(format!("http://127.0.0.1:{port}")).unwrap().connect().await;
    if let Ok(plain) = plain {
        assert!(query(&mut client(plain), "SELECT 1").await.is_err());
    }

    let serving = serve(&format!("{server}server.tls_client_ca = '{}'", path("ca.pem", &ours.pem))).await;
    let port = serving.address.port();
    let identity = |authority: &Authority| {
        let (cert, key) = authority.sign();
        Identity::from_pem(cert, key)
    };
    tls_query(port, trusting(&ours).identity(identity(&ours))).await.unwrap();
    assert!(tls_query(port, trusting(&ours)).await.is_err());
    assert!(tls_query(port, trusting(&ours).identity(identity(&other))).await.is_err());
}
