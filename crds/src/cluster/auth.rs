//! Accounts, codes, tokens.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Accounts, codes, tokens. Limits and defaults are the node's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.accessTokenSeconds <= self.refreshTokenDays * 86400")
        .message("spec.auth.accessTokenSeconds must not be longer than refreshTokenDays: a login cannot outlive itself"),
    validation = Rule::new("!has(self.allowedOrigins) || !('*' in self.allowedOrigins) || size(self.allowedOrigins) == 1")
        .message("spec.auth.allowedOrigins: * stands for all origins; leave the others out")
)]
pub struct AuthSpec {
    /// `iss` of access tokens: name or URL of this service.
    #[serde(default = "rookery")]
    #[schemars(length(min = 1, max = 256))]
    pub issuer: String,
    /// `aud` of access tokens: whom they are for.
    #[serde(default = "rookery")]
    #[schemars(length(min = 1, max = 256))]
    pub audience: String,
    /// Life of an access token, in seconds.
    #[serde(default = "access_token")]
    #[schemars(range(min = 5, max = 86400))]
    pub access_token_seconds: i32,
    /// A login ends when it was not refreshed for so many days.
    #[serde(default = "thirty")]
    #[schemars(range(min = 1, max = 3650))]
    pub refresh_token_days: i32,
    /// A new key signs access tokens after so many days. Nodes make and publish the keys themselves.
    #[serde(default = "thirty")]
    #[schemars(range(min = 1, max = 3650))]
    pub key_rotation_days: i32,
    /// Digits of a code.
    #[serde(default = "six")]
    #[schemars(range(min = 6, max = 8))]
    pub code_digits: i32,
    /// Life of a code, in minutes: of registrations, logins and new passwords.
    #[serde(default = "fifteen")]
    #[schemars(range(min = 1, max = 1440))]
    pub code_minutes: i32,
    /// Every login needs a code by mail; otherwise only those of users who asked for it.
    #[serde(default)]
    pub require_login_code: bool,
    /// Logins that a user can have at once; another one ends the oldest.
    #[serde(default = "fifty")]
    #[schemars(range(min = 1, max = 1000))]
    pub sessions_per_user: i32,
    /// Origins (`https://chat.example.org`, or `*` for all) whose pages may call the service from a browser, besides its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        inner(length(max = 300), regex(pattern = r"^(\*|[a-z][a-z0-9+.-]*://[^\s/]+)$"))
    )]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub allowed_origins: Vec<String>,
    /// Networks (`10.0.0.0/8`) of the proxies whose `X-Forwarded-For` is believed: those of the ingress controller's pods. Empty:
    /// limits count the proxy as one client.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        inner(length(max = 64), regex(pattern = r"^[0-9a-fA-F:.]+(/[0-9]{1,3})?$"))
    )]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub trusted_proxies: Vec<String>,
    /// For tests alone: show all mails, codes and all, to everybody at `/dev/mailbox`.
    #[serde(default)]
    pub dev_mailbox: bool,
}

fn rookery() -> String {
    "rookery".to_owned()
}

fn access_token() -> i32 {
    900
}

fn thirty() -> i32 {
    30
}

fn six() -> i32 {
    6
}

fn fifteen() -> i32 {
    15
}

fn fifty() -> i32 {
    50
}

impl Default for AuthSpec {
    fn default() -> Self {
        Self {
            issuer: rookery(),
            audience: rookery(),
            access_token_seconds: access_token(),
            refresh_token_days: thirty(),
            key_rotation_days: thirty(),
            code_digits: six(),
            code_minutes: fifteen(),
            require_login_code: false,
            sessions_per_user: fifty(),
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            dev_mailbox: false,
        }
    }
}
