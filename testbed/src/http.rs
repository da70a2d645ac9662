//! As much HTTP as asking a local server how it is takes.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

/// How long a local server may take for an answer before it counts as not answering.
const PATIENCE: Duration = Duration::from_secs(2);
/// No answer that we ask for is longer.
const LONGEST: u64 = 8 << 20;

/// The body of `GET path`, if it was answered with 200.
pub(crate) fn get(port: u16, path: &str) -> Option<String> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut socket = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    // 1.0: the answer ends with the connection.
    socket.write_all(format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").as_bytes()).ok()?;
    let mut answer = Vec::new();
    socket.take(LONGEST).read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.split(' ').nth(1).is_some_and(|status| status == "200").then(|| body.to_owned())
}

/// The body as JSON.
pub(crate) fn json(port: u16, path: &str) -> Option<Value> {
    serde_json::from_str(&get(port, path)?).ok()
}
