//! Engines that are asked over HTTP, on a server that speaks their APIs.

use rookery_translator::{
    engine::{Batch, Engine as _, EngineError, remote::LibreTranslate},
    router::Outcome,
    settings::TranslatorSettings,
};

use crate::{
    services::{Fault, KEY, Services, engine, rsa_key},
    support::{ask, lang, request, skipped, text, translator},
};

const CASA: &str = "La casa es grande y el agua está fría.";
const HOUSE: &str = "The house is big and the water is cold.";

fn spanish(text: &str) -> bool {
    text.starts_with("La casa es grande y el agua")
}

#[tokio::test]
async fn each_service_translates_lines_in_their_order() {
    let Some(services) = Services::start().await else { return };
    for service in services.all() {
        let translator = translator(&services.settings(service)).await;
        let before = services.calls();
        let (answer, by) = text(&translator, &format!("{HOUSE}\nThere are two cats"), "en", "es").await;
        let lines: Vec<_> = answer.lines().collect();
        assert!(spanish(lines[0]) && lines[1].contains("gatos") && lines.len() == 2, "{service}: {answer}");
        assert_eq!(by, engine(service));
        assert_eq!(services.calls(), before + 1, "lines go in one call");
        // English is a target that some services want to know more of.
        let (answer, _) = text(&translator, CASA, "es", "en").await;
        assert!(answer.contains("house") && answer.contains("cold"), "{service}: {answer}");
    }
}

#[tokio::test]
async fn azure_is_asked_once_for_many_languages() {
    let Some(services) = Services::start().await else { return };
    if !services.apertium().has(lang("es"), lang("ca")) {
        skipped("apertium's pair spa-cat and cg3 are not installed");
        return;
    }
    let translator = translator(&services.settings("azure")).await;
    let reply = translator.translate(request(CASA, "es", &["en", "ca", "es"])).await;
    assert!(matches!(&reply.outcomes[0], Outcome::Text { text, .. } if text.contains("house")), "{reply:?}");
    assert!(matches!(&reply.outcomes[1], Outcome::Text { text, .. } if text.contains("aigua")), "{reply:?}");
    assert_eq!(reply.outcomes[2], Outcome::NotNeeded);
    // The server counts a translation for each language of a call.
    assert_eq!((services.requests(), services.calls()), (1, 2));
}

#[tokio::test]
async fn google_s_third_version_signs_for_its_account() {
    let Some(services) = Services::start().await else { return };
    let (Some((key, public)), Some((_, other))) = (rsa_key(), rsa_key()) else { return };
    services.write_account(&key);
    let mut settings = services.settings("google v3");
    // Somebody else's signature is worth nothing.
    services.account(&other);
    let refused = ask(&translator(&settings).await, HOUSE, "en", "es").await;
    assert!(matches!(refused, Outcome::Away { .. }), "{refused:?}");
    services.account(&public);
    let first = translator(&settings).await;
    assert!(spanish(&text(&first, HOUSE, "en", "es").await.0));
    // A token that is worth nothing any more is shown once, and not until its hour is over.
    services.revoke_tokens();
    let again = format!("{HOUSE} Again");
    let refused = ask(&first, &again, "en", "es").await;
    assert!(matches!(refused, Outcome::Away { .. }), "{refused:?}");
    assert!(spanish(&text(&first, &again, "en", "es").await.0));
    // Who is not answered does not keep the next one from asking.
    settings.timeout_ms = 1_500;
    let translator = translator(&settings).await;
    services.no_token();
    let late = ask(&translator, HOUSE, "en", "es").await;
    assert!(matches!(late, Outcome::Away { .. }), "{late:?}");
    assert!(spanish(&text(&translator, HOUSE, "en", "es").await.0));
}

#[tokio::test]
async fn a_service_is_used_for_its_languages_alone() {
    let Some(services) = Services::start().await else { return };
    let mut settings = services.settings("deepl");
    settings.deepl.languages = "en de".to_owned();
    let translator = translator(&settings).await;
    assert_eq!(ask(&translator, HOUSE, "en", "es").await, Outcome::NoEngine);
    assert_eq!(services.calls(), 0);
}

