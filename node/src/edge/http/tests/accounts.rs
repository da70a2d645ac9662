//! Registering, codes, passwords, and what strangers cannot learn.

use serde_json::json;

use super::world::{PASSWORD, World, other, unlimited};
use crate::{accounts::AccountsSettings, edge::http::HttpSettings};

#[tokio::test]
async fn registers_and_logs_in() {
    let world = World::new().await;
    let body = json!({
        "email": " Ada@Example.org ", "username": "ada", "password": PASSWORD, "display_name": "Ada Lovelace",
        "language": "EN-gb", "unknown": [1],
    });
    let answer = world.post("/v1/auth/register", body).await;
    assert_eq!(answer.accepted(202), json!({"expires_in": 900}));
    let code = world.code("Ada@Example.org");
    assert!(code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit()));

    let answer = world.post("/v1/auth/verify", json!({"email": "ada@example.org", "code": code})).await;
    let session = answer.accepted(201);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!((session["token_type"].as_str(), session["expires_in"].as_u64()), (Some("Bearer"), Some(900)));
    let user = &session["user"];
    assert_eq!(user["username"], "ada");
    assert_eq!(user["display_name"], "Ada Lovelace");
    assert_eq!(user["language"], "en-GB");
    assert_eq!(user["id"].as_str().unwrap().len(), 26);
    assert!(user.get("email").is_none());
    assert_eq!(world.subjects("Ada@Example.org"), ["Welcome", "Confirm your e-mail address"]);

    for login in ["ada", "ADA", "ada@example.org", " Ada@EXAMPLE.org"] {
        let session = world.log_in(login).await.accepted(200);
        let me =
            world.call(session["access_token"].as_str().unwrap(), "GET", "/v1/users/me", json!(null)).await;
        let me = me.accepted(200);
        assert_eq!((&me["id"], &me["email"]), (&user["id"], &json!("Ada@Example.org")));
    }
    // A code is good once.
    let again = world.post("/v1/auth/verify", json!({"email": "ada@example.org", "code": code})).await;
    again.refused(400, "code_invalid");
}

