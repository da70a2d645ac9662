//! Tokens, refresh, logout, tickets, restarts.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::world::{World, unlimited};
use crate::{
    accounts::{AccountsSettings, Revocation},
    edge::http::HttpSettings,
};

fn access(session: &Value) -> &str {
    session["access_token"].as_str().unwrap()
}

async fn me(world: &World, session: &Value) -> super::client::Answer {
    world.call(access(session), "GET", "/v1/users/me", json!(null)).await
}

async fn refresh(world: &World, session: &Value) -> super::client::Answer {
    world.post("/v1/auth/refresh", json!({"refresh_token": session["refresh_token"]})).await
}

#[tokio::test]
async fn a_refresh_token_is_good_once() {
    let world = World::new().await;
    let first = world.user("ada").await;
    let second = refresh(&world, &first).await.accepted(200);
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    assert_eq!(first["user"], second["user"]);
    let third = refresh(&world, &second).await.accepted(200);
    let other = world.log_in("ada").await.accepted(200);

    let mut revocations = world.accounts.revocations();
    refresh(&world, &first).await.refused(401, "session_revoked");
    assert!(matches!(revocations.try_recv(), Ok(Revocation::Session(_))));
    // The whole family has ended, and no other login.
    refresh(&world, &third).await.refused(401, "session_revoked");
    for session in [&first, &second, &third] {
        me(&world, session).await.refused(401, "session_revoked");
    }
    me(&world, &other).await.accepted(200);
    refresh(&world, &other).await.accepted(200);
}

#[tokio::test]
async fn one_refresh_token_used_twice_at_once_ends_the_login() {
    let world = World::new().await;
    let session = world.user("ada").await;
    let (one, two) = tokio::join!(refresh(&world, &session), refresh(&world, &session));
    assert!(one.status == 401 || two.status == 401, "{one:?} {two:?}");
    let next = if one.status == 200 { one.json() } else { two.json() };
    if next.get("refresh_token").is_some() {
        refresh(&world, &next).await.refused(401, "session_revoked");
    }
    me(&world, &session).await.refused(401, "session_revoked");
}

#[tokio::test]
async fn a_made_up_refresh_token_ends_nothing() {
    let world = World::new().await;
    let session = world.user("ada").await;
    let token = session["refresh_token"].as_str().unwrap();
    let mut forged = URL_SAFE_NO_PAD.decode(&token[..64]).unwrap();
    forged[40] ^= 1;
    let forged = format!("{}{}", URL_SAFE_NO_PAD.encode(forged), &token[64..]);
    for made_up in ["", "x", &forged, &"é".repeat(60), &token[..100], &"a".repeat(60_000)] {
        let answer = world.post("/v1/auth/refresh", json!({"refresh_token": made_up})).await;
        answer.refused(401, "token_invalid");
    }
    refresh(&world, &session).await.accepted(200);
}

#[tokio::test]
async fn logout_ends_one_login_or_all() {
    let world = World::new().await;
    let one = world.user("ada").await;
    let two = world.log_in("ada").await.accepted(200);
    let three = world.log_in("ada").await.accepted(200);
    let mut revocations = world.accounts.revocations();

    // The body may be left out.
    world.call(access(&one), "POST", "/v1/auth/logout", json!(null)).await.accepted(204);
    assert!(matches!(revocations.try_recv(), Ok(Revocation::Session(_))));
    me(&world, &one).await.refused(401, "session_revoked");
    refresh(&world, &one).await.refused(401, "session_revoked");
    me(&world, &two).await.accepted(200);

    world.call(access(&two), "POST", "/v1/auth/logout", json!({"all": true})).await.accepted(204);
    assert!(matches!(revocations.try_recv(), Ok(Revocation::User(_))));
    for session in [&two, &three] {
        me(&world, session).await.refused(401, "session_revoked");
        refresh(&world, session).await.refused(401, "session_revoked");
    }
    let again = world.log_in("ada").await.accepted(200);
    me(&world, &again).await.accepted(200);
}

