//! What does not depend on an engine: caches, equal requests, what is not translated, what comes through untouched.

use rookery_translator::{
    metrics::TranslatorMetrics,
    router::{Outcome, Request, SharedStore},
    settings::TranslatorSettings,
};

use crate::{
    services::{Fault, Services},
    support::{ask, eventually, lang, only, only_apertium, request, text, translator, with_redis, within},
};

const HOUSE: &str = "The house is big and the water is cold.";

#[tokio::test]
async fn equal_requests_under_way_are_one() {
    let Some(services) = Services::start().await else { return };
    services.fault(Fault::Slow);
    let translator = translator(&services.settings("deepl")).await;
    let all = (0..50).map(|_| {
        let translator = translator.clone();
        tokio::spawn(async move { text(&translator, HOUSE, "en", "es").await })
    });
    for task in all.collect::<Vec<_>>() {
        assert!(task.await.unwrap().0.contains("casa"));
    }
    assert_eq!(services.calls(), 1);
    // And what is known is not asked for again.
    text(&translator, HOUSE, "en", "es").await;
    assert_eq!(services.calls(), 1);
}

#[tokio::test]
async fn one_who_goes_away_takes_nothing_with_him() {
    let Some(services) = Services::start().await else { return };
    services.fault(Fault::Slow);
    let translator = translator(&services.settings("deepl")).await;
    let asked = translator.clone();
    let first = tokio::spawn(async move { ask(&asked, HOUSE, "en", "es").await });
    eventually("the service is asked", || services.calls() > 0).await;
    first.abort();
    assert!(text(&translator, HOUSE, "en", "es").await.0.contains("casa"));
    assert_eq!(services.calls(), 1);
}

/// What a translator shares with others by this Redis.
fn shared(url: &str) -> SharedStore {
    let client = redis::Client::open(url).unwrap();
    // A busy machine takes its time; that nobody waits so long for what he can do without is not what is tested here.
    SharedStore::open(client, "test", TranslatorMetrics::default(), rookery_testbed::PATIENCE).unwrap()
}

#[tokio::test]
async fn translators_share_what_they_know_by_redis() {
    let Some(services) = Services::start().await else { return };
    let Some(redis) = tokio::task::spawn_blocking(rookery_testbed::redis).await.unwrap() else { return };
    let (one, other) = (shared(&redis.url()), shared(&redis.url()));
    let before = services.calls();
    let mut settings = services.settings("deepl");
    settings.deepl.day_characters = Some(100);
    let first = with_redis(&settings, Some(&one)).await;
    let told = text(&first, HOUSE, "en", "es").await;
    let second = with_redis(&settings, Some(&other)).await;
    assert_eq!(text(&second, HOUSE, "en", "es").await, told);
    assert_eq!(services.calls(), before + 1);
    // So do they share what may be spent: 39 characters are, 78 more are too many for one day.
    let long = format!("{HOUSE} {HOUSE}");
    assert!(matches!(ask(&second, &long, "en", "es").await, Outcome::Away { .. }));
    assert!(matches!(ask(&second, "The dog is in the big garden", "en", "es").await, Outcome::Text { .. }));
    // Without Redis it goes on.
    tokio::task::spawn_blocking(move || drop(redis)).await.unwrap();
    let third = with_redis(
        &services.settings("deepl"),
        Some(&{
            let client = redis::Client::open("redis://127.0.0.1:1").unwrap();
            SharedStore::open(client, "test", TranslatorMetrics::default(), SharedStore::TIMEOUT).unwrap()
        }),
    )
    .await;
    assert_eq!(text(&third, HOUSE, "en", "es").await, told);
}

