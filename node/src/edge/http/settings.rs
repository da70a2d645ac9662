//! Settings of HTTP.

use std::{fmt, net::IpAddr, str::FromStr, time::Duration};

use crate::settings::Wrong;

/// Settings of HTTP, under `http`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// Longest body of a request, in bytes; a longer one is answered 413.
    pub max_body_bytes: usize,
    /// Time in which a request must be answered, its body included, in seconds; then it is answered 503.
    pub request_timeout_seconds: u64,
    /// Networks (`10.0.0.0/8`, `::1`) of the proxies whose `X-Forwarded-For` is believed. Empty: the peer is the client.
    pub trusted_proxies: Vec<Network>,
    /// Origins (`https://chat.example.org`, or `*` for all) whose pages may call this service from a browser, besides its own.
    pub allowed_origins: Vec<Origin>,
    /// Address of the chat as its users know it, `https://chat.example.org`: what links in mails begin with. Never taken from a request.
    pub public_url: Option<String>,
    /// For tests alone: show the mails that wait to be sent, codes and all, to everybody at `/dev/mailbox`. Without it,
    /// standalone shows its own on this machine alone (and none if it sends them), and a cluster none.
    pub dev_mailbox: bool,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            max_body_bytes: 64 * 1024,
            request_timeout_seconds: 30,
            trusted_proxies: Vec::new(),
            allowed_origins: Vec::new(),
            public_url: None,
            dev_mailbox: false,
        }
    }
}

impl HttpSettings {
    /// What cannot be accepted.
    pub fn check(&self) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        if !(1024..=16 * 1024 * 1024).contains(&self.max_body_bytes) {
            wrong.push(Wrong {
                key: "http.max_body_bytes".into(),
                why: "must be between 1024 and 16777216".into(),
            });
        }
        if !(1..=600).contains(&self.request_timeout_seconds) {
            wrong.push(Wrong {
                key: "http.request_timeout_seconds".into(),
                why: "must be between 1 and 600".into(),
            });
        }
        let is_origin = |url: &String| {
            let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
            rest.is_some_and(|rest| !rest.is_empty() && !rest.ends_with('/'))
                && url.len() <= 512
                && url.bytes().all(|b| b.is_ascii_graphic() && !b"<>\"?#".contains(&b))
        };
        if self.public_url.as_ref().is_some_and(|url| !is_origin(url)) {
            wrong.push(Wrong {
                key: "http.public_url".into(),
                why: "must be like https://chat.example.org, without a slash at its end".into(),
            });
        }
        wrong
    }

    /// Time in which a request must be answered.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(self.request_timeout_seconds)
    }

    /// Whether pages of `origin` may call this service, which they know as `host` (the `Host` header).
    ///
    /// Its own pages may always. The scheme is not compared for those: behind a proxy that ends TLS the node
    /// does not know it, and the browser sends both headers.
    pub fn origin_allowed(&self, origin: &str, host: Option<&str>) -> bool {
        let own = origin.split_once("://").map(|(_, authority)| authority);
        own.zip(host).is_some_and(|(own, host)| own.eq_ignore_ascii_case(host))
            || self.allowed_origins.iter().any(|allowed| allowed.covers(origin))
    }
}

/// An origin as browsers send it, or `*`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin(String);

impl Origin {
    fn covers(&self, origin: &str) -> bool {
        self.0 == "*" || self.0.eq_ignore_ascii_case(origin)
    }
}

impl TryFrom<String> for Origin {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let plain = text.split_once("://").is_some_and(|(scheme, authority)| {
            !scheme.is_empty()
                && !authority.is_empty()
                && !authority.contains(|c: char| c == '/' || c.is_whitespace())
        });
        if text == "*" || plain {
            Ok(Self(text))
        } else {
            Err("an origin is written as https://host or https://host:port, without a path")
        }
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.0
    }
}

/// Addresses that share a prefix: `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

/// The address as 128 bits, IPv4 as mapped into IPv6.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl Network {
    /// Whether `address` is one of them. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let prefix = self.prefix + if self.address.is_ipv4() { 96 } else { 0 };
        let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
        (bits(self.address) ^ bits(address)) & mask == 0
    }
}

impl FromStr for Network {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "an address or network is expected, as 10.0.0.0/8 or ::1";
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| EXPECTED)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => most,
            Some(text) => text.parse().ok().filter(|&bits| bits <= most).ok_or(EXPECTED)?,
        };
        Ok(Self { address, prefix })
    }
}

impl TryFrom<String> for Network {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_their_addresses() {
        let contains = |network: &str, address: &str| {
            network.parse::<Network>().unwrap().contains(address.parse().unwrap())
        };
        assert!(contains("10.0.0.0/8", "10.255.1.2"));
        assert!(contains("10.0.0.0/8", "::ffff:10.1.1.1"));
        assert!(!contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("0.0.0.0/0", "9.9.9.9"));
        assert!(!contains("0.0.0.0/0", "2001:db8::1"));
        assert!(contains("::/0", "2001:db8::1"));
        assert!(contains("2001:db8::/32", "2001:db8:ffff::1"));
        assert!(!contains("::1", "::2"));
        for wrong in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "host"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn origins() {
        let settings = HttpSettings {
            allowed_origins: vec![Origin::try_from("https://chat.example.org".to_owned()).unwrap()],
            ..HttpSettings::default()
        };
        assert!(settings.origin_allowed("https://chat.example.org", Some("api.example.org")));
        assert!(settings.origin_allowed("http://127.0.0.1:8080", Some("127.0.0.1:8080")));
        assert!(!settings.origin_allowed("http://127.0.0.1:8081", Some("127.0.0.1:8080")));
        assert!(!settings.origin_allowed("https://chat.example.org.evil.test", Some("api.example.org")));
        assert!(!settings.origin_allowed("null", None));
        assert!(Origin::try_from("https://a/".to_owned()).is_err());
        assert!(Origin::try_from("chat.example.org".to_owned()).is_err());
    }
}
