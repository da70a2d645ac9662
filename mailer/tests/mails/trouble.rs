//! Servers that refuse, are slow, or go away.

use std::time::{Duration, Instant};

use rookery_protocol::outbox::Mail;
use rookery_testbed::{NatsCluster, NatsOptions, SmtpOptions};
use serde_json::json;

use crate::world::{World, job, welcome, within};

#[test]
fn what_is_refused_for_now_is_tried_again_and_what_is_refused_for_good_is_kept() {
    let Some(world) = World::new(&SmtpOptions::default()) else { return };
    world.smtp.obey(&json!([
        {"to": "later@", "at": "rcpt", "reply": "451 4.7.1 greylisted", "times": 2},
        {"to": "slow@", "at": "rcpt", "delay": 60, "times": 1},
        {"to": "cut@", "at": "data", "reply": "421 gone", "close": true, "times": 1},
        {"to": "unknown@", "at": "rcpt", "reply": "550 5.1.1 no such user"},
        {"to": "spam@", "at": "data", "reply": "554 5.7.1 your code 123456 is spam"},
        {"to": "never@", "at": "rcpt", "reply": "450 try again"},
    ]));
    let settings = world.settings(&world.smtp_settings());
    let mailer = world.mailer("mailer", &settings);
    for name in ["later", "slow", "cut", "unknown", "never", "good"] {
        world.enqueue(&welcome(name, &format!("{name}@example.org")));
    }
    let code = Mail::LoginCode { code: "123456".into(), username: "ada".into(), minutes: 5 };
    world.enqueue(&job("spam", "spam@example.org", code.clone()));
    let mut late = job("late", "late@example.org", code);
    late.not_after = Some(1);
    world.enqueue(&late);
    world.enqueue(&welcome("nobody", "no address"));
    world.await_empty();

    let mut came: Vec<_> =
        world.smtp.mails().iter().map(|mail| mail["to"][0].as_str().unwrap().to_owned()).collect();
    came.sort();
    assert_eq!(came, ["cut@example.org", "good@example.org", "later@example.org", "slow@example.org"]);
    let listed = world.command(&["dead", "list"], &settings);
    let listed = String::from_utf8(listed.stdout).unwrap();
    let reason = |id: &str| {
        let line = listed.lines().find(|line| line.starts_with(&format!("{id}\t")));
        let line = line.unwrap_or_else(|| panic!("{id} is not listed:\n{listed}"));
        line.split('\t').skip(2).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(listed.lines().count(), 4);
    assert_eq!(reason("unknown")[..3], ["1", "welcome", "unknown@example.org"]);
    assert!(reason("unknown")[3].contains("550 5.1.1 no such user"));
    assert_eq!(reason("never")[0], "4");
    assert!(reason("spam")[3].contains("(code)"));
    assert!(reason("nobody")[3].contains("address"));
    assert!(!listed.contains("123456"));
    mailer.await_metric("rookery_mailer_dead_letters", 4.0);
    assert!((mailer.metric("rookery_mailer_dead_total") - 4.0).abs() < 0.5);
    // A code that is not valid any more is nothing to look at.
    assert!((mailer.metric("rookery_mailer_expired_total") - 1.0).abs() < 0.5);
    let log = std::fs::read_to_string(mailer.process.log()).unwrap();
    assert!(!log.contains("123456"), "{log}");

    // Mended, they are put back and sent.
    world.smtp.obey(&json!([]));
    let done = world.command(&["dead", "requeue", "unknown", "spam"], &settings);
    assert!(done.status.success(), "{done:?}");
    world.await_mail("unknown@example.org");
    world.await_mail("spam@example.org");
    assert!(!world.command(&["dead", "requeue", "unknown"], &settings).status.success());
    let done = world.command(&["dead", "requeue", "--all"], &settings);
    assert_eq!(std::str::from_utf8(&done.stdout).unwrap(), "2 put back\n", "{done:?}");
    world.await_mail("never@example.org");
    world.await_empty();
    assert!(world.came().values().all(|times| *times == 1));
}

#[test]
fn a_mail_that_is_given_up_waits_until_it_is_among_the_dead_letters() {
    let Some(world) = World::new(&SmtpOptions::default()) else { return };
    world.smtp.obey(&json!([{"to": "unknown@", "at": "rcpt", "reply": "550 5.1.1 no such user"}]));
    let smtp = world.smtp_settings().replace("timeout_seconds = 10", "timeout_seconds = 1");
    let settings = world.settings(&smtp);
    let mailer = world.mailer("mailer", &settings);
    // Nobody confirms that a letter is stored.
    world
        .runtime
        .block_on(world.context.delete_stream(format!("{}-mailer-dead", crate::world::CLUSTER)))
        .unwrap();
    world.enqueue(&welcome("unknown", "unknown@example.org"));
    let log = || std::fs::read_to_string(mailer.process.log()).unwrap_or_default();
    rookery_testbed::eventually("it is not to be had", log, || {
        log().contains("a dead letter cannot be stored").then_some(())
    });
    assert_eq!(world.waiting(), 1);
    assert!(mailer.metric("rookery_mailer_dead_total") < 0.5, "it is none yet");

    // The next start makes the stream.
    mailer.process.terminate();
    mailer.process.wait(rookery_testbed::PATIENCE).expect("it ends");
    mailer.process.start();
    mailer.await_ready();
    world.await_empty();
    let listed = world.command(&["dead", "list"], &settings);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.starts_with("unknown\t") && listed.contains("550 5.1.1 no such user"), "{listed}");
    assert_eq!(listed.lines().count(), 1, "{listed}");
}

