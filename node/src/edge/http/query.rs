//! Query strings and their problems.

use axum::{extract::FromRequestParts, http::request::Parts};
use serde::de::DeserializeOwned;

use super::body::wrong_field;
use crate::problem::Problem;

/// The query string. Unknown parameters are ignored; wrong ones are 422 `invalid` with the parameter as field.
#[derive(Debug, Clone, Copy)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        parse(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

fn parse<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
    serde_path_to_error::deserialize(pairs).map_err(|error| {
        let path = error.path().to_string();
        wrong_field(path, &error.into_inner().to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Page {
        limit: Option<u32>,
        q: Option<String>,
    }

    #[test]
    fn names_the_parameter() {
        let problem = parse::<Page>("q=a&limit=many").unwrap_err();
        assert_eq!((problem.status, problem.code), (422, "invalid"));
        assert!(problem.fields.contains_key("limit"), "{problem:?}");
        let page: Page = parse("limit=5&other=1&q=%C3%A9+b").unwrap();
        assert_eq!((page.limit, page.q.as_deref()), (Some(5), Some("é b")));
    }
}
