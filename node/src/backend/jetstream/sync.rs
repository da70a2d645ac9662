//! What all servers say of themselves at their monitoring addresses: only there do they tell whether they sync each write to
//! disk, and those that this node is not connected to their version.

use std::time::Duration;

use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::Instant,
};

use super::{ConnectError, connect::is_recent};

/// A monitoring page has less, bytes.
const PAGE_BYTES: u64 = 1 << 20;
const WITHIN: Duration = Duration::from_secs(5);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(250);
/// When enough have answered, the others have so long.
const LINGER: Duration = Duration::from_millis(500);

/// `/varz`
#[derive(Deserialize)]
struct General {
    #[serde(default)]
    server_name: String,
    version: String,
}

/// `/jsz`
#[derive(Deserialize)]
struct JetStream {
    #[serde(default)]
    config: Option<JetStreamConfig>,
}

#[derive(Deserialize)]
struct JetStreamConfig {
    #[serde(default)]
    sync_always: bool,
}

/// What a server says of itself; `Err`: it does not.
async fn ask(url: &str, sync: bool) -> Result<Result<(), ConnectError>, String> {
    let pages = async { Ok((page(url, "/varz").await?, page(url, "/jsz").await?)) };
    let pages = tokio::time::timeout(WITHIN, pages).await;
    let (general, jetstream) = pages.unwrap_or_else(|_| Err("it does not answer".to_owned()))?;
    Ok(judged(url, &general, &jetstream, sync))
}

fn judged(url: &str, general: &General, jetstream: &JetStream, sync: bool) -> Result<(), ConnectError> {
    is_recent(&format!("{} at {url}", general.server_name), &general.version)?;
    match jetstream.config {
        Some(JetStreamConfig { sync_always }) if sync_always || !sync => Ok(()),
        Some(_) => Err(ConnectError::NotSynced(url.to_owned())),
        None => Err(ConnectError::NoJetStream(url.to_owned())),
    }
}

/// Asks a server until it answers.
async fn until_answered(
    url: String,
    sync: bool,
    why: watch::Sender<String>,
) -> (String, Result<(), ConnectError>) {
    loop {
        match ask(&url, sync).await {
            Ok(said) => return (url, said),
            Err(error) => {
                why.send_replace(format!("{url}: {error}"));
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks all servers at their monitoring addresses. More than half of them must answer in time, since servers start or are away
/// like others; none of those that do may be too old, or, where `sync` is wanted, one that does not sync. Those that answer later
/// are judged when they do: the node says so in its log then, for as long as what is returned is not dropped.
pub(super) async fn check(urls: &[String], sync: bool, within: Duration) -> Result<Late, ConnectError> {
    let (why, last) = watch::channel(String::new());
    let asked = urls.iter().map(|url| until_answered(url.clone(), sync, why.clone()));
    let mut asked: JoinSet<_> = asked.collect();
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
                    "{answered} of {} servers say how they are, and more than half must ({})",
                    urls.len(),
                    last.borrow().as_str(),
                );
                return Err(ConnectError::Monitoring(why));
            }
        }
    }
    if !asked.is_empty() {
        tracing::warn!(servers = asked.len(), "not all NATS servers say yet how they are");
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
            Ok((url, Ok(()))) => tracing::info!(url, "a NATS server says that it is as it must be"),
            Ok((url, Err(why))) => tracing::error!(
                url, %why, "a NATS server came up that this node would not have started with: acknowledged messages may be lost"
            ),
            Err(_) => {}
        }
    }
}

async fn page<T: serde::de::DeserializeOwned>(url: &str, path: &str) -> Result<T, String> {
    let authority = url.trim_start_matches("http://").split('/').next().unwrap_or_default();
    let mut stream = TcpStream::connect(authority).await.map_err(|error| error.to_string())?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {authority}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    stream.take(PAGE_BYTES).read_to_end(&mut answer).await.map_err(|error| error.to_string())?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("it does not speak HTTP")?;
    if head.split(' ').nth(1).is_none_or(|status| status != "200") {
        return Err(format!("it answered {}", head.lines().next().unwrap_or_default()));
    }
    serde_json::from_str(body).map_err(|error| format!("its page {path} cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A monitor that says so on each page, once it has been asked in vain if it is `late`.
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

    const GOOD: &str = r#"{"server_name":"n","version":"2.15.1","config":{"sync_always":true}}"#;
    const UNSYNCED: &str = r#"{"server_name":"n","version":"2.15.1","config":{}}"#;
    const WITHOUT: &str = r#"{"server_name":"n","version":"2.15.1"}"#;
    const OLD: &str = r#"{"server_name":"n-2","version":"2.10.0","config":{"sync_always":true}}"#;

    async fn checked(monitors: [(&'static str, bool); 3], sync: bool) -> Result<(), ConnectError> {
        let mut urls = Vec::new();
        for (says, late) in monitors {
            urls.push(monitor(says, late).await);
        }
        check(&urls, sync, Duration::from_secs(30)).await.map(drop)
    }

    #[tokio::test]
    async fn whoever_says_that_it_does_not_sync_is_refused_however_many_do() {
        checked([(GOOD, false), (GOOD, true), (GOOD, false)], true).await.unwrap();
        let wrong = [(GOOD, false), (GOOD, false), (UNSYNCED, false)];
        let refused = checked(wrong, true).await.unwrap_err();
        assert!(matches!(refused, ConnectError::NotSynced(_)), "{refused}");
        checked(wrong, false).await.unwrap();
        let refused = checked([(GOOD, false), (UNSYNCED, true), (UNSYNCED, true)], true).await.unwrap_err();
        assert!(matches!(refused, ConnectError::NotSynced(_)), "{refused}");
        let refused = checked([(GOOD, false), (GOOD, false), (WITHOUT, false)], true).await.unwrap_err();
        assert!(matches!(refused, ConnectError::NoJetStream(_)), "{refused}");
        check(&[], true, Duration::ZERO).await.map(drop).unwrap();
    }

    /// The one that this node happens to be connected to is not the only one that leads streams.
    #[tokio::test]
    async fn an_old_one_among_them_is_refused_by_name() {
        for sync in [true, false] {
            let refused = checked([(GOOD, false), (OLD, false), (GOOD, false)], sync).await.unwrap_err();
            assert!(matches!(refused, ConnectError::Version { .. }), "{refused}");
            let said = refused.to_string();
            assert!(said.contains("n-2 at http://127.0.0.1:") && said.contains("2.10.0"), "{said}");
        }
    }
}
