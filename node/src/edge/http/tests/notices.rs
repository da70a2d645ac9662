//! Mails about what is unread.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{
    client::{raw, send},
    world::{PASSWORD, World, unlimited},
};
use crate::{
    backend::embedded::{Clock as _, SystemClock},
    edge::http::HttpSettings,
    notices::NoticesSettings,
};

/// Something must be unread for so long: longer than a busy machine takes for a few messages.
const DELAY: Duration = Duration::from_secs(4);
/// After that a notice that was to come would have.
const NEVER: Duration = Duration::from_secs(6);

/// That of a notice.
fn is_notice(subject: &str) -> bool {
    subject == "Unread messages" || subject.contains(" unread mention")
}

async fn world(window_seconds: u64) -> World {
    let http =
        HttpSettings { public_url: Some("https://chat.example.org".into()), ..HttpSettings::default() };
    let notices = NoticesSettings { enabled: true, delay_seconds: DELAY.as_secs(), window_seconds };
    World::telling(unlimited(), http, notices).await
}

fn token(session: &Value) -> String {
    session["access_token"].as_str().unwrap().to_owned()
}

fn notices(world: &World, to: &str) -> Vec<String> {
    let all = world.subjects(to).into_iter();
    all.filter(|subject| is_notice(subject)).collect()
}

