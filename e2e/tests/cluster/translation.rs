//! Translation in a cluster: translators beside the nodes, which are asked over NATS and share what they know in Redis.

use std::io::Write as _;

use rookery_e2e::{eventually, http::Api, user::User, ws::Subprotocol};
use rookery_testbed::{Cluster, ClusterOptions, Translator};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::support::{self, post, user_at};

const MODES: [&str; 2] = ["eng-spa.mode", "spa-eng.mode"];

/// Two nodes and two translators. `None`, said loudly, when a server or the engine is not installed.
fn start() -> Option<Cluster> {
    let modes = rookery_testbed::find_modes();
    if !modes.is_some_and(|modes| MODES.iter().all(|mode| modes.join(mode).exists())) {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: apertium-eng-spa is not installed; run scripts/setup test to get it"
        );
        return None;
    }
    let mut options = support::options();
    options.shards.truncate(2);
    options.settings.push(("ROOKERY_TRANSLATION__MODE".to_owned(), "nats".to_owned()));
    // They start in no time with this alone, and a message is not asked for again for ever.
    options.translator_settings.push(("ROOKERY_TRANSLATOR__ENGINES".to_owned(), "apertium".to_owned()));
    options.translator_settings.extend(rookery_e2e::cluster::equal_share());
    support::start(&ClusterOptions { nats_servers: 1, etcd_members: 1, translators: 2, ..options })
}

/// A counter of a translator, summed over labels that contain `label`.
async fn counted(translator: &Translator, name: &str, label: &str) -> u64 {
    let answer = Api::new(&translator.management_url()).get("/metrics").await;
    let text = answer.body.as_str().expect("metrics are text").to_owned();
    let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

fn is_translation(event: &Value, seq: u64) -> bool {
    event["t"] == "translation" && event["seq"] == seq
}

async fn page(user: &User, room: &str) -> Value {
    user.api.get(&format!("/v1/rooms/{room}/messages?translate=es")).await.is(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn translations_reach_readers_on_every_node_while_translators_come_and_go() {
    let Some(cluster) = start() else { return };
    let ada = user_at(&cluster, 0, "ada").await;
    let readers = [user_at(&cluster, 0, "bob").await, user_at(&cluster, 1, "eve").await];
    for reader in &readers {
        reader.api.patch("/v1/users/me", json!({"language": "es-MX"})).await.is(200);
    }
    let room = ada.room_with(&[&readers[0], &readers[1]]).await;
    let mut sockets =
        [readers[0].online(Subprotocol::Json).await, readers[1].online(Subprotocol::Proto).await];

    // A frame for each reader, wherever he is connected, after the message.
    let texts = [
        ("The house is big and the water is cold.", "casa"),
        ("There are two dogs in the garden of my house.", "perros"),
        ("My friends eat bread and fish in the evening.", "pan"),
    ];
    let translators = cluster.translators();
    let mut said = Vec::new();
    for (number, (text, word)) in texts.into_iter().enumerate() {
        match number {
            // One is killed: the other one does it.
            1 => block_in_place(|| translators[0].process().kill()),
            // Both are: the message comes, and its translation when one is back.
            2 => block_in_place(|| translators[1].process().kill()),
            _ => {}
        }
        let (seq, _) = post(&ada, &room, text).await;
        said.push(seq);
        for socket in &mut sockets {
            let is_message = |event: &Value| event["t"] == "message" && event["seq"] == seq;
            let events = socket.events_until("the message", is_message).await;
            assert!(!events.iter().any(|event| is_translation(event, seq)), "{events:?}");
        }
        if number == 2 {
            for reader in &readers {
                let page = page(reader, &room).await;
                assert_eq!(page["translation"], "unavailable", "{page}");
                assert_eq!(page["messages"][0]["text"], text);
            }
            block_in_place(|| translators[0].restart());
        }
        for socket in &mut sockets {
            let what = format!("the translation of {text:?}");
            let told = socket.events_until(&what, |event| is_translation(event, seq)).await;
            let told = told.last().expect("the translation");
            assert!(told["text"].as_str().expect("a text").contains(word), "{told}");
            assert_eq!((&told["language"], &told["engine"]), (&json!("es"), &json!("apertium")));
        }
    }

    // The one that was started again never saw the first two: it has them from Redis.
    for reader in &readers {
        let page = eventually("all are translated", async || {
            let page = page(reader, &room).await;
            page.get("translation").is_none().then_some(page)
        })
        .await;
        let messages = page["messages"].as_array().expect("a page has messages");
        for ((_, word), message) in texts.iter().rev().zip(messages) {
            let text = message["translation"]["text"].as_str().expect("a translation");
            assert!(text.contains(word), "{message}");
        }
    }
    let found = counted(&translators[0], "rookery_translator_cache_hits_total", "redis").await;
    assert!(found >= 2, "{found} were found in Redis");

    // The second one comes back, and serves when the first one is gone.
    block_in_place(|| {
        translators[1].restart();
        translators[0].process().kill();
    });
    let (seq, _) = post(&ada, &room, "The water of the sea is very salty and cold.").await;
    for socket in &mut sockets {
        socket.events_until("the last one's translation", |event| is_translation(event, seq)).await;
    }
    assert!(counted(&translators[1], "rookery_translator_asked_total", "translated").await >= 1);
}
