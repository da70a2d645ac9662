//! Who is asking, by address.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, request::Parts},
};

use super::settings::Network;
use crate::edge::App;

/// The client's address: that of the peer, or what trusted proxies say it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// Finds the client behind the trusted proxies.
    ///
    /// Each proxy appends the address it was called from to `X-Forwarded-For`, so the list is read from its end,
    /// as long as the one who wrote an entry is trusted. What a client put there itself is never reached.
    pub fn find(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> Self {
        let mut client = peer.to_canonical();
        if trusted.is_empty() {
            return Self(client);
        }
        let entries = headers
            .get_all("x-forwarded-for")
            .iter()
            .rev()
            .flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
        for entry in entries {
            if !trusted.iter().any(|network| network.contains(client)) {
                break;
            }
            let Some(next) = parse(entry.trim()) else { break };
            client = next.to_canonical();
        }
        Self(client)
    }

    /// What rate limits are counted by: the address, and for IPv6 the network of 64 bits that one customer has.
    pub fn bucket(self) -> IpAddr {
        match self.0 {
            IpAddr::V4(_) => self.0,
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        }
    }
}

/// Some proxies add the port.
fn parse(entry: &str) -> Option<IpAddr> {
    entry.parse().ok().or_else(|| entry.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
}

impl FromRequestParts<Arc<App>> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Self::Rejection> {
        // The accept loop always says who the peer is; without it all requests share one address, and its limits.
        let peer = parts
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |peer| peer.0.ip());
        Ok(Self::find(peer, &parts.headers, &app.http.trusted_proxies))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let trusted: Vec<_> = trusted.iter().map(|text| text.parse().unwrap()).collect();
        ClientAddress::find(peer.parse().unwrap(), &headers, &trusted).0.to_string()
    }

    #[test]
    fn believes_only_trusted_proxies() {
        let proxies = ["10.0.0.0/8"];
        assert_eq!(find("9.9.9.9", &["1.2.3.4"], &[]), "9.9.9.9");
        assert_eq!(find("9.9.9.9", &["1.2.3.4"], &proxies), "9.9.9.9");
        assert_eq!(find("10.0.0.1", &["1.2.3.4"], &proxies), "1.2.3.4");
        assert_eq!(find("10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.0.0.2"], &proxies), "1.2.3.4");
        assert_eq!(find("10.0.0.1", &["6.6.6.6", "1.2.3.4"], &proxies), "1.2.3.4");
        assert_eq!(find("10.0.0.1", &["6.6.6.6, rubbish"], &proxies), "10.0.0.1");
        assert_eq!(find("10.0.0.1", &["1.2.3.4:5678"], &proxies), "1.2.3.4");
        assert_eq!(find("::ffff:10.0.0.1", &["2001:db8::7"], &proxies), "2001:db8::7");
        assert_eq!(find("10.0.0.1", &[], &proxies), "10.0.0.1");
    }

    #[test]
    fn one_ipv6_network_is_one_bucket() {
        let bucket = |text: &str| ClientAddress(text.parse().unwrap()).bucket().to_string();
        assert_eq!(bucket("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(bucket("1.2.3.4"), "1.2.3.4");
    }
}
