//! Mails that wait: for a rate, or for a server that does not come back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rookery_protocol::outbox::{self, Mail, UnreadRoom};
use rookery_testbed::{SmtpOptions, eventually};

use crate::world::{CLUSTER, World, job, welcome};

fn notice() -> Mail {
    let room = UnreadRoom { name: "Tea".into(), direct: false, mentions: 1, messages: 1 };
    Mail::Unread { username: "ada".into(), rooms: vec![room], more_rooms: 0, link: None, unsubscribe: None }
}

fn code() -> Mail {
    Mail::LoginCode { code: "123456".into(), username: "ada".into(), minutes: 5 }
}

#[test]
fn codes_and_other_domains_pass_what_a_rate_holds_back() {
    const NOTICES: usize = 300;
    let Some(world) = World::new(&SmtpOptions::default()) else { return };
    let smtp = format!("{}per_domain_per_second = 1\n", world.smtp_settings());
    let settings = world.settings(&smtp);
    let mailer = world.mailer("mailer", &settings);
    for n in 0..NOTICES {
        world.enqueue(&job(&format!("notice-{n}"), &format!("{n}@slow.org"), notice()));
    }
    world.enqueue(&job("code", "code@slow.org", code()));
    world.enqueue(&job("other", "a@other.org", notice()));
    world.await_mail("code@slow.org");
    world.await_mail("a@other.org");
    let before = world.smtp.mails().iter().position(|mail| mail["to"][0] == "code@slow.org").unwrap();
    assert!(before < NOTICES / 3, "{before} notices came before the code");
    // What is held back for long waits for its time, and not for this or that in the outbox, which would give out no more once too many do.
    eventually(
        "the outbox has no more than a minute's",
        || format!("{} jobs", world.in_outbox()),
        || (world.in_outbox() <= 60).then_some(()),
    );
    assert!(world.put_off() > 0);
    // Each is put off once; those that the code passed, and those that a busy machine was late for, once more.
    let sent = mailer.metric("rookery_mailer_sent_total");
    mailer.await_metric("rookery_mailer_sent_total", sent + 5.0);
    let held = mailer.metric("rookery_mailer_held_total");
    #[allow(clippy::cast_precision_loss)]
    let once = NOTICES as f64;
    assert!(held < once * 1.1, "{held} times put off");
    assert!(mailer.metric("rookery_mailer_dead_total") < 0.5);
}

#[test]
fn a_rate_for_all_holds_back_all_domains_together() {
    const NOTICES: usize = 48;
    let Some(world) = World::new(&SmtpOptions::default()) else { return };
    let smtp = format!("{}per_domain_per_second = 1\n", world.smtp_settings());
    let smtp = smtp.replace("per_second = 0", "per_second = 4");
    let mailer = world.mailer("mailer", &world.settings(&smtp));
    let begun = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    // A domain each, so that none is held back by its own.
    for n in 0..NOTICES {
        world.enqueue(&job(&format!("notice-{n}"), &format!("a@{n}.org"), notice()));
    }
    for n in 0..3 {
        world.enqueue(&job(&format!("slow-{n}"), "a@slow.org", notice()));
    }
    world.enqueue(&job("code", "a@code.org", code()));
    world.await_empty();
    let mails = world.smtp.mails();
    assert_eq!((mails.len(), world.came().len()), (NOTICES + 4, NOTICES + 4));
    let after = |to: &str| -> Vec<f64> {
        let of = mails.iter().filter(|mail| mail["to"][0].as_str().unwrap().ends_with(to));
        of.map(|mail| mail["at"].as_f64().unwrap() - begun).collect()
    };
    // At once no more than a second's worth, and then one each time that a share of a second is over. Not a mail comes earlier,
    // however busy the machine is.
    let in_time = |mut times: Vec<f64>, per_second: f64| {
        times.sort_by(f64::total_cmp);
        let mut earliest = 1.0 - per_second;
        for at in &times {
            assert!(*at >= earliest / per_second - 0.05, "{per_second} per second: {times:?}");
            earliest += 1.0;
        }
    };
    in_time(after(""), 4.0);
    in_time(after("@slow.org"), 1.0);
    let before = mails.iter().position(|mail| mail["to"][0] == "a@code.org").unwrap();
    assert!(before < NOTICES / 2, "{before} notices came before the code");
    assert!(mailer.metric("rookery_mailer_held_total") > 1.0);
    assert!(mailer.metric("rookery_mailer_retried_total") + mailer.metric("rookery_mailer_dead_total") < 0.5);
}

