//! What services do wrong, and what becomes of it.

use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rookery_translator::{router::Outcome, settings::TranslatorSettings};

use crate::{
    services::{Fault, KEY, Services, engine},
    support::{ask, text, translator, with_further},
};

const HOUSE: &str = "The house is big and the water is cold, and the dog is in the garden.";

const FAULTS: [Fault; 17] = [
    Fault::Hang,
    Fault::TooMany(Some(30)),
    Fault::TooMany(None),
    Fault::Quota,
    Fault::Broken,
    Fault::Unavailable(None),
    Fault::Unavailable(Some(30)),
    Fault::WrongKey,
    Fault::FreeTier,
    Fault::Status(400, "it will not have this text"),
    Fault::Status(413, "Request Entity Too Large"),
    Fault::Echo,
    Fault::Foreign,
    Fault::NoJson,
    Fault::OtherJson,
    Fault::FewerLines,
    Fault::Endless,
];

fn impatient(services: &Services, service: &str) -> TranslatorSettings {
    TranslatorSettings { timeout_ms: 300, ..services.settings(service) }
}

#[tokio::test]
async fn another_engine_takes_over_whatever_a_service_does() {
    let Some(services) = Services::start().await else { return };
    // The programs that both stand on are started now, not while somebody is impatient.
    text(&translator(&services.settings("deepl")).await, "Good water is cold", "en", "es").await;
    for service in services.all() {
        for fault in FAULTS {
            // A slow machine may make Apertium late, so only the service is impatient here: it answers at once or never.
            let mut settings = services.settings(service);
            settings.timeout_ms = if fault == Fault::Hang { 4_000 } else { 10_000 };
            settings.engines = format!("{} apertium", engine(service));
            let translator = with_further(&settings, None, Some(services.apertium())).await;
            services.fault(fault);
            let calls = services.calls();
            let (answer, by) = text(&translator, HOUSE, "en", "es").await;
            assert!(answer.contains("casa") && by == "apertium", "{service} {fault:?}: {by}: {answer}");
            assert_eq!(services.calls(), calls + 1, "{service} {fault:?}");
        }
        services.fault(Fault::None);
    }
}

#[tokio::test]
async fn a_short_line_that_comes_back_as_it_was_is_no_translation() {
    let Some(services) = Services::start().await else { return };
    let mut settings = services.settings("deepl");
    settings.engines = "deepl apertium".to_owned();
    let translator = with_further(&settings, None, Some(services.apertium())).await;
    services.fault(Fault::Echo);
    let (answer, engine) = text(&translator, "The house is big", "en", "es").await;
    assert!(answer.contains("casa") && engine == "apertium", "{engine}: {answer}");
    // Names are the same in all languages.
    let names = "Ada Lovelace, Charles Babbage";
    assert_eq!(text(&translator, names, "en", "es").await, (names.to_owned(), "deepl".to_owned()));
}

#[tokio::test]
async fn without_another_engine_it_is_said_when_to_come_again() {
    let Some(services) = Services::start().await else { return };
    for fault in FAULTS {
        let translator = translator(&impatient(&services, "deepl")).await;
        services.fault(fault);
        let outcome = ask(&translator, HOUSE, "en", "es").await;
        if matches!(fault, Fault::Status(..)) {
            assert_eq!(outcome, Outcome::NoEngine, "{fault:?}: there is no use in coming again");
            continue;
        }
        let Outcome::Away { retry_after } = outcome else { panic!("{fault:?}: {outcome:?}") };
        match fault {
            Fault::TooMany(Some(30)) | Fault::Unavailable(Some(30)) => {
                assert_eq!(retry_after, Duration::from_secs(30));
            }
            Fault::Quota | Fault::FreeTier => assert_eq!(retry_after, Duration::from_secs(3600)),
            _ => assert!((1..=10).contains(&retry_after.as_secs()), "{fault:?}: {retry_after:?}"),
        }
    }
}

#[tokio::test]
async fn a_service_that_wants_fewer_requests_gets_none_until_then() {
    let Some(services) = Services::start().await else { return };
    let translator = translator(&services.settings("deepl")).await;
    services.fault(Fault::TooMany(Some(30)));
    ask(&translator, HOUSE, "en", "es").await;
    services.fault(Fault::None);
    for number in 0..5 {
        let outcome = ask(&translator, &format!("{HOUSE} {number}"), "en", "es").await;
        assert!(
            matches!(outcome, Outcome::Away { retry_after } if retry_after.as_secs() >= 20),
            "{outcome:?}"
        );
    }
    assert_eq!(services.calls(), 1);
}

