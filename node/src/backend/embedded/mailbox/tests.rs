//! The mailbox over a real store, and what the mails say.

use std::path::Path;

use prometheus_client::registry::Registry;

use super::{text::render, *};
use crate::backend::{
    Mail,
    embedded::{StoreMetrics, SystemClock},
};

async fn open(dir: &Path, mailbox_mails: usize) -> Mailbox {
    let metrics = StoreMetrics::register(&mut Registry::default());
    let settings = StoreSettings { mailbox_mails, ..StoreSettings::default() };
    let store = Store::open(dir, &settings, metrics).unwrap();
    Mailbox::open(store, &settings, Arc::new(SystemClock)).await.unwrap()
}

fn job(id: &str, to: &str) -> MailJob {
    let mail = Mail::LoginCode { code: "123456".into(), username: "anna".into(), minutes: 10 };
    MailJob { id: id.into(), to: to.into(), language: "en".into(), mail }
}

/// Words of 6-8 digits, as `\b\d{6,8}\b` finds them.
fn codes(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.filter(|word| (6..=8).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_digit())).collect()
}

#[tokio::test]
async fn the_newest_mails_are_kept_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mailbox = open(dir.path(), 3).await;
    for (id, to) in [("1", "a@x.org"), ("2", "b@x.org"), ("3", "A@x.org"), ("4", "c@x.org")] {
        mailbox.enqueue(job(id, to)).await.unwrap();
    }
    let to = |mails: Vec<StoredMail>| mails.into_iter().map(|mail| mail.to).collect::<Vec<_>>();
    assert_eq!(to(mailbox.list(None)), ["c@x.org", "A@x.org", "b@x.org"]);
    assert_eq!(to(mailbox.list(Some("a@x.org"))), ["A@x.org"]);
    drop(mailbox);
    let mailbox = open(dir.path(), 3).await;
    assert_eq!(to(mailbox.list(None)), ["c@x.org", "A@x.org", "b@x.org"]);
    mailbox.enqueue(job("5", "d@x.org")).await.unwrap();
    assert_eq!(to(mailbox.list(None)), ["d@x.org", "c@x.org", "A@x.org"]);
    let rows = mailbox.store.scan(Table::Mailbox, b"", None, 9).await.unwrap();
    assert_eq!(rows.len(), 3);
}

#[tokio::test]
async fn a_job_is_one_mail() {
    let dir = tempfile::tempdir().unwrap();
    let mailbox = open(dir.path(), 10).await;
    mailbox.enqueue(job("1", "a@x.org")).await.unwrap();
    mailbox.enqueue(job("1", "a@x.org")).await.unwrap();
    drop(mailbox);
    let mailbox = open(dir.path(), 10).await;
    mailbox.enqueue(job("1", "a@x.org")).await.unwrap();
    assert_eq!(mailbox.list(None).len(), 1);
}

#[test]
fn every_mail_with_a_code_has_one_and_no_other_has_any() {
    for username in ["anna", "123456", "anna-1234567", "<b>"] {
        let (code, username, minutes) = ("04711815".to_owned(), username.to_owned(), 15);
        let with = [
            Mail::SignUpCode { code: code.clone(), username: username.clone(), minutes },
            Mail::LoginCode { code: code.clone(), username: username.clone(), minutes },
            Mail::PasswordReset { code: code.clone(), username: username.clone(), minutes },
        ];
        let without = [
            Mail::AlreadyRegistered { username: username.clone() },
            Mail::Welcome { username: username.clone() },
        ];
        for language in ["en", "de-AT", "es", "FR", "tlh", ""] {
            for mail in &with {
                let mail = render(mail, language);
                assert_eq!(codes(&mail.text), [&code]);
                assert_eq!(codes(&mail.html), [&code]);
                assert!(codes(&mail.subject).is_empty());
                assert!(!mail.html.contains("<b><"), "{}", mail.html);
                assert!(!format!("{}{}", mail.text, mail.html).contains('{'));
            }
            for mail in &without {
                let mail = render(mail, language);
                assert!(codes(&(mail.text + &mail.html + &mail.subject)).is_empty());
            }
        }
    }
}

#[test]
fn an_english_mail_reads_well() {
    let mail = Mail::SignUpCode { code: "123456".into(), username: "anna".into(), minutes: 15 };
    let mail = render(&mail, "en");
    assert_eq!(mail.subject, "Confirm your e-mail address");
    assert_eq!(
        mail.text,
        "Hello anna,\n\nwith this code you finish your registration.\n\nYour code is 123456\n\n\
         It is valid for 15 minutes. Give it to nobody.\n\nIf this was not you, ignore this mail.\n"
    );
}
