//! What an ID token says of somebody (OpenID Connect Core, 2 and 3.1.3.7), once it is known to be its issuer's.

use std::time::Duration;

use jsonwebtoken::{
    Algorithm, DecodingKey, Header, Validation, dangerous::insecure_decode_claims, decode, decode_header,
    errors::ErrorKind,
};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{Identity, IssuerSettings};
use crate::{
    accounts::{email::Email, now},
    problem::Problem,
};

/// Longest token that is looked at, in bytes. Some issuers put all groups of a user into it.
const LONGEST: usize = 16 << 10;
/// Issuers' clocks may differ from ours by so much.
const CLOCKS_DIFFER: Duration = Duration::from_secs(60);
/// A token is good for a login so long after it was issued, whatever its `exp`: so long it is remembered that it was used.
const GOOD_FOR: Duration = Duration::from_secs(600);
/// Longest `sub`: "MUST NOT exceed 255 ASCII characters in length".
const LONGEST_SUBJECT: usize = 255;
/// Longest text of another claim, in bytes: a longer one was not told.
const LONGEST_TEXT: usize = 512;

/// Somebody, as his issuer tells of him.
#[derive(Debug)]
pub(super) struct Person {
    pub(super) identity: Identity,
    pub(super) email: Option<Email>,
    /// As far as the issuer is believed with that.
    pub(super) email_is_his: bool,
    /// See [`IssuerSettings::trust_email`].
    pub(super) issuer_is_trusted: bool,
    /// What he is called there, best first.
    pub(super) usernames: Vec<String>,
    pub(super) name: Option<String>,
    pub(super) locale: Option<String>,
    /// The token is good for so long yet.
    pub(super) good_for: Duration,
}

/// Claims that are looked at. What is not of the right type was not told.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    /// Unix seconds, also in fractions (RFC 7519, 2).
    iat: f64,
    #[serde(default)]
    aud: Value,
    #[serde(default, deserialize_with = "text")]
    azp: Option<String>,
    #[serde(default, deserialize_with = "text")]
    nonce: Option<String>,
    #[serde(default, deserialize_with = "text")]
    email: Option<String>,
    /// A boolean; at some issuers the word.
    #[serde(default)]
    email_verified: Value,
    #[serde(default, deserialize_with = "text")]
    preferred_username: Option<String>,
    #[serde(default, deserialize_with = "text")]
    nickname: Option<String>,
    #[serde(default, deserialize_with = "text")]
    name: Option<String>,
    #[serde(default, deserialize_with = "text")]
    locale: Option<String>,
}

fn text<'de, D: Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    let value = Value::deserialize(value)?;
    Ok(value.as_str().filter(|text| !text.is_empty() && text.len() <= LONGEST_TEXT).map(str::to_owned))
}

pub(super) fn invalid(why: &'static str) -> Problem {
    Problem::new(401, "id_token_invalid", why)
}

/// Who a token says has issued it, and its header. Nothing of it is proved.
pub(super) fn claimed(token: &str) -> Result<(String, Header), Problem> {
    #[derive(Deserialize)]
    struct Issued {
        iss: String,
    }
    const NONE: &str = "This is no ID token.";
    if token.len() > LONGEST {
        return Err(invalid("The ID token is too long."));
    }
    let header = decode_header(token).map_err(|_| invalid(NONE))?;
    if !is_public(header.alg) {
        return Err(invalid("The ID token is not signed with a public key."));
    }
    let issued = insecure_decode_claims::<Issued>(token).map_err(|_| invalid(NONE))?;
    Ok((issued.iss, header))
}

/// Algorithms whose keys can be published; with the others, whoever can check could also sign.
fn is_public(algorithm: Algorithm) -> bool {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    matches!(algorithm, RS256 | RS384 | RS512 | PS256 | PS384 | PS512 | ES256 | ES384 | EdDSA)
}

/// Checks a token: signature, issuer, audience, times, nonce.
pub(super) fn read(
    token: &str,
    header: &Header,
    key: &DecodingKey,
    issuer: &IssuerSettings,
    nonce: Option<&str>,
) -> Result<Person, Problem> {
    let mut validation = Validation::new(header.alg);
    validation.leeway = CLOCKS_DIFFER.as_secs();
    validation.validate_nbf = true;
    validation.set_issuer(&[&issuer.url]);
    validation.set_audience(&issuer.audiences);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let claims = decode::<Claims>(token, key, &validation).map_err(|error| {
        invalid(match error.kind() {
            ErrorKind::ExpiredSignature => "The ID token has expired; get a new one.",
            ErrorKind::ImmatureSignature => {
                "The ID token is not good yet: clocks differ by more than a minute."
            }
            ErrorKind::InvalidAudience => "The ID token was issued to another client.",
            ErrorKind::MissingRequiredClaim(_) | ErrorKind::Json(_) => {
                "The ID token lacks exp, aud, sub or iat."
            }
            _ => "The ID token's signature is not its issuer's.",
        })
    })?;
    person(claims.claims, issuer, nonce)
}

fn person(claims: Claims, issuer: &IssuerSettings, nonce: Option<&str>) -> Result<Person, Problem> {
    let is_ours = |client: &str| issuer.audiences.iter().any(|ours| ours == client);
    match &claims.azp {
        Some(client) if !is_ours(client) => {
            return Err(invalid("The ID token was issued to another client."));
        }
        // "If the ID Token contains multiple audiences, the Client SHOULD verify that an azp Claim is present."
        None if claims.aud.as_array().is_some_and(|all| all.len() > 1) => {
            return Err(invalid(
                "The ID token is for several clients and does not say to which it was issued (azp).",
            ));
        }
        _ => {}
    }
    if nonce.is_some() && nonce != claims.nonce.as_deref() {
        return Err(invalid("The ID token has another nonce."));
    }
    if !(1..=LONGEST_SUBJECT).contains(&claims.sub.len()) {
        return Err(invalid("The ID token's sub is empty or longer than 255 bytes."));
    }
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of this era are exact in an f64")]
    let age = now() as f64 / 1000.0 - claims.iat;
    if !(-CLOCKS_DIFFER.as_secs_f64()..=GOOD_FOR.as_secs_f64()).contains(&age) {
        return Err(invalid("The ID token was issued more than ten minutes ago; get a new one."));
    }
    let verified = match &claims.email_verified {
        Value::Bool(verified) => Some(*verified),
        Value::String(word) => word.parse().ok(),
        _ => None,
    };
    Ok(Person {
        identity: Identity { issuer: issuer.url.clone(), subject: claims.sub },
        email: claims.email.and_then(|text| Email::parse(&text).ok()),
        email_is_his: verified.unwrap_or(issuer.trust_email),
        issuer_is_trusted: issuer.trust_email,
        usernames: [claims.preferred_username, claims.nickname].into_iter().flatten().collect(),
        name: claims.name,
        locale: claims.locale,
        good_for: Duration::from_secs_f64((GOOD_FOR.as_secs_f64() - age).max(0.0)),
    })
}
