//! An HTTP client that knows the API's conventions: bearer tokens, JSON bodies, problems.

use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::Value;

use crate::PATIENCE;

/// Where calls go, and as whom.
#[derive(Clone)]
pub struct Api {
    client: reqwest::Client,
    base: String,
    token: Option<String>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// For messages: method and path of the call.
    pub call: String,
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The JSON body; text that is not JSON as a string; null if there is none.
    pub body: Value,
}

impl Api {
    /// Calls to `base` (`http://host:port`) without a token.
    pub fn new(base: &str) -> Self {
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build();
        Self {
            client: client.expect("a client without TLS can always be built"),
            base: base.trim_end_matches('/').to_owned(),
            token: None,
        }
    }

    /// The same with a token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// `http://host:port`.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The access token.
    pub fn token(&self) -> &str {
        self.token.as_deref().expect("these calls are made by somebody")
    }

    /// One call; `path` starts with `/`.
    ///
    /// # Errors
    /// Those of the connection: there is no answer then, and the outcome is unknown.
    pub async fn try_call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, reqwest::Error> {
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        Answer::of(format!("{method} {path}"), request.send().await?).await
    }

    /// [`Self::try_call`], and there must be an answer.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        match self.try_call(method.clone(), path, body).await {
            Ok(answer) => answer,
            Err(error) => panic!("{method} {}{path} was not answered: {error:?}", self.base),
        }
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None).await
    }
    /// POST.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, Some(&body)).await
    }
    /// PUT with a body.
    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PUT, path, Some(&body)).await
    }
    /// PUT without a body.
    pub async fn put_empty(&self, path: &str) -> Answer {
        self.call(Method::PUT, path, None).await
    }
    /// POST without a body.
    pub async fn post_empty(&self, path: &str) -> Answer {
        self.call(Method::POST, path, None).await
    }
    /// PATCH.
    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PATCH, path, Some(&body)).await
    }
    /// DELETE.
    pub async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, None).await
    }

    /// POST of any bytes, for bodies that are no JSON.
    pub async fn post_raw(&self, path: &str, content_type: &str, body: Vec<u8>) -> Answer {
        let mut request = self.client.post(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let sent = request.header("content-type", content_type).body(body).send().await;
        match sent {
            Ok(response) => Answer::of(format!("POST {path}"), response).await.expect("the body arrives"),
            Err(error) => panic!("POST {path} was not answered: {error:?}"),
        }
    }
}

impl Answer {
    async fn of(call: String, response: reqwest::Response) -> Result<Self, reqwest::Error> {
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.bytes().await?;
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes)
                .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()))
        };
        Ok(Self { call, status: status.as_u16(), headers, body })
    }

    /// Whether a node said it, and not a proxy before it that could not reach one: then nobody knows what became of the call.
    pub fn is_of_a_node(&self) -> bool {
        self.status < 400 || self.body["code"].is_string()
    }

    /// The body, if the status is this one.
    #[track_caller]
    pub fn is(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}: {}", self.call, self.body);
        self.body
    }

    /// The body, if the status says success, where the API does not say which.
    #[track_caller]
    pub fn success(self) -> Value {
        let status = StatusCode::from_u16(self.status);
        assert!(status.is_ok_and(|s| s.is_success()), "{}: {} {}", self.call, self.status, self.body);
        self.body
    }

    /// The problem, if it is one with this status; panics if it is not of RFC 9457's form.
    #[track_caller]
    pub fn refused(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}: {}", self.call, self.body);
        let content_type = self.headers.get("content-type").and_then(|value| value.to_str().ok());
        assert!(
            content_type.is_some_and(|value| value.starts_with("application/problem+json")),
            "{}: content type {content_type:?}: {}",
            self.call,
            self.body
        );
        for field in ["type", "title", "detail", "code"] {
            assert!(self.body[field].is_string(), "{}: no {field} in {}", self.call, self.body);
        }
        assert_eq!(self.body["status"], status, "{}: {}", self.call, self.body);
        let code = self.body["code"].as_str().unwrap_or_default();
        assert!(
            !code.is_empty()
                && code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
            "{}: {code:?} is not a snake_case word",
            self.call
        );
        if status == 429 {
            assert!(self.headers.contains_key("retry-after"), "{}: 429 without Retry-After", self.call);
        }
        self.body
    }

    /// The problem, if it is one with this status and code.
    #[track_caller]
    pub fn problem(self, status: u16, code: &str) -> Value {
        let call = self.call.clone();
        let body = self.refused(status);
        assert_eq!(body["code"], code, "{call}: {body}");
        body
    }

    /// 422 that names `field`.
    #[track_caller]
    pub fn wrong_field(self, field: &str) -> Value {
        let call = self.call.clone();
        let body = self.refused(422);
        assert!(body["fields"][field].is_string(), "{call}: fields has no {field}: {body}");
        body
    }
}
