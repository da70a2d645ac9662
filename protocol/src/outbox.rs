//! Mails to send, as they wait in the outbox (`proto/rookery/v1/outbox.proto`).
//!
//! Nothing here has a `Debug` that shows what a mail says: it holds codes.

use std::fmt;

use prost::Message as _;

#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
mod wire {
    include!(concat!(env!("OUT_DIR"), "/rookery.outbox.v1.rs"));
}

/// Version of the jobs, in the header [`VERSION_HEADER`] of each message. Version 1 was JSON.
pub const VERSION: &str = "2";
/// Names the version.
pub const VERSION_HEADER: &str = "Rookery-Version";
/// An encoded job is no longer, bytes.
pub const MAX_JOB_BYTES: usize = 64 * 1024;
/// An id or an address is no longer, bytes.
pub const MAX_FIELD_BYTES: usize = 512;

/// The stream of a cluster's jobs: a work queue.
pub fn stream(cluster: &str) -> String {
    format!("{cluster}-outbox")
}

/// The subject of its messages.
pub fn subject(cluster: &str) -> String {
    format!("{cluster}.outbox.mail")
}

/// A mail to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailJob {
    /// One mail is sent per id.
    pub id: String,
    /// Address.
    pub to: String,
    /// BCP 47 tag of the reader's language.
    pub language: String,
    /// Of no use after that, Unix milliseconds; `None`: always of use.
    pub not_after: Option<i64>,
    /// What kind of mail, with what it says.
    pub mail: Mail,
}

/// What a mail says.
#[derive(Clone, PartialEq, Eq)]
pub enum Mail {
    /// The code that ends a registration.
    SignUpCode {
        /// The digits.
        code: String,
        /// Chosen name.
        username: String,
        /// Valid for so many minutes.
        minutes: u64,
    },
    /// Somebody tried to register an address that has an account.
    AlreadyRegistered {
        /// The account's name.
        username: String,
    },
    /// The second step of a login.
    LoginCode {
        /// The digits.
        code: String,
        /// The account's name.
        username: String,
        /// Valid for so many minutes.
        minutes: u64,
    },
    /// The code that allows a new password.
    PasswordReset {
        /// The digits.
        code: String,
        /// The account's name.
        username: String,
        /// Valid for so many minutes.
        minutes: u64,
    },
    /// After a successful registration.
    Welcome {
        /// The account's name.
        username: String,
    },
    /// There are mentions and messages that somebody has not read.
    Unread {
        /// The account's name.
        username: String,
        /// Where, the most pressing first.
        rooms: Vec<UnreadRoom>,
        /// Rooms beside those.
        more_rooms: u32,
        /// Address of the chat.
        link: Option<String>,
        /// `https` address that ends such mails with one POST (RFC 8058).
        unsubscribe: Option<String>,
    },
}

/// A room with something unread.
#[derive(Clone, PartialEq, Eq)]
pub struct UnreadRoom {
    /// Its name, or the other one's in a direct room.
    pub name: String,
    /// Whether it is a direct room.
    pub direct: bool,
    /// Unread mentions.
    pub mentions: u32,
    /// Unread messages, mentions among them.
    pub messages: u64,
}

/// A job cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// It is too long, or no Protobuf of its kind.
    #[error("the job cannot be decoded")]
    Malformed,
    /// It was written by a later version of this program.
    #[error("the job holds a kind of mail that this version does not know")]
    UnknownMail,
}

/// A job of version 1, which was JSON.
#[derive(serde::Deserialize)]
struct First {
    id: String,
    to: String,
    language: String,
    mail: FirstMail,
}

#[derive(serde::Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum FirstMail {
    SignUpCode { code: String, username: String, minutes: u64 },
    AlreadyRegistered { username: String },
    LoginCode { code: String, username: String, minutes: u64 },
    PasswordReset { code: String, username: String, minutes: u64 },
    Welcome { username: String },
}

