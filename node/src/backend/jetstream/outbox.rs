//! Mails to send: a work queue, from which the mailer takes them.
//!
//! A job says its version in a header. Fields may be added to one that may be passed over; a new kind of mail, or a field
//! that must not be passed over, needs a new version, which every reader refuses by name until it knows it.

use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;

use rookery_mailer::templates;
use rookery_protocol::outbox::{VERSION, VERSION_HEADER};

use super::{
    JetStream,
    item::Item,
    publish::{Post, Posted},
};
use crate::backend::{MailJob, Mails, Outbox, StoredMail, Unavailable, embedded::mailbox::same_address};

/// Newest mails that can be read.
const SHOWN: u64 = 1_000;
const BYTES: usize = 8 << 20;

#[async_trait]
impl Outbox for JetStream {
    async fn enqueue(&self, job: MailJob) -> Result<(), Unavailable> {
        let post = Post::new(self.layout.outbox_subject(), Bytes::from(job.encode()))
            .header(VERSION_HEADER, VERSION)
            .header("Nats-Msg-Id", &job.id);
        let end = Instant::now() + self.write_timeout;
        loop {
            let within = end.saturating_duration_since(Instant::now()).min(self.append_timeout);
            match self.link.post_once(post.clone(), within).await {
                Posted::Stored(_) => return Ok(()),
                Posted::Refused(_) | Posted::Unknown(_) if Instant::now() < end => {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
                Posted::Refused(code) => {
                    return Err(Unavailable(format!("The outbox refuses a mail ({code}).").into()));
                }
                Posted::Unknown(why) => {
                    return Err(Unavailable(format!("The outbox does not take a mail: {why}.").into()));
                }
            }
        }
    }
}

/// A job as a mail; `None`: it cannot be read.
fn shown(item: &Item) -> Option<StoredMail> {
    let job = MailJob::read(item.version.as_deref().unwrap_or_default(), &item.payload)
        .inspect_err(|why| tracing::warn!(at = item.at, %why, "a mail of the outbox is not shown"))
        .ok()?;
    let text = templates::built_in().render(&job.mail, &job.language).ok()?;
    Some(StoredMail {
        to: job.to,
        subject: text.subject,
        text: text.text,
        html: text.html,
        ts: millis(&item.time).unwrap_or(0),
    })
}

/// Unix milliseconds of an RFC 3339 time in UTC, as the server writes it.
fn millis(time: &str) -> Option<i64> {
    let (date, clock) = time.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut clock = clock.split(':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let thousandths: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    // Days of the proleptic Gregorian calendar, counted from March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (153 * month + 2) / 5
        + day
        - 1
        - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000 + thousandths)
}

#[async_trait]
impl Mails for JetStream {
    async fn list(&self, to: Option<&str>) -> Result<Vec<StoredMail>, Unavailable> {
        let (stream, subject) = (self.layout.outbox_stream(), self.layout.outbox_subject());
        let Some(last) = self.link.last(&stream, &subject).await? else { return Ok(Vec::new()) };
        let mut from = last.at.saturating_sub(SHOWN) + 1;
        let mut mails = Vec::new();
        loop {
            let (some, _) = self.link.some(&stream, &subject, from, BYTES).await?;
            match some.last() {
                Some(item) => from = item.at + 1,
                // A replica that lags; the newest is known at least.
                None => {
                    mails.extend((from <= last.at).then(|| shown(&last)).flatten());
                    break;
                }
            }
            mails.extend(some.iter().filter_map(shown));
            if from > last.at {
                break;
            }
        }
        mails.reverse();
        mails.retain(|mail| to.is_none_or(|to| same_address(to, &mail.to)));
        Ok(mails)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Mail;

    /// The jobs of every release, by the names of their vectors.
    fn meant(name: &str) -> MailJob {
        let (code, username) = (String::from("123456"), String::from("ada"));
        let mail = match name {
            "sign-up" => Mail::SignUpCode { code, username, minutes: 15 },
            "already registered" => Mail::AlreadyRegistered { username },
            "login" => Mail::LoginCode { code, username, minutes: 10 },
            "password" => Mail::PasswordReset { code, username, minutes: 30 },
            "welcome" => Mail::Welcome { username },
            other => panic!("no such job: {other}"),
        };
        let (id, to) = ("01KAHNY3G00000000000000JOB".into(), "ada@example.org".into());
        MailJob { id, to, language: "pt-BR".into(), not_after: None, mail }
    }

    #[test]
    fn jobs_of_every_release_are_read_and_those_of_a_newer_one_refused_by_name() {
        let all = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/vectors/released");
        for release in std::fs::read_dir(all).unwrap() {
            let text = std::fs::read_to_string(release.unwrap().path().join("jobs.json")).unwrap();
            let vectors: serde_json::Value = serde_json::from_str(&text).unwrap();
            for vector in vectors.as_array().unwrap() {
                let wanted = meant(vector["name"].as_str().unwrap());
                let version = vector["version"].as_str().unwrap();
                let mut payload = vector["job"].clone();
                assert_eq!(MailJob::read(version, payload.to_string().as_bytes()).unwrap(), wanted);
                // With more in it, as a newer program may write it.
                payload["later"] = serde_json::json!({"a": [1]});
                payload["mail"]["later"] = 1.into();
                assert_eq!(MailJob::read(version, payload.to_string().as_bytes()).unwrap(), wanted);
            }
        }
        let written = meant("login").encode();
        assert!(MailJob::read("2", &written).is_ok());
        for version in ["", "3", "x"] {
            assert!(MailJob::read(version, &written).is_err(), "{version}");
        }
    }

    #[test]
    fn times_are_read() {
        assert_eq!(millis("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(millis("2026-11-21T14:22:10.640262161Z"), Some(1_795_270_930_640));
        assert_eq!(millis("2024-02-29T23:59:59.5Z"), Some(1_709_251_199_500));
        assert_eq!(millis("yesterday"), None);
    }
}
