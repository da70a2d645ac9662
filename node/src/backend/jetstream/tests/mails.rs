//! The outbox.

use super::*;
use crate::backend::{Mail, MailJob, Mails as _, Outbox as _};

fn job(id: &str, to: &str, code: &str) -> MailJob {
    let mail = Mail::LoginCode { code: code.into(), username: "ada".into(), minutes: 10 };
    MailJob { id: id.into(), to: to.into(), language: "en".into(), not_after: None, mail }
}

#[test]
fn mails_are_kept_once_each_and_can_be_read() {
    let Some(servers) = servers() else { return };
    run(async {
        let one = open(&servers, "mails", Some(0)).await;
        let two = open(&servers, "mails", Some(1)).await;
        assert!(one.list(None).await.unwrap().is_empty());
        one.enqueue(job("a", "Ada@Example.org", "123456")).await.unwrap();
        two.enqueue(job("b", "bob@example.org", "222222")).await.unwrap();
        two.enqueue(job("a", "Ada@Example.org", "123456")).await.unwrap();
        let all = one.list(None).await.unwrap();
        let to: Vec<_> = all.iter().map(|mail| mail.to.as_str()).collect();
        assert_eq!(to, ["bob@example.org", "Ada@Example.org"]);
        let hers = two.list(Some("ada@example.org")).await.unwrap();
        assert_eq!(hers.len(), 1);
        assert!(hers[0].text.contains("123456") && !hers[0].subject.contains("123456"));
        assert!(hers[0].ts > 1_700_000_000_000);
    });
}
