//! Accounts: registering, logging in, staying logged in, logging out.

use std::time::{Duration, Instant, SystemTime};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use rookery_e2e::{
    service::{Service, code_in},
    unique,
    user::{PASSWORD, User, id_of},
    ws::{Subprotocol, Ws},
};
use serde_json::{Value, json};

fn registration(username: &str) -> Value {
    json!({"email": format!("{username}@example.com"), "username": username, "password": PASSWORD})
}

/// Another code of the same length.
fn wrong(code: &str) -> String {
    let last = if code.ends_with('0') { '1' } else { '0' };
    format!("{}{last}", &code[..code.len() - 1])
}

/// Panics unless the session has every field of the specification.
#[track_caller]
fn assert_session(session: &Value) {
    assert_eq!(session["token_type"], "Bearer", "{session}");
    for field in ["access_token", "refresh_token"] {
        assert!(session[field].is_string(), "{field} in {session}");
    }
    assert!(session["expires_in"].as_u64().is_some_and(|seconds| seconds > 0), "{session}");
    for field in ["id", "username", "display_name", "language"] {
        assert!(session["user"][field].is_string(), "user.{field} in {session}");
    }
    rookery_e2e::time::assert_time(&session["user"]["created_at"]);
}

/// register: 202 `{expires_in}`, a 6-8 digit code is mailed. verify: 201 session.
#[tokio::test]
async fn registering_ends_with_the_mailed_code() {
    let service = Service::shared();
    let (api, username) = (service.api(), unique("ada"));
    let email = format!("{username}@example.com");
    let mut request = registration(&username);
    request["display_name"] = json!("Ada Lovelace");
    request["language"] = json!("es");
    let answer = api.post("/v1/auth/register", request).await.is(202);
    assert!(answer["expires_in"].as_u64().is_some_and(|seconds| seconds > 0), "{answer}");

    // Nothing exists before the code came back.
    api.post("/v1/auth/login", json!({"login": username, "password": PASSWORD}))
        .await
        .problem(401, "credentials_invalid");
    let mail = service.mail(&email, 1).await;
    assert_eq!(mail["to"], email.as_str());
    assert!(mail["subject"].is_string() && mail["html"].is_string(), "{mail}");
    let code = code_in(&mail).expect("the mail has a code of 6-8 digits");
    let session = api.post("/v1/auth/verify", json!({"email": email, "code": code})).await.is(201);
    assert_session(&session);
    assert_eq!(session["user"]["username"], username.as_str());
    assert_eq!(session["user"]["display_name"], "Ada Lovelace");
    assert_eq!(session["user"]["language"], "es");
    // The code is used up.
    api.post("/v1/auth/verify", json!({"email": email, "code": code})).await.problem(400, "code_invalid");
}

/// register: the answer is the same whether or not the e-mail is known; its owner is told by mail.
#[tokio::test]
async fn registering_does_not_tell_whether_an_address_is_known() {
    let service = Service::shared();
    let ada = User::register(service, "ada").await;
    let before = service.mails(&ada.email).await.len();
    let mut known = registration(&unique("eve"));
    known["email"] = json!(ada.email);
    let known = service.api().post("/v1/auth/register", known).await;
    let fresh = service.api().post("/v1/auth/register", registration(&unique("eve"))).await;
    assert_eq!((known.status, &known.body), (fresh.status, &fresh.body));
    assert_eq!(known.status, 202);
    let mail = service.mail(&ada.email, before + 1).await;
    assert_eq!(code_in(&mail), None, "who owns the address gets no code for somebody else: {mail}");
}

/// register: an address is known however it is written.
#[tokio::test]
async fn an_address_is_one_account_in_either_case() {
    let service = Service::shared();
    let ada = User::register(service, "ada").await;
    let before = service.mails(&ada.email).await.len();
    let mut request = registration(&unique("eve"));
    request["email"] = json!(ada.email.to_uppercase());
    service.api().post("/v1/auth/register", request).await.is(202);
    let told = rookery_e2e::eventually("a mail to the owner", async || {
        let mut mails = service.mails(&ada.email).await;
        mails.extend(service.mails(&ada.email.to_uppercase()).await);
        (mails.len() > before).then(|| mails.pop()).flatten()
    })
    .await;
    assert_eq!(code_in(&told), None, "{told}");
    let login = json!({"login": ada.email.to_uppercase(), "password": PASSWORD});
    service.api().post("/v1/auth/login", login).await.is(200);
}

