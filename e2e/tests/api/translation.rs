//! Translation, with the engine that is installed: Apertium, English and Spanish.

use std::io::Write as _;

use rookery_e2e::{
    server::{Options, Server},
    service::Service,
    user::{User, seq_of},
    ws::Subprotocol,
};
use serde_json::{Value, json};

const MODES: [&str; 2] = ["/usr/share/apertium/modes/eng-spa.mode", "/usr/share/apertium/modes/spa-eng.mode"];

/// `None`, said loudly, when the engine is not installed. Alone, a node translates itself; in a cluster it asks the translators
/// over NATS.
fn started() -> Option<Server> {
    if MODES.iter().any(|mode| !std::path::Path::new(mode).exists()) {
        // Not by `eprintln!`, which the test harness would swallow.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: apertium-eng-spa is not installed; run scripts/setup test to get it"
        );
        return None;
    }
    let mode = if rookery_e2e::cluster::nodes().is_some() { "nats" } else { "auto" };
    Some(Server::start(Options::generous().set("translation.mode", mode)))
}

fn is_translation(event: &Value, seq: u64) -> bool {
    event["t"] == "translation" && event["seq"] == seq
}

/// `translation`: `room, seq, language, text, engine`: follows the message. Only those who read another language get one; an edit has
/// one of its own.
#[tokio::test]
async fn follows_the_message_to_those_who_read_another_language() {
    let Some(server) = tokio::task::spawn_blocking(started).await.unwrap() else { return };
    let service = Service::of(&server);
    let ada = User::register(&service, "ada").await;
    let [bob, carol] = [User::register(&service, "bob").await, User::register(&service, "carol").await];
    bob.api.patch("/v1/users/me", json!({"language": "es-MX"})).await.is(200);
    let room = ada.room_with(&[&bob, &carol]).await;
    for subprotocol in Subprotocol::BOTH {
        let mut hers = carol.online(subprotocol).await;
        let mut his = bob.online(subprotocol).await;
        let said = seq_of(&ada.say(&room, "The house is big and the water is cold, `x = 1` 😀").await);
        let events = his.events_until("the translation", |event| is_translation(event, said)).await;
        let message = events.iter().position(|event| event["t"] == "message" && event["seq"] == said);
        assert!(message.is_some(), "the message comes first: {events:?}");
        let told = events.last().unwrap();
        let text = told["text"].as_str().unwrap();
        assert!(text.contains("casa") && text.ends_with("`x = 1` 😀"), "{told}");
        assert_eq!(
            (&told["room"], &told["language"], &told["engine"]),
            (&json!(room), &json!("es"), &json!("apertium"))
        );

        ada.api
            .patch(
                &format!("/v1/rooms/{room}/messages/{said}"),
                json!({"text": "There are two dogs in the garden."}),
            )
            .await
            .is(200);
        let events = his.events_until("the edit's translation", |event| is_translation(event, said)).await;
        assert!(
            events.iter().any(|event| event["t"] == "edited" && event["message_seq"] == said),
            "{events:?}"
        );
        assert!(events.last().unwrap()["text"].as_str().unwrap().contains("perros"), "{events:?}");

        // The other way round; and what he reads himself needs none.
        let said = seq_of(&bob.say(&room, "La casa es grande y el agua está muy fría hoy.").await);
        let events = hers.events_until("hers", |event| is_translation(event, said)).await;
        assert!(events.last().unwrap()["text"].as_str().unwrap().contains("house"), "{events:?}");
        let others = events.iter().filter(|event| event["t"] == "translation").count();
        assert_eq!(others, 1, "what is English needs no translation for her: {events:?}");
    }
}

/// Who chooses another language while he is connected gets translations into it soon, and those into the former one no longer.
#[tokio::test]
async fn a_language_that_is_changed_holds_for_a_connection_that_is_open() {
    let Some(server) = tokio::task::spawn_blocking(started).await.unwrap() else { return };
    let service = Service::of(&server);
    let [ada, bob] = [User::register(&service, "ada").await, User::register(&service, "bob").await];
    let carol = User::register(&service, "carol").await;
    carol.api.patch("/v1/users/me", json!({"language": "es"})).await.is(200);
    let room = ada.room_with(&[&bob, &carol]).await;
    for subprotocol in Subprotocol::BOTH {
        bob.api.patch("/v1/users/me", json!({"language": "en"})).await.is(200);
        let mut his = bob.online(subprotocol).await;
        let mut hers = carol.online(subprotocol).await;
        for (language, wanted) in [("es", true), ("en", false)] {
            bob.api.patch("/v1/users/me", json!({"language": language})).await.is(200);
            let deadline = std::time::Instant::now() + rookery_e2e::PATIENCE;
            // The connection hears of it after the answer. What she has a translation of, he has by the mark, if he gets one.
            loop {
                let said = seq_of(&ada.say(&room, "The house is big and the water is cold.").await);
                hers.events_until("hers", |event| is_translation(event, said)).await;
                let mark = seq_of(&ada.say(&room, "`x = 1`").await);
                let is_mark = |event: &Value| event["t"] == "message" && event["seq"] == mark;
                let events = his.events_until("the mark", is_mark).await;
                if events.iter().any(|event| is_translation(event, said)) == wanted {
                    break;
                }
                assert!(std::time::Instant::now() < deadline, "he reads {language}: {events:?}");
            }
        }
    }
}

