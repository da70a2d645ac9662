//! Logins by external issuers: what a token must be, whose account it opens, and what becomes of issuers that fail.

use std::path::PathBuf;

use rookery_testbed::{Issuer, IssuerKey, KeyKind, Mood};
use serde_json::{Value, json};

use super::{
    client::Answer,
    world::{PASSWORD, World, unlimited},
};
use crate::{
    accounts::{AccountsSettings, IssuerSettings, Limit, LimitSettings, now},
    edge::http::HttpSettings,
};

fn settings(issuer: &Issuer) -> IssuerSettings {
    IssuerSettings {
        url: issuer.url().to_owned(),
        audiences: vec!["chat-web".into(), "chat-phone".into()],
        ..IssuerSettings::default()
    }
}

fn trusting(issuers: &[(&str, IssuerSettings)]) -> AccountsSettings {
    let external_issuers =
        issuers.iter().map(|(name, issuer)| ((*name).to_owned(), issuer.clone())).collect();
    let base = unlimited();
    let limits = LimitSettings { external_per_address: Limit::OFF, ..base.limits };
    AccountsSettings { external_issuers, limits, ..base }
}

/// A node that trusts an issuer with one key.
async fn world() -> (World, Issuer, IssuerKey) {
    let key = IssuerKey::new("one", KeyKind::P256);
    let issuer = Issuer::start(&[&key]);
    let trusting = trusting(&[("acme", settings(&issuer))]);
    (World::with(trusting, HttpSettings::default()).await, issuer, key)
}

impl World {
    async fn enter(&self, token: &str) -> Answer {
        self.post("/v1/auth/external", json!({ "id_token": token })).await
    }
}

/// These claims but for that one.
fn but(mut claims: Value, name: &str, value: Value) -> Value {
    if value.is_null() {
        claims.as_object_mut().unwrap().remove(name);
    } else {
        claims[name] = value;
    }
    claims
}

fn token_of(session: &Value) -> &str {
    session["access_token"].as_str().unwrap()
}

#[tokio::test]
async fn somebody_new_gets_an_account_and_then_opens_it() {
    let (world, issuer, key) = world().await;
    let issuers = world.call("", "GET", "/v1/auth/external", json!(null)).await.accepted(200);
    let known = json!({"name": "acme", "url": issuer.url(), "audiences": ["chat-web", "chat-phone"]});
    assert_eq!(issuers, json!({ "issuers": [known] }));

    let answer = world.enter(&key.sign(&issuer.claims("ada"))).await;
    let session = answer.accepted(201);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let user = &session["user"];
    assert_eq!((&user["username"], &user["display_name"]), (&json!("ada"), &json!("ada of old")));
    assert_eq!(user["language"], "de-AT");
    let me = world.call(token_of(&session), "GET", "/v1/users/me", json!(null)).await.accepted(200);
    assert_eq!(me["email"], "ada@example.org");
    assert_eq!(world.subjects("ada@example.org"), ["Willkommen"]);

    // What the issuer calls her may change; who she is does not.
    let claims =
        but(but(issuer.claims("ada"), "email", json!("l@example.org")), "preferred_username", json!("l"));
    assert_eq!(world.enter(&key.sign(&claims)).await.accepted(200)["user"]["id"], user["id"]);
    let list =
        world.call(token_of(&session), "GET", "/v1/users/me/identities", json!(null)).await.accepted(200);
    let identity = &list["identities"][0];
    assert_eq!((&identity["issuer"], &identity["subject"]), (&json!("acme"), &json!("ada")));
    assert_eq!(identity["url"], issuer.url());

    // No password is right, none at all included, until one is set by mail.
    for password in ["", PASSWORD] {
        let body = json!({"login": "ada", "password": password});
        world.post("/v1/auth/login", body).await.refused(401, "credentials_invalid");
    }
    world.post("/v1/auth/password/forgot", json!({"email": "ada@example.org"})).await.accepted(202);
    let code = world.code("ada@example.org");
    let body = json!({"email": "ada@example.org", "code": code, "password": PASSWORD});
    world.post("/v1/auth/password/reset", body).await.accepted(204);
    world.log_in("ada").await.accepted(200);
}