#[tokio::test]
async fn says_what_is_wrong_with_which_field() {
    let world = World::new().await;
    let body = json!({
        "email": "ada", "username": "a", "password": "short", "display_name": "a\u{202e}b", "language": "x",
    });
    let problem = world.post("/v1/auth/register", body).await.refused(422, "invalid");
    let fields: Vec<_> = problem["fields"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(fields, ["display_name", "email", "language", "password", "username"]);
    assert!(!problem.to_string().contains("short"), "the password is repeated: {problem}");

    let body = json!({"email": "a@example.org", "username": "ada", "password": "Password1"});
    let problem = world.post("/v1/auth/register", body).await.refused(422, "invalid");
    assert!(problem["fields"]["password"].is_string());
    for (path, field) in [
        ("/v1/auth/register", "email"),
        ("/v1/auth/verify", "email"),
        ("/v1/auth/resend", "email"),
        ("/v1/auth/login", "login"),
        ("/v1/auth/login/verify", "challenge_id"),
        ("/v1/auth/refresh", "refresh_token"),
        ("/v1/auth/password/forgot", "email"),
        ("/v1/auth/password/reset", "email"),
    ] {
        let problem = world.post(path, json!({})).await.refused(422, "invalid");
        assert!(problem["fields"][field].is_string(), "{path}: {problem}");
    }
}

#[tokio::test]
async fn a_known_address_looks_like_an_unknown_one() {
    let world = World::new().await;
    world.user("ada").await;
    let mails = world.subjects("ada@example.org").len();
    let register = |email: &str| json!({"email": email, "username": "somebody", "password": PASSWORD});
    let known = world.post("/v1/auth/register", register("ADA@example.org")).await;
    let unknown = world.post("/v1/auth/register", register("eve@example.org")).await;
    assert_eq!((known.status, &known.text), (unknown.status, &unknown.text));
    // Its owner is told, and gets no code.
    assert_eq!(world.subjects("ada@example.org").len(), mails + 1);
    assert_eq!(world.subjects("ada@example.org")[0], "You already have an account");

    // Codes of all three kinds of addresses die alike.
    for path in ["/v1/auth/verify", "/v1/auth/password/reset"] {
        let mut answers = Vec::new();
        for email in ["ada@example.org", "eve@example.org", "nobody@example.org"] {
            world.post("/v1/auth/password/forgot", json!({"email": email})).await.accepted(202);
            world.post("/v1/auth/resend", json!({"email": email})).await.accepted(202);
            let mut all = Vec::new();
            for _ in 0..7 {
                let body = json!({"email": email, "code": "x", "password": "another fine one"});
                let answer = world.post(path, body).await;
                all.push((answer.status, answer.text));
            }
            answers.push(all);
        }
        assert_eq!(answers[0].iter().map(|a| a.0).collect::<Vec<_>>(), [400, 400, 400, 400, 400, 429, 429]);
        assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{path}: {answers:?}");
    }
    for path in ["/v1/auth/password/forgot", "/v1/auth/resend"] {
        let known = world.post(path, json!({"email": "ada@example.org"})).await;
        let unknown = world.post(path, json!({"email": "nobody@example.org"})).await;
        assert_eq!((known.status, known.text), (unknown.status, unknown.text));
    }
    // Who cannot log in is told the same for either reason.
    let wrong = world.post("/v1/auth/login", json!({"login": "ada", "password": "wrong password"})).await;
    let unknown = world.post("/v1/auth/login", json!({"login": "nobody", "password": PASSWORD})).await;
    wrong.refused(401, "credentials_invalid");
    assert_eq!((wrong.status, wrong.text), (unknown.status, unknown.text));
}

#[tokio::test]
async fn five_wrong_codes_kill_a_code() {
    let world = World::new().await;
    let body = json!({"email": "ada@example.org", "username": "ada", "password": PASSWORD});
    world.post("/v1/auth/register", body).await.accepted(202);
    let code = world.code("ada@example.org");
    let verify =
        |code: String| world.post("/v1/auth/verify", json!({"email": "ada@example.org", "code": code}));
    for _ in 0..5 {
        verify(other(&code)).await.refused(400, "code_invalid");
    }
    verify(code.clone()).await.refused(429, "too_many_attempts");
    world.post("/v1/auth/resend", json!({"email": "ada@example.org"})).await.accepted(202);
    let new = world.code("ada@example.org");
    if new != code {
        verify(code).await.refused(400, "code_invalid");
    }
    verify(new).await.accepted(201);
}

#[tokio::test]
async fn many_tries_at_once_get_no_more_than_five() {
    let world = World::new().await;
    let body = json!({"email": "ada@example.org", "username": "ada", "password": PASSWORD});
    world.post("/v1/auth/register", body).await.accepted(202);
    let wrong = other(&world.code("ada@example.org"));
    let tries =
        (0..20).map(|_| world.post("/v1/auth/verify", json!({"email": "ada@example.org", "code": wrong})));
    let answers = futures_util::future::join_all(tries).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 400).count(), 5);
    assert_eq!(answers.iter().filter(|answer| answer.status == 429).count(), 15);
}

#[tokio::test]
async fn one_of_two_gets_a_name() {
    let world = World::new().await;
    for (email, name) in [("a@example.org", "paul"), ("b@example.org", "PAUL")] {
        let body = json!({"email": email, "username": name, "password": PASSWORD});
        world.post("/v1/auth/register", body).await.accepted(202);
    }
    let verify = |email: &'static str| {
        let code = world.code(email);
        world.post("/v1/auth/verify", json!({"email": email, "code": code}))
    };
    let (one, two) = tokio::join!(verify("a@example.org"), verify("b@example.org"));
    let (winner, loser) = if one.status == 201 { (one, two) } else { (two, one) };
    winner.accepted(201);
    loser.refused(409, "username_taken");
    for name in ["paul", "PauL", "раul"] {
        let body = json!({"email": "c@example.org", "username": name, "password": PASSWORD});
        let status = world.post("/v1/auth/register", body).await.status;
        assert!(status == 409 || status == 422 && name == "раul", "{name}: {status}");
    }
}