#[test]
fn a_late_answer_is_not_taken_for_that_to_another_mail() {
    let Some(world) = World::new(&SmtpOptions::default()) else { return };
    world.smtp.obey(&json!([
        {"to": "slow@", "at": "data", "delay": 30, "times": 1},
        {"to": "refused@", "at": "data", "reply": "554 5.7.1 refused"},
    ]));
    // One connection: the answer to the first mail comes when the second is under way.
    let smtp = world.smtp_settings().replace("data_done_seconds = 60", "data_done_seconds = 8");
    let settings = world.settings(&format!("{smtp}connections = 1\n"));
    let mailer = world.mailer("mailer", &settings);
    world.enqueue(&welcome("slow", "slow@example.org"));
    world.enqueue(&welcome("refused", "refused@example.org"));
    world.enqueue(&welcome("good", "good@example.org"));
    world.await_empty();
    let came = |to: &str| world.smtp.mails().iter().filter(|mail| mail["to"][0] == to).count();
    assert_eq!((came("refused@example.org"), came("good@example.org")), (0, 1));
    // Nobody said in time that it was taken, so it was sent again.
    assert_eq!(came("slow@example.org"), 2);
    let listed = world.command(&["dead", "list"], &settings);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.lines().count() == 1 && listed.starts_with("refused\t"), "{listed}");
    assert!((mailer.metric("rookery_mailer_sent_total") - 2.0).abs() < 0.5);
    assert!((mailer.metric("rookery_mailer_uncertain_total") - 1.0).abs() < 0.5);
}

#[test]
fn a_mail_that_takes_longer_than_a_job_is_waited_for_is_given_to_nobody_else() {
    let Some(world) = World::new(&SmtpOptions::default()) else { return };
    // Twice as long as the outbox waits for a mailer that says nothing: timeout_seconds and five.
    world.smtp.obey(&json!([{"to": "long@", "at": "data", "delay": 32, "times": 1}]));
    let settings = world.settings(&world.smtp_settings());
    let mailers = ["one", "two"].map(|name| world.mailer(name, &settings));
    world.enqueue(&welcome("long", "long@example.org"));
    world.await_empty();
    assert_eq!(world.given(), 1, "marks of progress keep it");
    assert_eq!(world.came().into_values().collect::<Vec<_>>(), [1]);
    let sent: f64 = mailers.iter().map(|mailer| mailer.metric("rookery_mailer_sent_total")).sum();
    assert!((sent - 1.0).abs() < 0.5, "{sent}");
}

#[test]
fn mails_wait_for_a_server_that_is_away() {
    let Some(world) = World::new(&SmtpOptions::default()) else { return };
    world.smtp.process().kill();
    let mailer = world.mailer("mailer", &world.settings(&world.smtp_settings()));
    for n in 0..20 {
        world.enqueue(&welcome(&format!("w{n}"), "a@example.org"));
    }
    mailer.await_metric("rookery_mailer_smtp_away", 1.0);
    let report = mailer.get("/readyz").unwrap();
    assert!(
        report.contains("200 OK") && report.contains("smtp: not ok") && report.contains("ready without it"),
        "{report}"
    );
    // Longer than all tries of a mail together.
    mailer.await_metric("rookery_mailer_oldest_job_seconds", 6.0);
    mailer.await_metric("rookery_mailer_jobs", 20.0);
    world.smtp.process().start();
    world.await_empty();
    let came = world.came();
    assert_eq!(came.len(), 20);
    assert!(came.values().all(|times| *times == 1), "{came:?}");
    assert!(mailer.metric("rookery_mailer_smtp_away") < 0.5);
    assert!(mailer.metric("rookery_mailer_retried_total") + mailer.metric("rookery_mailer_dead_total") < 0.5);
}

