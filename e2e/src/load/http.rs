//! A client that posts over HTTP, one request after the other, until each is answered.

use std::{sync::Arc, time::Duration};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use reqwest::Method;
use serde_json::json;

use super::{Load, Manners, Request};
use crate::{
    history::{Body, What},
    http::Answer,
    user::User,
};

/// Posts, edits, deletes and reacts until the load finishes.
pub async fn run(load: Arc<Load>, user: User, manners: Manners, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut users: Vec<User> = manners.urls.iter().map(|url| user.at(url)).collect();
    let connection = load.next_connection();
    let mut own = Vec::new();
    while !load.is_finishing() {
        let request = load.next_request(&mut random, &user, &mut own);
        until_answered(&load, &mut users, &manners, connection, &request, &mut own, &mut random).await;
        tokio::time::sleep(manners.pause.mul_f64(random.random_range(0.0..1.6))).await;
    }
}

async fn until_answered(
    load: &Load,
    users: &mut [User],
    manners: &Manners,
    connection: u64,
    request: &Request,
    own: &mut Vec<(String, u64)>,
    random: &mut StdRng,
) {
    for _ in 0.. {
        load.note(request.asked(connection));
        let at = random.random_range(0..users.len());
        let calling = tokio::time::timeout(manners.give_up, post(&users[at], request));
        let Some(answer) = calling.await.ok().and_then(Result::ok).filter(Answer::is_of_a_node) else {
            if !request.may_be_repeated() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(15)).await;
            continue;
        };
        match answer.status {
            401 if answer.body["code"] == "session_revoked" => {
                log_in_again(users).await;
            }
            200 | 201 | 204 => {
                let seq = answer.body["seq"].as_u64().filter(|_| request.may_be_repeated());
                load.note(What::Acked { op: request.op, seq });
                if let Some(seq) = seq {
                    own.push((request.room.clone(), seq));
                }
                return;
            }
            status => {
                let code = answer.body["code"].as_str().unwrap_or_default().to_owned();
                load.note(What::Refused { op: request.op, code });
                if status != 503 || !request.may_be_repeated() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Sessions are where they may be lost; whoever has his password comes back. `users` is one user at several nodes; nothing
/// changes when none of them lets him in now.
pub async fn log_in_again(users: &mut [User]) {
    for at in 0..users.len() {
        let url = users[at].api.base().to_owned();
        if let Some(user) = users[at].try_login(&url).await {
            for other in users {
                *other = user.at(other.api.base());
            }
            return;
        }
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// Asks for it once.
pub async fn post(user: &User, request: &Request) -> Result<Answer, reqwest::Error> {
    let path = format!("/v1/rooms/{}/messages", request.room);
    let call = async |method, path: String, body| user.api.try_call(method, &path, body).await;
    match &request.wanted {
        Body::Message { client_msg_id, text, .. } => {
            let body = json!({"text": text, "client_msg_id": client_msg_id});
            call(Method::POST, path, Some(&body)).await
        }
        Body::Edited { message_seq, text, .. } => {
            call(Method::PATCH, format!("{path}/{message_seq}"), Some(&json!({"text": text}))).await
        }
        Body::Deleted { message_seq, .. } => {
            call(Method::DELETE, format!("{path}/{message_seq}"), None).await
        }
        Body::Reaction { message_seq, emoji, .. } => {
            call(Method::PUT, format!("{path}/{message_seq}/reactions/{emoji}"), None).await
        }
        Body::Other(..) => unreachable!("nobody asks for that here"),
    }
}
