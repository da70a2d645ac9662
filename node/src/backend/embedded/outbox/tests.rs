//! The outbox of a process that sends, on a real store.

use std::time::Duration;

use prometheus_client::registry::Registry;
use rookery_protocol::outbox::UnreadRoom;

use super::{dead::KEPT, *};
use crate::backend::embedded::{StoreMetrics, StoreSettings, SystemClock};

async fn open(dir: &std::path::Path) -> EmbeddedOutbox {
    open_at(dir, Arc::new(SystemClock)).await
}

async fn open_at(dir: &std::path::Path, clock: Arc<dyn Clock>) -> EmbeddedOutbox {
    let metrics = StoreMetrics::register(&mut Registry::default());
    let store = Store::open(dir, &StoreSettings::default(), metrics).unwrap();
    EmbeddedOutbox::open(store, clock).await.unwrap()
}

/// A clock that so many milliseconds are missing from.
struct Behind(u64);

impl Clock for Behind {
    fn now_ms(&self) -> u64 {
        SystemClock.now_ms() - self.0
    }
}

fn job(id: &str, mail: Mail) -> MailJob {
    MailJob { id: id.into(), to: "a\t@x.org".into(), language: "en".into(), not_after: None, mail }
}

fn welcome(id: &str) -> MailJob {
    job(id, Mail::Welcome { username: "ada".into() })
}

/// The next job, as the mailer gets it.
async fn next(outbox: &EmbeddedOutbox) -> LocalJob {
    tokio::time::timeout(Duration::from_secs(60), outbox.next()).await.expect("there is a job")
}

async fn is_empty(outbox: &EmbeddedOutbox) -> bool {
    tokio::time::timeout(Duration::from_millis(100), outbox.next()).await.is_err()
}

#[tokio::test]
async fn what_was_given_up_is_kept_with_the_reason_and_can_be_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(dir.path()).await;
    for id in ["one", "two"] {
        outbox.enqueue(welcome(id)).await.unwrap();
        let taken = next(&outbox).await;
        outbox.give_up(taken.number, 3, "550 nobody\nhere").await.unwrap();
    }
    let listed = outbox.dead_letters();
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let first: Vec<_> = listed.lines().next().unwrap().split('\t').collect();
    assert_eq!((first[0], &first[2..]), ("one", &["3", "welcome", "a@x.org", "550 nobodyhere"][..]));
    drop(outbox);

    let outbox = open(dir.path()).await;
    assert_eq!((outbox.dead_letters(), outbox.given_up()), (listed, 2));
    assert!(is_empty(&outbox).await);
    assert_eq!(outbox.requeue(Some("nobody")).await.unwrap(), 0);
    assert_eq!(outbox.requeue(Some("one")).await.unwrap(), 1);
    let again = next(&outbox).await;
    assert_eq!((again.job.id.as_str(), again.failures, again.waited), ("one", 0, false));
    // Given up again, it is a dead letter again.
    outbox.give_up(again.number, 1, "no").await.unwrap();
    assert_eq!(outbox.requeue(None).await.unwrap(), 2);
    assert_eq!(outbox.dead_letters(), "");
    drop(outbox);
    let outbox = open(dir.path()).await;
    for _ in 0..2 {
        let taken = next(&outbox).await;
        outbox.ended(taken.number).await.unwrap();
    }
    assert!(is_empty(&outbox).await);
}

#[tokio::test]
async fn the_oldest_dead_letters_make_room() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(dir.path()).await;
    for n in 0..KEPT as u64 {
        let dead = Dead::new(n, 1, String::new(), welcome(&format!("old{n}")));
        outbox.write(vec![dead_row(n + 1_000_000, Some(&dead))]).await.unwrap();
    }
    drop(outbox);
    let outbox = open(dir.path()).await;
    outbox.enqueue(welcome("new")).await.unwrap();
    let taken = next(&outbox).await;
    outbox.give_up(taken.number, 1, "").await.unwrap();
    drop(outbox);
    let outbox = open(dir.path()).await;
    let listed = outbox.dead_letters();
    assert_eq!(listed.lines().count(), KEPT);
    assert!(!listed.contains("old0\t") && listed.contains("old1\t") && listed.contains("new\t"));
}

#[tokio::test]
async fn a_mail_that_was_sent_a_moment_ago_is_not_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(dir.path()).await;
    outbox.enqueue(welcome("a")).await.unwrap();
    let taken = next(&outbox).await;
    outbox.ended(taken.number).await.unwrap();
    outbox.enqueue(welcome("a")).await.unwrap();
    assert!(is_empty(&outbox).await);
    let later = SystemClock.now_ms() + OVER_MS;
    outbox.jobs.lock().forget(later);
    outbox.enqueue(welcome("a")).await.unwrap();
    assert_eq!(next(&outbox).await.job.id, "a");
}

#[tokio::test]
async fn codes_have_room_when_notices_have_none() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(dir.path()).await;
    for n in 0..NOTICES as u64 {
        let job = welcome(&n.to_string());
        let waiting = Waiting { at: u64::MAX, since: 0, failures: 0, taken: false, job };
        outbox.jobs.lock().waiting.insert(n, waiting);
    }
    outbox.jobs.lock().next = NOTICES as u64;
    let rooms = vec![UnreadRoom { name: "Tea".into(), direct: false, mentions: 1, messages: 1 }];
    let notice = Mail::Unread { username: "ada".into(), rooms, more_rooms: 0, link: None, unsubscribe: None };
    assert!(outbox.enqueue(job("notice", notice)).await.is_err());
    let code = Mail::LoginCode { code: "123456".into(), username: "ada".into(), minutes: 5 };
    outbox.enqueue(job("code", code)).await.unwrap();
    assert_eq!(next(&outbox).await.job.id, "code");
}

#[tokio::test]
async fn what_has_waited_for_a_day_is_given_up_though_nothing_can_be_sent() {
    const HOUR: u64 = 3_600_000;
    let dir = tempfile::tempdir().unwrap();
    let outbox = open_at(dir.path(), Arc::new(Behind(25 * HOUR))).await;
    let welcome = |id: &str| MailJob { to: "ada@example.org".into(), ..welcome(id) };
    outbox.enqueue(welcome("old")).await.unwrap();
    let mut late = welcome("late");
    late.not_after = Some(1);
    outbox.enqueue(late).await.unwrap();
    drop(outbox);
    let outbox = open_at(dir.path(), Arc::new(Behind(HOUR))).await;
    outbox.enqueue(welcome("young")).await.unwrap();
    let outbox = Arc::new(outbox);
    let waiting = outbox.waiting();
    let age = SystemClock.now_ms() - u64::try_from(waiting.since.unwrap()).unwrap();
    assert!(waiting.jobs == 3 && (25 * HOUR..26 * HOUR).contains(&age), "{waiting:?}");

    let mut settings = local::LocalSettings::default();
    // Nobody listens there.
    (settings.smtp.host, settings.smtp.port) = ("localhost".to_owned(), 1);
    settings.mail.from = "chat@example.org".to_owned();
    let metrics = rookery_mailer::metrics::MailerMetrics::register(&mut Registry::default());
    let mailer = local::LocalMailer::start(&settings, outbox.clone(), metrics).unwrap();
    let given_up = async {
        while outbox.waiting().jobs > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), given_up).await.expect("two of them are over");
    let listed = outbox.dead_letters();
    assert!(listed.starts_with("old\t") && listed.lines().count() == 1, "{listed}");
    assert!(listed.contains("for as long as mails wait"), "{listed}");
    mailer.stop(Duration::from_secs(60)).await;
}