async fn await_notices(world: &World, to: &str, count: usize) {
    let end = Instant::now() + Duration::from_secs(60);
    while notices(world, to).len() < count {
        assert!(Instant::now() < end, "{:?}", world.subjects(to));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The room's path.
async fn direct(world: &World, token: &str, with: &str) -> String {
    let room = world.call(token, "PUT", &format!("/v1/direct/{with}"), Value::Null).await.accepted(201);
    format!("/v1/rooms/{}", room["id"].as_str().unwrap())
}

async fn say(world: &World, token: &str, room: &str, text: &str) -> u64 {
    let body = json!({"text": text, "client_msg_id": text});
    let said = world.call(token, "POST", &format!("{room}/messages"), body).await.accepted(201);
    said["seq"].as_u64().unwrap()
}

#[tokio::test]
async fn what_stays_unread_is_put_into_one_mail() {
    let world = world(600).await;
    let (ada, bob) = (token(&world.user("ada").await), token(&world.user("bob").await));
    let body = json!({"name": "Tea", "kind": "group", "visibility": "public"});
    let room = world.call(&ada, "POST", "/v1/rooms", body).await.accepted(201);
    let tea = format!("/v1/rooms/{}", room["id"].as_str().unwrap());
    world.call(&bob, "POST", &format!("{tea}/join"), Value::Null).await.accepted(200);
    let between = direct(&world, &ada, "bob").await;
    let begun = Instant::now();
    say(&world, &ada, &between, "are you there?").await;
    say(&world, &ada, &tea, "not for him").await;
    say(&world, &ada, &tea, "tea, @bob?").await;
    say(&world, &ada, &between, "hello?").await;
    await_notices(&world, "bob@example.org", 1).await;
    assert!(begun.elapsed() >= DELAY, "{:?}", begun.elapsed());
    let mail = world.mail("bob@example.org", "1 unread mention").unwrap();
    assert!(mail.contains("- Tea: 1 mention, 2 unread messages\n- ada: 2 unread messages\n"), "{mail}");
    assert!(mail.contains("Read it: https://chat.example.org\n"), "{mail}");
    let link = mail.lines().last().unwrap().rsplit(' ').next().unwrap().to_owned();
    let path = link.strip_prefix("https://chat.example.org").unwrap();

    // It is of use for an hour from then: a mailer that was away for longer drops it.
    let job = &world.notices()[0];
    let until = u64::try_from(job.not_after.expect("it does not wait for ever")).unwrap();
    let left = Duration::from_millis(until - SystemClock.now_ms());
    let hour = Duration::from_secs(3600);
    assert!(left <= hour && left + begun.elapsed() > hour, "{left:?}");

    // Nothing is told twice, nor anything else within the window.
    say(&world, &ada, &between, "still there?").await;
    tokio::time::sleep(NEVER).await;
    assert_eq!(notices(&world, "bob@example.org").len(), 1);
    assert!(notices(&world, "ada@example.org").is_empty());

    // One click ends them; a link that was tampered with does nothing.
    let form = ["content-type: application/x-www-form-urlencoded"];
    let click = "List-Unsubscribe=One-Click";
    send(world.at, "POST", &format!("{path}x"), &form, click).await.refused(400, "token_invalid");
    let seen = send(world.at, "GET", path, &[], "").await;
    assert_eq!(seen.status, 200);
    let about = || async {
        world.call(&bob, "GET", "/v1/users/me", Value::Null).await.json()["notifications"]["email"].clone()
    };
    assert_eq!(about().await, "mentions");
    assert_eq!(send(world.at, "POST", path, &form, click).await.status, 200);
    assert_eq!(about().await, "off");
}

#[tokio::test]
async fn who_has_read_is_not_told_and_later_news_wait_for_their_own_delay() {
    let world = world(1).await;
    let (ada, bob) = (token(&world.user("ada").await), token(&world.user("bob").await));
    let between = direct(&world, &ada, "bob").await;
    let seq = say(&world, &ada, &between, "one").await;
    world.call(&bob, "PUT", &format!("{between}/read"), json!({"seq": seq})).await.accepted(204);
    tokio::time::sleep(DELAY / 2).await;
    // While the first is to be looked at still.
    say(&world, &ada, &between, "two").await;
    let said = Instant::now();
    // By then the first was looked at.
    tokio::time::sleep(DELAY * 3 / 4).await;
    let early = notices(&world, "bob@example.org");
    // A machine that stood still in between shows nothing.
    assert!(early.is_empty() || said.elapsed() >= DELAY, "the first was read, the second is young");
    await_notices(&world, "bob@example.org", 1).await;
    // Messages say milliseconds, rounded.
    assert!(said.elapsed() >= DELAY - Duration::from_millis(100), "{:?}", said.elapsed());
    // After the window, what is new is told again; what was told is not.
    say(&world, &ada, &between, "three").await;
    await_notices(&world, "bob@example.org", 2).await;
    tokio::time::sleep(NEVER).await;
    assert_eq!(notices(&world, "bob@example.org").len(), 2);
    // Whoever wants none gets none.
    world.call(&bob, "PATCH", "/v1/users/me", json!({"notifications": {"email": "off"}})).await.accepted(200);
    say(&world, &ada, &between, "four").await;
    tokio::time::sleep(NEVER).await;
    assert_eq!(notices(&world, "bob@example.org").len(), 2);
}

#[tokio::test]
async fn who_is_written_to_all_the_time_is_told_meanwhile() {
    let world = world(1).await;
    let (ada, bob) = (token(&world.user("ada").await), token(&world.user("bob").await));
    let between = direct(&world, &ada, "bob").await;
    let seq = say(&world, &ada, &between, "read").await;
    world.call(&bob, "PUT", &format!("{between}/read"), json!({"seq": seq})).await.accepted(204);
    let begun = Instant::now();
    // Twice: the second time most of what is unread was told.
    for count in 1..=2 {
        let end = Instant::now() + DELAY * 8;
        let mut said = 0;
        while notices(&world, "bob@example.org").len() < count {
            assert!(Instant::now() < end, "{said} messages, and not a word of them");
            say(&world, &ada, &between, &format!("{count}, {said}")).await;
            said += 1;
            tokio::time::sleep(DELAY / 80).await;
        }
    }
    assert!(begun.elapsed() >= DELAY * 2 - Duration::from_millis(200), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn mentions_beyond_those_that_are_counted_are_news() {
    let world = world(1).await;
    let (ada, bob) = (token(&world.user("ada").await), token(&world.user("bob").await));
    let body = json!({"name": "Tea", "kind": "group", "visibility": "public"});
    let room = world.call(&ada, "POST", "/v1/rooms", body).await.accepted(201);
    let tea = format!("/v1/rooms/{}", room["id"].as_str().unwrap());
    world.call(&bob, "POST", &format!("{tea}/join"), Value::Null).await.accepted(200);
    for number in 0..110 {
        say(&world, &ada, &tea, &format!("{number}, @bob?")).await;
    }
    await_notices(&world, "bob@example.org", 1).await;
    // A slow machine tells him of some first.
    let mut told = 0;
    while told < notices(&world, "bob@example.org").len() {
        told = notices(&world, "bob@example.org").len();
        tokio::time::sleep(NEVER).await;
    }
    say(&world, &ada, &tea, "and now, @bob?").await;
    await_notices(&world, "bob@example.org", told + 1).await;
    assert_eq!(notices(&world, "bob@example.org")[0], "100 unread mentions");
}

/// What whoever calls says of the server's name is put into no mail: he may be somebody else than who reads it.
#[tokio::test]
async fn links_come_from_the_settings_and_never_from_a_request() {
    const NAMES: &str = "host: evil.example.net\r\nx-forwarded-host: evil.example.net\r\nforwarded: host=evil.example.net\r\n\
                         origin: https://evil.example.net\r\nreferer: https://evil.example.net/\r\n";
    let elsewhere = async |world: &World, more: &str, path: &str, body: Value| {
        let body = body.to_string();
        let head =
            format!("POST {path} HTTP/1.1\r\n{NAMES}connection: close\r\ncontent-type: application/json\r\n");
        raw(world.at, format!("{head}{more}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await
    };
    let mails = async |world: World| {
        let (email, room) = ("cleo@example.org", "/v1/rooms");
        let (ada, bob) = (token(&world.user("ada").await), token(&world.user("bob").await));
        // The second time he has an account already.
        for username in ["cleo", "cleopatra"] {
            let body = json!({"email": email, "username": username, "password": PASSWORD});
            elsewhere(&world, "", "/v1/auth/register", body).await.accepted(202);
            let code = json!({"email": email, "code": world.code(email)});
            elsewhere(&world, "", "/v1/auth/verify", code).await;
        }
        let body = json!({"email": "bob@example.org"});
        elsewhere(&world, "", "/v1/auth/password/forgot", body).await.accepted(202);
        world.call(&bob, "PATCH", "/v1/users/me", json!({"login_code": true})).await.accepted(200);
        let body = json!({"login": "bob", "password": PASSWORD});
        elsewhere(&world, "", "/v1/auth/login", body).await.accepted(202);
        let between = direct(&world, &ada, "bob").await;
        let path = format!("{room}/{}/messages", between.rsplit('/').next().unwrap());
        let ada = format!("authorization: Bearer {ada}\r\n");
        elsewhere(&world, &ada, &path, json!({"text": "hello?", "client_msg_id": "1"})).await.accepted(201);
        await_notices(&world, "bob@example.org", 1).await;
        let mails: Vec<_> = ["bob@example.org", email].iter().flat_map(|to| world.mails(to)).collect();
        assert!(mails.len() >= 7, "{mails:?}");
        mails
    };
    let without = NoticesSettings { enabled: true, delay_seconds: DELAY.as_secs(), window_seconds: 600 };
    let without = World::telling(unlimited(), HttpSettings::default(), without).await;
    let (with, without) = tokio::join!(mails(world(600).await), mails(without));
    let links: Vec<_> = with.iter().flat_map(|mail| mail.split("://").skip(1)).collect();
    assert!(!links.is_empty() && links.iter().all(|link| link.starts_with("chat.example.org")), "{links:?}");
    assert!(without.iter().all(|mail| !mail.contains("://")), "{without:?}");
    assert!(with.iter().chain(&without).all(|mail| !mail.contains("evil")), "{with:?} {without:?}");
}
