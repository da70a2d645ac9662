//! What an SMTP server's answer, or its silence, means for a mail.

use std::{error::Error as StdError, io};

use rustls::CertificateError;

use super::{
    Outcome,
    transaction::{Cause, Failure, Stage},
};

/// Refusals of us and not of the mail (RFC 4954): the next mail would be refused the same, and this one is fine.
const LOGIN: &[u16] = &[530, 534, 535, 538];
/// The server is at another step than we are.
const OUT_OF_TURN: u16 = 503;

/// Judges a failure. `place` is the server's.
pub(super) fn judge(failure: &Failure, place: &str) -> Outcome {
    let Failure { stage, cause } = failure;
    if let Some(why) = certificate(cause.as_error()) {
        return Outcome::Away(format!("the certificate of {place} {why}"));
    }
    let Some(code) = failure.code() else { return unanswered(failure, place) };
    let said = cause.said();
    if *stage == Stage::Login || LOGIN.contains(&code) {
        let why = if code < 500 {
            format!("{place} does not let us log in now: {code} {said}")
        } else {
            format!("{place} refuses smtp.user, its password, or the way they are shown ({code} {said})")
        };
        // A recipient may be one that only who is logged in may write to.
        let is_everybody = matches!(stage, Stage::Connect | Stage::Login | Stage::Mail);
        return if is_everybody { Outcome::Away(why) } else { Outcome::Later(why) };
    }
    let refuses = match stage {
        Stage::Connect | Stage::Login => {
            return Outcome::Away(format!("{place} lets nobody in: {code} {said}"));
        }
        // The next mail would be refused the same, most likely; but it may be this one's alone.
        Stage::Mail => format!("{place} does not take the sender: {code} {said}"),
        Stage::Rcpt | Stage::Data | Stage::Content if code < 500 || code == OUT_OF_TURN => {
            format!("{place} does not take it now: {code} {said}")
        }
        Stage::Rcpt | Stage::Data | Stage::Content => {
            return Outcome::Never(format!("{place} refuses it: {code} {said}"));
        }
    };
    Outcome::Later(refuses)
}

/// Judges a failure that is no answer of the server's.
fn unanswered(Failure { stage, cause }: &Failure, place: &str) -> Outcome {
    if *stage == Stage::Content {
        let why = if cause.is_timeout() { "in time".to_owned() } else { format!("({})", cause.as_error()) };
        return Outcome::Unknown(format!("{place} got it and did not say {why} whether it was taken"));
    }
    let failed = if matches!(stage, Stage::Connect | Stage::Login) { Outcome::Away } else { Outcome::Later };
    if cause.is_timeout() {
        return failed(format!("{place} does not answer in time"));
    }
    let said = cause.said();
    match cause {
        Cause::Smtp(error) if error.is_client() && said.contains("STARTTLS") => failed(format!(
            "{place} does not offer STARTTLS: set smtp.security to \"implicit\" if it speaks TLS from the start, or to \
             \"plain\" if mails may pass in the clear"
        )),
        Cause::Smtp(error) if error.is_client() && said.contains("authentication mechanism") => {
            failed(format!("{place} does not offer the way to log in that smtp.login asks for"))
        }
        Cause::Io(error) if error.kind() == io::ErrorKind::Unsupported => {
            Outcome::Never(format!("{place} refuses it: {error}"))
        }
        Cause::Smtp(_) | Cause::Io(_) => failed(format!("{place} cannot be used: {}", cause.as_error())),
    }
}

impl Cause {
    fn as_error(&self) -> &(dyn StdError + 'static) {
        match self {
            Self::Smtp(error) => error,
            Self::Io(error) => error,
        }
    }

    fn is_timeout(&self) -> bool {
        match self {
            Self::Smtp(error) => error.is_timeout(),
            Self::Io(error) => error.kind() == io::ErrorKind::TimedOut,
        }
    }

    /// The server's own words, or the innermost reason.
    fn said(&self) -> String {
        let mut words =
            self.as_error().source().map_or_else(|| self.as_error().to_string(), ToString::to_string);
        words.retain(|c| !c.is_control() || c == ' ');
        words.truncate(words.char_indices().nth(300).map_or(words.len(), |(at, _)| at));
        words
    }
}

/// What is wrong with a certificate, and what to do.
fn certificate(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut cause = Some(error);
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
