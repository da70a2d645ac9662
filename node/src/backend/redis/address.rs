//! Where Redis is, as one URL says it.

/// Default port of Redis.
const PORT: u16 = 6379;
/// Default port of a sentinel.
const SENTINEL_PORT: u16 = 26379;
/// Hosts that one URL may name.
const HOSTS: usize = 64;

/// A URL: `redis://host:port/db`, `redis+sentinel://host:port,host:port/master/db` or `redis+cluster://host:port,host:port`;
/// with `rediss` instead of `redis`: TLS. Ports, and the number of the database, may be left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Whether connections are encrypted.
    pub tls: bool,
    /// Host and port of each that is named. At least one.
    pub hosts: Vec<(String, u16)>,
    /// What is found there.
    pub kind: Kind,
}

/// What a URL leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// One server.
    Single {
        /// Number of the database.
        db: i64,
    },
    /// Sentinels, which know the server.
    Sentinel {
        /// The name under which they know it.
        master: String,
        /// Number of the database.
        db: i64,
    },
    /// Nodes of a Redis Cluster.
    Cluster,
}

const FORM: &str = "must be redis://host:port/db, redis+sentinel://host:port,host:port/master/db or \
                    redis+cluster://host:port,host:port (rediss: with TLS)";

impl Address {
    /// Reads a URL.
    ///
    /// # Errors
    /// What it must be instead. Never holds what was given: it may hold a password.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = url.split_once("://").ok_or(FORM)?;
        if rest.contains('@') {
            return Err(
                "must not hold a user or password: name them in redis.username and redis.password_file",
            );
        }
        let (tls, kind) = match scheme.strip_prefix("redis").ok_or(FORM)? {
            kind if kind.starts_with('s') => (true, &kind[1..]),
            kind => (false, kind),
        };
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        if path.contains(['?', '#']) || hosts.contains(['?', '#']) {
            return Err("must not have a query: everything else has a setting of its own");
        }
        let port = if kind == "+sentinel" { SENTINEL_PORT } else { PORT };
        let hosts: Vec<_> =
            hosts.split(',').map(|host| parse_host(host, port)).collect::<Option<_>>().ok_or(FORM)?;
        if hosts.len() > HOSTS {
            return Err("must not name more than 64 hosts");
        }
        let kind = match kind {
            "" if hosts.len() == 1 => Kind::Single { db: parse_db(path)? },
            "+sentinel" => {
                let (master, db) = path.split_once('/').unwrap_or((path, ""));
                if master.is_empty() {
                    return Err(
                        "must name the master that the sentinels watch: redis+sentinel://host:port/master",
                    );
                }
                Kind::Sentinel { master: master.to_owned(), db: parse_db(db)? }
            }
            "+cluster" if path.is_empty() || path == "0" => Kind::Cluster,
            "+cluster" => return Err("must not name a database: a Redis Cluster has one"),
            _ => return Err(FORM),
        };
        Ok(Self { tls, hosts, kind })
    }
}

fn parse_db(text: &str) -> Result<i64, &'static str> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse()
        .ok()
        .filter(|db| (0..=65_535).contains(db))
        .ok_or("the database must be a number, 0 to 65535")
}

/// `host`, `host:port`, `[::1]` or `[::1]:port`.
fn parse_host(text: &str, default: u16) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() || host.contains(char::is_whitespace) {
        return None;
    }
    let port = port.map_or(Some(default), |port| port.parse().ok().filter(|port| *port != 0))?;
    Some((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, port: u16) -> (String, u16) {
        (name.to_owned(), port)
    }

    #[test]
    fn every_form_is_read() {
        for (url, tls, hosts, kind) in [
            ("redis://a", false, vec![host("a", 6379)], Kind::Single { db: 0 }),
            ("rediss://a.example:1/7", true, vec![host("a.example", 1)], Kind::Single { db: 7 }),
            ("redis://[::1]:2/", false, vec![host("::1", 2)], Kind::Single { db: 0 }),
            (
                "redis+sentinel://a,b:5/main/2",
                false,
                vec![host("a", 26379), host("b", 5)],
                Kind::Sentinel { master: "main".into(), db: 2 },
            ),
            (
                "rediss+sentinel://a/main",
                true,
                vec![host("a", 26379)],
                Kind::Sentinel { master: "main".into(), db: 0 },
            ),
            (
                "redis+cluster://a,[::2],c:9",
                false,
                vec![host("a", 6379), host("::2", 6379), host("c", 9)],
                Kind::Cluster,
            ),
        ] {
            assert_eq!(Address::parse(url), Ok(Address { tls, hosts, kind }), "{url}");
        }
    }

    #[test]
    fn nonsense_is_refused_without_repeating_it() {
        for url in [
            "",
            "a",
            "http://a",
            "redis://",
            "redis://a,b",
            "redis://a:0",
            "redis://a:99999",
            "redis://a/x",
            "redis://a/-1",
            "redis+sentinel://a",
            "redis+cluster://a/1",
            "redis+x://a",
            "redis://a?b=c",
            "redis://u:hunter2@a",
            "redis://[a]:1",
        ] {
            let why = Address::parse(url).unwrap_err();
            assert!(!why.contains("hunter2"), "{url}");
        }
    }
}
