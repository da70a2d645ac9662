//! The mailbox over a real store.

use std::path::Path;

use prometheus_client::registry::Registry;

use super::*;
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
    MailJob { id: id.into(), to: to.into(), language: "en".into(), not_after: None, mail }
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