/// register: 409 `username_taken`, also for the same name in other letters.
#[tokio::test]
async fn a_username_is_taken_once() {
    let service = Service::shared();
    let ada = User::register(service, "ada").await;
    for name in [ada.username.clone(), ada.username.to_uppercase()] {
        let mut request = registration(&name);
        request["email"] = json!(format!("{}@example.com", unique("eve")));
        service.api().post("/v1/auth/register", request).await.problem(409, "username_taken");
    }
}

/// Two people register one name at the same time: one gets it.
#[tokio::test]
async fn a_username_is_given_to_one_of_two_who_race() {
    let service = Service::shared();
    let name = unique("ada");
    let mut codes = Vec::new();
    for _ in 0..2 {
        let email = format!("{}@example.com", unique("racer"));
        let mut request = registration(&name);
        request["email"] = json!(email);
        if service.api().post("/v1/auth/register", request).await.status == 202 {
            codes.push((email.clone(), service.code(&email, 1).await));
        }
    }
    let verify = async |(email, code): &(String, String)| {
        service.api().post("/v1/auth/verify", json!({"email": email, "code": code})).await.status
    };
    let answers = match &codes[..] {
        [one] => vec![verify(one).await],
        [one, two] => {
            let (one, two) = tokio::join!(verify(one), verify(two));
            vec![one, two]
        }
        _ => panic!("nobody could begin"),
    };
    assert_eq!(answers.iter().filter(|&&status| status == 201).count(), 1, "{answers:?}");
}

/// register: 422 weak password or bad field, named in `fields`.
#[tokio::test]
async fn registering_names_what_is_wrong() {
    let service = Service::shared();
    let long = "a".repeat(300);
    for (field, values) in [
        ("password", vec!["", "short", "password", "12345678"]),
        ("email", vec!["", "nobody", "@example.com", "a b@example.com", "a@", &long]),
        ("username", vec!["", " ", "a b", "a/b", &long, "<b>"]),
        ("display_name", vec![&long]),
    ] {
        for value in values {
            let mut request = registration(&unique("ada"));
            request[field] = json!(value);
            service.api().post("/v1/auth/register", request).await.wrong_field(field);
        }
    }
    for field in ["email", "username", "password"] {
        let mut request = registration(&unique("ada"));
        request[field] = json!(7);
        service.api().post("/v1/auth/register", request.clone()).await.wrong_field(field);
        request.as_object_mut().expect("an object").remove(field);
        service.api().post("/v1/auth/register", request).await.wrong_field(field);
    }
}

/// verify: 400 `code_invalid`; 429 after 5 wrong tries: the code is dead.
#[tokio::test]
async fn a_code_dies_of_five_wrong_tries() {
    let service = Service::shared();
    let username = unique("ada");
    let email = format!("{username}@example.com");
    service.api().post("/v1/auth/register", registration(&username)).await.is(202);
    let code = service.code(&email, 1).await;
    let guess = json!({"email": email, "code": wrong(&code)});
    for try_ in 1..=4 {
        let answer = service.api().post("/v1/auth/verify", guess.clone()).await;
        assert_eq!(answer.status, 400, "try {try_}: {}", answer.body);
        answer.problem(400, "code_invalid");
    }
    // The fifth may say either; after it the right one is no good either.
    let fifth = service.api().post("/v1/auth/verify", guess).await;
    assert!(matches!(fifth.status, 400 | 429), "{}", fifth.body);
    service.api().post("/v1/auth/verify", json!({"email": email, "code": code})).await.refused(429);
    // A new code ends it.
    service.api().post("/v1/auth/resend", json!({"email": email})).await.is(202);
    let code = service.code(&email, 2).await;
    service.api().post("/v1/auth/verify", json!({"email": email, "code": code})).await.is(201);
}