/// GET messages with `translate=es`: each carries `translation` where there is one.
#[tokio::test]
async fn history_is_translated_on_demand() {
    let Some(server) = tokio::task::spawn_blocking(started).await.unwrap() else { return };
    let service = Service::of(&server);
    let ada = User::register(&service, "ada").await;
    let room = ada.room_with(&[]).await;
    ada.say(&room, "The house is big and the water is cold.").await;
    ada.say(&room, "https://example.org/ 😀").await;
    let page = |language: &'static str| {
        let (api, path) = (ada.api.clone(), format!("/v1/rooms/{room}/messages?translate={language}"));
        async move { api.get(&path).await.is(200) }
    };
    let deadline = std::time::Instant::now() + rookery_e2e::PATIENCE;
    let spanish = loop {
        // Engines are set up while the node serves already.
        let page = page("es").await;
        if page.get("translation").is_none() {
            break page;
        }
        assert_eq!(page["translation"], "unavailable");
        assert!(std::time::Instant::now() < deadline, "no engine is ever there: {page}");
    };
    assert!(spanish["messages"][0].get("translation").is_none(), "it is no language: {spanish}");
    let told = &spanish["messages"][1]["translation"];
    assert!(told["text"].as_str().unwrap().contains("casa"), "{spanish}");
    assert_eq!((&told["language"], &told["engine"]), (&json!("es"), &json!("apertium")));
    assert_eq!(spanish["messages"][1]["text"], "The house is big and the water is cold.");
    let english = page("en-GB").await;
    assert!(
        english.get("translation").is_none() && english["messages"][1].get("translation").is_none(),
        "{english}"
    );
    let japanese = page("ja").await;
    assert!(
        japanese["translation"] == "unavailable" && japanese["messages"][1].get("translation").is_none(),
        "{japanese}"
    );
}

/// PUT .../translate: a user reads a room as it was written; PATCH `translation: false`: a room has none.
#[tokio::test]
async fn a_user_turns_it_off_in_a_room_and_a_room_forbids_it() {
    let Some(server) = tokio::task::spawn_blocking(started).await.unwrap() else { return };
    let service = Service::of(&server);
    let ada = User::register(&service, "ada").await;
    let [bob, eve] = [User::register(&service, "bob").await, User::register(&service, "eve").await];
    for reader in [&bob, &eve] {
        reader.api.patch("/v1/users/me", json!({"language": "es"})).await.is(200);
    }
    let room = ada.room_with(&[&bob, &eve]).await;
    let wants = async |translate: bool| {
        let path = format!("/v1/rooms/{room}/translate");
        eve.api.put(&path, json!({"translate": translate})).await.is(204);
        assert_eq!(eve.listed(&room).await.unwrap()["translate"], translate);
    };
    wants(false).await;
    let mut his = bob.online(Subprotocol::Json).await;
    let mut hers = eve.online(Subprotocol::Proto).await;

    let said = seq_of(&ada.say(&room, "The house is big and the water is cold.").await);
    his.events_until("his translation", |event| is_translation(event, said)).await;
    // What has none comes after what had one, or would have.
    let mark = seq_of(&ada.say(&room, "`x = 1`").await);
    let is_mark = |event: &Value| event["t"] == "message" && event["seq"] == mark;
    let events = hers.events_until("the mark", is_mark).await;
    assert!(!events.iter().any(|event| event["t"] == "translation"), "{events:?}");
    wants(true).await;
    let mut hers = eve.online(Subprotocol::Proto).await;

    let allow = async |may: bool| {
        ada.api.patch(&format!("/v1/rooms/{room}"), json!({"translation": may})).await.is(200);
    };
    allow(false).await;
    let forbidden = seq_of(&ada.say(&room, "There are two dogs in the garden of my house.").await);
    let page = bob.api.get(&format!("/v1/rooms/{room}/messages?translate=es")).await.is(200);
    assert_eq!(page["translation"], "off", "{page}");
    assert!(page["messages"][0].get("translation").is_none(), "{page}");
    allow(true).await;
    let said = seq_of(&ada.say(&room, "My friends eat bread and fish in the evening.").await);
    for socket in [&mut his, &mut hers] {
        let events = socket.events_until("the translation", |event| is_translation(event, said)).await;
        assert!(!events.iter().any(|event| is_translation(event, forbidden)), "{events:?}");
    }
}