#[tokio::test]
async fn google_s_limits_are_not_taken_for_a_wrong_key() {
    let Some(services) = Services::start().await else { return };
    let versions: Vec<_> = services.all().into_iter().filter(|service| engine(service) == "google").collect();
    let limits = [
        ("userRateLimitExceeded", "User Rate Limit Exceeded", 5),
        ("rateLimitExceeded", "Rate Limit Exceeded", 5),
        ("dailyLimitExceeded", "Daily Limit Exceeded", 3600),
    ];
    let all = versions.into_iter().flat_map(|version| limits.map(|limit| (version, limit)));
    for (version, (reason, message, after)) in all {
        let translator = translator(&services.settings(version)).await;
        services.fault(Fault::Reason(reason, message));
        let outcome = ask(&translator, HOUSE, "en", "es").await;
        assert_eq!(outcome, Outcome::Away { retry_after: Duration::from_secs(after) }, "{reason}");
        services.fault(Fault::None);
        let before = services.calls();
        // One failure alone leaves no service alone; this does, for 5 seconds at least.
        let begun = Instant::now();
        let outcome = ask(&translator, &format!("{HOUSE} Yes"), "en", "es").await;
        let late = begun.elapsed() > Duration::from_secs(4) && after == 5;
        assert!(matches!(outcome, Outcome::Away { .. }) || late, "{reason}: {outcome:?}");
        assert!(services.calls() == before || late, "{reason}");
    }
    // Whatever else is forbidden is refused.
    let translator = translator(&services.settings("google")).await;
    services.fault(Fault::Reason("forbidden", "The caller does not have permission"));
    ask(&translator, HOUSE, "en", "es").await;
    services.fault(Fault::None);
    assert!(matches!(ask(&translator, HOUSE, "en", "es").await, Outcome::Text { .. }));
}

#[tokio::test]
async fn a_service_that_fails_is_left_alone_and_tried_again() {
    let Some(services) = Services::start().await else { return };
    for fault in [Fault::Broken, Fault::Echo, Fault::Hang] {
        let mut settings =
            TranslatorSettings { breaker_failures: 3, breaker_seconds: 2, ..services.settings("deepl") };
        if fault == Fault::Hang {
            settings.timeout_ms = 1_500;
        }
        let translator = translator(&settings).await;
        services.fault(fault);
        let before = services.calls();
        for number in 0..10 {
            ask(&translator, &format!("{HOUSE} {number}"), "en", "es").await;
        }
        assert_eq!(services.calls() - before, 3, "{fault:?}");
        services.fault(Fault::None);
        let deadline = Instant::now() + Duration::from_secs(30);
        while !matches!(ask(&translator, HOUSE, "en", "es").await, Outcome::Text { .. }) {
            assert!(Instant::now() < deadline, "it is never tried again");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn no_more_is_spent_than_allowed() {
    let Some(services) = Services::start().await else { return };
    let settings = |minute: u64, day: Option<u64>| {
        let mut settings = services.settings("deepl");
        (settings.deepl.minute_characters, settings.deepl.day_characters) = (minute, day);
        settings
    };
    // A line takes 71 of them. When a minute (or a day) ends between two, one more goes through.
    for (minute, day, longest) in [(100, Some(0), 60), (0, Some(100), 86_400)] {
        let translator = translator(&settings(minute, day)).await;
        let mut refused = None;
        let before = services.calls();
        for number in 0..4 {
            let outcome = ask(&translator, &format!("{HOUSE} {number}"), "en", "es").await;
            if let Outcome::Away { retry_after } = outcome {
                refused = Some(retry_after.as_secs());
                break;
            }
        }
        assert!(refused.is_some_and(|after| after <= longest), "{minute} {day:?}: {refused:?}");
        assert!((1..=2).contains(&(services.calls() - before)), "{minute} {day:?}");
    }
    // For a paid service that nothing is said of there is a limit too; not for one that says so.
    for (day, most) in [(None, 500_000), (Some(0), u64::MAX)] {
        let mut settings = settings(0, day);
        settings.text_bytes = 64 * 1024;
        let translator = translator(&settings).await;
        services.fault(Fault::Echo);
        let mut asked = 0;
        let before = services.calls();
        for number in 0..10 {
            asked += 60_000;
            ask(&translator, &format!("{number} {}", "x".repeat(59_998)), "en", "es").await;
        }
        let calls = (services.calls() - before) as u64;
        assert!(calls * 60_000 <= most && (most < asked) == (calls < 10), "{day:?}: {calls} calls");
    }
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// On one thread, so that all that is logged goes here.
#[tokio::test(flavor = "current_thread")]
async fn neither_keys_nor_texts_are_logged() {
    let Some(services) = Services::start().await else { return };
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone());
    // Whether anybody wants a line is found out once, by the thread that logs it first. As long as there is one subscriber, only that
    // thread's own is asked (tracing-core 0.1, `dispatchers::Rebuilder`), and threads of other tests have none: so there are two.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    for service in services.all() {
        for fault in FAULTS.into_iter().chain([Fault::None]) {
            services.fault(fault);
            let translator = translator(&impatient(&services, service)).await;
            ask(&translator, HOUSE, "en", "es").await;
        }
    }
    let logged = String::from_utf8_lossy(&lines.0.lock().unwrap()).into_owned();
    assert!(logged.contains("left alone"), "nothing was logged: {logged}");
    assert!(!logged.contains(KEY) && !logged.contains("the dog is in"), "{logged}");
}
