//! Calls to nodes about rooms. Any node can be asked about any room; one that does not answer is not waited for long, and another one is
//! asked.

use std::time::Duration;

use rookery_protocol::peer::{
    EnsureRoomRequest, RemoveRoomReply, RoomKey, RoomReply, room_admin_client::RoomAdminClient,
};
use tonic::{
    Code, Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

/// A node takes the connection within this time.
const CONNECT: Duration = Duration::from_secs(2);
/// A node answers within this time: it gives up by itself after ten seconds.
const ANSWER: Duration = Duration::from_secs(12);
/// So many nodes are asked, one after the other.
const NODES: usize = 3;

/// Why a call came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nobody was reached, or could do it now.
    #[error("no node has done it: {0}")]
    NoAnswer(String),
    /// It cannot be so.
    #[error("{0}")]
    Refused(String),
    /// No node takes the operator's token.
    #[error("nodes do not know the operator by its token: {0}")]
    TokenRefused(String),
    /// Nodes do not know such rooms.
    #[error("nodes are of a version that does not know declared rooms: {0}")]
    TooOld(String),
}

impl CallError {
    fn of(status: &Status) -> Self {
        let text = status.message().to_owned();
        match status.code() {
            Code::InvalidArgument | Code::ResourceExhausted => Self::Refused(text),
            Code::Unauthenticated | Code::PermissionDenied => Self::TokenRefused(text),
            Code::Unimplemented | Code::FailedPrecondition => Self::TooOld(text),
            code if text.is_empty() => Self::NoAnswer(code.to_string()),
            _ => Self::NoAnswer(text),
        }
    }
}

/// Nodes that can be asked, and by what they know the operator.
#[derive(Clone)]
pub struct Nodes {
    /// `http://ADDRESS:PORT` of each, those first that are to be asked first.
    pub addresses: Vec<String>,
    /// The token.
    pub token: String,
}

impl Nodes {
    /// Makes a room what is declared, and says how it is then.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn ensure(&self, wanted: &EnsureRoomRequest) -> Result<RoomReply, CallError> {
        self.ask(wanted, async |mut node, call| node.ensure_room(call).await).await
    }

    /// Removes a room; `false`: it was not there.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn remove(&self, key: &RoomKey) -> Result<bool, CallError> {
        let RemoveRoomReply { removed } =
            self.ask(key, async |mut node, call| node.remove_room(call).await).await?;
        Ok(removed)
    }

    /// Asks one node after the other until one says something that the others would say too.
    async fn ask<Q: Clone, A>(
        &self,
        question: &Q,
        call: impl AsyncFn(RoomAdminClient<Channel>, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, CallError> {
        let bearer = format!("Bearer {}", self.token).parse::<MetadataValue<Ascii>>();
        let mut bearer = bearer.map_err(|_| CallError::TokenRefused("it is no text".to_owned()))?;
        bearer.set_sensitive(true);
        let mut last = CallError::NoAnswer("none is there to be asked".to_owned());
        for address in self.addresses.iter().take(NODES) {
            let answer = async {
                let endpoint = Endpoint::from_shared(address.clone());
                let endpoint = endpoint.map_err(|error| Status::unavailable(error.to_string()))?;
                let channel = endpoint.connect_timeout(CONNECT).connect().await;
                let channel =
                    channel.map_err(|_| Status::unavailable(format!("{address} is not reached")))?;
                let mut request = Request::new(question.clone());
                request.metadata_mut().insert("authorization", bearer.clone());
                call(RoomAdminClient::new(channel), request).await
            };
            let late = |_| Err(Status::unavailable(format!("{address} does not answer")));
            match tokio::time::timeout(ANSWER, answer).await.unwrap_or_else(late) {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => last = CallError::of(&status),
            }
            if let CallError::Refused(_) = last {
                break;
            }
        }
        Err(last)
    }
}