#[tokio::test]
async fn one_code_used_twice_at_once_makes_one_account() {
    let world = World::new().await;
    let body = json!({"email": "ada@example.org", "username": "ada", "password": PASSWORD});
    world.post("/v1/auth/register", body).await.accepted(202);
    let body = json!({"email": "ada@example.org", "code": world.code("ada@example.org")});
    let (one, two) = tokio::join!(
        world.post("/v1/auth/verify", body.clone()),
        world.post("/v1/auth/verify", body.clone())
    );
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 400]);
}

#[tokio::test]
async fn a_reset_changes_the_password_and_ends_every_login() {
    let world = World::new().await;
    let old = world.user("ada").await;
    world.post("/v1/auth/password/forgot", json!({"email": "ada@example.org"})).await.accepted(202);
    let code = world.code("ada@example.org");
    let reset = |code: &str, password: &str| {
        let body = json!({"email": "ada@example.org", "code": code, "password": password});
        world.post("/v1/auth/password/reset", body)
    };
    // A weak password does not use the code up; nor does a wrong code.
    for weak in ["short", "password1", "ada@example.org"] {
        reset(&code, weak).await.refused(422, "invalid");
    }
    reset(&other(&code), "a new password").await.refused(400, "code_invalid");
    reset(&code, "a new password").await.accepted(204);
    reset(&code, "a newer password").await.refused(400, "code_invalid");

    let token = old["access_token"].as_str().unwrap();
    world.call(token, "GET", "/v1/users/me", json!(null)).await.refused(401, "session_revoked");
    let refresh = json!({"refresh_token": old["refresh_token"]});
    world.post("/v1/auth/refresh", refresh).await.refused(401, "session_revoked");
    world.log_in("ada").await.refused(401, "credentials_invalid");
    let login = json!({"login": "ada", "password": "a new password"});
    world.post("/v1/auth/login", login).await.accepted(200);
}

#[tokio::test]
async fn a_login_code_is_asked_of_who_wants_it() {
    let world = World::new().await;
    let session = world.user("ada").await;
    let token = session["access_token"].as_str().unwrap();
    world.call(token, "PATCH", "/v1/users/me", json!({"login_code": true})).await.accepted(200);

    let challenge = world.log_in("ada").await.accepted(202);
    assert_eq!(challenge["expires_in"], 900);
    let code = world.code("ada@example.org");
    let verify = |challenge: &serde_json::Value, code: String| {
        let body = json!({"challenge_id": challenge["challenge_id"], "code": code});
        world.post("/v1/auth/login/verify", body)
    };
    verify(&challenge, other(&code)).await.refused(400, "code_invalid");
    verify(&json!({"challenge_id": "none"}), code.clone()).await.refused(400, "code_invalid");
    verify(&challenge, code.clone()).await.accepted(200);
    verify(&challenge, code).await.refused(400, "code_invalid");

    let challenge = world.log_in("ada").await.accepted(202);
    let code = world.code("ada@example.org");
    for _ in 0..5 {
        verify(&challenge, other(&code)).await.refused(400, "code_invalid");
    }
    verify(&challenge, code).await.refused(429, "too_many_attempts");

    // A challenge from before a reset leads nowhere.
    let challenge = world.log_in("ada").await.accepted(202);
    let code = world.code("ada@example.org");
    world.call(token, "POST", "/v1/auth/logout", json!({"all": true})).await.accepted(204);
    verify(&challenge, code).await.refused(400, "code_invalid");
}

#[tokio::test]
async fn a_login_code_can_be_asked_of_all() {
    let settings = AccountsSettings { require_login_code: true, code_digits: 8, ..unlimited() };
    let world = World::with(settings, HttpSettings::default()).await;
    world.user("ada").await;
    let challenge = world.log_in("ada").await.accepted(202);
    let code = world.code("ada@example.org");
    assert_eq!(code.len(), 8);
    let body = json!({"challenge_id": challenge["challenge_id"], "code": format!(" {code} ")});
    world.post("/v1/auth/login/verify", body).await.accepted(200);
}