#[tokio::test]
async fn a_token_is_good_once() {
    let (world, issuer, key) = world().await;
    let token = key.sign(&issuer.claims("ada"));
    world.enter(&token).await.accepted(201);
    let problem = world.enter(&token).await.refused(401, "id_token_invalid");
    assert!(problem["detail"].as_str().unwrap().contains("used before"), "{problem}");

    // Of several at once, one.
    let token = key.sign(&issuer.claims("bob"));
    let (a, b, c) = tokio::join!(world.enter(&token), world.enter(&token), world.enter(&token));
    let mut all = [a.status, b.status, c.status];
    all.sort_unstable();
    assert_eq!((all[0] / 100, all[1], all[2]), (2, 401, 401));
}

#[tokio::test]
async fn who_comes_twice_at_once_gets_one_account() {
    let (world, issuer, key) = world().await;
    let tokens: Vec<_> = (0..4).map(|_| key.sign(&issuer.claims("ada"))).collect();
    let all = tokio::join!(
        world.enter(&tokens[0]),
        world.enter(&tokens[1]),
        world.enter(&tokens[2]),
        world.enter(&tokens[3])
    );
    let entered = |answer: &Answer| {
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        answer.json()["user"]["id"].clone()
    };
    let ids = [all.0, all.1, all.2, all.3].map(|answer| entered(&answer));
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
    let again = world.enter(&key.sign(&issuer.claims("ada"))).await.accepted(200);
    assert_eq!(again["user"]["id"], ids[0]);
}

#[tokio::test]
async fn refuses_what_is_no_token_for_us() {
    let (world, issuer, key) = world().await;
    let other = IssuerKey::new("one", KeyKind::P256);
    let good = || issuer.claims("eve");
    let at = now() / 1000;
    let bad = [
        ("none", String::new()),
        ("none", "x".into()),
        ("too long", "x".repeat(20_000)),
        ("signature", other.sign(&good())),
        ("issuer", key.sign(&but(good(), "iss", json!("https://evil.example")))),
        ("issuer", key.sign(&but(good(), "iss", json!(format!("{}/", issuer.url()))))),
        ("another client", key.sign(&but(good(), "aud", json!("somebody-else")))),
        ("another client", key.sign(&but(good(), "azp", json!("somebody-else")))),
        ("several clients", key.sign(&but(good(), "aud", json!(["chat-web", "somebody-else"])))),
        ("lacks", key.sign(&but(good(), "aud", json!(null)))),
        ("lacks", key.sign(&but(good(), "exp", json!(null)))),
        ("lacks", key.sign(&but(good(), "sub", json!(null)))),
        ("lacks", key.sign(&but(good(), "iat", json!(null)))),
        ("expired", key.sign(&but(good(), "exp", json!(at - 120)))),
        ("not good yet", key.sign(&but(good(), "nbf", json!(at + 120)))),
        ("ten minutes", key.sign(&but(good(), "iat", json!(at - 700)))),
        ("ten minutes", key.sign(&but(good(), "iat", json!(at + 700)))),
        ("sub", key.sign(&but(good(), "sub", json!("")))),
        ("sub", key.sign(&but(good(), "sub", json!("x".repeat(256))))),
    ];
    for (why, token) in bad {
        let problem = world.enter(&token).await.refused(401, "id_token_invalid");
        let said = problem["detail"].as_str().unwrap();
        let words = if why == "none" { "no ID token" } else { why };
        assert!(said.contains(words), "{words}: {said}");
    }
    // Signed with what everybody can read, or with nothing.
    let public = jsonwebtoken::EncodingKey::from_secret(b"public");
    let shared = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &good(), &public).unwrap();
    world.enter(&shared).await.refused(401, "id_token_invalid");
    let parts: Vec<_> = shared.split('.').collect();
    let none = format!("eyJhbGciOiJub25lIn0.{}.", parts[1]);
    world.enter(&none).await.refused(401, "id_token_invalid");
    // Nobody has come of it, and the good one is still good.
    let answer = world.enter(&key.sign(&but(good(), "aud", json!(["chat-phone"])))).await;
    answer.accepted(201);
}

#[tokio::test]
async fn a_nonce_is_the_one_that_was_sent() {
    let (world, issuer, key) = world().await;
    let token = key.sign(&but(issuer.claims("ada"), "nonce", json!("n-1")));
    let with = |nonce: &str| json!({"id_token": token, "nonce": nonce});
    world.post("/v1/auth/external", with("n-2")).await.refused(401, "id_token_invalid");
    let without = json!({"id_token": key.sign(&issuer.claims("ada")), "nonce": "n-1"});
    world.post("/v1/auth/external", without).await.refused(401, "id_token_invalid");
    world.post("/v1/auth/external", with("n-1")).await.accepted(201);
}

