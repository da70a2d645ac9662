//! The accounts, as JetStream holds them: the only place where an address can be seen that leads to nobody.

use std::collections::BTreeMap;

use async_nats::{
    Client, Error,
    jetstream::{self, message::StreamMessage},
};
use rookery_protocol::id::UserId;
use serde_json::Value;

use crate::history::{Accounts, StoredAccount};

/// A row that was deleted is a message with this header, for a while.
const GONE: &str = "Rookery-Gone";

/// All accounts with their indexes, read from the stream's leader. `cluster` is the cluster's name.
///
/// # Errors
/// NATS does not answer, or holds something that is no account.
pub async fn read(client: Client, cluster: &str) -> Result<Accounts, Error> {
    let context = jetstream::new(client);
    let stream = context.get_stream_no_info(format!("{cluster}-accounts")).await?;
    // Of each subject the newest message is its row.
    let mut rows: BTreeMap<(String, String), Option<Vec<u8>>> = BTreeMap::new();
    for table in ["user", "email", "name"] {
        let subject = format!("{cluster}.account.{table}.*");
        let last = match stream.get_last_raw_message_by_subject(&subject).await {
            Ok(last) => last.sequence,
            Err(error) if is_none(&error) => continue,
            Err(error) => return Err(error.into()),
        };
        let mut next = 0;
        while next <= last {
            let message = match stream.get_first_raw_message_by_subject(&subject, next).await {
                Ok(message) => message,
                Err(error) if is_none(&error) => break,
                Err(error) => return Err(error.into()),
            };
            next = message.sequence + 1;
            let key = message.subject.rsplit('.').next().unwrap_or_default().to_owned();
            rows.insert((table.to_owned(), key), value(&message));
        }
    }
    let mut accounts = Accounts::default();
    for ((table, key), value) in rows {
        let (key, Some(value)) = (unhex(&key).ok_or("a key that is no hex")?, value) else { continue };
        let id = |bytes: &[u8]| {
            let bytes = bytes.try_into().map_err(|_| format!("{table}: no id of 16 bytes"))?;
            Ok::<_, Error>(UserId::from_bytes(bytes).to_string())
        };
        match table.as_str() {
            "user" => {
                let user: Value = serde_json::from_slice(&value)?;
                let text = |name: &str| {
                    user[name].as_str().map(str::to_owned).ok_or_else(|| format!("a user without {name}"))
                };
                if text("id")? != id(&key)? {
                    return Err(format!("{} lies where {} should", text("id")?, id(&key)?).into());
                }
                let (email_key, name_key) = (text("email_key")?, text("name_key")?);
                let stored = StoredAccount { username: text("username")?, email_key, name_key };
                accounts.users.insert(id(&key)?, stored);
            }
            "email" => drop(accounts.emails.insert(String::from_utf8(key)?, id(&value)?)),
            _ => drop(accounts.names.insert(String::from_utf8(key)?, id(&value)?)),
        }
    }
    Ok(accounts)
}

fn is_none(error: &jetstream::stream::LastRawMessageError) -> bool {
    matches!(error.kind(), jetstream::stream::LastRawMessageErrorKind::NoMessageFound)
}

fn value(message: &StreamMessage) -> Option<Vec<u8>> {
    // The server's own markers of messages that it has removed have a header, too, and nothing in them.
    let gone = message.headers.get(GONE).is_some() || message.payload.is_empty();
    (!gone).then(|| message.payload.to_vec())
}

/// Keys are `x` and hex digits.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let text = text.strip_prefix('x')?;
    let digits = (0..text.len()).step_by(2);
    digits.map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}
