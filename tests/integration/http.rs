//! `download` over HTTP, against a server of the test.
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::mock;

/// Serves `answers` by path, whole HTTP messages, until the test ends; the paths asked for are in the list.
async fn serve(answers: HashMap<&'static str, &'static str>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let server = async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let path = request.split_whitespace().nth(1).unwrap_or_default().to_owned();
            let answer = answers.get(path.as_str()).copied();
            log.lock().unwrap().push(path);
            stream
                .write_all(answer.unwrap_or("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").as_bytes())
                .await
                .unwrap();
        }
    };
    #[expect(clippy::disallowed_methods, reason = "the runtime of the test ends it")]
    tokio::spawn(server);
    (address, asked)
}

async fn query(sql: &str) -> Result<String, String> {
    let (ctx, _) = mock::session().await.unwrap();
    let frame = datafusion_semantic::session::sql(&ctx, sql).await.map_err(|error| error.to_string())?;
    let batches = frame.collect().await.map_err(|error| error.to_string())?;
    Ok(datafusion::arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string())
}

#[tokio::test]
async fn bodies_redirects_and_each_location_once() {
    let (address, asked) = serve(HashMap::from([
        ("/a", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello"),
        ("/moved", "HTTP/1.1 302 Found\r\nlocation: /a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
    ]))
    .await;
    let sql = format!(
        "SELECT arrow_cast(download(url), 'Utf8') AS body FROM (VALUES (1, '{address}/a'), (2, NULL), (3, '{address}/a'), \
         (4, '{address}/moved')) AS t(id, url) ORDER BY id"
    );
    let printed = query(&sql).await.unwrap();
    let expected = "+-------+\n| body  |\n+-------+\n| hello |\n|       |\n| hello |\n| hello |\n+-------+";
    assert_eq!(printed, expected);
    let mut asked = asked.lock().unwrap().clone();
    asked.sort();
    assert_eq!(asked, ["/a", "/a", "/moved"]);
}

#[tokio::test]
async fn failures_name_the_location_without_its_secrets() {
    let (address, _) = serve(HashMap::from([(
        "/cut",
        "HTTP/1.1 200 OK\r\ncontent-length: 500\r\nconnection: close\r\n\r\nhello",
    )]))
    .await;
    for (path, reason) in [("/none?key=SECRET", "the server answered 404"), ("/cut", "end of file")] {
        let error = query(&format!("SELECT download('{address}{path}')")).await.unwrap_err();
        let shown = path.split('?').next().unwrap();
        assert!(error.contains(&format!("download: cannot read '{address}{shown}': ")), "{error}");
        assert!(error.contains(reason), "{error}");
        assert!(!error.contains("SECRET"), "{error}");
    }
    let error = query("SELECT download('https://user:SECRET@ho st/x?sig=SECRET')").await.unwrap_err();
    assert!(
        error.contains("download: cannot read this 'https://' location") && !error.contains("SECRET"),
        "{error}"
    );
    let error = query("SELECT download('http://127.0.0.1:1/x')").await.unwrap_err();
    assert!(error.contains("refused"), "{error}");
    let null =
        query(&format!("SELECT download('{address}/none', on_error => 'null') IS NULL AS n")).await.unwrap();
    assert!(null.contains("true"), "{null}");
}