#[tokio::test]
async fn the_oldest_login_makes_room() {
    let settings = AccountsSettings { sessions_per_user: 2, ..unlimited() };
    let world = World::with(settings, HttpSettings::default()).await;
    let one = world.user("ada").await;
    let two = world.log_in("ada").await.accepted(200);
    let three = world.log_in("ada").await.accepted(200);
    me(&world, &one).await.refused(401, "session_revoked");
    me(&world, &two).await.accepted(200);
    me(&world, &three).await.accepted(200);
}

#[tokio::test]
async fn tokens_are_checked() {
    let world = World::new().await;
    let session = world.user("ada").await;
    let token = access(&session);
    let parts: Vec<_> = token.split('.').collect();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    assert_eq!(claims["sub"], session["user"]["id"]);
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let hs = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT","kid":"x"}"#);
    let mut later = claims.clone();
    later["exp"] = json!(4_000_000_000u64);
    let later = URL_SAFE_NO_PAD.encode(later.to_string());
    for wrong in [
        "",
        "x",
        "a.b.c",
        &format!("{none}.{}.", parts[1]),
        &format!("{hs}.{}.{}", parts[1], parts[2]),
        &format!("{}.{later}.{}", parts[0], parts[2]),
        &format!("{}.{}.{}", parts[0], parts[1], URL_SAFE_NO_PAD.encode([0; 64])),
        &"a".repeat(5000),
    ] {
        let answer = world.call(wrong, "GET", "/v1/users/me", json!(null)).await;
        answer.refused(401, if wrong.is_empty() { "token_missing" } else { "token_invalid" });
    }
    let answer = super::client::send(world.at, "GET", "/v1/users/me", &[], "").await;
    answer.refused(401, "token_missing");
    assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer realm="rookery""#));
    let answer =
        super::client::send(world.at, "GET", "/v1/users/me", &["authorization: Basic YTpi"], "").await;
    answer.refused(401, "token_missing");

    // Of another service with the same keys' form.
    let stranger = World::new().await;
    let foreign = stranger.user("ada").await;
    me(&world, &foreign).await.refused(401, "token_invalid");
}

#[tokio::test]
async fn an_access_token_expires() {
    let settings = AccountsSettings { access_token_seconds: 0, ..unlimited() };
    let world = World::with(settings, HttpSettings::default()).await;
    let session = world.user("ada").await;
    let answer = me(&world, &session).await;
    answer.refused(401, "token_expired");
    assert!(answer.header("www-authenticate").unwrap().contains("invalid_token"));
    // Also one whose signature was not checked here before.
    let world = world.restart(AccountsSettings { access_token_seconds: 0, ..unlimited() }).await;
    me(&world, &session).await.refused(401, "token_expired");
    refresh(&world, &session).await.accepted(200);
}

#[tokio::test]
async fn public_keys_verify_tokens() {
    let world = World::new().await;
    let session = world.user("ada").await;
    let answer = super::client::send(world.at, "GET", "/.well-known/jwks.json", &[], "").await;
    let keys: jsonwebtoken::jwk::JwkSet = serde_json::from_value(answer.accepted(200)).unwrap();
    assert!(!answer.text.contains("\"d\""), "a private key is public");
    let header = jsonwebtoken::decode_header(access(&session)).unwrap();
    let key = keys.find(&header.kid.unwrap()).unwrap();
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::EdDSA);
    validation.set_audience(&["rookery"]);
    let key = jsonwebtoken::DecodingKey::from_jwk(key).unwrap();
    jsonwebtoken::decode::<Value>(access(&session), &key, &validation).unwrap();
}

#[tokio::test]
async fn a_new_key_does_not_end_old_tokens() {
    let world = World::new().await;
    let session = world.user("ada").await;
    // Zero days: every signature asks for a new key.
    let always = AccountsSettings { key_rotation_days: 0, ..unlimited() };
    let world = world.restart(always).await;
    let new = refresh(&world, &session).await.accepted(200);
    let kid = |session: &Value| jsonwebtoken::decode_header(access(session)).unwrap().kid;
    assert_ne!(kid(&session), kid(&new));
    me(&world, &session).await.accepted(200);
    me(&world, &new).await.accepted(200);
    let keys = super::client::send(world.at, "GET", "/.well-known/jwks.json", &[], "").await.accepted(200);
    assert!(keys["keys"].as_array().unwrap().len() >= 2);
}