#[tokio::test]
async fn all_usual_kinds_of_keys_are_understood_and_new_ones_found() {
    let (world, issuer, old) = world().await;
    world.enter(&old.sign(&issuer.claims("ada"))).await.accepted(201);
    let asked = issuer.asked();
    for (n, kind) in [KeyKind::Rsa, KeyKind::Ed25519, KeyKind::P256].into_iter().enumerate() {
        let new = IssuerKey::new(["a", "b", "c"][n], kind);
        issuer.publish(&[&old, &new]);
        issuer.publish_also(json!({"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA", "kid": "odd"}));
        world.enter(&new.sign(&issuer.claims("ada"))).await.accepted(200);
        // Without a name it is found as long as no other can be meant.
        let nameless = new.sign_nameless(&issuer.claims("ada"));
        let status = if kind == KeyKind::P256 { 401 } else { 200 };
        assert_eq!(world.enter(&nameless).await.status, status, "{kind:?}");
    }
    assert!(issuer.asked() > asked);
    // Keys that nobody has are not asked for without end.
    let nobody = IssuerKey::new("nobody's", KeyKind::P256);
    for _ in 0..20 {
        world.enter(&nobody.sign(&issuer.claims("ada"))).await.refused(401, "id_token_invalid");
    }
    assert!(issuer.asked() < 12, "{}", issuer.asked());
    world.enter(&old.sign(&issuer.claims("ada"))).await.accepted(200);
}

#[tokio::test]
async fn while_an_issuer_fails_its_known_keys_are_good() {
    let key = IssuerKey::new("one", KeyKind::Ed25519);
    let failing = [
        Mood::Says("500 Internal Server Error", String::new()),
        Mood::Says("200 OK", "<html>".into()),
        Mood::Says("200 OK", "x".repeat(300 << 10)),
        Mood::Says("302 Found", String::new()),
        Mood::Says(
            "200 OK",
            json!({"issuer": "https://other.example", "jwks_uri": "https://x/"}).to_string(),
        ),
    ];
    for mood in failing {
        let issuer = Issuer::start(&[&key]);
        issuer.is(mood.clone());
        let world = World::with(trusting(&[("acme", settings(&issuer))]), HttpSettings::default()).await;
        world.enter(&key.sign(&issuer.claims("ada"))).await.refused(503, "unavailable");
        issuer.is(Mood::Well);
        world.enter(&key.sign(&issuer.claims("ada"))).await.accepted(201);
        issuer.is(mood);
        world.enter(&key.sign(&issuer.claims("ada"))).await.accepted(200);
        // Whether it is a new one, nobody can tell now.
        let new = IssuerKey::new("two", KeyKind::Ed25519);
        world.enter(&new.sign(&issuer.claims("ada"))).await.refused(503, "unavailable");
    }
}

#[tokio::test]
async fn an_issuer_that_hangs_holds_nobody_for_long() {
    let key = IssuerKey::new("one", KeyKind::Ed25519);
    let issuer = Issuer::start(&[&key]);
    issuer.is(Mood::Silent);
    let world = World::with(trusting(&[("acme", settings(&issuer))]), HttpSettings::default()).await;
    world.user("bob").await;
    let token = key.sign(&issuer.claims("ada"));
    let (refused, answered) = tokio::join!(world.enter(&token), world.log_in("bob"));
    refused.refused(503, "unavailable");
    answered.accepted(200);
}

