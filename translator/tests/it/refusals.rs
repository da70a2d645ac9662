//! What services take in one call, what they refuse, and that none is asked again for what it refuses for good.

use std::time::Duration;

use rookery_translator::{
    engine::{Batch, Engine as _, EngineError},
    engines,
    router::Outcome,
    settings::TranslatorSettings,
};

use crate::{
    services::{Fault, Services, UNFIT, limits},
    support::{ask, eventually, lang, request, skipped, text, translator, within},
};

const HOUSE: &str = "The house is big and the water is cold.";

/// Takes texts as long as any may be.
fn roomy(services: &Services, service: &str) -> TranslatorSettings {
    TranslatorSettings { text_bytes: 64 * 1024, timeout_ms: 60_000, ..services.settings(service) }
}

fn is_text(outcome: &Outcome, holds: &str) -> bool {
    matches!(outcome, Outcome::Text { text, .. } if text.contains(holds))
}

#[tokio::test]
async fn no_call_has_more_than_its_service_takes() {
    let Some(services) = Services::start().await else { return };
    // More lines than any but Google's third version and Azure takes.
    let many: Vec<_> = (0..150).map(|number| format!("There are {number} houses here")).collect();
    let cold = "The water is cold. ".repeat(50);
    for service in services.all() {
        // More letters than it takes, or than is given to those that count bytes.
        let letters = limits(service).characters.min(30_000);
        let count = if service == "azure" { 55 } else { letters / cold.len() + 2 };
        let long: Vec<_> =
            (0..count).map(|number| format!("There are {number} houses here. {cold}")).collect();
        let translator = translator(&roomy(&services, service)).await;
        for lines in [&many, &long] {
            let (requests, asked) = (services.requests(), services.lines());
            let (answer, _) = text(&translator, &lines.join("\n"), "en", "es").await;
            let answers: Vec<_> = answer.lines().collect();
            assert_eq!(answers.len(), lines.len(), "{service}");
            for (number, answer) in answers.iter().enumerate() {
                assert!(answer.contains(&format!("{number} casas")), "{service}: {number}: {answer}");
            }
            assert_eq!(services.lines() - asked, lines.len(), "{service}: each line is paid for once");
            // As few as the service takes them in, and a few more: it may take more than is given to it.
            let characters: usize = lines.iter().map(|line| line.chars().count()).sum();
            let least = lines.len().div_ceil(limits(service).lines);
            let least = least.max(characters.div_ceil(limits(service).characters));
            let requests = services.requests() - requests;
            assert!(
                (least..=least.max(2) * 2).contains(&requests),
                "{service}: {requests}, {least} at least"
            );
        }
    }
    assert_eq!(services.too_large(), 0);
}

#[tokio::test]
async fn azure_counts_letters_for_each_language() {
    let Some(services) = Services::start().await else { return };
    if !services.apertium().has(lang("es"), lang("ca")) {
        skipped("apertium's pair spa-cat and cg3 are not installed");
        return;
    }
    let translator = translator(&roomy(&services, "azure")).await;
    let fria = "El agua está fría hoy. ".repeat(40);
    let lines: Vec<_> = (0..40).map(|number| format!("Hay {number} casas aquí. {fria}")).collect();
    let asked = translator.translate(request(&lines.join("\n"), "es", &["en", "ca"]));
    let outcomes = within("an answer of the translator", asked).await.outcomes;
    assert!(is_text(&outcomes[0], "39 houses") && is_text(&outcomes[1], "39 cases"), "{outcomes:?}");
    assert_eq!(services.too_large(), 0);
    assert_eq!(services.lines(), 80);
    // All lines fit into one call for one language, and not for two.
    assert_eq!(services.requests(), 2);
}

#[tokio::test]
async fn a_line_that_is_too_long_is_refused_for_good_and_asked_for_once() {
    let Some(services) = Services::start().await else { return };
    for service in services.all() {
        let settings = roomy(&services, service);
        let limits = limits(service);
        let most = if limits.characters == usize::MAX { limits.bytes } else { limits.characters };
        let line = format!("The water is {}cold", "very ".repeat(most / 5));
        // An engine hands on what it is given.
        let engine = engines::set_up(&settings).await.unwrap().remove(0);
        let batch = Batch { texts: [line.clone()].into(), source: lang("en"), targets: vec![lang("es")] };
        let refused = engine.translate(batch).await;
        assert!(matches!(refused, Err(EngineError::Unfit(_))), "{service}: {refused:?}");
        // Some take more than the longest text has.
        if line.len() <= settings.text_bytes {
            let translator = translator(&settings).await;
            let requests = services.requests();
            for _ in 0..3 {
                assert_eq!(ask(&translator, &line, "en", "es").await, Outcome::NoEngine, "{service}");
            }
            assert_eq!(services.requests() - requests, 1, "{service}");
        }
    }
}

