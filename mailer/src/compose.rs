//! A job as a message: addresses, headers, both bodies.

use std::time::SystemTime;

use lettre::{
    Address, Message,
    message::{
        Mailbox, MultiPart,
        header::{HeaderName, HeaderValue},
    },
};
use rookery_protocol::outbox::{Mail, MailJob};
use rookery_service::settings::Wrong;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::templates::{TemplateError, Templates};

/// `[mail]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MailSettings {
    /// Sender: `chat@example.org`, or with a name: `Tea Chat <chat@example.org>`.
    pub from: String,
    /// Where answers go; none: to the sender.
    pub reply_to: Option<String>,
    /// What the service calls itself in mails.
    pub service: String,
    /// Folder with templates that replace those built in.
    pub templates: Option<std::path::PathBuf>,
}

impl Default for MailSettings {
    fn default() -> Self {
        Self { from: String::new(), reply_to: None, service: "Rookery".to_owned(), templates: None }
    }
}

impl MailSettings {
    /// What cannot work.
    pub fn check(&self) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        let mut no =
            |key: &str, why: &str| wrong.push(Wrong { key: format!("mail.{key}"), why: why.to_owned() });
        let address = "must be an address such as chat@example.org, or Chat <chat@example.org>";
        if self.from.parse::<Mailbox>().is_err() {
            no("from", address);
        }
        if self.reply_to.as_ref().is_some_and(|text| text.parse::<Mailbox>().is_err()) {
            no("reply_to", address);
        }
        if self.service.is_empty() || self.service.chars().count() > 80 {
            no("service", "must have 1 to 80 characters");
        }
        wrong
    }
}

/// Why a job cannot become a message. Holds nothing of what the mail says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    /// `to` is no address.
    #[error("the address it is for is not one that mails can be sent to")]
    Address,
    /// A setting is no address.
    #[error("mail.{0} is not an address")]
    Setting(&'static str),
    /// A template failed.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The message cannot be built.
    #[error("the message cannot be built: {0}")]
    Build(String),
}

/// Writes messages.
pub struct Composer {
    templates: Templates,
    from: Mailbox,
    reply_to: Option<Mailbox>,
}

impl Composer {
    /// Reads the templates.
    ///
    /// # Errors
    /// [`ComposeError`]: a setting or a template cannot be used.
    pub fn new(settings: &MailSettings) -> Result<Self, ComposeError> {
        let mailbox = |key, text: &str| text.parse::<Mailbox>().map_err(|_| ComposeError::Setting(key));
        Ok(Self {
            templates: Templates::load(settings.templates.as_deref(), &settings.service)?,
            from: mailbox("from", &settings.from)?,
            reply_to: settings.reply_to.as_deref().map(|text| mailbox("reply_to", text)).transpose()?,
        })
    }

    /// The message of a job. The same job has the same `Message-ID`, so that a mail that comes twice can be known as one.
    ///
    /// # Errors
    /// [`ComposeError`]; another try would fail the same.
    pub fn compose(&self, job: &MailJob) -> Result<Message, ComposeError> {
        let to: Address = job.to.parse().map_err(|_| ComposeError::Address)?;
        let text = self.templates.render(&job.mail, &job.language)?;
        let mut message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(text.subject)
            .date(SystemTime::now())
            .message_id(Some(self.message_id(&job.id)))
            // Nobody's holiday reply is wanted (RFC 3834).
            .raw_header(header("Auto-Submitted", "auto-generated"));
        if let Some(reply_to) = &self.reply_to {
            message = message.reply_to(reply_to.clone());
        }
        if let Mail::Unread { unsubscribe: Some(address), .. } = &job.mail
            && is_header_url(address)
        {
            message = message
                .raw_header(header("List-Unsubscribe", &format!("<{address}>")))
                .raw_header(header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"));
        }
        let body = MultiPart::alternative_plain_html(text.text, text.html);
        message.multipart(body).map_err(|error| ComposeError::Build(error.to_string()))
    }

    fn message_id(&self, job: &str) -> String {
        use std::fmt::Write as _;
        let digest = Sha256::digest(job.as_bytes());
        let mut id = String::from("<");
        for byte in &digest[..16] {
            let _ = write!(id, "{byte:02x}");
        }
        let _ = write!(id, "@{}>", self.from.email.domain());
        id
    }
}

fn header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

/// An address that cannot end its header or its angle brackets.
fn is_header_url(address: &str) -> bool {
    address.starts_with("https://")
        && address.len() <= 900
        && address.bytes().all(|b| b.is_ascii_graphic() && b != b'<' && b != b'>')
}

#[cfg(test)]
mod tests {
    use rookery_protocol::outbox::UnreadRoom;

    use super::*;

    fn composer() -> Composer {
        let settings = MailSettings { from: "Tea <chat@example.org>".into(), ..MailSettings::default() };
        Composer::new(&settings).unwrap()
    }

    fn job(to: &str, mail: Mail) -> MailJob {
        MailJob { id: "job-1".into(), to: to.into(), language: "fr".into(), not_after: None, mail }
    }

    fn head(message: &Message) -> String {
        let all = String::from_utf8(message.formatted()).unwrap();
        all.split("\r\n\r\n").next().unwrap().to_owned()
    }

    #[test]
    fn the_same_job_has_the_same_message_id() {
        let mail = Mail::Welcome { username: "ada".into() };
        let ids: Vec<_> = (0..2)
            .map(|_| head(&composer().compose(&job("a@x.org", mail.clone())).unwrap()))
            .map(|head| head.lines().find(|line| line.starts_with("Message-ID")).unwrap().to_owned())
            .collect();
        assert_eq!(ids[0], ids[1]);
        assert!(ids[0].ends_with("@example.org>"), "{}", ids[0]);
    }

    #[test]
    fn nothing_that_a_user_chooses_becomes_a_header() {
        for to in ["a@x.org\r\nBcc: b@y.org", "a@x.org, b@y.org", "<a@x.org> b", "", "a", "a@x.org\n"] {
            let mail = Mail::Welcome { username: "ada".into() };
            assert_eq!(composer().compose(&job(to, mail)).err(), Some(ComposeError::Address), "{to:?}");
        }
        let evil = "x\r\nBcc: b@y.org\r\n\r\nbody".to_owned();
        let room = UnreadRoom { name: evil.clone(), direct: false, mentions: 1, messages: 1 };
        let mail = Mail::Unread {
            username: evil,
            rooms: vec![room],
            more_rooms: 0,
            link: None,
            unsubscribe: Some("https://x.org/>\r\nBcc: b@y.org".into()),
        };
        let head = head(&composer().compose(&job("a@x.org", mail)).unwrap());
        assert!(!head.contains("Bcc") && !head.contains("List-Unsubscribe"), "{head}");
    }

    #[test]
    fn notices_can_be_stopped_with_one_click() {
        let mail = Mail::Unread {
            username: "ada".into(),
            rooms: Vec::new(),
            more_rooms: 1,
            link: None,
            unsubscribe: Some("https://chat.example.org/v1/mail/stop?t=abc".into()),
        };
        let head = head(&composer().compose(&job("a@x.org", mail)).unwrap());
        assert!(head.contains("List-Unsubscribe: <https://chat.example.org/v1/mail/stop?t=abc>"), "{head}");
        assert!(head.contains("List-Unsubscribe-Post: List-Unsubscribe=One-Click"), "{head}");
        assert!(head.contains("Auto-Submitted: auto-generated"), "{head}");
    }
}
