//! Logins by an external issuer, through all nodes.

use futures_util::future::join_all;
use rookery_e2e::{eventually, http::Api};
use rookery_testbed::{Issuer, IssuerKey, KeyKind, Mood};
use serde_json::{Value, json};

use crate::support::{options, start};

#[tokio::test(flavor = "multi_thread")]
async fn one_person_is_one_user_at_all_nodes() {
    let key = IssuerKey::new("one", KeyKind::P256);
    let issuer = Issuer::start(&[&key]);
    let mut options = options();
    let setting = |name: &str, value: &str| {
        (format!("ROOKERY_ACCOUNTS__EXTERNAL_ISSUERS__ACME__{name}"), value.to_owned())
    };
    options.settings.push(setting("URL", issuer.url()));
    options.settings.push(setting("AUDIENCES", "[\"chat-web\"]"));
    let Some(cluster) = start(&options) else { return };
    let nodes: Vec<_> = cluster.nodes().iter().map(|node| Api::new(&node.url())).collect();
    let enter = async |node: usize, token: &str| {
        let body = json!({"id_token": token});
        nodes[node].post("/v1/auth/external", body).await
    };

    // She logs in everywhere at once, and nobody has known her before.
    let tokens: Vec<_> = (0..6).map(|_| key.sign(&issuer.claims("ada"))).collect();
    let all = join_all(tokens.iter().enumerate().map(|(n, token)| enter(n % 3, token))).await;
    let entered: Vec<_> = all
        .into_iter()
        // Who looks while she is being made may have to try again.
        .filter(|answer| answer.status != 503)
        .map(|answer| {
            assert!(matches!(answer.status, 200 | 201), "{answer:?}");
            answer.body
        })
        .collect();
    let id = entered.first().expect("one of them has made her")["user"]["id"].clone();
    assert!(entered.iter().all(|session| session["user"]["id"] == id), "{entered:?}");

    // A token that was used at one node is used everywhere, and what a session may do it may do everywhere.
    let token = key.sign(&issuer.claims("ada"));
    let session = eventually("she is let in", async || {
        let answer = enter(0, &token).await;
        (answer.status != 503).then(|| answer.is(200))
    })
    .await;
    assert_eq!(session["user"]["id"], id);
    for (number, node) in nodes.iter().enumerate().skip(1) {
        enter(number, &token).await.problem(401, "id_token_invalid");
        let me = node.with_token(session["access_token"].as_str().expect("a token"));
        let list = me.get("/v1/users/me/identities").await.is(200);
        assert_eq!(list["identities"][0]["issuer"], "acme", "{list}");
    }

    // While the issuer is away, those who have its keys go on.
    issuer.is(Mood::Silent);
    let opened = enter(1, &key.sign(&issuer.claims("ada"))).await.is(200);
    assert_eq!(opened["user"]["id"], id);

    // Taken away at one node, it opens nothing at the others.
    let me = nodes[1].with_token(opened["access_token"].as_str().expect("a token"));
    let list: Value = me.get("/v1/users/me/identities").await.is(200);
    let path = format!("/v1/users/me/identities/{}", list["identities"][0]["id"].as_str().expect("an id"));
    me.delete(&path).await.success();
    eventually("it opens nothing", async || {
        let answer = enter(2, &key.sign(&issuer.claims("ada"))).await;
        (answer.status == 409).then(|| answer.problem(409, "email_taken"))
    })
    .await;
}
