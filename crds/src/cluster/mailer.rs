//! The mailer.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LocalRef, Resources, SecretKey};

/// The mailer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MailerSpec {
    /// How many share the work; one does for most.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 20))]
    pub replicas: i32,
    /// The SMTP server.
    pub smtp: SmtpSpec,
    /// Sender: `chat@example.org`, or with a name `Tea Chat <chat@example.org>`.
    #[schemars(length(max = 320), regex(pattern = r"^[^\r\n]*[^\s@<]+@[^\s@>]+>?$"))]
    pub from: String,
    /// Where answers go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 320), regex(pattern = r"^[^\r\n]*[^\s@<]+@[^\s@>]+>?$"))]
    pub reply_to: Option<String>,
    /// What the service calls itself in mails.
    #[serde(default = "service")]
    #[schemars(length(min = 1, max = 100), regex(pattern = r"^[^\r\n]+$"))]
    pub service: String,
    /// A ConfigMap with templates that replace the built-in ones. A mistake in one is told in the mailer's log with file and line, and
    /// nothing is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub templates_ref: Option<LocalRef>,
    /// CPU and memory of each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

fn one() -> i32 {
    1
}

fn service() -> String {
    "Rookery".to_owned()
}

/// How connections to the SMTP server are protected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SmtpSecurity {
    /// Begins in the clear and turns to TLS before anything is said; a server without it is refused.
    #[default]
    StartTls,
    /// TLS from the start.
    Implicit,
    /// None: everybody on the way can read codes.
    Plain,
}

impl SmtpSecurity {
    /// As the mailer's settings have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::StartTls => "starttls",
            Self::Implicit => "implicit",
            Self::Plain => "plain",
        }
    }
}

/// The SMTP server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.user) == has(self.passwordSecret)")
        .message("spec.mailer.smtp.user and passwordSecret must be set together"),
    validation = Rule::new("!(self.security == 'Plain' && has(self.user))")
        .message("spec.mailer.smtp.security must not be Plain with a user: the password would pass in the clear")
)]
pub struct SmtpSpec {
    /// Its name, as its certificate has it.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9._:-]+$"))]
    pub host: String,
    /// Its port; by default 587 with StartTls, 465 with Implicit, 25 with Plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// StartTls, Implicit or Plain.
    #[serde(default)]
    pub security: SmtpSecurity,
    /// User, if the server wants one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 320))]
    pub user: Option<String>,
    /// The password. It may be changed at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret: Option<SecretKey>,
    /// The authority (PEM) that signed the server's certificate, instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<SecretKey>,
    /// Connections of each mailer at the same time.
    #[serde(default = "eight")]
    #[schemars(range(min = 1, max = 256))]
    pub connections: i32,
}

fn eight() -> i32 {
    8
}