#[tokio::test]
async fn equal_requests_under_way_at_two_translators_are_one() {
    let Some(services) = Services::start().await else { return };
    let Some(redis) = tokio::task::spawn_blocking(rookery_testbed::redis).await.unwrap() else { return };
    let (one, other) = (shared(&redis.url()), shared(&redis.url()));
    let settings = services.settings("deepl");
    let both = [with_redis(&settings, Some(&one)).await, with_redis(&settings, Some(&other)).await];
    services.fault(Fault::Slow);
    for number in 0..5 {
        let line = format!("The house has {number} dogs");
        let asked = both.each_ref().map(|translator| text(translator, &line, "en", "es"));
        let [first, second] = asked;
        let (first, second) = tokio::join!(first, second);
        assert!(first.0.contains("casa") && first == second, "{first:?} {second:?}");
        assert_eq!(services.calls(), number + 1);
    }
    // What ends leaves nothing behind.
    let mut connection =
        redis::Client::open(redis.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let ended = async {
        loop {
            let left: Vec<String> = redis::cmd("KEYS")
                .arg("test:translator:flight:*")
                .query_async(&mut connection)
                .await
                .unwrap();
            if left.is_empty() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    within("no claim is left", ended).await;

    // Who dies over it keeps the others waiting for the time of a call, and no longer.
    services.fault(Fault::Hang);
    let settings = TranslatorSettings { timeout_ms: 3_000, ..settings };
    let before = services.calls();
    let dying = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let address = redis.url();
    let asked = settings.clone();
    dying.spawn(async move {
        let client = redis::Client::open(address).unwrap();
        let shared =
            SharedStore::open(client, "test", TranslatorMetrics::default(), rookery_testbed::PATIENCE);
        let first = with_redis(&asked, Some(&shared.unwrap())).await;
        ask(&first, HOUSE, "en", "es").await
    });
    eventually("the service is asked", || services.calls() > before).await;
    dying.shutdown_background();
    services.fault(Fault::None);
    let second = with_redis(&settings, Some(&other)).await;
    let begun = std::time::Instant::now();
    assert!(text(&second, HOUSE, "en", "es").await.0.contains("casa"));
    assert_eq!(services.calls(), before + 2);
    assert!(begun.elapsed() < rookery_testbed::PATIENCE / 2, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn nothing_is_translated_that_need_not_be() {
    if crate::support::apertium().await.is_none() {
        return;
    }
    let translator = translator(&only_apertium()).await;
    for (sent, from, to) in [
        ("Hello there", "en", "en"),
        ("https://example.org/x @ada 😀", "en", "es"),
        ("12:30", "en", "es"),
        ("", "en", "es"),
        ("`let x = 1;`", "en", "es"),
    ] {
        assert_eq!(ask(&translator, sent, from, to).await, Outcome::NotNeeded, "{sent:?}");
    }
    assert_eq!(ask(&translator, "Hello there", "en", "ja").await, Outcome::NoEngine);
    assert_eq!(ask(&translator, &"long ".repeat(10_000), "en", "es").await, Outcome::NoEngine);
    // A hint is not believed against the text.
    let hint = Request {
        source_is_sure: false,
        ..request("La casa es grande y el agua está muy fría hoy", "en", &["en", "es"])
    };
    let reply = translator.translate(hint).await;
    assert_eq!(reply.source, Some(lang("es")));
    assert!(matches!(&reply.outcomes[0], Outcome::Text { text, .. } if text.contains("house")), "{reply:?}");
    assert_eq!(reply.outcomes[1], Outcome::NotNeeded);
}

#[tokio::test]
async fn code_addresses_mentions_and_emoji_come_through_untouched() {
    const SENT: &str = "@ada the house 😀 is `big.rs` and the water of https://example.org/a?b=c is cold, @bob.b!\n```\nthe house\n```\nThanks! 🇪🇸";
    let check = |answer: &str| {
        for kept in [
            "@ada ",
            "😀",
            "`big.rs`",
            "https://example.org/a?b=c",
            "@bob.b!",
            "\n```\nthe house\n```\n",
            "🇪🇸",
        ] {
            assert_eq!(answer.matches(kept).count(), 1, "{kept:?} in {answer}");
        }
        assert!(answer.contains("casa"), "{answer}");
    };
    if crate::support::apertium().await.is_some() {
        let (answer, _) = text(&translator(&only_apertium()).await, SENT, "en", "es").await;
        check(&answer);
        assert!(answer.ends_with("Gracias! 🇪🇸"), "{answer}");
    }
    if let Some(models) = crate::support::models() {
        let mut settings = only("firefox");
        settings.firefox.models = models;
        check(&text(&translator(&settings).await, SENT, "en", "pt").await.0);
    }
}
