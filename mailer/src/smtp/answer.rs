//! What an SMTP server's answer, or its silence, means for a mail.

use std::{error::Error as _, io};

use lettre::transport::smtp::Error;
use rustls::CertificateError;

use super::Outcome;

/// Refusals of us and not of the mail (RFC 4954): the next mail would be refused the same, and this one is fine.
const LOGIN: &[u16] = &[530, 534, 535, 538];

/// Judges a failure. `place` is the server's.
pub(super) fn judge(error: &Error, place: &str) -> Outcome {
    let code = error.status().map(u16::from);
    let said = said(error);
    if error.is_permanent() {
        return match code {
            Some(code) if LOGIN.contains(&code) => Outcome::Later(format!(
                "{place} refuses smtp.user, its password, or the way they are shown ({code} {said})"
            )),
            Some(code) => Outcome::Never(format!("{place} refuses it: {code} {said}")),
            None => Outcome::Never(format!("{place} refuses it: {said}")),
        };
    }
    if let Some(code) = code {
        return Outcome::Later(format!("{place} does not take it now: {code} {said}"));
    }
    if let Some(why) = certificate(error) {
        return Outcome::Later(format!("the certificate of {place} {why}"));
    }
    if error.is_timeout() {
        return Outcome::Later(format!("{place} does not answer in time"));
    }
    if error.is_client() && said.contains("STARTTLS") {
        return Outcome::Later(format!(
            "{place} does not offer STARTTLS: set smtp.security to \"implicit\" if it speaks TLS from the start, or to \
             \"plain\" if mails may pass in the clear"
        ));
    }
    if error.is_client() && said.contains("SMTPUTF8") {
        return Outcome::Never(format!("{place} does not take addresses beyond ASCII"));
    }
    if error.is_client() && said.contains("authentication mechanism") {
        return Outcome::Later(format!("{place} does not offer the way to log in that smtp.login asks for"));
    }
    Outcome::Later(format!("{place} cannot be used: {error}"))
}

/// The server's own words, or the innermost reason.
fn said(error: &Error) -> String {
    let mut words = error.source().map(ToString::to_string).unwrap_or_default();
    words.retain(|c| !c.is_control() || c == ' ');
    words.truncate(words.char_indices().nth(300).map_or(words.len(), |(at, _)| at));
    words
}

/// What is wrong with a certificate, and what to do.
fn certificate(error: &Error) -> Option<String> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = error.source();
    while let Some(at) = cause {
        let inner = at.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let found = at
            .downcast_ref::<rustls::Error>()
            .or_else(|| inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()));
        if let Some(rustls::Error::InvalidCertificate(why)) = found {
            return Some(explain(why));
        }
        cause = at.source();
    }
    None
}

fn explain(why: &CertificateError) -> String {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "has expired: it must be renewed there".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet: check the clocks of both machines".to_owned()
        }
        CertificateError::NotValidForName => "is for another name than smtp.host".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "is for {} and not for {}: set smtp.host to a name that it is for",
            if presented.is_empty() { "no name".to_owned() } else { presented.join(", ") },
            expected.to_str()
        ),
        CertificateError::UnknownIssuer => {
            "is signed by an authority that is not trusted here: set smtp.tls_ca to that authority's certificate".to_owned()
        }
        other => format!("cannot be accepted: {other}"),
    }
}