#[tokio::test]
async fn a_restart_keeps_logins_and_forgets_no_revocation() {
    let world = World::new().await;
    let stays = world.user("ada").await;
    let left = world.log_in("ada").await.accepted(200);
    let gone = world.user("bob").await;
    world.call(access(&left), "POST", "/v1/auth/logout", json!({})).await.accepted(204);
    world.call(access(&gone), "POST", "/v1/auth/logout", json!({"all": true})).await.accepted(204);

    let world = world.restart(unlimited()).await;
    me(&world, &stays).await.accepted(200);
    me(&world, &left).await.refused(401, "session_revoked");
    refresh(&world, &left).await.refused(401, "session_revoked");
    me(&world, &gone).await.refused(401, "session_revoked");
    let next = refresh(&world, &stays).await.accepted(200);
    me(&world, &next).await.accepted(200);
}

#[tokio::test]
async fn a_ticket_is_good_once_and_ends_with_its_login() {
    let world = World::new().await;
    let session = world.user("ada").await;
    let ticket = || world.call(access(&session), "POST", "/v1/auth/ticket", json!(null));
    let first = ticket().await.accepted(200);
    assert_eq!(first["expires_in"], 30);
    let text = first["ticket"].as_str().unwrap();
    let principal = world.accounts.redeem_ticket(text).await.unwrap();
    assert_eq!(principal.profile.username, "ada");
    assert_eq!(world.accounts.redeem_ticket(text).await.unwrap_err().code, "ticket_invalid");
    for wrong in ["", "x", &"a".repeat(5000)] {
        assert_eq!(world.accounts.redeem_ticket(wrong).await.unwrap_err().code, "ticket_invalid");
    }
    let second = ticket().await.accepted(200);
    world.call(access(&session), "POST", "/v1/auth/logout", json!({})).await.accepted(204);
    let refused = world.accounts.redeem_ticket(second["ticket"].as_str().unwrap()).await.unwrap_err();
    assert_eq!(refused.code, "session_revoked");
    ticket().await.refused(401, "session_revoked");
}

#[tokio::test]
async fn a_ticket_is_good_for_so_long() {
    // So long that what this test itself takes makes no difference.
    let settings = AccountsSettings { ticket_seconds: 600, ..unlimited() };
    let world = World::with(settings, HttpSettings::default()).await;
    let session = world.user("ada").await;
    for (passed, good) in [(300, true), (600, false)] {
        let ticket = world.call(access(&session), "POST", "/v1/auth/ticket", json!(null)).await.accepted(200);
        assert_eq!(ticket["expires_in"], 600);
        world.pass(Duration::from_secs(passed));
        let redeemed = world.accounts.redeem_ticket(ticket["ticket"].as_str().unwrap()).await;
        match redeemed {
            Ok(_) => assert!(good, "after {passed} s"),
            Err(problem) => assert_eq!((problem.code, good), ("ticket_invalid", false)),
        }
    }
}

/// Not a promise of a test but a figure: `cargo test -p rookery-node --lib -- --ignored --nocapture authenticated`.
#[tokio::test]
#[ignore = "a measurement"]
async fn authenticated_per_second() {
    const TOKENS: usize = 200;
    const ROUNDS: usize = 100;
    let settings = AccountsSettings { sessions_per_user: TOKENS + 1, ..unlimited() };
    let world = World::with(settings.clone(), HttpSettings::default()).await;
    let mut session = world.user("ada").await;
    let mut tokens = Vec::new();
    for _ in 0..TOKENS {
        tokens.push(access(&session).to_owned());
        session = refresh(&world, &session).await.accepted(200);
    }
    let world = world.restart(settings).await;
    for (what, rounds) in [("signature checked", 1), ("from memory", ROUNDS)] {
        let started = std::time::Instant::now();
        for _ in 0..rounds {
            for token in &tokens {
                world.accounts.authenticate(token).await.unwrap();
            }
        }
        #[expect(clippy::cast_precision_loss)]
        let rate = (rounds * TOKENS) as f64 / started.elapsed().as_secs_f64();
        println!("{what}: {rate:.0}/s");
    }
}
