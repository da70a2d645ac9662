//! What arrives.

use rookery_protocol::outbox::{Mail, UnreadRoom};
use rookery_testbed::SmtpOptions;
use serde_json::json;

use crate::world::{World, job, welcome};

const CODE: &str = "048151";

fn kinds() -> Vec<Mail> {
    let (code, username, minutes) = (CODE.to_owned(), "ada".to_owned(), 15);
    vec![
        Mail::SignUpCode { code: code.clone(), username: username.clone(), minutes },
        Mail::LoginCode { code: code.clone(), username: username.clone(), minutes },
        Mail::PasswordReset { code, username: username.clone(), minutes },
        Mail::AlreadyRegistered { username: username.clone() },
        Mail::Welcome { username: username.clone() },
        Mail::Unread {
            username,
            rooms: vec![UnreadRoom { name: "Café <Ü>".into(), direct: false, mentions: 2, messages: 5 }],
            more_rooms: 0,
            link: Some("https://chat.example.org/".into()),
            unsubscribe: Some("https://chat.example.org/v1/mail/stop?token=abc".into()),
        },
    ]
}

#[test]
fn each_kind_arrives_in_the_readers_language() {
    let users = vec![("chat".to_owned(), "päss word".to_owned())];
    let options = SmtpOptions { tls: true, users, ..SmtpOptions::default() };
    let Some(world) = World::new(&options) else { return };
    let smtp = format!("{}user = 'chat'\npassword = 'päss word'\n", world.smtp_settings());
    let mailer = world.mailer("mailer", &world.settings(&smtp));
    for (n, mail) in kinds().into_iter().enumerate() {
        for language in ["en", "de", "es", "fr"] {
            let mut job =
                job(&format!("{n}-{language}"), &format!("{language}{n}@example.org"), mail.clone());
            job.language = language.to_owned();
            world.enqueue(&job);
        }
    }
    world.await_empty();
    let mails = world.smtp.mails();
    assert_eq!(mails.len(), 24);
    assert!(world.came().values().all(|times| *times == 1));
    for mail in &mails {
        assert_eq!((mail["tls"].as_bool(), mail["user"].as_str()), (Some(true), Some("chat")), "{mail}");
        assert_eq!(mail["from"], "chat@example.org");
        assert_eq!(mail["headers"]["from"], "Tea Chat <chat@example.org>");
        assert_eq!(mail["headers"]["auto-submitted"], "auto-generated");
        assert!(!mail["headers"]["subject"].as_str().unwrap().is_empty());
    }
    let to = |to: &str| mails.iter().find(|mail| mail["to"][0] == to).unwrap();
    let mail = to("de0@example.org");
    assert_eq!(mail["headers"]["subject"], "Bestätige deine E-Mail-Adresse");
    assert!(mail["text"].as_str().unwrap().contains("Dein Code ist 048151"), "{mail}");
    assert!(mail["html"].as_str().unwrap().contains(">048151</b>"), "{mail}");
    let notice = to("es5@example.org");
    assert_eq!(notice["headers"]["subject"], "2 menciones sin leer");
    assert_eq!(notice["headers"]["list-unsubscribe"], "<https://chat.example.org/v1/mail/stop?token=abc>");
    assert_eq!(notice["headers"]["list-unsubscribe-post"], "List-Unsubscribe=One-Click");
    assert!(
        notice["text"].as_str().unwrap().contains("Café <Ü>: 2 menciones, 5 mensajes sin leer"),
        "{notice}"
    );
    assert!(notice["html"].as_str().unwrap().contains("Café &lt;Ü&gt;"), "{notice}");
    assert!((mailer.metric("rookery_mailer_sent_total") - 24.0).abs() < 0.5);
    let log = std::fs::read_to_string(mailer.process.log()).unwrap();
    assert!(log.contains("sent") && !log.contains(CODE) && !log.contains("päss"), "{log}");
}