impl From<FirstMail> for Mail {
    fn from(mail: FirstMail) -> Self {
        match mail {
            FirstMail::SignUpCode { code, username, minutes } => Self::SignUpCode { code, username, minutes },
            FirstMail::AlreadyRegistered { username } => Self::AlreadyRegistered { username },
            FirstMail::LoginCode { code, username, minutes } => Self::LoginCode { code, username, minutes },
            FirstMail::PasswordReset { code, username, minutes } => {
                Self::PasswordReset { code, username, minutes }
            }
            FirstMail::Welcome { username } => Self::Welcome { username },
        }
    }
}

impl Mail {
    /// Its kind, as metrics and folders of templates name it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::SignUpCode { .. } => "sign_up_code",
            Self::AlreadyRegistered { .. } => "already_registered",
            Self::LoginCode { .. } => "login_code",
            Self::PasswordReset { .. } => "password_reset",
            Self::Welcome { .. } => "welcome",
            Self::Unread { .. } => "unread",
        }
    }
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

impl MailJob {
    /// As the outbox carries it.
    pub fn encode(&self) -> Vec<u8> {
        use wire::mail_job::Mail as Wire;
        let code = |code: &String, username: &String, minutes: u64| wire::Code {
            code: code.clone(),
            username: username.clone(),
            minutes,
        };
        let named = |username: &String| wire::Named { username: username.clone() };
        let mail = match &self.mail {
            Mail::SignUpCode { code: digits, username, minutes } => {
                Wire::SignUpCode(code(digits, username, *minutes))
            }
            Mail::LoginCode { code: digits, username, minutes } => {
                Wire::LoginCode(code(digits, username, *minutes))
            }
            Mail::PasswordReset { code: digits, username, minutes } => {
                Wire::PasswordReset(code(digits, username, *minutes))
            }
            Mail::AlreadyRegistered { username } => Wire::AlreadyRegistered(named(username)),
            Mail::Welcome { username } => Wire::Welcome(named(username)),
            Mail::Unread { username, rooms, more_rooms, link, unsubscribe } => Wire::Unread(wire::Unread {
                username: username.clone(),
                rooms: rooms.iter().map(UnreadRoom::to_wire).collect(),
                more_rooms: *more_rooms,
                link: link.clone().unwrap_or_default(),
                unsubscribe: unsubscribe.clone().unwrap_or_default(),
            }),
        };
        let job = wire::MailJob {
            id: self.id.clone(),
            to: self.to.clone(),
            language: self.language.clone(),
            not_after: self.not_after.unwrap_or_default(),
            mail: Some(mail),
        };
        job.encode_to_vec()
    }

