//! One mail over one connection, step by step, so that it is known at which one it failed.

use std::{io, time::Duration};

use lettre::{
    address::Envelope,
    transport::smtp::{
        Error,
        client::AsyncSmtpConnection,
        commands::{Data, Mail, Rcpt, Rset},
        extension::{Extension, MailBodyParameter, MailParameter},
        response::{Response, Severity},
    },
};
use tokio::time::timeout;

/// A server that does not answer a reset by then is left.
const RESET: Duration = Duration::from_secs(5);

/// How far a mail had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Until the greeting is answered, under TLS where that is wanted.
    Connect,
    /// Credentials.
    Login,
    /// The sender.
    Mail,
    /// The recipient.
    Rcpt,
    /// The server's leave to send the content.
    Data,
    /// The content, and the server's word that it has it.
    Content,
}

/// Why.
#[derive(Debug)]
pub(super) enum Cause {
    /// The server's answer, or what lettre says.
    Smtp(Error),
    /// The connection, or a server that answers out of turn.
    Io(io::Error),
}

/// A step that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) stage: Stage,
    pub(super) cause: Cause,
}

impl Failure {
    pub(super) fn smtp(stage: Stage, error: Error) -> Self {
        Self { stage, cause: Cause::Smtp(error) }
    }

    pub(super) fn io(stage: Stage, error: io::Error) -> Self {
        Self { stage, cause: Cause::Io(error) }
    }

    pub(super) fn silent(stage: Stage) -> Self {
        Self::io(stage, io::ErrorKind::TimedOut.into())
    }

    fn out_of_turn(stage: Stage, answer: &Response) -> Self {
        Self::io(stage, io::Error::new(io::ErrorKind::InvalidData, format!("it answers {}", answer.code())))
    }

    /// The server's code, if it answered.
    pub(super) fn code(&self) -> Option<u16> {
        match &self.cause {
            Cause::Smtp(error) => error.status().map(u16::from),
            Cause::Io(_) => None,
        }
    }

    /// Whether the server refused and both sides still know where they are.
    pub(super) fn is_in_step(&self) -> bool {
        // 421: it closes. 503: it is elsewhere.
        self.code().is_some_and(|code| code != 421 && code != 503)
    }

    /// Whether a connection that was good once has ended meanwhile, and no mail was begun on it.
    pub(super) fn is_stale(&self) -> bool {
        let lost = match &self.cause {
            Cause::Smtp(error) => error.status().is_none() && !error.is_client(),
            Cause::Io(_) => true,
        };
        self.stage == Stage::Mail && (lost || self.code() == Some(421))
    }
}

/// Names sender and recipients, and asks for leave to send the content. All of it takes `limit` at most.
pub(super) async fn offer(
    connection: &mut AsyncSmtpConnection,
    envelope: &Envelope,
    content: &[u8],
    limit: Duration,
) -> Result<(), Failure> {
    let mut stage = Stage::Mail;
    let offered = timeout(limit, steps(connection, envelope, content, &mut stage)).await;
    offered.unwrap_or_else(|_| Err(Failure::silent(stage)))
}

async fn steps(
    connection: &mut AsyncSmtpConnection,
    envelope: &Envelope,
    content: &[u8],
    stage: &mut Stage,
) -> Result<(), Failure> {
    let parameters = parameters(connection, envelope, content)?;
    let sender = connection.command(Mail::new(envelope.from().cloned(), parameters)).await;
    done(*stage, sender)?;
    *stage = Stage::Rcpt;
    for to in envelope.to() {
        done(*stage, connection.command(Rcpt::new(to.clone(), Vec::new())).await)?;
    }
    *stage = Stage::Data;
    let leave = connection.command(Data).await.map_err(|error| Failure::smtp(*stage, error))?;
    if leave.has_code(354) { Ok(()) } else { Err(Failure::out_of_turn(*stage, &leave)) }
}

/// What the mail asks of the server beyond the oldest SMTP; refused here where the server does not have it.
fn parameters(
    connection: &AsyncSmtpConnection,
    envelope: &Envelope,
    content: &[u8],
) -> Result<Vec<MailParameter>, Failure> {
    let lacks = |what: &str| Failure::io(Stage::Rcpt, io::Error::new(io::ErrorKind::Unsupported, what));
    let server = connection.server_info();
    let mut parameters = Vec::new();
    let mut addresses = envelope.from().into_iter().chain(envelope.to());
    if !addresses.all(|address| AsRef::<str>::as_ref(address).is_ascii()) {
        if !server.supports_feature(Extension::SmtpUtfEight) {
            return Err(lacks("it does not take addresses beyond ASCII (SMTPUTF8)"));
        }
        parameters.push(MailParameter::SmtpUtfEight);
    }
    if !content.is_ascii() {
        if !server.supports_feature(Extension::EightBitMime) {
            return Err(lacks("it does not take mails beyond ASCII (8BITMIME)"));
        }
        parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    Ok(parameters)
}

/// Sends the content. Only what the server says within `limit` tells whether it has the mail.
pub(super) async fn hand_over(
    connection: &mut AsyncSmtpConnection,
    content: &[u8],
    limit: Duration,
) -> Result<(), Failure> {
    match timeout(limit, connection.message(content)).await {
        Ok(answer) => done(Stage::Content, answer),
        Err(_) => Err(Failure::silent(Stage::Content)),
    }
}

/// Makes the server forget what was begun; says whether it has.
pub(super) async fn reset(connection: &mut AsyncSmtpConnection) -> bool {
    let answer = timeout(RESET, connection.command(Rset)).await;
    answer.is_ok_and(|answer| done(Stage::Mail, answer).is_ok())
}

/// An answer that ends a step: 2xx and nothing else.
fn done(stage: Stage, answer: Result<Response, Error>) -> Result<(), Failure> {
    let answer = answer.map_err(|error| Failure::smtp(stage, error))?;
    if answer.code().severity == Severity::PositiveCompletion {
        return Ok(());
    }
    Err(Failure::out_of_turn(stage, &answer))
}