#[test]
fn one_job_is_one_mail_whoever_enqueues_it_how_often() {
    let Some(world) = World::new(&SmtpOptions::default()) else { return };
    let settings = world.settings(&world.smtp_settings());
    let (one, two) = (world.mailer("one", &settings), world.mailer("two", &settings));
    for n in 0..20 {
        for again in 0..3 {
            world.enqueue_as(&welcome(&format!("job {n}"), "a@example.org"), &format!("{n} {again}"));
        }
    }
    world.await_empty();
    let came = world.came();
    assert_eq!(came.len(), 20);
    assert!(came.values().all(|times| *times == 1), "{came:?}");
    let avoided = one.metric("rookery_mailer_repeats_avoided_total")
        + two.metric("rookery_mailer_repeats_avoided_total");
    assert!((avoided - 40.0).abs() < 0.5, "{avoided}");
}

#[test]
fn replicas_share_the_work() {
    const JOBS: u64 = 60;
    let Some(world) = World::new(&SmtpOptions::default()) else { return };
    // No mail is through before each of the three has one.
    world.smtp.obey(&json!([{"to": "held", "at": "data", "hold": true}]));
    let settings = world.settings(&format!("{}connections = 1\n", world.smtp_settings()));
    let mailers = ["one", "two", "three"].map(|name| world.mailer(name, &settings));
    for n in 0..3 {
        world.enqueue(&welcome(&format!("held{n}"), &format!("held{n}@example.org")));
    }
    for mailer in &mailers {
        mailer.await_metric("rookery_mailer_under_way", 1.0);
    }
    for n in 3..JOBS {
        world.enqueue(&welcome(&format!("job{n}"), &format!("job{n}@example.org")));
    }
    world.smtp.obey(&json!([]));
    world.await_empty();
    assert_eq!(world.came().len() as u64, JOBS);
    assert!(world.came().values().all(|times| *times == 1), "{:?}", world.came());
    assert_eq!(world.given(), JOBS, "no job is given to two");
    let sent = mailers.each_ref().map(|mailer| mailer.metric("rookery_mailer_sent_total"));
    #[allow(clippy::cast_precision_loss)]
    let all = JOBS as f64;
    assert!(sent.iter().all(|sent| *sent >= 1.0), "{sent:?}");
    assert!((sent.iter().sum::<f64>() - all).abs() < 0.5, "{sent:?}");
}

/// Each time that a mailer asks for jobs costs NATS as much, however many it is given.
#[test]
fn a_mailer_has_some_jobs_more_than_connections_and_not_all() {
    const JOBS: u64 = 20;
    let Some(world) = World::new(&SmtpOptions::default()) else { return };
    world.smtp.obey(&json!([{"to": "", "at": "data", "hold": true}]));
    let notes = world.notes();
    let mailer =
        world.mailer("mailer", &world.settings(&format!("{}connections = 1\n", world.smtp_settings())));
    for n in 0..JOBS {
        world.enqueue(&welcome(&format!("job{n}"), &format!("job{n}@example.org")));
    }
    rookery_testbed::eventually(
        "the mailer has jobs",
        || format!("{}", world.given()),
        || (world.given() == 5).then_some(()),
    );
    rookery_testbed::eventually("a mail is under way", String::new, || {
        (world.smtp.mails().len() == 1).then_some(())
    });
    assert!((mailer.metric("rookery_mailer_under_way") - 1.0).abs() < 0.5);
    // Nothing of those that wait is written down.
    assert_eq!(notes.by_job().len(), 1);
    world.smtp.obey(&json!([]));
    world.await_empty();
    assert_eq!((world.given(), world.came().into_values().collect::<Vec<_>>()), (JOBS, vec![1; 20]));
}

#[test]
fn rates_spread_mails_and_lose_none() {
    let Some(world) = World::new(&SmtpOptions::default()) else { return };
    let smtp = format!("{}per_domain_per_second = 2\n", world.smtp_settings());
    let mailer = world.mailer("mailer", &world.settings(&smtp));
    for n in 0..5 {
        world.enqueue(&welcome(&format!("slow{n}"), "a@slow.org"));
    }
    world.enqueue(&welcome("other", "a@other.org"));
    world.await_empty();
    assert_eq!(world.came().len(), 6);
    let times: Vec<_> = world
        .smtp
        .mails()
        .iter()
        .filter(|mail| mail["to"][0] == "a@slow.org")
        .map(|mail| mail["at"].as_f64().unwrap())
        .collect();
    assert!(times[4] - times[0] >= 1.0, "{times:?}");
    assert!(mailer.metric("rookery_mailer_held_total") >= 1.0);
    assert!(mailer.metric("rookery_mailer_retried_total") < 0.5);
}