#[test]
fn nats_may_go_and_come_back() {
    let Some(world) = World::new(&SmtpOptions::default()) else { return };
    world.smtp.obey(&json!([{"to": "", "at": "data", "delay": 0.02}]));
    // What was sent while NATS was away is written down when it is back, unless that takes longer than this and five seconds.
    let smtp = world.smtp_settings().replace("timeout_seconds = 10", "timeout_seconds = 20");
    let mailer = world.mailer("mailer", &world.settings(&smtp));
    for n in 0..100 {
        world.enqueue(&welcome(&format!("n{n}"), "a@example.org"));
    }
    mailer.await_metric("rookery_mailer_sent_total", 10.0);
    world.nats.kill(0);
    rookery_testbed::eventually(
        "the mailer says that NATS is away",
        || mailer.get("/readyz").unwrap_or_default(),
        || mailer.get("/readyz").filter(|report| report.contains("503") && report.contains("nats: not ok")),
    );
    world.nats.restart(0);
    world.await_empty();
    let came = world.came();
    assert_eq!(came.len(), 100);
    assert!(came.values().all(|times| *times == 1), "{came:?}");
}

/// Which jobs mailers have is in the memory of NATS's servers alone. When all of them have forgotten it, jobs that wait in a mailer for their turn are
/// given to it once more.
#[test]
fn all_servers_of_nats_may_go_and_come_back() {
    let Some(nats) = NatsCluster::start(&NatsOptions::default()) else { return };
    let a_day = Duration::from_secs(24 * 3600);
    let Some(world) = World::on(nats, &SmtpOptions::default(), a_day) else { return };
    world.smtp.obey(&json!([{"to": "", "at": "data", "delay": 0.02}]));
    let smtp = world.smtp_settings().replace("timeout_seconds = 10", "timeout_seconds = 60");
    let mailer = world.mailer("mailer", &world.settings(&smtp.replace("per_second = 0", "per_second = 8")));
    for n in 0..80 {
        world.enqueue(&welcome(&format!("n{n}"), "a@example.org"));
    }
    mailer.await_metric("rookery_mailer_sent_total", 10.0);
    let given = world.given();
    assert!(given > 40, "{given} jobs wait in the mailer or were sent");
    let all = 0..world.nats.len();
    all.clone().for_each(|server| world.nats.kill(server));
    all.for_each(|server| world.nats.process(server).start());
    world.nats.await_ready();
    world.await_empty();
    let came = world.came();
    assert_eq!(came.len(), 80);
    assert!(came.values().all(|times| *times == 1), "{came:?}");
    let again = mailer.metric("rookery_mailer_repeats_avoided_total");
    assert!(again > 0.5, "none was given once more: nothing is shown");
}

#[test]
fn a_mailer_that_is_told_to_stop_ends_what_it_has_begun() {
    let Some(world) = World::new(&SmtpOptions::default()) else { return };
    world.smtp.obey(&json!([{"to": "", "at": "data", "delay": 1}]));
    let settings = world.settings(&world.smtp_settings());
    let mailer = world.mailer("mailer", &settings);
    for n in 0..4 {
        world.enqueue(&welcome(&format!("s{n}"), "a@example.org"));
    }
    rookery_testbed::eventually("mails are under way", String::new, || {
        (world.smtp.mails().len() == 4).then_some(())
    });
    mailer.process.terminate();
    let begun = Instant::now();
    let status = mailer.process.wait(Duration::from_secs(20)).expect("it ends");
    assert!(status.success(), "{}", mailer.process.log_tail(20));
    within(Duration::from_secs(10), begun, "stopping");
    assert_eq!(world.waiting(), 0);
    assert!(world.came().values().all(|times| *times == 1));
}

#[test]
fn a_mailer_that_is_told_to_stop_begins_no_more() {
    let Some(world) = World::new(&SmtpOptions::default()) else { return };
    world.smtp.obey(&json!([{"to": "", "at": "data", "delay": 3}]));
    // What is taken and not given back comes again after ten minutes.
    let smtp = world.smtp_settings().replace("timeout_seconds = 10", "timeout_seconds = 600");
    let settings = world.settings(&format!("{smtp}connections = 2\n"));
    let mailer = world.mailer("mailer", &settings);
    for n in 0..6 {
        world.enqueue(&welcome(&format!("s{n}"), "a@example.org"));
    }
    rookery_testbed::eventually("mails are under way", String::new, || {
        (world.smtp.mails().len() == 2).then_some(())
    });
    mailer.process.terminate();
    let status = mailer.process.wait(Duration::from_secs(20)).expect("it ends");
    assert!(status.success(), "{}", mailer.process.log_tail(20));
    let (sent, waiting) = (world.smtp.mails().len() as u64, world.waiting());
    // A slow machine is told when two more are under way.
    assert!(waiting >= 2 && sent + waiting == 6, "{sent} sent, {waiting} wait");
    world.smtp.obey(&json!([]));
    mailer.process.start();
    mailer.await_ready();
    world.await_empty();
    assert_eq!(world.came().into_values().collect::<Vec<_>>(), [1; 6]);
}
