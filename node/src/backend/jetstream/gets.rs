//! Reading from streams: by the leader, which is never stale, and by Direct Get, which may lag but gives many at once.

use std::time::Instant;

use bytes::Bytes;
use serde_json::json;

use super::{
    item::{Item, NotRead, number},
    link::{Collected, Link},
};
use crate::backend::Unavailable;

/// Messages asked for at once.
const MESSAGES: usize = 1_000;

/// The newest messages of some subjects.
#[derive(Debug)]
pub(super) enum Newest {
    /// All of them, and up to which sequence the answering server had the stream.
    All(Vec<Item>, u64),
    /// More than a server gives at once.
    TooMany,
}

fn odd(what: &str) -> Unavailable {
    tracing::error!(what, "an answer of NATS cannot be read");
    Unavailable(format!("The log gave an answer that cannot be read: {what}.").into())
}

fn items(collected: Vec<async_nats::Message>) -> Result<Vec<Item>, Unavailable> {
    collected
        .into_iter()
        .map(|message| Item::from_direct(message).ok_or_else(|| odd("a message without its place")))
        .collect()
}

impl Link {
    async fn leader(&self, stream: &str, what: &serde_json::Value) -> Result<Option<Item>, Unavailable> {
        let subject = format!("$JS.API.STREAM.MSG.GET.{stream}");
        let what = Bytes::from(what.to_string());
        let end = Instant::now() + self.read_timeout;
        loop {
            let answer = self.read(&subject, what.clone()).await?;
            match Item::from_leader(&answer) {
                Ok(item) => return Ok(item),
                Err(NotRead::NotNow(error)) => self.pause(end, &error).await?,
                Err(NotRead::Odd(why)) => return Err(odd(&why)),
            }
        }
    }

    /// The newest message that matches, as the stream's leader has it.
    pub(super) async fn last(&self, stream: &str, filter: &str) -> Result<Option<Item>, Unavailable> {
        self.leader(stream, &json!({ "last_by_subj": filter })).await
    }

    /// The first message from a sequence on that matches, as the stream's leader has it.
    pub(super) async fn next(
        &self,
        stream: &str,
        filter: &str,
        from: u64,
    ) -> Result<Option<Item>, Unavailable> {
        self.leader(stream, &json!({ "next_by_subj": filter, "seq": from.max(1) })).await
    }

    /// Messages from a sequence on that match, in order, and how many are left; of any replica.
    pub(super) async fn some(
        &self,
        stream: &str,
        filter: &str,
        from: u64,
        max_bytes: usize,
    ) -> Result<(Vec<Item>, u64), Unavailable> {
        let what = json!({
            "next_by_subj": filter, "seq": from.max(1), "batch": MESSAGES, "max_bytes": max_bytes,
        });
        let Collected { messages, last } = self.direct(stream, &what).await?;
        let left = last.headers.as_ref().and_then(|headers| number(headers, "Nats-Num-Pending"));
        Ok((items(messages)?, left.unwrap_or(0)))
    }

    async fn direct(&self, stream: &str, what: &serde_json::Value) -> Result<Collected, Unavailable> {
        self.collect(&format!("$JS.API.DIRECT.GET.{stream}"), Bytes::from(what.to_string())).await
    }

    /// The newest message of each subject that matches one of these; of any replica.
    pub(super) async fn newest(&self, stream: &str, filters: &[&str]) -> Result<Newest, Unavailable> {
        let Collected { messages, last } = self.direct(stream, &json!({ "multi_last": filters })).await?;
        match last.status.map(|status| status.as_u16()) {
            Some(413) => Ok(Newest::TooMany),
            Some(404) => Ok(Newest::All(Vec::new(), 0)),
            _ => {
                let up_to = last.headers.as_ref().and_then(|headers| number(headers, "Nats-UpTo-Sequence"));
                Ok(Newest::All(items(messages)?, up_to.ok_or_else(|| odd("an end without its sequence"))?))
            }
        }
    }
}
