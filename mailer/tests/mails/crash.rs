//! `kill -9` of mailers under load: every job's mail arrives.

use std::{
    collections::{HashMap, HashSet},
    io::Write as _,
    time::Duration,
};

use rookery_testbed::SmtpOptions;
use serde_json::{Value, json};

use crate::world::{World, welcome};

/// More by `ROOKERY_MAILER_KILLS`.
fn kills() -> usize {
    std::env::var("ROOKERY_MAILER_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

/// How often a job's mail may have gone out, by what was written down about it: each claim but those that ended without a mail.
fn claims_that_may_have_sent(job: &str, notes: &[Value]) -> usize {
    let (mut claims, mut sent) = (HashSet::new(), false);
    for note in notes {
        let which = (note["job"].as_u64(), note["delivery"].as_i64());
        match note["state"].as_str().unwrap() {
            "sending" => {
                assert!(!sent, "{job} is begun after it was sent: {notes:?}");
                claims.insert(which);
            }
            "waiting" => drop(claims.remove(&which)),
            "sent" => sent = true,
            other => panic!("{job}: {other}"),
        }
    }
    assert!(sent, "{job}: {notes:?}");
    claims.len()
}

#[test]
fn killed_mailers_lose_no_mail() {
    let Some(world) = World::new(&SmtpOptions::default()) else { return };
    // The window in which SMTP cannot say: the server has the mail, and its answer is on the way.
    world.smtp.obey(&json!([{"to": "", "at": "data", "delay": 0.01}]));
    // A machine that is busy is no server that fails: nothing is given up here.
    let smtp = format!("{}connections = 4\n", world.smtp_settings());
    let settings = world.settings(&smtp).replace("tries = 4", "tries = 50");
    let mailers: Vec<_> = (0..3).map(|n| world.mailer(&format!("mailer-{n}"), &settings)).collect();
    let notes = world.notes();
    let (kills, mut jobs) = (kills(), 0_usize);
    for round in 0..kills {
        for _ in 0..60 {
            world.enqueue(&welcome(&format!("job-{jobs}"), &format!("a{jobs}@example.org")));
            jobs += 1;
        }
        let wanted = world.smtp.mails().len() + 10;
        rookery_testbed::eventually("mails go out", String::new, || {
            (world.smtp.mails().len() >= wanted || world.waiting() == 0).then_some(())
        });
        let mailer = &mailers[round % mailers.len()];
        mailer.process.kill();
        mailer.process.start();
    }
    world.await_empty();
    // What was acknowledged late may still be on its way.
    std::thread::sleep(Duration::from_millis(200));
    let mut came: HashMap<String, Vec<Value>> = HashMap::new();
    for mail in world.smtp.mails() {
        came.entry(mail["to"][0].as_str().unwrap().to_owned()).or_default().push(mail);
    }
    let lost: Vec<_> = (0..jobs).filter(|n| !came.contains_key(&format!("a{n}@example.org"))).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    // Inside the window of SMTP is a mail that was begun once more because nobody had written down how that ended.
    let (mut inside, mut outside) = (0, 0);
    let notes = notes.by_job();
    for n in 0..jobs {
        let (job, mails) = (format!("job-{n}"), &came[&format!("a{n}@example.org")]);
        let may = claims_that_may_have_sent(&job, &notes[&job]);
        outside += mails.len().saturating_sub(may);
        inside += mails.len().min(may).saturating_sub(1);
        let ids: HashSet<_> = mails.iter().map(|mail| mail["headers"]["message-id"].as_str()).collect();
        assert_eq!(ids.len(), 1, "{job}: one Message-ID");
    }
    let repeats = inside + outside;
    let uncertain: f64 = mailers.iter().map(|mailer| mailer.metric("rookery_mailer_uncertain_total")).sum();
    let _ = writeln!(
        std::io::stderr(),
        "{kills} kills, {jobs} jobs, {repeats} mails came twice ({inside} inside SMTP's window, {outside} outside), {uncertain} sent again by those who run now"
    );
    assert_eq!(outside, 0);
    // Only what was between the SMTP server's hands and the memory's when a mailer died may come twice.
    assert!(repeats <= kills * 4, "{repeats} repeats");
}