/// verify: an unknown address is told apart from a wrong code by nothing.
#[tokio::test]
async fn a_code_for_nobody_is_invalid() {
    let request = json!({"email": format!("{}@example.com", unique("nobody")), "code": "123456"});
    Service::shared().api().post("/v1/auth/verify", request).await.problem(400, "code_invalid");
}

/// resend: 202 always; a new code replaces the old one.
#[tokio::test]
async fn a_new_code_replaces_the_old_one() {
    let service = Service::shared();
    let username = unique("ada");
    let email = format!("{username}@example.com");
    let api = service.api();
    api.post("/v1/auth/register", registration(&username)).await.is(202);
    let old = service.code(&email, 1).await;
    let known = api.post("/v1/auth/resend", json!({"email": email})).await.is(202);
    let new = service.code(&email, 2).await;
    if old != new {
        api.post("/v1/auth/verify", json!({"email": email, "code": old})).await.problem(400, "code_invalid");
    }
    api.post("/v1/auth/verify", json!({"email": email, "code": new})).await.is(201);
    let nobody = json!({"email": format!("{}@example.com", unique("nobody"))});
    assert_eq!(api.post("/v1/auth/resend", nobody).await.is(202), known);
}

/// login: by username or e-mail, 200 session.
#[tokio::test]
async fn logs_in_by_username_or_email() {
    let service = Service::shared();
    let ada = User::register(service, "ada").await;
    for login in [&ada.username, &ada.email, &ada.username.to_uppercase()] {
        let request = json!({"login": login, "password": PASSWORD});
        let session = service.api().post("/v1/auth/login", request).await.is(200);
        assert_session(&session);
        assert_eq!(id_of(&session["user"]), ada.id);
    }
}

/// login: 401 `credentials_invalid` for unknown user and wrong password alike.
#[tokio::test]
async fn an_unknown_user_looks_like_a_wrong_password() {
    let service = Service::shared();
    let ada = User::register(service, "ada").await;
    let login = |login: &str| json!({"login": login, "password": "wrong-horse-7-battery-staple"});
    let wrong = service.api().post("/v1/auth/login", login(&ada.username)).await;
    let unknown = service.api().post("/v1/auth/login", login(&unique("nobody"))).await;
    assert_eq!(wrong.body, unknown.body);
    wrong.problem(401, "credentials_invalid");
    unknown.problem(401, "credentials_invalid");
}

/// login: "in the same time" for unknown user and wrong password. Compared by medians of several, loosely.
#[tokio::test]
async fn an_unknown_user_takes_as_long_as_a_wrong_password() {
    let service = Service::shared();
    let ada = User::register(service, "ada").await;
    let time = async |login: String| {
        let request = json!({"login": login, "password": "wrong-horse-7-battery-staple"});
        let began = Instant::now();
        service.api().post("/v1/auth/login", request).await.is(401);
        began.elapsed()
    };
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        known.push(time(ada.username.clone()).await);
        unknown.push(time(unique("nobody")).await);
    }
    known.sort();
    unknown.sort();
    // Hashing a password takes tens of milliseconds; leaving it out would differ by far more than this.
    assert!(unknown[2] * 4 > known[2], "known {:?}, unknown {:?}", known[2], unknown[2]);
}

/// login with the user's own `login_code`: 202 `{challenge_id, expires_in}`; login/verify: 200 session.
#[tokio::test]
async fn logs_in_with_a_second_step() {
    let service = Service::shared();
    let ada = User::register(service, "ada").await;
    ada.api.patch("/v1/users/me", json!({"login_code": true})).await.is(200);
    let before = service.mails(&ada.email).await.len();
    let login = json!({"login": ada.username, "password": PASSWORD});
    let api = service.api();
    let challenge = api.post("/v1/auth/login", login).await.is(202);
    assert!(challenge["expires_in"].as_u64().is_some_and(|seconds| seconds > 0), "{challenge}");
    assert!(challenge.get("access_token").is_none(), "{challenge}");
    let id = challenge["challenge_id"].as_str().expect("a challenge has an id");
    let code = service.code(&ada.email, before + 1).await;
    let verify = |code: &str| json!({"challenge_id": id, "code": code});
    api.post("/v1/auth/login/verify", verify(&wrong(&code))).await.problem(400, "code_invalid");
    let session = api.post("/v1/auth/login/verify", verify(&code)).await.is(200);
    assert_session(&session);
    assert_eq!(id_of(&session["user"]), ada.id);
    api.post("/v1/auth/login/verify", verify(&code)).await.problem(400, "code_invalid");
}

