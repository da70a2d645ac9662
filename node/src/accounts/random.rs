//! Random bytes for secrets: from the operating system, each time.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::{TryRng, rngs::SysRng};

use crate::problem::Problem;

/// Random bytes.
///
/// # Errors
/// `internal` when the operating system has none: nothing secret can be made then.
pub(super) fn bytes<const N: usize>() -> Result<[u8; N], Problem> {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).map_err(|error| {
        tracing::error!(%error, "the operating system has no random numbers");
        Problem::internal()
    })?;
    Ok(bytes)
}

/// Random 32 bytes as 43 characters.
///
/// # Errors
/// As [`bytes`].
pub(super) fn token() -> Result<String, Problem> {
    Ok(URL_SAFE_NO_PAD.encode(bytes::<32>()?))
}

/// A decimal code of so many digits, all equally likely.
///
/// # Errors
/// As [`bytes`].
pub(super) fn digits(count: u8) -> Result<String, Problem> {
    let bound = 10u32.pow(count.min(9).into());
    // What lies above the last whole multiple would make small codes likelier.
    let whole = u32::MAX - u32::MAX % bound;
    loop {
        let value = u32::from_le_bytes(bytes()?);
        if value < whole {
            return Ok(format!("{:0width$}", value % bound, width = count.into()));
        }
    }
}

/// An id of now.
///
/// # Errors
/// As [`bytes`].
pub(super) fn id_bits() -> Result<u128, Problem> {
    Ok(u128::from_le_bytes(bytes()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_their_length_and_all_digits() {
        let mut seen = [false; 10];
        for _ in 0..200 {
            let code = digits(6).unwrap();
            assert_eq!(code.len(), 6);
            code.bytes().for_each(|b| seen[usize::from(b - b'0')] = true);
        }
        assert!(seen.iter().all(|&seen| seen));
    }
}
