//! Names the field that keeps a body from being read.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

use crate::error::Reason;

/// Reads `text` once more, keeping track of where it is. The answer repeats no value of the frame: it may be a secret.
pub(super) fn reason<B: DeserializeOwned>(text: &str) -> Reason {
    let mut json = serde_json::Deserializer::from_str(text);
    let Err(error) = serde_path_to_error::deserialize::<_, B>(&mut json) else {
        return Reason::Malformed("The frame could not be read.");
    };
    let place = error.path().iter().next().map(ToString::to_string);
    let said = error.inner().to_string();
    // serde knows the name of a field that is missing or there twice, but not as a path.
    let named = |prefix| {
        let name: &str = said.strip_prefix(prefix)?;
        Some(name.split_once('`')?.0.to_owned())
    };
    if let Some(field) = named("missing field `") {
        return invalid(place.unwrap_or(field), Cow::Borrowed("is required"));
    }
    if let Some(field) = named("duplicate field `") {
        return invalid(place.unwrap_or(field), Cow::Borrowed("is given twice"));
    }
    let said = said.split(" at line ").next().unwrap_or_default();
    let why = match said.rsplit_once(", expected ") {
        Some((_, "u64")) => Cow::Borrowed("must be a non-negative integer"),
        Some((_, "u32")) => Cow::Borrowed("must be an integer from 0 to 4294967295"),
        Some((_, expected)) => Cow::Owned(format!("must be {expected}")),
        None => Cow::Borrowed("is not as it should be"),
    };
    invalid(place.unwrap_or_else(|| "t".to_owned()), why)
}

fn invalid(field: String, why: Cow<'static, str>) -> Reason {
    Reason::Invalid { field: Cow::Owned(field), why }
}
