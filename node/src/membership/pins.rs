//! Pins: rooms that are put into a shard of their own choice, by a key each: `/rookery/<cluster>/pins/<room>`.
//!
//! A key says which shard, in JSON with a version, and has no lease. A pin that is lost, late or wrong costs time,
//! never data: the room is another node's for a while.

use std::{sync::Arc, time::Duration};

use etcd_client::Error;
use rookery_protocol::id::RoomId;
use tokio::{sync::Mutex, time::Instant};

use super::etcd::{Etcd, Line, why};

/// Rooms that are pinned, at most: every node reads all of them every few seconds.
pub(super) const MOST_PINS: usize = 4096;
/// The version written here.
const VERSION: u32 = 1;
/// Nothing longer is read.
const LONGEST: usize = 256;
/// Time for one try.
const PATIENCE: Duration = Duration::from_secs(1);

/// As written under its key. Fields may be added.
#[derive(serde::Serialize, serde::Deserialize)]
struct Stored {
    version: u32,
    shard: String,
}

fn encode(shard: &str) -> Vec<u8> {
    // A string and a number: this cannot fail.
    serde_json::to_vec(&Stored { version: VERSION, shard: shard.to_owned() }).unwrap_or_default()
}

/// The shard that a key says.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn decode(bytes: &[u8]) -> Result<String, String> {
    if bytes.len() > LONGEST {
        return Err(format!("it has {} bytes", bytes.len()));
    }
    let stored: Stored = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if stored.version > VERSION + 1 {
        return Err(format!(
            "it is of version {}, and this node reads up to {}",
            stored.version,
            VERSION + 1
        ));
    }
    Ok(stored.shard)
}

/// Writes pins.
pub(super) struct Writer {
    etcd: Arc<Etcd>,
    line: Mutex<Line>,
}

impl Writer {
    pub(super) fn new(etcd: Arc<Etcd>) -> Self {
        Self { line: Mutex::new(Line::new(etcd.clone(), false)), etcd }
    }

    /// Pins a room, or takes its pin away; says by which revision of etcd. Doing it again does no harm.
    ///
    /// # Errors
    /// Why etcd did not do it in time; it may do it later.
    pub(super) async fn write(
        &self,
        room: RoomId,
        shard: Option<&str>,
        within: Duration,
    ) -> Result<u64, String> {
        let until = Instant::now() + within;
        let key = self.etcd.pin(room);
        let mut last = "etcd is busy with other pins".to_owned();
        let Ok(mut line) = tokio::time::timeout_at(until, self.line.lock()).await else { return Err(last) };
        loop {
            let tried = async {
                let client = line.client().await?;
                let header = match shard {
                    Some(shard) => client.put(key.as_str(), encode(shard), None).await?.take_header(),
                    None => client.delete(key.as_str(), None).await?.take_header(),
                };
                Ok::<_, Error>(header.map_or(0, |header| header.revision()))
            };
            let patience = PATIENCE.min(until.saturating_duration_since(Instant::now()));
            match tokio::time::timeout(patience, tried).await {
                Ok(Ok(revision)) => {
                    line.answered();
                    return Ok(u64::try_from(revision).unwrap_or(0));
                }
                Ok(Err(error)) => last = why(&error),
                Err(_) => last = format!("{} does not answer", line.endpoint()),
            }
            let pause = line.failed();
            if Instant::now() + pause >= until {
                return Err(last);
            }
            tokio::time::sleep(pause).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_readable() {
        let golden = br#"{"version":1,"shard":"blue"}"#;
        assert_eq!((encode("blue").as_slice(), decode(golden)), (golden.as_slice(), Ok("blue".to_owned())));
        assert_eq!(decode(br#"{"version":2,"shard":"blue","until":7}"#), Ok("blue".to_owned()));
        assert!(decode(br#"{"version":3,"shard":"blue"}"#).unwrap_err().contains("version 3"));
        assert!(decode(b"blue").is_err() && decode(&[b' '; 300]).is_err());
    }
}
