//! Whether servers sync each write to disk: they tell only at their monitoring address.

use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::ConnectError;

/// A monitoring page has less, bytes.
const PAGE_BYTES: u64 = 1 << 20;
const WITHIN: Duration = Duration::from_secs(5);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(250);

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    config: Option<JetStreamConfig>,
}

#[derive(Deserialize)]
struct JetStreamConfig {
    #[serde(default)]
    sync_always: bool,
}

/// Asks each monitoring address; one that does not answer is asked again for a while, since servers start.
pub(super) async fn check(urls: &[String], within: Duration) -> Result<(), ConnectError> {
    let end = Instant::now() + within;
    for url in urls {
        let page = loop {
            let page = tokio::time::timeout(WITHIN, page(url)).await;
            match page.unwrap_or_else(|_| Err("it does not answer".to_owned())) {
                Ok(page) => break page,
                Err(why) if Instant::now() + PAUSE >= end => {
                    return Err(ConnectError::Monitoring { url: url.clone(), why });
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        };
        match page.config {
            Some(JetStreamConfig { sync_always: true }) => {}
            Some(_) => return Err(ConnectError::NotSynced(url.clone())),
            None => return Err(ConnectError::NoJetStream(url.clone())),
        }
    }
    Ok(())
}

async fn page(url: &str) -> Result<Page, String> {
    let authority = url.trim_start_matches("http://").split('/').next().unwrap_or_default();
    let mut stream = TcpStream::connect(authority).await.map_err(|error| error.to_string())?;
    let request = format!("GET /jsz HTTP/1.0\r\nHost: {authority}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    stream.take(PAGE_BYTES).read_to_end(&mut answer).await.map_err(|error| error.to_string())?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("it does not speak HTTP")?;
    if head.split(' ').nth(1).is_none_or(|status| status != "200") {
        return Err(format!("it answered {}", head.lines().next().unwrap_or_default()));
    }
    serde_json::from_str(body).map_err(|error| format!("its page cannot be read: {error}"))
}
