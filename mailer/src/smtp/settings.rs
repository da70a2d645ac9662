//! How the SMTP server is reached.

use std::{path::PathBuf, time::Duration};

use rookery_service::{secret::Secret, settings::Wrong};
use serde::{Deserialize, Serialize};

/// How connections are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// Begins in the clear and turns to TLS before anything is said; a server without it is refused.
    #[default]
    Starttls,
    /// TLS from the start.
    Implicit,
    /// None: everybody on the way can read codes.
    Plain,
}

/// How the user shows his password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Login {
    /// PLAIN, or LOGIN where the server has no PLAIN.
    #[default]
    Auto,
    /// PLAIN.
    Plain,
    /// LOGIN.
    Login,
    /// XOAUTH2: the password is an access token.
    Xoauth2,
}

/// `[smtp]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmtpSettings {
    /// Name of the server, as its certificate has it.
    pub host: String,
    /// Its port; 0: 587 with `starttls`, 465 with `implicit`, 25 with `plain`.
    pub port: u16,
    /// `starttls`, `implicit` or `plain`.
    pub security: Security,
    /// PEM file with the authority that signed the server's certificate, instead of the system's.
    pub tls_ca: Option<PathBuf>,
    /// User, if the server wants one.
    pub user: Option<String>,
    /// The password, or with XOAUTH2 the token.
    pub password: Secret,
    /// File whose first line is the password; wins over `password`, and is read again when it changes.
    pub password_file: Option<PathBuf>,
    /// `auto`, `plain`, `login` or `xoauth2`.
    pub login: Login,
    /// What this machine calls itself; by default its own name.
    pub hello_name: Option<String>,
    /// Connections at the same time, and mails under way. 1 to 256.
    pub connections: u32,
    /// Connecting and logging in take so long at most, and so do the steps of a mail before its content. 1 to 600.
    pub timeout_seconds: u64,
    /// After the content, the server's word is waited for so long. 1 to 3,600. Too short, it makes mails come twice: what was not
    /// answered may have been taken (RFC 5321, 4.5.3.2.6).
    pub data_done_seconds: u64,
    /// A connection that is not used for so long is closed. 1 to 3,600.
    pub idle_seconds: u64,
    /// Mails per second of this process; 0: no limit. What has no place now has its turn later; codes pass notices. The
    /// default is modest: a mail is three writes at the NATS that chat has, and few providers take more from everybody.
    pub per_second: f64,
    /// Mails per second of this process to one domain; 0: no limit.
    pub per_domain_per_second: f64,
}

impl Default for SmtpSettings {
    fn default() -> Self {
        Self {
            host: String::new(),
            port: 0,
            security: Security::Starttls,
            tls_ca: None,
            user: None,
            password: Secret::default(),
            password_file: None,
            login: Login::Auto,
            hello_name: None,
            connections: 8,
            timeout_seconds: 30,
            data_done_seconds: 600,
            idle_seconds: 60,
            per_second: 10.0,
            per_domain_per_second: 0.0,
        }
    }
}

impl SmtpSettings {
    /// The port that is meant.
    pub fn port(&self) -> u16 {
        match (self.port, self.security) {
            (0, Security::Starttls) => 587,
            (0, Security::Implicit) => 465,
            (0, Security::Plain) => 25,
            (port, _) => port,
        }
    }

    /// Longest time that connecting may take, and so may the steps of a mail before its content.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds)
    }

    /// Longest wait for the server's word that it has the content.
    pub fn data_done(&self) -> Duration {
        Duration::from_secs(self.data_done_seconds)
    }

    /// Longest time that a mail may be under way: begun on a connection that has ended meanwhile, and then on a new one.
    pub fn longest(&self) -> Duration {
        self.timeout() * 3 + self.data_done()
    }

    /// What cannot work.
    pub fn check(&self) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        let mut no =
            |key: &str, why: &str| wrong.push(Wrong { key: format!("smtp.{key}"), why: why.to_owned() });
        if self.host.is_empty() {
            no("host", "must name the SMTP server");
        }
        let has_password = !self.password.is_empty() || self.password_file.is_some();
        if self.user.is_some() != has_password {
            no("user", "must be given together with password or password_file");
        }
        if self.user.is_some() && self.security == Security::Plain {
            no("security", "must not be plain with a user: the password would pass in the clear");
        }
        if !(1..=256).contains(&self.connections) {
            no("connections", "must be 1 to 256");
        }
        if !(1..=600).contains(&self.timeout_seconds) {
            no("timeout_seconds", "must be 1 to 600");
        }
        if !(1..=3600).contains(&self.data_done_seconds) {
            no("data_done_seconds", "must be 1 to 3600");
        }
        if !(1..=3600).contains(&self.idle_seconds) {
            no("idle_seconds", "must be 1 to 3600");
        }
        for (key, rate) in
            [("per_second", self.per_second), ("per_domain_per_second", self.per_domain_per_second)]
        {
            if rate != 0.0 && !(0.001..=100_000.0).contains(&rate) {
                no(key, "must be 0 or 0.001 to 100000");
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_named() {
        let keys =
            |settings: SmtpSettings| settings.check().into_iter().map(|wrong| wrong.key).collect::<Vec<_>>();
        let good = SmtpSettings { host: "mail.example.org".into(), ..SmtpSettings::default() };
        assert!(keys(good.clone()).is_empty());
        let plain = SmtpSettings {
            security: Security::Plain,
            user: Some("a".into()),
            password: "b".to_owned().into(),
            connections: 0,
            per_second: f64::NAN,
            ..good
        };
        assert_eq!(keys(plain), ["smtp.security", "smtp.connections", "smtp.per_second"]);
        assert_eq!(keys(SmtpSettings::default()), ["smtp.host"]);
    }

    #[test]
    fn ports_follow_security() {
        let port = |security, port| SmtpSettings { security, port, ..SmtpSettings::default() }.port();
        assert_eq!(port(Security::Starttls, 0), 587);
        assert_eq!(port(Security::Implicit, 0), 465);
        assert_eq!(port(Security::Plain, 2525), 2525);
    }
}
