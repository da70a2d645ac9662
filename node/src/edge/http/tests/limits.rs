//! Rate limits: each call, each kind.

use serde_json::{Value, json};

use super::{
    client::send,
    world::{PASSWORD, World, unlimited},
};
use crate::{
    accounts::{AccountsSettings, Limit, LimitSettings},
    edge::http::HttpSettings,
};

async fn world(limits: LimitSettings, http: HttpSettings) -> World {
    World::with(AccountsSettings { limits, ..unlimited() }, http).await
}

fn body(n: usize) -> Value {
    json!({
        "email": format!("user{n}@example.org"), "username": format!("user{n}"), "password": PASSWORD, "code": "000000",
        "login": format!("user{n}"), "challenge_id": format!("c{n}"), "refresh_token": format!("t{n}"),
    })
}

/// Sets the three limits of a call: by address, by account, in all.
type Set = fn(&mut LimitSettings, [Limit; 3]);

#[tokio::test]
async fn every_call_has_limits_by_address_account_and_in_all() {
    let two = Limit::of(2, 604_800);
    let off = unlimited().limits;
    let cases: [(&str, Set); 8] = [
        ("register", |l, [a, b, c]| {
            (l.register_per_address, l.register_per_account, l.register_global) = (a, b, c);
        }),
        ("verify", |l, [a, b, c]| {
            (l.verify_per_address, l.verify_per_account, l.verify_global) = (a, b, c);
        }),
        ("resend", |l, [a, b, c]| {
            (l.resend_per_address, l.resend_per_account, l.resend_global) = (a, b, c);
        }),
        ("login", |l, [a, b, c]| {
            (l.login_per_address, l.login_per_account, l.login_global) = (a, b, c);
        }),
        ("login/verify", |l, [a, b, c]| {
            (l.login_verify_per_address, l.login_verify_per_account, l.login_verify_global) = (a, b, c);
        }),
        ("refresh", |l, [a, b, c]| {
            (l.refresh_per_address, l.refresh_per_account, l.refresh_global) = (a, b, c);
        }),
        ("password/forgot", |l, [a, b, c]| {
            (l.forgot_per_address, l.forgot_per_account, l.forgot_global) = (a, b, c);
        }),
        ("password/reset", |l, [a, b, c]| {
            (l.reset_per_address, l.reset_per_account, l.reset_global) = (a, b, c);
        }),
    ];
    for (call, set) in cases {
        let path = format!("/v1/auth/{call}");
        for kind in 0..3 {
            let mut limits = off.clone();
            let mut three = [Limit::OFF; 3];
            three[kind] = two;
            set(&mut limits, three);
            let world = world(limits, HttpSettings::default()).await;
            // By account the same one each time, else others.
            let nth = |n: usize| body(if kind == 1 { 0 } else { n });
            for n in 0..2 {
                let answer = world.post(&path, nth(n)).await;
                assert!(answer.status != 429, "{call} {kind}: {answer:?}");
            }
            let answer = world.post(&path, nth(2)).await;
            answer.refused(429, "rate_limited");
            if kind == 1 {
                assert!(world.post(&path, body(9)).await.status != 429, "{call}: another account");
            }
        }
    }
}

#[tokio::test]
async fn tickets_are_limited() {
    let limits = LimitSettings { ticket_per_account: Limit::of(2, 604_800), ..unlimited().limits };
    let world = world(limits, HttpSettings::default()).await;
    let session = world.user("ada").await;
    let token = session["access_token"].as_str().unwrap();
    for _ in 0..2 {
        world.call(token, "POST", "/v1/auth/ticket", json!(null)).await.accepted(200);
    }
    world.call(token, "POST", "/v1/auth/ticket", json!(null)).await.refused(429, "rate_limited");
}

#[tokio::test]
async fn what_a_user_does_is_limited() {
    let (write_per_account, list_per_account) = (Limit::of(3, 604_800), Limit::of(2, 604_800));
    let limits = LimitSettings { write_per_account, list_per_account, ..unlimited().limits };
    let world = world(limits, HttpSettings::default()).await;
    for name in ["ada", "bob"] {
        let session = world.user(name).await;
        let token = session["access_token"].as_str().unwrap();
        let room = json!({"name": "Birds", "kind": "group", "visibility": "public"});
        let made = world.call(token, "POST", "/v1/rooms", room.clone()).await.accepted(201);
        let messages = format!("/v1/rooms/{}/messages", made["id"].as_str().unwrap());
        // Whatever comes of it.
        world.call(token, "POST", &messages, json!({})).await.refused(422, "invalid");
        world.call(token, "PATCH", "/v1/users/me", json!({})).await.accepted(200);
        world.call(token, "POST", "/v1/rooms", room).await.refused(429, "rate_limited");
        world.call(token, "DELETE", "/v1/users/me", json!(null)).await.refused(429, "rate_limited");
        world.call(token, "GET", "/v1/rooms", json!(null)).await.accepted(200);
        world.call(token, "GET", &format!("{messages}?translate=es"), json!(null)).await.accepted(200);
        for list in ["/v1/rooms", "/v1/rooms/discover", &format!("{messages}?translate=es")] {
            world.call(token, "GET", list, json!(null)).await.refused(429, "rate_limited");
        }
        for _ in 0..5 {
            world.call(token, "GET", "/v1/users/me", json!(null)).await.accepted(200);
            world.call(token, "GET", &messages, json!(null)).await.accepted(200);
        }
    }
}

#[tokio::test]
async fn spellings_of_one_account_share_its_limit() {
    let limits = LimitSettings { login_per_account: Limit::of(2, 604_800), ..unlimited().limits };
    let world = world(limits, HttpSettings::default()).await;
    for (login, status) in [("ada", 401), ("ADA", 401), (" aDa ", 429)] {
        assert_eq!(world.log_in(login).await.status, status);
    }
    for (login, status) in [("ada@example.org", 401), ("ADA@EXAMPLE.ORG", 401), ("Ada@example.org", 429)] {
        assert_eq!(world.log_in(login).await.status, status);
    }
}

#[tokio::test]
async fn addresses_behind_a_trusted_proxy_are_told_apart() {
    let limits = LimitSettings { resend_per_address: Limit::of(1, 604_800), ..unlimited().limits };
    let trusting =
        HttpSettings { trusted_proxies: vec!["127.0.0.1".parse().unwrap()], ..HttpSettings::default() };
    let resend = async |world: &World, from: &str, n: usize| {
        let from = format!("x-forwarded-for: {from}");
        let headers = ["content-type: application/json", &from];
        send(world.at, "POST", "/v1/auth/resend", &headers, &body(n).to_string()).await.status
    };
    let behind = world(limits.clone(), trusting).await;
    assert_eq!(resend(&behind, "192.0.2.1", 1).await, 202);
    assert_eq!(resend(&behind, "192.0.2.2", 2).await, 202);
    assert_eq!(resend(&behind, "192.0.2.2", 3).await, 429);
    // Without trust everybody could name any address.
    let direct = world(limits, HttpSettings::default()).await;
    assert_eq!(resend(&direct, "192.0.2.1", 1).await, 202);
    assert_eq!(resend(&direct, "192.0.2.2", 2).await, 429);
}