#[tokio::test]
async fn an_address_of_somebody_else_opens_nothing() {
    let (world, issuer, key) = world().await;
    let bob = world.user("bob").await;
    world.enter(&key.sign(&issuer.claims("bob"))).await.refused(409, "email_taken");
    let unverified = [json!(false), json!("false"), json!(null), json!(1)];
    for verified in unverified {
        let claims = but(issuer.claims("eve"), "email_verified", verified);
        world.enter(&key.sign(&claims)).await.refused(403, "email_unverified");
    }
    for email in [json!(null), json!("eve"), json!(["eve@example.org"])] {
        let claims = but(issuer.claims("eve"), "email", email);
        world.enter(&key.sign(&claims)).await.refused(403, "email_unverified");
    }
    // He adds it himself.
    let token = key.sign(&issuer.claims("bob"));
    let path = "/v1/users/me/identities";
    let list = world.call(token_of(&bob), "POST", path, json!({"id_token": token})).await.accepted(200);
    assert_eq!(list["identities"].as_array().unwrap().len(), 1);
    let again = world.enter(&key.sign(&issuer.claims("bob"))).await.accepted(200);
    assert_eq!(again["user"]["id"], bob["user"]["id"]);

    // And nobody else can.
    let eve = world.user("eve").await;
    let body = json!({"id_token": key.sign(&issuer.claims("bob"))});
    world.call(token_of(&eve), "POST", path, body).await.refused(409, "identity_taken");

    // Removed, it opens nothing, and may be added to another account.
    let id = list["identities"][0]["id"].as_str().unwrap();
    let one = format!("{path}/{id}");
    world.call(token_of(&eve), "DELETE", &one, json!(null)).await.refused(404, "identity_not_found");
    world.call(token_of(&bob), "DELETE", &one, json!(null)).await.accepted(204);
    world.call(token_of(&bob), "DELETE", &one, json!(null)).await.refused(404, "identity_not_found");
    world.enter(&key.sign(&issuer.claims("bob"))).await.refused(409, "email_taken");
    let body = json!({"id_token": key.sign(&issuer.claims("bob"))});
    world.call(token_of(&eve), "POST", path, body).await.accepted(200);
    let entered = world.enter(&key.sign(&issuer.claims("bob"))).await.accepted(200);
    assert_eq!(entered["user"]["id"], eve["user"]["id"]);
}

#[tokio::test]
async fn an_issuer_that_is_trusted_with_addresses_opens_what_was_made_with_them() {
    let key = IssuerKey::new("one", KeyKind::P256);
    let issuer = Issuer::start(&[&key]);
    let settings = IssuerSettings { trust_email: true, ..settings(&issuer) };
    let world = World::with(trusting(&[("acme", settings)]), HttpSettings::default()).await;
    let bob = world.user("bob").await;
    let claims = but(issuer.claims("0815"), "email", json!("BOB@example.org"));
    let entered =
        world.enter(&key.sign(&but(claims.clone(), "email_verified", json!(null)))).await.accepted(200);
    assert_eq!(entered["user"]["id"], bob["user"]["id"]);
    // What it says itself not to have verified is nobody's.
    let claims = but(but(claims, "sub", json!("other")), "email_verified", json!(false));
    world.enter(&key.sign(&claims)).await.refused(403, "email_unverified");
}

#[tokio::test]
async fn a_name_that_cannot_be_had_is_chosen_by_the_same_token() {
    let (world, issuer, key) = world().await;
    world.user("ada").await;
    let claims = but(issuer.claims("0815"), "preferred_username", json!("ada@corp.example"));
    let token = key.sign(&claims);
    let problem = world.enter(&token).await.refused(422, "invalid");
    assert!(problem["fields"]["username"].is_string(), "{problem}");
    let choose = |name: &str| json!({"id_token": token, "username": name});
    world.post("/v1/auth/external", choose("ada")).await.refused(409, "username_taken");
    world.post("/v1/auth/external", choose("a")).await.refused(422, "invalid");
    let odd = json!({"id_token": token, "username": "ada2", "display_name": "a\u{202e}", "language": "en"});
    assert!(
        world.post("/v1/auth/external", odd).await.refused(422, "invalid")["fields"]["display_name"]
            .is_string()
    );
    let session = world.post("/v1/auth/external", choose("ada2")).await.accepted(201);
    assert_eq!(session["user"]["username"], "ada2");

    // The nickname is the second choice; an odd name or language is none.
    let claims = but(issuer.claims("ada"), "email", json!("third@example.org"));
    let claims = but(but(claims, "nickname", json!("countess")), "name", json!("a\u{202e}"));
    let session = world.enter(&key.sign(&but(claims, "locale", json!(["de"])))).await.accepted(201);
    let user = &session["user"];
    assert_eq!((&user["username"], &user["display_name"]), (&json!("countess"), &json!("countess")));
    assert_eq!(user["language"], "en");
}