/// refresh: 200 session with a new refresh token; an old one again revokes the whole family: 401 `session_revoked`.
#[tokio::test]
async fn an_old_refresh_token_ends_the_session() {
    let service = Service::shared();
    let ada = User::register(service, "ada").await;
    let other = ada.login(service).await;
    let api = service.api();
    let refresh = async |token: &Value| api.post("/v1/auth/refresh", json!({"refresh_token": token})).await;
    let first = ada.session["refresh_token"].clone();
    let session = refresh(&first).await.is(200);
    assert_session(&session);
    assert_ne!(session["refresh_token"], first);
    let token = session["access_token"].as_str().expect("a token");
    api.with_token(token).get("/v1/users/me").await.is(200);

    refresh(&first).await.problem(401, "session_revoked");
    refresh(&session["refresh_token"]).await.problem(401, "session_revoked");
    api.with_token(token).get("/v1/users/me").await.refused(401);
    // Other logins of the user go on.
    other.api.get("/v1/users/me").await.is(200);
    refresh(&other.session["refresh_token"]).await.is(200);
}

/// refresh: what is no refresh token is refused.
#[tokio::test]
async fn nonsense_does_not_refresh() {
    let ada = User::register(Service::shared(), "ada").await;
    for token in ["", "nonsense", ada.token()] {
        let request = json!({"refresh_token": token});
        Service::shared().api().post("/v1/auth/refresh", request).await.refused(401);
    }
}

/// Panics unless these are closed soon after a logout, which was answered just now.
///
/// The specification says within a second. A cluster of many processes may share two cores here, so that a little more is let pass.
async fn end_soon(sockets: &mut [Ws]) {
    let answered = Instant::now();
    for socket in sockets {
        assert_eq!(socket.closed().await.code, 4401);
    }
    let took = answered.elapsed();
    assert!(took < Duration::from_secs(5), "they were closed {took:?} after the answer");
}

/// logout: 204; closes that session's sockets within a second, and no others.
#[tokio::test]
async fn logging_out_ends_one_session() {
    let service = Service::shared();
    let ada = User::register(service, "ada").await;
    let other = ada.login(service).await;
    for subprotocol in Subprotocol::BOTH {
        let session = ada.login(service).await;
        // In a cluster, perhaps at another node.
        let elsewhere = session.at(service.url());
        let mut sockets = [session.online(subprotocol).await, elsewhere.online(subprotocol).await];
        let mut others = other.online(subprotocol).await;
        session.api.post("/v1/auth/logout", json!({})).await.is(204);
        end_soon(&mut sockets).await;
        session.api.get("/v1/users/me").await.refused(401);
        let refresh = json!({"refresh_token": session.refresh_token()});
        service.api().post("/v1/auth/refresh", refresh).await.problem(401, "session_revoked");
        others.settle().await;
    }
    other.api.get("/v1/users/me").await.is(200);
}

/// logout `{all: true}`: ends every session of the user, as soon.
#[tokio::test]
async fn logging_out_everywhere_ends_all_sessions() {
    let service = Service::shared();
    let ada = User::register(service, "ada").await;
    let other = ada.login(service).await;
    let mut sockets = [ada.online(Subprotocol::Json).await, other.online(Subprotocol::Proto).await];
    ada.api.post("/v1/auth/logout", json!({"all": true})).await.is(204);
    end_soon(&mut sockets).await;
    for session in [&ada, &other] {
        session.api.get("/v1/users/me").await.refused(401);
        let refresh = json!({"refresh_token": session.refresh_token()});
        service.api().post("/v1/auth/refresh", refresh).await.problem(401, "session_revoked");
    }
    ada.login(service).await;
}

