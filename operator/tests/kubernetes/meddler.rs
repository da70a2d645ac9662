//! A client between the operator and the API server that fails when it is told to, at the very call that is meant.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response};
use kube::client::{Body, DynBody};
use serde_json::json;
use tokio::sync::Notify;
use tower::Service;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// What happens at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The API server answers with this code, and does nothing.
    Says(u16),
    /// The API server is not reached.
    Away,
    /// The API server does what it was asked; nobody hears of it.
    Unheard,
    /// After the answer the operator is killed: nothing is asked any more.
    Killed,
}

/// Which calls are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Calls {
    All,
    /// Those that write, and no Events.
    Writes,
}

/// One fault, at the call of this number.
pub(crate) struct Meddler {
    calls: Calls,
    at: usize,
    fault: Fault,
    seen: AtomicUsize,
    /// The operator is to be killed now.
    pub(crate) killed: Notify,
}

impl Meddler {
    pub(crate) fn new(calls: Calls, at: usize, fault: Fault) -> Arc<Self> {
        let (seen, killed) = (AtomicUsize::new(0), Notify::new());
        Arc::new(Self { calls, at, fault, seen, killed })
    }

    /// Whether there were as many calls.
    pub(crate) fn has_struck(&self) -> bool {
        self.seen.load(Ordering::Relaxed) >= self.at
    }

    fn fault_at(&self, request: &Request<Body>) -> Option<Fault> {
        let writes = request.method() != "GET" && !request.uri().path().ends_with("/events");
        if self.calls == Calls::Writes && !writes {
            // But who is dead asks nothing.
            return (self.fault == Fault::Killed && self.has_struck()).then_some(Fault::Killed);
        }
        let number = self.seen.fetch_add(1, Ordering::Relaxed) + 1;
        (number == self.at || self.fault == Fault::Killed && number > self.at).then_some(self.fault)
    }
}

/// The client's service with a meddler in it.
pub(crate) struct Meddled<S> {
    pub(crate) inner: S,
    pub(crate) meddler: Arc<Meddler>,
}

type Answer = Response<Box<DynBody>>;

impl<S> Service<Request<Body>> for Meddled<S>
where
    S: Service<Request<Body>, Response = Answer>,
    S::Future: Send + 'static,
    S::Error: Into<Error>,
{
    type Response = Answer;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let before = self.meddler.has_struck();
        let fault = self.meddler.fault_at(&request);
        let refused = |code: u16| {
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": "Meddled", "message": "meddled with",
            });
            let body =
                Full::new(Bytes::from(status.to_string())).map_err(|never| -> Error { match never {} });
            Response::builder().status(code).body(Box::new(body) as Box<DynBody>)
        };
        match fault {
            Some(Fault::Says(code)) => Box::pin(async move { Ok(refused(code)?) }),
            Some(Fault::Away) => Box::pin(async { Err("nobody answers".into()) }),
            Some(Fault::Killed) if before => Box::pin(std::future::pending()),
            other => {
                let (answer, meddler) = (self.inner.call(request), self.meddler.clone());
                Box::pin(async move {
                    let answer = answer.await.map_err(Into::into)?;
                    match other {
                        Some(Fault::Unheard) => Err("nobody hears the answer".into()),
                        Some(Fault::Killed) => {
                            meddler.killed.notify_one();
                            std::future::pending().await
                        }
                        _ => Ok(answer),
                    }
                })
            }
        }
    }
}