    /// Reads one of a version, as its header says it: of this one or of version 1.
    ///
    /// # Errors
    /// [`JobError`]; [`JobError::UnknownMail`] for other versions.
    pub fn read(version: &str, bytes: &[u8]) -> Result<Self, JobError> {
        match version {
            VERSION => Self::decode(bytes),
            "1" if bytes.len() <= MAX_JOB_BYTES => {
                let First { id, to, language, mail } =
                    serde_json::from_slice(bytes).map_err(|_| JobError::Malformed)?;
                Ok(Self { id, to, language, not_after: None, mail: mail.into() })
            }
            "1" => Err(JobError::Malformed),
            _ => Err(JobError::UnknownMail),
        }
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`JobError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, JobError> {
        use wire::mail_job::Mail as Wire;
        if bytes.len() > MAX_JOB_BYTES {
            return Err(JobError::Malformed);
        }
        let job = wire::MailJob::decode(bytes).map_err(|_| JobError::Malformed)?;
        let mail = match job.mail.ok_or(JobError::UnknownMail)? {
            Wire::SignUpCode(wire::Code { code, username, minutes }) => {
                Mail::SignUpCode { code, username, minutes }
            }
            Wire::LoginCode(wire::Code { code, username, minutes }) => {
                Mail::LoginCode { code, username, minutes }
            }
            Wire::PasswordReset(wire::Code { code, username, minutes }) => {
                Mail::PasswordReset { code, username, minutes }
            }
            Wire::AlreadyRegistered(named) => Mail::AlreadyRegistered { username: named.username },
            Wire::Welcome(named) => Mail::Welcome { username: named.username },
            Wire::Unread(unread) => Mail::Unread {
                username: unread.username,
                rooms: unread.rooms.into_iter().map(UnreadRoom::from_wire).collect(),
                more_rooms: unread.more_rooms,
                link: given(unread.link),
                unsubscribe: given(unread.unsubscribe),
            },
        };
        if job.id.is_empty() || job.id.len() > MAX_FIELD_BYTES || job.to.len() > MAX_FIELD_BYTES {
            return Err(JobError::Malformed);
        }
        let not_after = Some(job.not_after).filter(|at| *at != 0);
        Ok(Self { id: job.id, to: job.to, language: job.language, not_after, mail })
    }
}

impl UnreadRoom {
    fn to_wire(&self) -> wire::UnreadRoom {
        wire::UnreadRoom {
            name: self.name.clone(),
            direct: self.direct,
            mentions: self.mentions,
            messages: self.messages,
        }
    }

    fn from_wire(room: wire::UnreadRoom) -> Self {
        Self { name: room.name, direct: room.direct, mentions: room.mentions, messages: room.messages }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Mail> {
        let (code, username, minutes) = ("123456".to_owned(), "ada".to_owned(), 15);
        vec![
            Mail::SignUpCode { code: code.clone(), username: username.clone(), minutes },
            Mail::LoginCode { code: code.clone(), username: username.clone(), minutes },
            Mail::PasswordReset { code, username: username.clone(), minutes },
            Mail::AlreadyRegistered { username: username.clone() },
            Mail::Welcome { username: username.clone() },
            Mail::Unread {
                username,
                rooms: vec![UnreadRoom { name: "Tea".into(), direct: false, mentions: 2, messages: 9 }],
                more_rooms: 3,
                link: None,
                unsubscribe: Some("https://chat.example.org/u".into()),
            },
        ]
    }

    #[test]
    fn jobs_come_back_as_they_were_and_show_nothing() {
        for (n, mail) in all().into_iter().enumerate() {
            let not_after = (n % 2 == 0).then_some(5);
            let job = MailJob {
                id: format!("id{n}"),
                to: "a@x.org".into(),
                language: "de".into(),
                not_after,
                mail,
            };
            assert_eq!(MailJob::decode(&job.encode()), Ok(job.clone()));
            assert!(!format!("{job:?}").contains("123456"));
        }
    }

    #[test]
    fn jobs_of_version_1_are_read() {
        let json = br#"{"id":"a","to":"a@x.org","language":"de","mail":{"kind":"login_code","code":"123456","username":"ada","minutes":5,"more":1}}"#;
        let mail = Mail::LoginCode { code: "123456".into(), username: "ada".into(), minutes: 5 };
        let job =
            MailJob { id: "a".into(), to: "a@x.org".into(), language: "de".into(), not_after: None, mail };
        assert_eq!(MailJob::read("1", json), Ok(job.clone()));
        assert_eq!(MailJob::read(VERSION, &job.encode()), Ok(job));
        assert_eq!(MailJob::read("1", b"{}"), Err(JobError::Malformed));
        assert_eq!(MailJob::read("3", json), Err(JobError::UnknownMail));
    }

    #[test]
    fn what_is_no_job_is_refused() {
        assert_eq!(MailJob::decode(b"{}"), Err(JobError::Malformed));
        assert_eq!(MailJob::decode(&vec![0; MAX_JOB_BYTES + 1]), Err(JobError::Malformed));
        let job = wire::MailJob { id: "a".into(), to: "a@x.org".into(), ..wire::MailJob::default() };
        assert_eq!(MailJob::decode(&job.encode_to_vec()), Err(JobError::UnknownMail));
        let mail = Mail::Welcome { username: "ada".into() };
        let job = MailJob {
            id: String::new(),
            to: "a@x.org".into(),
            language: String::new(),
            not_after: None,
            mail,
        };
        assert_eq!(MailJob::decode(&job.encode()), Err(JobError::Malformed));
    }
}
