//! A small HTTP/1.1 client: sends what it is told, well-formed or not.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    head: String,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|why| panic!("no JSON ({why}): {self:?}"))
    }

    /// Checks that it is a problem of this kind, and what all problems promise.
    #[track_caller]
    pub(super) fn refused(&self, status: u16, code: &str) -> Value {
        assert_eq!((self.status, self.json()["code"].as_str()), (status, Some(code)), "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let body = self.json();
        assert_eq!(body["status"], status);
        for field in ["type", "title", "detail"] {
            assert!(body[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {self:?}");
        }
        assert_eq!(self.header("www-authenticate").is_some(), status == 401, "{self:?}");
        if status == 429 || status == 503 {
            let after: u64 = self.header("retry-after").expect("Retry-After").parse().unwrap();
            assert!(after > 0);
        }
        body
    }

    /// Checks that it succeeded.
    #[track_caller]
    pub(super) fn accepted(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        if self.text.is_empty() { Value::Null } else { self.json() }
    }
}

/// Sends bytes, and reads until the server closes.
pub(super) async fn raw(to: SocketAddr, request: &[u8]) -> Answer {
    let mut socket = TcpStream::connect(to).await.unwrap();
    socket.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // A server that refuses a body may reset the connection after its answer.
    let _ = socket.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, text) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), text: text.to_owned() }
}

/// Sends a request with these header lines.
pub(super) async fn send(to: SocketAddr, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n");
    for header in headers {
        request += header;
        request += "\r\n";
    }
    if !body.is_empty() || method != "GET" {
        request += &format!("content-length: {}\r\n", body.len());
    }
    raw(to, format!("{request}\r\n{body}").as_bytes()).await
}