#[tokio::test]
async fn each_answer_means_what_the_service_says_it_means() {
    /// What becomes of a service that answers so.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    enum Then {
        /// It is left alone at once, for so many seconds.
        Left(u64),
        /// It has failed; after three times it is left alone.
        Failed,
        /// It is asked for the next text, and never again for this one.
        Asked,
    }
    const NO_KEY: &str = "API key not valid. Please pass a valid API key.";
    let answers = [
        ("", Fault::Status(400, "bad"), Then::Asked),
        ("", Fault::Status(401, "no"), Then::Failed),
        ("", Fault::Status(403, "no"), Then::Failed),
        ("", Fault::Status(404, "nothing is here"), Then::Failed),
        ("", Fault::Status(408, "late"), Then::Failed),
        ("", Fault::Status(413, "large"), Then::Asked),
        ("", Fault::TooMany(None), Then::Left(5)),
        ("", Fault::TooMany(Some(40)), Then::Left(40)),
        ("", Fault::Status(500, "broken"), Then::Failed),
        ("", Fault::Unavailable(None), Then::Failed),
        ("", Fault::Unavailable(Some(40)), Then::Left(40)),
        ("", Fault::Status(504, "late"), Then::Failed),
        ("deepl", Fault::Quota, Then::Left(3600)),
        ("deepl", Fault::Status(529, "Too many requests"), Then::Left(5)),
        ("google", Fault::Status(400, NO_KEY), Then::Failed),
        ("azure", Fault::FreeTier, Then::Left(3600)),
    ];
    let Some(services) = Services::start().await else { return };
    for service in services.all() {
        for (only, fault, then) in answers {
            if !only.is_empty() && only != service {
                continue;
            }
            let settings = TranslatorSettings {
                breaker_failures: 3,
                // Nothing is tried again before the test is over.
                breaker_seconds: 60,
                ..services.settings(service)
            };
            let translator = translator(&settings).await;
            let what = format!("{service} {fault:?}");
            services.fault(fault);
            let before = services.calls();
            let texts = (0..6).map(|number| format!("{HOUSE} {number}")).collect::<Vec<_>>();
            let begun = std::time::Instant::now();
            for (number, text) in texts.iter().enumerate() {
                let outcome = ask(&translator, text, "en", "es").await;
                match (then, outcome) {
                    (Then::Asked, Outcome::NoEngine) => {}
                    (Then::Left(seconds), Outcome::Away { retry_after }) => {
                        let asked = Duration::from_secs(seconds);
                        assert!(retry_after <= asked && (number > 0 || retry_after == asked), "{what}");
                    }
                    (Then::Failed, Outcome::Away { retry_after }) => {
                        assert!(retry_after <= Duration::from_secs(60), "{what}");
                    }
                    (_, other) => panic!("{what}: {other:?}"),
                }
                // A slow machine: those five seconds may be over.
                if then == Then::Left(5) && begun.elapsed() > Duration::from_secs(4) {
                    break;
                }
            }
            let calls = services.calls() - before;
            match then {
                Then::Left(_) => assert_eq!(calls, 1, "{what}"),
                Then::Failed => assert_eq!(calls, 3, "{what}"),
                Then::Asked => {
                    services.fault(Fault::None);
                    // It is not asked again for those that it refused; it is for all others.
                    for text in texts.iter().take(calls) {
                        assert_eq!(ask(&translator, text, "en", "es").await, Outcome::NoEngine, "{what}");
                    }
                    assert_eq!(services.calls() - before, calls, "{what}");
                    assert!(is_text(&ask(&translator, HOUSE, "en", "es").await, "casa"), "{what}");
                }
            }
        }
    }
}

#[tokio::test]
async fn those_who_share_a_call_with_what_is_refused_for_good_are_translated() {
    let Some(services) = Services::start().await else { return };
    services.fault(Fault::Slow);
    let translator = translator(&services.settings("deepl")).await;
    let asked = |line: String| {
        let translator = translator.clone();
        tokio::spawn(async move { ask(&translator, &line, "en", "es").await })
    };
    let first = asked(HOUSE.to_owned());
    eventually("the service is asked", || services.calls() > 0).await;
    let others: Vec<_> = (0..6)
        .map(|number| if number == 3 { UNFIT.to_owned() } else { number.to_string() })
        .map(|word| asked(format!("The house is big and has {word} dogs")))
        .collect();
    assert!(is_text(&first.await.unwrap(), "casa"));
    for (number, other) in others.into_iter().enumerate() {
        let outcome = other.await.unwrap();
        assert!(
            if number == 3 { outcome == Outcome::NoEngine } else { is_text(&outcome, "casa") },
            "{number}"
        );
    }
}

#[tokio::test]
async fn a_language_that_azure_does_not_have_keeps_no_other_from_being_translated() {
    let Some(services) = Services::start().await else { return };
    let translator = translator(&services.settings("azure")).await;
    let casa = "La casa es grande y el agua está fría.";
    for _ in 0..2 {
        let asked = translator.translate(request(casa, "es", &["en", "ja"]));
        let outcomes = within("an answer of the translator", asked).await.outcomes;
        assert!(is_text(&outcomes[0], "house"), "{outcomes:?}");
        assert_eq!(outcomes[1], Outcome::NoEngine);
        // Both at once, and then each; never again.
        assert_eq!(services.requests(), 3);
    }
}
