//! A walk over a frame's bytes before prost reads them: its number, which body it has, and how many rooms a hello
//! names. Allocates nothing. Wire format: <https://protobuf.dev/programming-guides/encoding/>.

use std::borrow::Cow;

use crate::{error::Reason, limits};

/// Field numbers of client.proto.
const NUMBER: u64 = 1;
const CLIENT_BODIES: std::ops::RangeInclusive<u64> = 2..=14;
const SERVER_BODIES: std::ops::RangeInclusive<u64> = 2..=18;
const HELLO: u64 = 2;
const HELLO_RESUME: u64 = 4;
const HELLO_ROOMS: u64 = 5;
const SELECTION_ROOMS: u64 = 2;

/// What the walk found, also when it stopped half way.
#[derive(Default)]
pub(super) struct Header {
    /// `id` or `re`.
    pub(super) number: Option<u64>,
    /// A field that is neither that nor a body.
    pub(super) other: Option<u64>,
}

/// What the walk found, and whether it came to the end.
pub(super) type Walked = (Header, Result<(), Reason>);

/// Called with a body's field number and bytes.
type OnBody<'a> = dyn FnMut(u64, &[u8]) -> Result<(), Reason> + 'a;

impl Header {
    pub(super) fn of_client(bytes: &[u8]) -> Walked {
        let mut header = Self::default();
        let mut rooms = Rooms::default();
        let read = header.walk(bytes, CLIENT_BODIES, &mut |field, body| {
            if field == HELLO { rooms.count(body) } else { Ok(()) }
        });
        (header, read)
    }

    pub(super) fn of_server(bytes: &[u8]) -> Walked {
        let mut header = Self::default();
        let read = header.walk(bytes, SERVER_BODIES, &mut |_, _| Ok(()));
        (header, read)
    }

    fn walk(
        &mut self,
        mut bytes: &[u8],
        bodies: std::ops::RangeInclusive<u64>,
        body: &mut OnBody<'_>,
    ) -> Result<(), Reason> {
        while let Some((field, value)) = next(&mut bytes)? {
            match value {
                Value::Varint(number) if field == NUMBER => self.number = Some(number),
                Value::Bytes(bytes) if bodies.contains(&field) => body(field, bytes)?,
                _ => self.other = Some(field),
            }
        }
        if self.number.is_some_and(|number| number > limits::MAX_ID) {
            return Err(Reason::Invalid { field: Cow::Borrowed("id"), why: Cow::Borrowed(limits::ID) });
        }
        Ok(())
    }
}

/// A body that comes in pieces is merged, so rooms are counted over all of them.
#[derive(Default)]
struct Rooms {
    resumed: usize,
    selected: usize,
}

impl Rooms {
    fn count(&mut self, mut hello: &[u8]) -> Result<(), Reason> {
        while let Some((field, value)) = next(&mut hello)? {
            match value {
                Value::Bytes(_) if field == HELLO_RESUME => self.resumed += 1,
                Value::Bytes(mut selection) if field == HELLO_ROOMS => {
                    while let Some((field, _)) = next(&mut selection)? {
                        self.selected += usize::from(field == SELECTION_ROOMS);
                    }
                }
                _ => {}
            }
        }
        for (field, count) in [("resume", self.resumed), ("rooms", self.selected)] {
            if count > limits::MAX_ROOMS {
                let why = Cow::Borrowed(limits::TOO_MANY_ROOMS);
                return Err(Reason::Invalid { field: Cow::Borrowed(field), why });
            }
        }
        Ok(())
    }
}

enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Other,
}

/// The next field, or `None` at the end.
fn next<'a>(bytes: &mut &'a [u8]) -> Result<Option<(u64, Value<'a>)>, Reason> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let key = varint(bytes)?;
    let value = match key & 7 {
        0 => Value::Varint(varint(bytes)?),
        1 => skip(bytes, 8)?,
        2 => {
            let len = varint(bytes)?;
            let len = usize::try_from(len).map_err(|_| MALFORMED)?;
            let (value, rest) = bytes.split_at_checked(len).ok_or(MALFORMED)?;
            *bytes = rest;
            Value::Bytes(value)
        }
        5 => skip(bytes, 4)?,
        // Groups (3 and 4): none of our messages ever had one, and skipping one needs recursion.
        _ => return Err(MALFORMED),
    };
    Ok(Some((key >> 3, value)))
}

const MALFORMED: Reason = Reason::Malformed("A binary frame must be one Protobuf message.");

fn skip<'a>(bytes: &mut &'a [u8], len: usize) -> Result<Value<'a>, Reason> {
    *bytes = bytes.split_at_checked(len).ok_or(MALFORMED)?.1;
    Ok(Value::Other)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Reason> {
    let mut value = 0u64;
    for at in 0..10 {
        let (&byte, rest) = bytes.split_first().ok_or(MALFORMED)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7F) << (7 * at);
        if byte < 0x80 {
            return if at == 9 && byte > 1 { Err(MALFORMED) } else { Ok(value) };
        }
    }
    Err(MALFORMED)
}
