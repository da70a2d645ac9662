//! Accounts, codes, tokens.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretKey;

/// Accounts, codes, tokens. Limits and defaults are the node's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.allowedOrigins) || !('*' in self.allowedOrigins) || size(self.allowedOrigins) == 1")
        .message("spec.auth.allowedOrigins: * stands for all origins; leave the others out"),
    // By its `iss` a node knows whose ID token it has.
    validation = Rule::new("!has(self.externalIssuers) || self.externalIssuers.all(a, self.externalIssuers.exists_one(b, b.url == a.url))")
        .message("spec.auth.externalIssuers must not have the same url twice: name all of its audiences in one of them, and leave the other out")
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
    /// Networks (`10.0.0.0/8`) of the proxies whose `X-Forwarded-For` is believed: those of the ingress controller's pods. Left out, with
    /// ingress or gateway: all private networks, where these run. An empty list: nobody; then limits count a proxy as one client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 32),
        inner(length(max = 64), regex(pattern = r"^[0-9a-fA-F:.]+(/[0-9]{1,3})?$"))
    )]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub trusted_proxies: Option<Vec<String>>,
    /// OpenID providers whose users may log in with an ID token that an application gives to `POST /v1/auth/external`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub external_issuers: Vec<ExternalIssuer>,
    /// Rate limits of the calls that anybody may make. What is left out is as the node has it.
    #[serde(default)]
    pub limits: AuthLimits,
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
            trusted_proxies: None,
            external_issuers: Vec::new(),
            limits: AuthLimits::default(),
            dev_mailbox: false,
        }
    }
}

/// An OpenID provider whose users may log in. Nodes fetch its keys by https, and so must reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExternalIssuer {
    /// What the chat calls it, in the settings and metrics of its nodes.
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^[a-z][a-z0-9-]*$"))]
    pub name: String,
    /// Its address, letter for letter as in `iss` of its ID tokens: `https://login.example.org`.
    // A rule in place of a pattern, for its sentence.
    #[schemars(length(max = 255))]
    #[x_kube(
        validation = Rule::new(r"isURL(self) && self.matches(r'^https://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~!$&()*+,;=:@%/-]*)?$') && (url(self).getPort() == '' || int(url(self).getPort()) <= 65535)")
            .message("url of an external issuer must be as iss of its ID tokens has it, https://HOST, https://HOST:PORT or https://HOST/PATH: without a user, a query or a fragment")
    )]
    pub url: String,
    /// Client ids of the chat's own applications there: ID tokens for others (`aud`) are refused.
    // Of ASCII alone, as RFC 6749 has client ids: nodes count bytes.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 255), regex(pattern = r"^[ -~]+$")))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub audiences: Vec<String>,
    /// Its users' e-mail addresses are theirs, also where it does not say `email_verified`: whoever has the address of an account there
    /// gets that account. Only for a provider that gives nobody an address of somebody else.
    #[serde(default)]
    pub trust_email: bool,
    /// The authority (PEM) that signed its certificate, instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<SecretKey>,
}

/// Rate limits of the calls that anybody may make, by call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthLimits {
    /// To make an account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub register: Option<CallLimits>,
    /// To give the code for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<CallLimits>,
    /// To ask for a code once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resend: Option<CallLimits>,
    /// To log in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<CallLimits>,
    /// To give the code for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_verify: Option<CallLimits>,
    /// To refresh an access token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<CallLimits>,
    /// To say that a password is forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forgot: Option<CallLimits>,
    /// To give the code for a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset: Option<CallLimits>,
    /// To ask for a ticket for a WebSocket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<CallLimits>,
    /// To log in with the ID token of an external issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<CallLimits>,
}

/// Rate limits of a call: `20/600s` is 20 at once, refilled over 600 seconds; `off` is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallLimits {
    /// Of one client address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^(off|[1-9][0-9]{0,6}/[1-9][0-9]{0,4}s)$"))]
    pub per_address: Option<String>,
    /// For one account: e-mail, name or user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^(off|[1-9][0-9]{0,6}/[1-9][0-9]{0,4}s)$"))]
    pub per_account: Option<String>,
    /// Of all together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^(off|[1-9][0-9]{0,6}/[1-9][0-9]{0,4}s)$"))]
    pub global: Option<String>,
}
