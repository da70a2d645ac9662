//! Users: reading, changing, deleting.

use serde_json::{Value, json};

use super::world::{PASSWORD, World};
use crate::accounts::Revocation;

fn access(session: &Value) -> &str {
    session["access_token"].as_str().unwrap()
}

#[tokio::test]
async fn changes_what_is_said_and_leaves_the_rest() {
    let world = World::new().await;
    let session = world.user("ada").await;
    let patch = |body: Value| world.call(access(&session), "PATCH", "/v1/users/me", body);
    let me = world.call(access(&session), "GET", "/v1/users/me", json!(null)).await.accepted(200);
    assert_eq!(me["notifications"], json!({"email": "mentions"}));
    assert_eq!((&me["login_code"], &me["display_name"]), (&json!(false), &json!("ada")));
    assert_eq!(patch(json!({})).await.accepted(200), me);

    let changed = patch(json!({
        "display_name": " Ada L. ", "language": "pt-br", "avatar_url": "https://example.org/a.png",
        "notifications": {"email": "off"}, "username": "ignored",
    }))
    .await
    .accepted(200);
    assert_eq!(changed["display_name"], "Ada L.");
    assert_eq!(changed["language"], "pt-BR");
    assert_eq!(changed["avatar_url"], "https://example.org/a.png");
    assert_eq!(changed["notifications"]["email"], "off");
    assert_eq!((&changed["username"], &changed["email"]), (&me["username"], &me["email"]));
    let without = patch(json!({"avatar_url": null, "notifications": {}})).await.accepted(200);
    assert_eq!((&without["avatar_url"], &without["notifications"]["email"]), (&json!(null), &json!("off")));

    // One wrong field, and nothing is changed.
    let problem = patch(json!({"display_name": "New", "language": "??", "avatar_url": "http://x"})).await;
    let problem = problem.refused(422, "invalid");
    assert_eq!(problem["fields"].as_object().unwrap().len(), 2, "{problem}");
    for wrong in [
        json!({"login_code": "yes"}),
        json!({"display_name": 5}),
        json!({"notifications": {"email": "sometimes"}}),
        json!({"notifications": 5}),
        json!([]),
    ] {
        patch(wrong).await.refused(422, "invalid");
    }
    let seen = world.call(access(&session), "GET", "/v1/users/me", json!(null)).await.accepted(200);
    assert_eq!(seen, without);
}

#[tokio::test]
async fn others_see_no_address() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let bob = world.user("bob").await;
    let get = |path: String| world.call(access(&bob), "GET", Box::leak(path.into_boxed_str()), json!(null));
    let id = ada["user"]["id"].as_str().unwrap();
    for path in [format!("/v1/users/{id}"), "/v1/users/by-username/Ada".to_owned()] {
        assert_eq!(get(path).await.accepted(200), ada["user"]);
    }
    for path in [
        "/v1/users/x",
        "/v1/users/00000000000000000000000000",
        "/v1/users/by-username/nobody",
        "/v1/users/by-username/%FF",
    ] {
        let status = get(path.to_owned()).await;
        assert_eq!(status.status, 404, "{path}");
    }
    for path in ["/v1/users/me", "/v1/users/x", "/v1/users/by-username/ada"] {
        super::client::send(world.at, "GET", path, &[], "").await.refused(401, "token_missing");
    }
}

#[tokio::test]
async fn a_change_is_seen_by_connections_that_ask_again() {
    let world = World::new().await;
    let session = world.user("ada").await;
    let before = world.accounts.authenticate(access(&session)).await.unwrap();
    let body = json!({"display_name": "Countess"});
    world.call(access(&session), "PATCH", "/v1/users/me", body).await.accepted(200);
    let after = world.accounts.authenticate(access(&session)).await.unwrap();
    assert_eq!(
        (before.profile.display_name.as_str(), after.profile.display_name.as_str()),
        ("ada", "Countess")
    );
    assert_eq!(before.session, after.session);
}

#[tokio::test]
async fn a_deleted_account_is_gone_and_its_name_free() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let other = world.log_in("ada").await.accepted(200);
    let bob = world.user("bob").await;
    let mut revocations = world.accounts.revocations();
    world.call(access(&ada), "DELETE", "/v1/users/me", json!(null)).await.accepted(204);
    assert!(matches!(revocations.try_recv(), Ok(Revocation::User(_))));
    for session in [&ada, &other] {
        let answer = world.call(access(session), "GET", "/v1/users/me", json!(null)).await;
        answer.refused(401, "session_revoked");
        let body = json!({"refresh_token": session["refresh_token"]});
        world.post("/v1/auth/refresh", body).await.refused(401, "session_revoked");
    }
    world.log_in("ada").await.refused(401, "credentials_invalid");
    let path = format!("/v1/users/{}", ada["user"]["id"].as_str().unwrap());
    world.call(access(&bob), "GET", &path, json!(null)).await.refused(404, "user_not_found");

    let again = world.user("ada").await;
    assert_ne!(again["user"]["id"], ada["user"]["id"]);
    world
        .post("/v1/auth/login", json!({"login": "ada@example.org", "password": PASSWORD}))
        .await
        .accepted(200);
}

#[tokio::test]
async fn changes_at_once_are_all_kept() {
    let world = World::new().await;
    let session = world.user("ada").await;
    let patch = |body: Value| world.call(access(&session), "PATCH", "/v1/users/me", body);
    let (one, two, three) = tokio::join!(
        patch(json!({"display_name": "Countess"})),
        patch(json!({"language": "fr"})),
        patch(json!({"avatar_url": "https://example.org/"})),
    );
    for answer in [one, two, three] {
        answer.accepted(200);
    }
    let me = world.call(access(&session), "GET", "/v1/users/me", json!(null)).await.accepted(200);
    assert_eq!((&me["display_name"], &me["language"]), (&json!("Countess"), &json!("fr")));
    assert_eq!(me["avatar_url"], "https://example.org/");
}
