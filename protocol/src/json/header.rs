//! The first pass over a frame: its type and number, without allocating and without looking at the rest.

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::{error::Reason, limits};

/// Characters of an unknown type that the answer repeats.
const SHOWN: usize = 32;

/// The types of frames of one direction.
pub(super) trait Type: Copy {
    fn from_name(name: &str) -> Option<Self>;
}

/// What the first pass found, also when it stopped half way.
pub(super) struct Header<T> {
    kind: Option<Result<T, Reason>>,
    /// `id` or `re`.
    pub(super) number: Option<u64>,
    wrong: Option<Reason>,
}

impl<T> Default for Header<T> {
    fn default() -> Self {
        Self { kind: None, number: None, wrong: None }
    }
}

fn invalid(field: &'static str, why: &'static str) -> Reason {
    Reason::Invalid { field: Cow::Borrowed(field), why: Cow::Borrowed(why) }
}

impl<T: Type> Header<T> {
    /// Reads the whole text; fails if it is not one JSON object.
    pub(super) fn read(&mut self, number: &'static str, text: &str) -> Result<(), Reason> {
        let mut json = serde_json::Deserializer::from_str(text);
        (&mut json)
            .deserialize_map(Fields { header: self, number })
            .and_then(|()| json.end())
            .map_err(|_| Reason::Malformed("A text frame must be one JSON object."))
    }

    /// The type, if that and the number are as they should be.
    pub(super) fn kind(&mut self, number: &'static str) -> Result<T, Reason> {
        if self.number.is_some_and(|number| number > limits::MAX_ID) {
            return Err(invalid(number, limits::ID));
        }
        if let Some(wrong) = self.wrong.take() {
            return Err(wrong);
        }
        self.kind.take().unwrap_or_else(|| Err(invalid("t", "is required")))
    }
}

struct Fields<'h, T> {
    header: &'h mut Header<T>,
    number: &'static str,
}

impl<'de, T: Type> Visitor<'de> for Fields<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let header = self.header;
        while let Some(key) = map.next_key_seed(Key { number: self.number })? {
            match key {
                Known::Type => {
                    let kind = map.next_value_seed(Value(|value: Scalar<'_>| match value {
                        Scalar::Text(name) => T::from_name(name)
                            .ok_or_else(|| Reason::UnknownType(name.chars().take(SHOWN).collect())),
                        _ => Err(invalid("t", "must be a string")),
                    }))?;
                    if header.kind.replace(kind).is_some() {
                        header.wrong = Some(invalid("t", "is given twice"));
                    }
                }
                Known::Number => {
                    let number = map.next_value_seed(Value(|value: Scalar<'_>| match value {
                        Scalar::Number(number) => Ok(Some(number)),
                        Scalar::Null => Ok(None),
                        _ => Err(invalid(self.number, limits::ID)),
                    }))?;
                    match number {
                        Ok(number) if header.number.is_none() => header.number = number,
                        Ok(_) => header.wrong = Some(invalid(self.number, "is given twice")),
                        Err(wrong) => header.wrong = Some(wrong),
                    }
                }
                Known::Other => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(())
    }
}

enum Known {
    Type,
    Number,
    Other,
}

struct Key {
    number: &'static str,
}

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Known;
    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Known, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Known;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E>(self, key: &str) -> Result<Known, E> {
        Ok(match key {
            "t" => Known::Type,
            key if key == self.number => Known::Number,
            _ => Known::Other,
        })
    }
}

enum Scalar<'a> {
    Text(&'a str),
    Number(u64),
    Null,
    Other,
}

/// Hands any value to a function, so that one of a wrong type does not end the pass.
struct Value<F>(F);

impl<'de, R, F: FnOnce(Scalar<'_>) -> R> DeserializeSeed<'de> for Value<F> {
    type Value = R;
    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<R, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, R, F: FnOnce(Scalar<'_>) -> R> Visitor<'de> for Value<F> {
    type Value = R;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_str<E>(self, text: &str) -> Result<R, E> {
        Ok((self.0)(Scalar::Text(text)))
    }
    fn visit_u64<E>(self, number: u64) -> Result<R, E> {
        Ok((self.0)(Scalar::Number(number)))
    }
    fn visit_i64<E>(self, _: i64) -> Result<R, E> {
        Ok((self.0)(Scalar::Other))
    }
    fn visit_f64<E>(self, _: f64) -> Result<R, E> {
        Ok((self.0)(Scalar::Other))
    }
    fn visit_bool<E>(self, _: bool) -> Result<R, E> {
        Ok((self.0)(Scalar::Other))
    }
    fn visit_unit<E>(self) -> Result<R, E> {
        Ok((self.0)(Scalar::Null))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<R, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok((self.0)(Scalar::Other))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<R, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok((self.0)(Scalar::Other))
    }
}