/// password/forgot: 202 always. password/reset: 204; every session of the user ends.
#[tokio::test]
async fn a_forgotten_password_is_replaced() {
    let service = Service::shared();
    let ada = User::register(service, "ada").await;
    let mut socket = ada.online(Subprotocol::Json).await;
    let before = service.mails(&ada.email).await.len();
    let api = service.api();
    let known = api.post("/v1/auth/password/forgot", json!({"email": ada.email})).await.is(202);
    let nobody = json!({"email": format!("{}@example.com", unique("nobody"))});
    assert_eq!(api.post("/v1/auth/password/forgot", nobody).await.is(202), known);
    let code = service.code(&ada.email, before + 1).await;
    let new = "another-horse-8-battery-staple";
    let reset = |code: &str, password: &str| json!({"email": ada.email, "code": code, "password": password});
    api.post("/v1/auth/password/reset", reset(&code, "short")).await.wrong_field("password");
    api.post("/v1/auth/password/reset", reset(&wrong(&code), new)).await.problem(400, "code_invalid");
    api.post("/v1/auth/password/reset", reset(&code, new)).await.is(204);
    assert_eq!(socket.closed().await.code, 4401);
    ada.api.get("/v1/users/me").await.refused(401);
    let login = |password: &str| json!({"login": ada.username, "password": password});
    api.post("/v1/auth/login", login(PASSWORD)).await.problem(401, "credentials_invalid");
    api.post("/v1/auth/login", login(new)).await.is(200);
    // The code is used up.
    api.post("/v1/auth/password/reset", reset(&code, PASSWORD)).await.problem(400, "code_invalid");
}

/// ticket: 200 `{ticket, expires_in}`, 30 s.
#[tokio::test]
async fn a_ticket_lasts_half_a_minute() {
    let ada = User::register(Service::shared(), "ada").await;
    let answer = ada.api.post_empty("/v1/auth/ticket").await.is(200);
    assert!(answer["ticket"].as_str().is_some_and(|ticket| ticket.len() >= 16), "a ticket to guess");
    assert_eq!(answer["expires_in"], 30);
    Service::shared().api().post_empty("/v1/auth/ticket").await.refused(401);
}

/// jwks.json: the public keys of access tokens (EdDSA). A client can check a token with them.
#[tokio::test]
async fn access_tokens_verify_with_the_published_keys() {
    let service = Service::shared();
    let ada = User::register(service, "ada").await;
    let body = service.api().get("/.well-known/jwks.json").await.is(200);
    for key in body["keys"].as_array().expect("a set of keys") {
        assert_eq!((&key["kty"], &key["crv"]), (&json!("OKP"), &json!("Ed25519")), "{key}");
        assert!(key.get("d").is_none(), "a private key is published");
    }
    let keys: JwkSet = serde_json::from_value(body).expect("a set of keys (RFC 7517)");
    let header = jsonwebtoken::decode_header(ada.token()).expect("an access token is a JWT");
    assert_eq!(header.alg, Algorithm::EdDSA);
    let key = keys.find(&header.kid.expect("a token names its key")).expect("its key is published");
    let key = DecodingKey::from_jwk(key).expect("a key that can be used");
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.validate_aud = false;
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let token =
        jsonwebtoken::decode::<Value>(ada.token(), &key, &validation).expect("the signature is right");
    assert_eq!(token.claims["sub"], ada.id.as_str());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let lasts = token.claims["exp"].as_u64().expect("exp is a number").saturating_sub(now);
    assert!(lasts <= ada.session["expires_in"].as_u64().expect("expires_in is a number") + 1, "{lasts}");
}

/// `Authorization: Bearer <access token>`: calls without a good one are refused.
#[tokio::test]
async fn calls_need_a_token() {
    let service = Service::shared();
    let ada = User::register(service, "ada").await;
    let room = ada.room_with(&[]).await;
    let mut forged = ada.token().to_owned();
    let flipped = if forged.pop() == Some('A') { 'Q' } else { 'A' };
    forged.push(flipped);
    for api in [service.api(), service.api().with_token("nonsense"), service.api().with_token(&forged)] {
        for path in ["/v1/users/me", "/v1/rooms", "/v1/rooms/discover", &format!("/v1/rooms/{room}/messages")]
        {
            api.get(path).await.refused(401);
        }
        api.post("/v1/rooms", json!({"name": "x", "kind": "group", "visibility": "public"}))
            .await
            .refused(401);
        api.post("/v1/auth/logout", json!({})).await.refused(401);
    }
}
