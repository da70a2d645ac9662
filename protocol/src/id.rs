//! Ids: 128 bits, written as the 26 characters of a ULID.
//!
//! A ULID starts with 48 bits of Unix milliseconds, so ids sort by when they were made. Clients treat
//! them as opaque strings. Format: <https://github.com/ulid/spec>.

use std::{fmt, str::FromStr};

use crate::log;

/// Crockford's base 32: no I, L, O, U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Characters of an id's text.
pub const TEXT_LEN: usize = 26;

/// The text is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id: 26 characters of Crockford's base 32 are expected")]
pub struct NotAnId;

fn parse(text: &str) -> Result<u128, NotAnId> {
    if text.len() != TEXT_LEN {
        return Err(NotAnId);
    }
    let mut value = 0u128;
    for (at, byte) in text.bytes().enumerate() {
        let upper = byte.to_ascii_uppercase();
        let digit = ALPHABET.iter().position(|&c| c == upper).ok_or(NotAnId)?;
        // 26 × 5 bits are 130: the first character may use only three of its five.
        if at == 0 && digit > 7 {
            return Err(NotAnId);
        }
        value = value << 5 | digit as u128;
    }
    Ok(value)
}

fn text(value: u128) -> [u8; TEXT_LEN] {
    let mut out = [0u8; TEXT_LEN];
    for (at, slot) in out.iter_mut().enumerate() {
        let shift = 5 * (TEXT_LEN - 1 - at);
        *slot = ALPHABET[(value >> shift & 31) as usize];
    }
    out
}

/// The milliseconds since 1970 that a ULID starts with.
#[allow(clippy::cast_possible_truncation)] // 48 bits are left.
pub fn ulid_millis(value: u128) -> u64 {
    (value >> 80) as u64
}

/// Reads any ULID, for instance a `client_msg_id` that happens to be one.
///
/// # Errors
/// [`NotAnId`] when the text is not a ULID.
pub fn parse_ulid(text: &str) -> Result<u128, NotAnId> {
    parse(text)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u128);

        impl $name {
            /// Puts together an id of `millis` (48 bits are used) and `random` (80 bits are used).
            pub fn from_parts(millis: u64, random: u128) -> Self {
                Self((u128::from(millis) & 0xFFFF_FFFF_FFFF) << 80 | random & (u128::MAX >> 48))
            }
            /// Big endian, so that bytes sort as ids do.
            pub fn to_bytes(self) -> [u8; 16] {
                self.0.to_be_bytes()
            }
            /// The reverse of [`Self::to_bytes`].
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(u128::from_be_bytes(bytes))
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let text = text(self.0);
                f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }
        impl FromStr for $name {
            type Err = NotAnId;
            fn from_str(text: &str) -> Result<Self, NotAnId> {
                parse(text).map(Self)
            }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
        impl From<log::Id> for $name {
            fn from(id: log::Id) -> Self {
                Self(u128::from(id.high) << 64 | u128::from(id.low))
            }
        }
        impl From<$name> for log::Id {
            #[allow(clippy::cast_possible_truncation)] // The lower half is what is wanted.
            fn from(id: $name) -> Self {
                log::Id { high: (id.0 >> 64) as u64, low: id.0 as u64 }
            }
        }
    };
}

id! {
    /// A room.
    RoomId
}
id! {
    /// A user.
    UserId
}
id! {
    /// A message.
    MessageId
}
id! {
    /// A login, from its password or code until it ends: what refresh tokens belong to and what is revoked.
    SessionId
}
id! {
    /// A record of a room's log.
    RecordId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for value in [0, 1, u128::MAX, 0x0123_4567_89AB_CDEF_0011_2233_4455_6677] {
            let id = RoomId(value);
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(RoomId::from(log::Id::from(id)), id);
        }
        assert_eq!(RoomId(u128::MAX).to_string(), "7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
    }

    #[test]
    fn refuses_other_text() {
        for text in
            ["", "7ZZZZZZZZZZZZZZZZZZZZZZZZ", "8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "7ZZZZZZZZZZZZZZZZZZZZZZZZU"]
        {
            assert_eq!(text.parse::<RoomId>(), Err(NotAnId), "{text}");
        }
    }
}