#[tokio::test]
async fn who_wants_a_code_gets_one_and_the_service_asks_for_none() {
    let key = IssuerKey::new("one", KeyKind::P256);
    let issuer = Issuer::start(&[&key]);
    let settings = AccountsSettings { require_login_code: true, ..trusting(&[("acme", settings(&issuer))]) };
    let world = World::with(settings, HttpSettings::default()).await;
    let session = world.enter(&key.sign(&issuer.claims("ada"))).await.accepted(201);
    let body = json!({"login_code": true});
    world.call(token_of(&session), "PATCH", "/v1/users/me", body).await.accepted(200);
    let challenge = world.enter(&key.sign(&issuer.claims("ada"))).await.accepted(202);
    let code = world.code("ada@example.org");
    let body = json!({"challenge_id": challenge["challenge_id"], "code": code});
    world.post("/v1/auth/login/verify", body).await.accepted(200);
}

#[tokio::test]
async fn a_deleted_account_is_opened_by_nothing() {
    let (world, issuer, key) = world().await;
    let first = world.enter(&key.sign(&issuer.claims("ada"))).await.accepted(201);
    world.call(token_of(&first), "DELETE", "/v1/users/me", json!(null)).await.accepted(204);
    let second = world.enter(&key.sign(&issuer.claims("ada"))).await.accepted(201);
    assert_ne!(first["user"]["id"], second["user"]["id"]);
}

#[tokio::test]
async fn an_account_has_sixteen_identities_at_most() {
    let (world, issuer, key) = world().await;
    let ada = world.user("ada").await;
    let path = "/v1/users/me/identities";
    let add = async |subject: String| {
        let body = json!({"id_token": key.sign(&issuer.claims(&subject))});
        world.call(token_of(&ada), "POST", path, body).await
    };
    for n in 0..16 {
        add(format!("id{n}")).await.accepted(200);
    }
    add("id16".into()).await.refused(409, "limit_reached");
    // It opens nothing.
    assert_eq!(world.enter(&key.sign(&issuer.claims("id16"))).await.status, 201);
    add("id3".into()).await.accepted(200);
}

#[tokio::test]
async fn accounts_last_and_an_issuer_that_is_trusted_no_more_opens_none() {
    let (world, issuer, key) = world().await;
    let first = world.enter(&key.sign(&issuer.claims("ada"))).await.accepted(201);
    let world = world.restart(trusting(&[("renamed", settings(&issuer))])).await;
    let again = world.enter(&key.sign(&issuer.claims("ada"))).await.accepted(200);
    assert_eq!(first["user"]["id"], again["user"]["id"]);
    let world = world.restart(unlimited()).await;
    world.enter(&key.sign(&issuer.claims("ada"))).await.refused(401, "id_token_invalid");
    let list =
        world.call(token_of(&again), "GET", "/v1/users/me/identities", json!(null)).await.accepted(200);
    assert_eq!(list["identities"][0]["issuer"], json!(null));
    let none = world.call("", "GET", "/v1/auth/external", json!(null)).await.accepted(200);
    assert_eq!(none, json!({"issuers": []}));
}

#[tokio::test]
async fn tries_are_limited() {
    let key = IssuerKey::new("one", KeyKind::P256);
    let issuer = Issuer::start(&[&key]);
    let limits = LimitSettings { external_per_address: Limit::of(3, 600), ..LimitSettings::default() };
    let settings = AccountsSettings { limits, ..trusting(&[("acme", settings(&issuer))]) };
    let world = World::with(settings, HttpSettings::default()).await;
    for _ in 0..3 {
        world.enter("x").await.refused(401, "id_token_invalid");
    }
    world.enter(&key.sign(&issuer.claims("ada"))).await.refused(429, "rate_limited");
}

#[tokio::test]
async fn an_issuer_is_known_by_its_certificate() {
    let file = |name: &str| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/edge/tests/tls").join(name);
    let key = IssuerKey::new("one", KeyKind::P256);
    let issuer = Issuer::start_tls(&file("localhost.pem"), &file("localhost.key"), &[&key]);
    let token = || key.sign(&issuer.claims("ada"));

    let strict = World::with(trusting(&[("acme", settings(&issuer))]), HttpSettings::default()).await;
    strict.enter(&token()).await.refused(503, "unavailable");
    let settings = IssuerSettings { ca_file: Some(file("localhost.pem")), ..settings(&issuer) };
    let world = World::with(trusting(&[("acme", settings)]), HttpSettings::default()).await;
    world.enter(&token()).await.accepted(201);
}
