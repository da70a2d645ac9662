//! The client of the API server, which counts what it is asked.

use kube::{
    Client, Config,
    client::{Body, ClientBuilder},
};
use tower::util::MapRequestLayer;

use crate::metrics::{OperatorMetrics, Request};

/// A client that counts its requests.
///
/// # Errors
/// [`kube::Error`]: a certificate or a token that cannot be read.
pub fn client(config: Config, metrics: &OperatorMetrics) -> Result<Client, kube::Error> {
    let requests = metrics.requests.clone();
    let count = move |request: hyper::Request<Body>| {
        requests.get_or_create(&Request { verb: verb(&request) }).inc();
        request
    };
    Ok(ClientBuilder::try_from(config)?.with_layer(&MapRequestLayer::new(count)).build())
}

fn verb(request: &hyper::Request<Body>) -> &'static str {
    let is_watch =
        request.uri().query().is_some_and(|query| query.split('&').any(|part| part == "watch=true"));
    match request.method().as_str() {
        "GET" if is_watch => "watch",
        "GET" => "read",
        "POST" => "create",
        "PUT" | "PATCH" => "write",
        "DELETE" => "delete",
        _ => "other",
    }
}
