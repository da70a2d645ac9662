//! `kill -9` of mailers under load: every job's mail arrives.

use std::{collections::HashMap, io::Write as _, time::Duration};

use rookery_testbed::SmtpOptions;
use serde_json::json;

use crate::world::{World, welcome};

/// More by `ROOKERY_MAILER_KILLS`.
fn kills() -> usize {
    std::env::var("ROOKERY_MAILER_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
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
    let mut came: HashMap<String, usize> = HashMap::new();
    for mail in world.smtp.mails() {
        *came.entry(mail["to"][0].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let lost: Vec<_> = (0..jobs).filter(|n| !came.contains_key(&format!("a{n}@example.org"))).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    let repeats: usize = came.values().map(|times| times - 1).sum();
    let uncertain: f64 = mailers.iter().map(|mailer| mailer.metric("rookery_mailer_uncertain_total")).sum();
    let _ = writeln!(
        std::io::stderr(),
        "{kills} kills, {jobs} jobs, {repeats} mails came twice, {uncertain} sent again by those who run now"
    );
    // Only what was between the SMTP server's hands and the memory's when a mailer died may come twice.
    assert!(repeats <= kills * 4, "{repeats} repeats");
}
