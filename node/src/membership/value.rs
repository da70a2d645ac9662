//! What a node's key holds: JSON, with a version.
//!
//! Nodes of version N and N+1 read each other's: fields may be added, none may change its meaning. A node ignores
//! fields it does not know; a value that it cannot read at all, or that is more than one version newer, is left out of
//! its view, and said so.

use rookery_core::ring::{Member, MemberState};

/// The version written here.
const VERSION: u32 = 1;
/// Nothing longer is read.
const LONGEST: usize = 4096;

#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Joining,
    Active,
    Draining,
}

/// A node, as written under its key.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Stored {
    version: u32,
    address: String,
    shard: String,
    weight: u32,
    state: State,
    /// Of the lease: how long others who want the name wait for it to run out.
    #[serde(default)]
    lease_seconds: u32,
    #[serde(default = "one")]
    shard_weight: u32,
    #[serde(default)]
    level: u32,
}

/// Nodes that do not say what their shard weighs are of before it could be said.
fn one() -> u32 {
    1
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) address: String,
    pub(super) shard: String,
    pub(super) weight: u32,
    pub(super) state: MemberState,
    pub(super) lease_seconds: u32,
    pub(super) shard_weight: u32,
    pub(super) level: u32,
}

impl Value {
    pub(super) fn encode(&self) -> Vec<u8> {
        let state = match self.state {
            MemberState::Joining => State::Joining,
            MemberState::Active => State::Active,
            MemberState::Draining => State::Draining,
        };
        let stored = Stored {
            version: VERSION,
            address: self.address.clone(),
            shard: self.shard.clone(),
            weight: self.weight,
            state,
            lease_seconds: self.lease_seconds,
            shard_weight: self.shard_weight,
            level: self.level,
        };
        // Strings and numbers alone: there is nothing in it that JSON has no form for.
        serde_json::to_vec(&stored).unwrap_or_default()
    }

    /// # Errors
    /// Why it cannot be read.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > LONGEST {
            return Err(format!("it has {} bytes", bytes.len()));
        }
        let stored: Stored = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if stored.version > VERSION + 1 {
            let found = stored.version;
            return Err(format!("it is of version {found}, and this node reads up to {}", VERSION + 1));
        }
        let state = match stored.state {
            State::Joining => MemberState::Joining,
            State::Active => MemberState::Active,
            State::Draining => MemberState::Draining,
        };
        let Stored { address, shard, weight, lease_seconds, shard_weight, level, .. } = stored;
        Ok(Self { address, shard, weight, state, lease_seconds, shard_weight, level })
    }

    pub(super) fn member(self, name: &str, incarnation: u64) -> Member {
        let Self { address, shard, weight, state, shard_weight, level, .. } = self;
        Member { name: name.to_owned(), address, shard, weight, shard_weight, level, state, incarnation }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_readable() {
        let written = Value {
            address: "node-1:7070".into(),
            shard: "main".into(),
            weight: 2,
            state: MemberState::Draining,
            lease_seconds: 3,
            shard_weight: 5,
            level: 1,
        };
        let golden = r#"{"version":1,"address":"node-1:7070","shard":"main","weight":2,"state":"draining","lease_seconds":3,"shard_weight":5,"level":1}"#;
        assert_eq!(String::from_utf8(written.encode()).unwrap(), golden);
        assert_eq!(Value::decode(golden.as_bytes()).unwrap(), written);
        let first = br#"{"version":1,"address":"node-1:7070","shard":"main","weight":2,"state":"draining","lease_seconds":3}"#;
        assert_eq!(Value::decode(first).unwrap(), Value { shard_weight: 1, level: 0, ..written });
        let newer = br#"{"version":2,"address":"a:1","shard":"s","weight":1,"state":"active","zone":"b"}"#;
        assert_eq!(Value::decode(newer).unwrap().lease_seconds, 0);
        let later = br#"{"version":3,"address":"a:1","shard":"s","weight":1,"state":"active"}"#;
        assert!(Value::decode(later).unwrap_err().contains("version 3"));
        assert!(Value::decode(b"{}").is_err() && Value::decode(&[b' '; 5000]).is_err());
    }
}