#[tokio::test]
async fn what_waits_for_a_service_goes_into_its_next_call_together() {
    let Some(services) = Services::start().await else { return };
    services.fault(Fault::Slow);
    let translator = translator(&services.settings("deepl")).await;
    let all = (0..30).map(|number| {
        let translator = translator.clone();
        tokio::spawn(async move {
            text(&translator, &format!("There are {number} houses here"), "en", "es").await.0
        })
    });
    for (number, task) in all.collect::<Vec<_>>().into_iter().enumerate() {
        let answer = task.await.unwrap();
        assert!(answer.contains(&number.to_string()) && answer.contains("casas"), "{answer}");
    }
    assert!(services.calls() <= 5, "{} calls for 30 texts", services.calls());
}

/// By `translator/tests/libretranslate/run.sh`, which starts it: as many lines in a call as it takes, two keys.
#[tokio::test]
#[ignore = "asks the real LibreTranslate, which translator/tests/libretranslate/run.sh starts"]
async fn the_real_libretranslate_is_asked_as_it_wants() {
    let url = std::env::var("ROOKERY_LIBRETRANSLATE").expect("run.sh says where it is");
    let settings = |key: &str| {
        let mut settings = TranslatorSettings {
            engines: "libretranslate".to_owned(),
            // An Apertium is started for each line.
            timeout_ms: 60_000,
            ..TranslatorSettings::default()
        };
        settings.libretranslate.url.clone_from(&url);
        settings.libretranslate.api_key = key.to_owned().into();
        settings
    };
    // More lines than it takes in a call; marks, and what means something to HTML.
    let ours = translator(&settings(KEY)).await;
    let mut lines: Vec<String> = (0..60).map(|number| format!("There are {number} cats")).collect();
    lines[7] = "@ada the house 😀 is `big.rs` &amp; <b>cold</b>, https://example.org/a?b=c".to_owned();
    let (answer, engine) = text(&ours, &lines.join("\n"), "en", "es").await;
    assert_eq!(engine, "libretranslate");
    let answers: Vec<_> = answer.lines().collect();
    assert_eq!(answers.len(), lines.len());
    for kept in ["@ada ", "😀", "`big.rs`", "https://example.org/a?b=c"] {
        assert_eq!(answers[7].matches(kept).count(), 1, "{kept:?} in {}", answers[7]);
    }
    for (number, answer) in answers.iter().enumerate().filter(|(number, _)| *number != 7) {
        assert!(answer.contains(&format!("{number} gatos")), "{number}: {answer}");
    }
    assert!(text(&ours, CASA, "es", "en").await.0.contains("house"));

    // Its refusals, as the engine understands them.
    let asked = async |key: &str, target: &str| {
        let timeout = std::time::Duration::from_secs(30);
        let engine = LibreTranslate::new(&settings(key).libretranslate, timeout).unwrap();
        let batch =
            Batch { texts: [HOUSE.to_owned()].into(), source: lang("en"), targets: vec![lang(target)] };
        engine.translate(batch).await
    };
    let refused = asked("a-key-that-is-none", "es").await;
    assert!(
        matches!(&refused, Err(EngineError::Refused(why)) if why.contains("check its key")),
        "{refused:?}"
    );
    let unfit = asked(KEY, "ja").await;
    assert!(matches!(&unfit, Err(EngineError::Unfit(why)) if why.contains("status 400")), "{unfit:?}");
    assert!(asked("a-key-for-one-call", "es").await.is_ok());
    let limited = asked("a-key-for-one-call", "es").await;
    assert!(matches!(limited, Err(EngineError::Limited(_))), "{limited:?}");
    println!("{url}: lines, marks, a wrong key, an unknown language and a limit are understood");
}

#[test]
fn keys_are_not_in_what_is_printed_of_settings() {
    let mut settings = TranslatorSettings::default();
    settings.deepl.api_key = KEY.to_owned().into();
    assert!(!format!("{settings:?}").contains(KEY) && !toml::to_string(&settings).unwrap().contains(KEY));
}
