//! Cursors and sizes of pages.

use rookery_protocol::id::UserId;

use crate::problem::Problem;

/// Reads a cursor.
///
/// # Errors
/// `invalid`: not one that we gave.
pub(super) fn read(cursor: Option<&str>) -> Result<Option<u128>, Problem> {
    let read = cursor.map(|text| text.parse::<UserId>().map(|id| id.0)).transpose();
    read.map_err(|_| Problem::invalid("cursor", "This is no cursor that a page was answered with."))
}

/// Writes a cursor. Its form is that of an id, which clients need not know.
pub(super) fn write(at: u128) -> String {
    UserId(at).to_string()
}

/// The size of a page; `sizes` are the usual one and the greatest.
///
/// # Errors
/// `invalid`: none, or too many.
pub(super) fn limit(asked: Option<usize>, sizes: (usize, usize)) -> Result<usize, Problem> {
    match asked {
        None => Ok(sizes.0),
        Some(limit) if (1..=sizes.1).contains(&limit) => Ok(limit),
        Some(_) => Err(Problem::invalid("limit", format!("1 to {} can be asked for.", sizes.1))),
    }
}
