//! A client that makes accounts and deletes some, slowly (a password costs a node much), with few names and addresses, so that
//! they meet: two that want one name verify at the same time over two nodes, or one of them twice.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Load, Manners};
use crate::{
    history::Deed,
    http::{Answer, Api},
    service::code_in,
    unique,
    user::PASSWORD,
};

/// Names and addresses that all are made with.
const FEW: usize = 4;
/// Between two pairs of registrations.
const PAUSE: Duration = Duration::from_millis(2_500);
/// How long a code is waited for, and a call is repeated that was not answered or answered `unavailable`.
const PATIENCE: Duration = Duration::from_secs(12);

/// Makes and deletes accounts until the load finishes.
pub async fn run(load: Arc<Load>, manners: Manners, seed: u64) {
    let mut registrar = Registrar {
        names: (0..FEW).map(|_| unique("r")).collect(),
        emails: (0..FEW).map(|_| format!("{}@example.com", unique("r"))).collect(),
        random: StdRng::seed_from_u64(seed),
        apis: manners.urls.iter().map(|url| Api::new(url)).collect(),
        used: BTreeMap::new(),
        own: Vec::new(),
        load,
        manners,
    };
    while !registrar.load.is_finishing() {
        registrar.pair().await;
        registrar.delete_some().await;
        tokio::time::sleep(PAUSE.mul_f64(registrar.random.random_range(0.4..1.2))).await;
    }
}

struct Registrar {
    load: Arc<Load>,
    manners: Manners,
    random: StdRng,
    names: Vec<String>,
    emails: Vec<String>,
    /// Of each node.
    apis: Vec<Api>,
    /// The last code that came to an address.
    used: BTreeMap<String, String>,
    /// Accounts that were made: id and token.
    own: Vec<(String, String)>,
}

impl Registrar {
    /// Registers one name for two addresses and verifies both at the same time, or one for one and verifies that twice, each over
    /// a node of its own.
    async fn pair(&mut self) {
        let at = self.random.random_range(0..self.apis.len());
        let (here, there) = (self.apis[at].clone(), self.apis[(at + 1) % self.apis.len()].clone());
        let name = self.names[self.random.random_range(0..FEW)].clone();
        let first = self.random.random_range(0..FEW);
        let second = (first + self.random.random_range(0..2)) % FEW;
        // The same name to the service.
        let loud = if self.random.random_bool(0.5) { name.to_uppercase() } else { name.clone() };
        let one = self.registered(&here, &self.emails[first].clone(), &name).await;
        let other = if first == second {
            one.clone()
        } else {
            self.registered(&there, &self.emails[second].clone(), &loud).await
        };
        let (load, patience) = (self.load.clone(), &self.manners);
        let verify = async |api: &Api, wanted: Option<Wanted>| match wanted {
            Some(wanted) => verified(&load, patience, api, wanted).await,
            None => None,
        };
        let (one, other) = tokio::join!(verify(&here, one), verify(&there, other));
        self.own.extend([one, other].into_iter().flatten());
    }

    /// Asks for a registration and reads its code; `None`: the name or the address is taken, or nothing came of it.
    async fn registered(&mut self, api: &Api, email: &str, name: &str) -> Option<Wanted> {
        let request = json!({"email": email, "username": name, "password": PASSWORD});
        let answer =
            call(&self.load, &self.manners, api, Method::POST, "/v1/auth/register", &request).await?;
        if answer.status != 202 {
            assert_eq!(answer.body["code"], "username_taken", "{}: {}", answer.call, answer.body);
            return None;
        }
        let path = format!("/dev/mailbox?to={email}");
        let until = self.load.now() + PATIENCE;
        while self.load.now() < until && !self.load.is_finishing() {
            let reading = tokio::time::timeout(self.manners.give_up, api.try_call(Method::GET, &path, None));
            if let Ok(Ok(answer)) = reading.await
                && answer.status == 200
                && let Some(newest) = answer.body["mails"].as_array().and_then(|mails| mails.first())
            {
                match code_in(newest) {
                    Some(code) if self.used.get(email) != Some(&code) => {
                        self.used.insert(email.to_owned(), code.clone());
                        return Some(Wanted { email: email.to_owned(), code });
                    }
                    // It is told that somebody has the address.
                    None if newest["subject"].as_str().is_some_and(|subject| subject.contains("already")) => {
                        return None;
                    }
                    _ => {}
                }
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        None
    }

    async fn delete_some(&mut self) {
        for (id, token) in std::mem::take(&mut self.own) {
            if self.random.random_bool(0.4) {
                self.own.push((id, token));
                continue;
            }
            let api = &self.apis[self.random.random_range(0..self.apis.len())];
            let api = api.with_token(&token);
            self.load.deed(Deed::DeletionAsked { id: id.clone() });
            let answer =
                call(&self.load, &self.manners, &api, Method::DELETE, "/v1/users/me", &Value::Null).await;
            // Else the session was lost with all others, or its end is all that is known.
            if answer.is_some_and(|answer| answer.status == 204) {
                self.load.deed(Deed::Deleted { id });
            }
        }
    }
}

/// A registration that waits for its code.
#[derive(Clone)]
struct Wanted {
    email: String,
    code: String,
}

/// The account that was made, if one was: id and token.
async fn verified(load: &Load, manners: &Manners, api: &Api, wanted: Wanted) -> Option<(String, String)> {
    let request = json!({"email": wanted.email, "code": wanted.code});
    let answer = call(load, manners, api, Method::POST, "/v1/auth/verify", &request).await?;
    if answer.status != 201 {
        // Somebody was faster, by name or by code, or its own first try was.
        let code = answer.body["code"].as_str().unwrap_or_default();
        let known = ["username_taken", "code_invalid", "too_many_attempts", "unavailable"];
        assert!(known.contains(&code), "{}: {} {}", answer.call, answer.status, answer.body);
        return None;
    }
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{}", answer.call)).to_owned();
    let (id, token) = (text(&answer.body["user"]["id"]), text(&answer.body["access_token"]));
    // A registration that was given up may have come late, with another name: the answer counts.
    let username = text(&answer.body["user"]["username"]);
    load.deed(Deed::Made { id: id.clone(), username, email: wanted.email });
    Some((id, token))
}

/// A call, again while it is not answered or answered `unavailable`, for some time.
async fn call(
    load: &Load,
    manners: &Manners,
    api: &Api,
    method: Method,
    path: &str,
    body: &Value,
) -> Option<Answer> {
    let until = load.now() + PATIENCE;
    loop {
        let calling = api.try_call(method.clone(), path, (!body.is_null()).then_some(body));
        let answer = tokio::time::timeout(manners.give_up, calling).await.ok().and_then(Result::ok);
        let said = answer.filter(|answer| answer.is_of_a_node() && answer.status != 503);
        if said.is_some() || load.now() >= until {
            return said;
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}
