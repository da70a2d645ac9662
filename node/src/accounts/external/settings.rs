//! Settings of external issuers.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
};

use reqwest::Url;

/// An OpenID provider whose users may log in, under `accounts.external_issuers.<name>`.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IssuerSettings {
    /// Its address, letter for letter as in `iss` of its ID tokens: `https://login.example.org`.
    pub url: String,
    /// Clients (`aud`) whose ID tokens are taken: those of the chat's own applications. 1 to 16.
    pub audiences: Vec<String>,
    /// Its users' e-mail addresses are theirs, as far as it tells any: without `email_verified` too, and whoever has such an
    /// address gets the account that was made with it.
    pub trust_email: bool,
    /// CA certificates (PEM) that its certificate is checked against, in place of those of the system.
    pub ca_file: Option<PathBuf>,
}

/// External issuers, at most.
const MOST: usize = 16;
/// Longest name: it is a part of paths, and a label of metrics.
const LONGEST_NAME: usize = 32;
/// OpenID Connect Core: at most 255 characters are common for ids; an issuer is an address.
const LONGEST: usize = 255;

impl IssuerSettings {
    /// What cannot be accepted, with the key below the issuer's.
    fn check(&self) -> Vec<(&'static str, &'static str)> {
        let mut wrong = Vec::new();
        if !is_issuer(&self.url) {
            wrong.push((
                "url",
                "must be an https address of at most 255 bytes without query and fragment (http: on this machine alone)",
            ));
        }
        let named = |audience: &String| (1..=LONGEST).contains(&audience.len());
        if !(1..=16).contains(&self.audiences.len()) || !self.audiences.iter().all(named) {
            wrong.push(("audiences", "must name 1 to 16 clients, of 1 to 255 bytes each"));
        }
        wrong
    }
}

/// Whether ID tokens can come from there (OpenID Connect Discovery, 3: `https`, no query, no fragment).
fn is_issuer(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        text.len() <= LONGEST
            && is_safe(&url)
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
    })
}

/// Whether what comes from there is what was sent there: by TLS, or on this machine.
pub(super) fn is_safe(url: &Url) -> bool {
    match url.scheme() {
        "https" => url.has_host(),
        "http" => matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")),
        _ => false,
    }
}

/// What cannot be accepted of all of them: keys below `accounts`, and why.
pub(in crate::accounts) fn check(all: &BTreeMap<String, IssuerSettings>) -> Vec<(String, String)> {
    let mut wrong = Vec::new();
    if all.len() > MOST {
        wrong.push(("external_issuers".to_owned(), format!("must be at most {MOST}")));
    }
    let mut urls = HashMap::new();
    for (name, issuer) in all {
        let key = format!("external_issuers.{name}");
        let is_word = |name: &str| {
            name.len() <= LONGEST_NAME
                && name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if !is_word(name) {
            let why = "must be named by 1 to 32 of a-z, 0-9 and -, beginning with a letter";
            wrong.push((key.clone(), why.to_owned()));
        }
        wrong.extend(issuer.check().into_iter().map(|(field, why)| (format!("{key}.{field}"), why.into())));
        if let Some(other) = urls.insert(&issuer.url, name) {
            wrong.push((format!("{key}.url"), format!("must not be that of external_issuers.{other} too")));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(name: &str, url: &str, audience: &str) -> Vec<String> {
        let settings = IssuerSettings {
            url: url.to_owned(),
            audiences: vec![audience.to_owned()],
            ..IssuerSettings::default()
        };
        let all = BTreeMap::from([(name.to_owned(), settings)]);
        check(&all).into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn issuers_are_reached_safely() {
        for url in
            ["https://a.example", "https://a.example/realms/x", "http://127.0.0.1:80", "http://localhost"]
        {
            assert!(wrong("acme", url, "chat").is_empty(), "{url}");
        }
        for url in
            ["", "http://a.example", "https://", "https://a/?x", "https://a/#x", "https://u:p@a/", "ldap://a"]
        {
            assert_eq!(wrong("acme", url, "chat"), ["external_issuers.acme.url"], "{url}");
        }
        for name in ["", "A", "1a", "a_b", "a.b", &"a".repeat(33)] {
            assert_eq!(
                wrong(name, "https://a.example", "chat"),
                [format!("external_issuers.{name}")],
                "{name}"
            );
        }
        assert_eq!(wrong("acme", "https://a.example", ""), ["external_issuers.acme.audiences"]);
    }

    #[test]
    fn issuers_are_told_apart() {
        let one = IssuerSettings {
            url: "https://a.example".into(),
            audiences: vec!["chat".into()],
            ..IssuerSettings::default()
        };
        let all = BTreeMap::from([("one".to_owned(), one.clone()), ("two".to_owned(), one.clone())]);
        assert_eq!(check(&all).len(), 1);
        let many: BTreeMap<_, _> = (0..17)
            .map(|n| {
                (format!("i{n}"), IssuerSettings { url: format!("https://a.example/{n}"), ..one.clone() })
            })
            .collect();
        assert_eq!(check(&many)[0].0, "external_issuers");
    }
}