/// They wait in the mailer, and NATS has no more to store for them than for others.
#[test]
fn those_whose_turn_comes_soon_are_not_put_off() {
    let Some(world) = World::new(&SmtpOptions::default()) else { return };
    let smtp = world.smtp_settings().replace("per_second = 0", "per_second = 8");
    for n in 0..40 {
        world.enqueue(&job(&format!("notice-{n}"), &format!("a@{n}.org"), notice()));
    }
    world.enqueue(&job("code", "code@example.org", code()));
    let mailer = world.mailer("mailer", &world.settings(&smtp));
    world.await_empty();
    let mails = world.smtp.mails();
    assert_eq!((mails.len(), world.came().len()), (41, 41));
    let before = mails.iter().position(|mail| mail["to"][0] == "code@example.org").unwrap();
    assert!(before < 39, "{before} notices came before the code, which passes those that wait");
    assert!(mailer.metric("rookery_mailer_held_total") > 1.0);
    assert_eq!(world.put_off(), 0);
}

/// Nobody waits for its acknowledgement to be missed.
#[test]
fn what_waits_for_its_turn_in_a_mailer_that_stops_is_anothers_at_once() {
    let Some(world) = World::new(&SmtpOptions::default()) else { return };
    let slow = world.smtp_settings().replace("per_second = 0", "per_second = 0.02");
    // What is taken and not acknowledged comes again after ten minutes.
    let [slow, fast] = [slow, world.smtp_settings()]
        .map(|smtp| world.settings(&smtp.replace("timeout_seconds = 10", "timeout_seconds = 600")));
    let first = world.mailer("first", &slow);
    world.enqueue(&job("sent", "sent@example.org", notice()));
    world.await_mail("sent@example.org");
    world.enqueue(&job("waits", "waits@example.org", notice()));
    first.await_metric("rookery_mailer_held_total", 1.0);
    first.process.terminate();
    assert!(first.process.wait(rookery_testbed::PATIENCE).is_some(), "it stops though a mail waits");
    let _second = world.mailer("second", &fast);
    world.await_mail("waits@example.org");
    world.await_empty();
    assert_eq!((world.came().len(), world.put_off()), (2, 0));
}

#[test]
fn what_would_be_removed_by_age_is_given_up_by_name_or_counted() {
    let Some(world) = World::keeping(&SmtpOptions::default(), Duration::from_secs(40)) else { return };
    let settings = world.settings(&world.smtp_settings());
    world.smtp.process().kill();
    let mailer = world.mailer("mailer", &settings);
    for n in 0..5 {
        world.enqueue(&welcome(&format!("w{n}"), &format!("w{n}@example.org")));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let mut late = job("late", "late@example.org", code());
    late.not_after = Some(i64::try_from(now).unwrap() + 5_000);
    world.enqueue(&late);
    mailer.await_metric("rookery_mailer_dead_total", 5.0);
    mailer.await_metric("rookery_mailer_expired_total", 1.0);
    let listed = world.command(&["dead", "list"], &settings);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(
        listed.matches("the SMTP server could not be used for as long as mails wait").count(),
        5,
        "{listed}"
    );
    world.await_empty();
    assert!(mailer.metric("rookery_mailer_lost_total") < 0.5);

    // Mended, they are put back and sent.
    world.smtp.process().start();
    world.smtp.await_ready();
    let done = world.command(&["dead", "requeue", "--all"], &settings);
    assert!(done.status.success(), "{done:?}");
    world.await_empty();
    assert_eq!(world.came().len(), 5);

    // Without any mailer, nobody can give them up.
    mailer.process.terminate();
    assert!(mailer.process.wait(rookery_testbed::PATIENCE).is_some(), "it ends");
    for n in 0..3 {
        world.enqueue(&welcome(&format!("gone{n}"), "gone@example.org"));
    }
    world.runtime.block_on(async {
        let stream = world.context.get_stream(outbox::stream(CLUSTER)).await.unwrap();
        let mut config = stream.cached_info().config.clone();
        config.max_age = Duration::from_secs(1);
        config.duplicate_window = Duration::from_secs(1);
        world.context.update_stream(config).await.unwrap();
    });
    world.await_empty();
    mailer.process.start();
    mailer.await_ready();
    mailer.await_metric("rookery_mailer_lost_total", 3.0);
    assert!((mailer.metric("rookery_mailer_lost_total") - 3.0).abs() < 0.5);
}
