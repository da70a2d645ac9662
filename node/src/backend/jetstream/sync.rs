//! Whether servers sync each write to disk: they tell only at their monitoring address.

use std::time::Duration;

use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::Instant,
};

use super::ConnectError;

/// A monitoring page has less, bytes.
const PAGE_BYTES: u64 = 1 << 20;
const WITHIN: Duration = Duration::from_secs(5);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(250);
/// When enough have answered, the others have so long.
const LINGER: Duration = Duration::from_millis(500);

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

/// What a server says of itself; `Err`: it does not.
async fn ask(url: &str) -> Result<Result<(), ConnectError>, String> {
    let page = tokio::time::timeout(WITHIN, page(url)).await;
    let page = page.unwrap_or_else(|_| Err("it does not answer".to_owned()))?;
    Ok(match page.config {
        Some(JetStreamConfig { sync_always: true }) => Ok(()),
        Some(_) => Err(ConnectError::NotSynced(url.to_owned())),
        None => Err(ConnectError::NoJetStream(url.to_owned())),
    })
}

/// Asks a server until it answers.
async fn until_answered(url: String, why: watch::Sender<String>) -> (String, Result<(), ConnectError>) {
    loop {
        match ask(&url).await {
            Ok(said) => return (url, said),
            Err(error) => {
                why.send_replace(format!("{url}: {error}"));
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks all servers at their monitoring addresses. More than half of them must answer in time, since servers start or are away
/// like others; none of those that do may be one that does not sync. Those that answer later are judged when they do: the node
/// says so in its log then, for as long as what is returned is not dropped.
pub(super) async fn check(urls: &[String], within: Duration) -> Result<Late, ConnectError> {
    let (why, last) = watch::channel(String::new());
    let mut asked: JoinSet<_> = urls.iter().map(|url| until_answered(url.clone(), why.clone())).collect();
    let end = Instant::now() + within;
    let mut patience = end;
    while !asked.is_empty() {
        let answered = urls.len() - asked.len();
        if answered > urls.len() / 2 {
            // Whoever is there has a moment to say so: a wrong one is refused at the start.
            patience = patience.min(Instant::now() + LINGER);
        }
        match tokio::time::timeout_at(patience, asked.join_next()).await {
            Ok(Some(Ok((_, said)))) => said?,
            // Its task ended without an answer, which none does.
            Ok(Some(Err(_)) | None) => {}
            Err(_) if answered > urls.len() / 2 => break,
            Err(_) => {
                let why = format!(
                    "{answered} of {} servers say whether they sync each write, and more than half must ({})",
                    urls.len(),
                    last.borrow().as_str(),
                );
                return Err(ConnectError::Monitoring(why));
            }
        }
    }
    if !asked.is_empty() {
        tracing::warn!(servers = asked.len(), "not all NATS servers say yet whether they sync each write");
    }
    Ok(Late(tokio::spawn(judge(asked)).abort_handle()))
}

/// Waits for the servers that have not answered. Dropping it ends that.
pub(super) struct Late(AbortHandle);

impl Drop for Late {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn judge(mut asked: JoinSet<(String, Result<(), ConnectError>)>) {
    while let Some(said) = asked.join_next().await {
        match said {
            Ok((url, Ok(()))) => tracing::info!(url, "a NATS server says that it syncs each write"),
            Ok((url, Err(why))) => tracing::error!(url, %why, "acknowledged messages may be lost"),
            Err(_) => {}
        }
    }
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

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A monitor that says so, once it is asked for the second time if it is `late`.
    async fn monitor(says: &'static str, late: bool) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let mut wait = late;
            while let Ok((mut stream, _)) = listener.accept().await {
                if !std::mem::take(&mut wait) {
                    let _ = stream.read(&mut [0; 1024]).await;
                    let _ = stream.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{says}").as_bytes()).await;
                }
            }
        });
        url
    }

    async fn checked(monitors: [(&'static str, bool); 3]) -> Result<(), ConnectError> {
        let mut urls = Vec::new();
        for (says, late) in monitors {
            urls.push(monitor(says, late).await);
        }
        check(&urls, Duration::from_secs(30)).await.map(drop)
    }

    #[tokio::test]
    async fn whoever_says_that_it_does_not_sync_is_refused_however_many_do() {
        let (good, bad) = (r#"{"config":{"sync_always":true}}"#, r#"{"config":{}}"#);
        checked([(good, false), (good, true), (good, false)]).await.unwrap();
        let refused = checked([(good, false), (good, false), (bad, false)]).await.unwrap_err();
        assert!(matches!(refused, ConnectError::NotSynced(_)), "{refused}");
        let refused = checked([(good, false), (bad, true), (bad, true)]).await.unwrap_err();
        assert!(matches!(refused, ConnectError::NotSynced(_)), "{refused}");
        let refused = checked([(good, false), (good, false), ("{}", false)]).await.unwrap_err();
        assert!(matches!(refused, ConnectError::NoJetStream(_)), "{refused}");
        check(&[], Duration::ZERO).await.map(drop).unwrap();
    }
}
