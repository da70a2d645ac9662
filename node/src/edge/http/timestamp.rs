//! Times as clients read them.

/// RFC 3339 in UTC with milliseconds, from Unix milliseconds.
pub fn rfc3339(millis: i64) -> String {
    String::from_utf8_lossy(&rookery_protocol::time::format(millis)).into_owned()
}
