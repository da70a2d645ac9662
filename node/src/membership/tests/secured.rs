//! An etcd that asks who one is: certificates, users, roles.

use std::path::Path;

use etcd_client::{
    Certificate, Client, ConnectOptions, Identity, Permission, PermissionType, TlsOptions, UserAddOptions,
};
use rookery_testbed::{EtcdOptions, certificates};

use super::*;

/// One member that serves by TLS alone. `None`, said loudly, where something is not installed.
fn secured(dir: &Path, extra: &[&str]) -> Option<EtcdCluster> {
    if !certificates(dir, "IP:127.0.0.1") {
        return None;
    }
    let extra = extra.iter().map(ToString::to_string).collect();
    let options = EtcdOptions { members: 1, tls: Some(dir.to_owned()), extra, ..EtcdOptions::default() };
    block_in_place(|| EtcdCluster::start(&options))
}

fn settings(etcd: &EtcdCluster, dir: &Path) -> EtcdSettings {
    EtcdSettings {
        endpoints: etcd.endpoints(),
        tls_ca: Some(dir.join("ca.pem")),
        tls_cert: Some(dir.join("cert.pem")),
        tls_key: Some(dir.join("key.pem")),
        relist_seconds: 1,
        ..EtcdSettings::default()
    }
}

fn begin(name: &str, etcd: &EtcdSettings) -> Membership {
    assert_eq!(etcd.check(), []);
    let me = Me { name: name.into(), address: format!("{name}:7070") };
    Membership::start(me, &ClusterSettings::default(), etcd, MembershipMetrics::default()).unwrap()
}

/// It becomes a member, and may claim.
async fn joins(name: &str, etcd: &EtcdSettings) -> Membership {
    let node = begin(name, etcd);
    tokio::time::timeout(PATIENCE, node.joined()).await.expect("it joins in time").unwrap();
    node.set_state(MemberState::Active);
    assert!(node.is(MemberState::Active, PATIENCE).await);
    claims(&node).await;
    node
}

/// It goes on trying, and says why in vain.
async fn is_kept_out(etcd: &EtcdSettings) -> String {
    let node = begin("stranger", etcd);
    let mut standing = node.standing();
    let failing = standing.wait_for(|now| now.failing.is_some() || now.incarnation.is_some());
    let now = tokio::time::timeout(PATIENCE, failing).await.expect("it says so in time").unwrap().clone();
    assert_eq!((now.incarnation, &now.refused), (None, &None), "it is not let in, and does not end");
    now.failing.unwrap()
}

async fn is_refused(etcd: &EtcdSettings) -> String {
    let node = begin("stranger", etcd);
    let refused = tokio::time::timeout(PATIENCE, node.joined()).await.expect("it gives up in time");
    let why = refused.unwrap_err();
    assert!(matches!(why, Refused::Credentials { .. }), "{why:?}");
    why.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_and_etcd_know_each_other_by_certificates() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some(etcd) = secured(dir.path(), &[]) else { return };
    assert!(certificates(other.path(), "IP:127.0.0.1"));
    let known = settings(&etcd, dir.path());
    let node = joins("one", &known).await;
    sees(&node, "one", active).await;

    let other = |name: &str| Some(other.path().join(name));
    let endpoint = etcd.endpoints().remove(0);
    for (why, wrong) in [
        ("etcd's authority is another one", EtcdSettings { tls_ca: other("ca.pem"), ..known.clone() }),
        ("no certificate", EtcdSettings { tls_cert: None, tls_key: None, ..known.clone() }),
        (
            "a certificate of another authority",
            EtcdSettings { tls_cert: other("cert.pem"), tls_key: other("key.pem"), ..known.clone() },
        ),
        (
            "no TLS",
            EtcdSettings {
                endpoints: vec![endpoint.replace("https", "http")],
                tls_ca: None,
                tls_cert: None,
                tls_key: None,
                ..known.clone()
            },
        ),
    ] {
        let told = is_kept_out(&wrong).await;
        assert!(told.starts_with(&wrong.endpoints[0]), "{why}: {told}");
        // What etcd thinks of a node's certificate it says in its own log: it hangs up.
        let named = told.contains("certificate") || wrong.tls_ca != other("ca.pem");
        assert!(named, "{why}: {told}");
    }
    let missing = EtcdSettings { tls_ca: other("nowhere.pem"), ..known };
    let me = Me { name: "two".into(), address: "two:7070".into() };
    let started = Membership::start(me, &ClusterSettings::default(), &missing, MembershipMetrics::default());
    let why = started.err().unwrap().to_string();
    assert!(why.contains("cannot read") && why.contains("nowhere.pem"), "{why}");
}

/// Users `root`, who may do everything, and two who may do so below one prefix each; etcd asks for them from then on.
async fn with_users(etcd: &EtcdCluster, dir: &Path) {
    let file = |name: &str| std::fs::read(dir.join(name)).unwrap();
    let tls = TlsOptions::new()
        .ca_certificate(Certificate::from_pem(file("ca.pem")))
        .identity(Identity::from_pem(file("cert.pem"), file("key.pem")));
    let mut admin =
        Client::connect(etcd.endpoints(), Some(ConnectOptions::new().with_tls(tls))).await.unwrap();
    for (user, password, prefix) in [
        ("root", "of all", None),
        ("rookery", "let me in", Some("/rookery/rookery/")),
        ("elsewhere", "let me in", Some("/rookery/other/")),
    ] {
        admin.user_add(user, password, None::<UserAddOptions>).await.unwrap();
        admin.role_add(user).await.unwrap();
        if let Some(prefix) = prefix {
            let all = Permission::new(PermissionType::Readwrite, prefix).with_prefix();
            admin.role_grant_permission(user, all).await.unwrap();
        }
        admin.user_grant_role(user, user).await.unwrap();
    }
    admin.auth_enable().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_do_no_more_than_needed_is_enough() {
    let dir = tempfile::tempdir().unwrap();
    // Tokens live for a second: they must be renewed.
    let Some(etcd) = secured(dir.path(), &["--auth-token-ttl=1"]) else { return };
    with_users(&etcd, dir.path()).await;
    let nobody = settings(&etcd, dir.path());
    let password = || "let me in".to_owned().into();
    let known = EtcdSettings { username: "rookery".into(), password: password(), ..nobody.clone() };
    let one = joins("one", &known).await;
    let two = joins("two", &known).await;
    sees(&one, "two", active).await;

    let wrong = EtcdSettings { password: "hush".to_owned().into(), ..known.clone() };
    let told = is_refused(&wrong).await;
    assert!(
        told.contains("refuses the user \"rookery\"") && told.contains("authentication failed"),
        "{told}"
    );
    assert!(!told.contains("hush"), "{told}");
    let elsewhere = EtcdSettings { username: "elsewhere".into(), ..known.clone() };
    let told = is_refused(&elsewhere).await;
    assert!(told.contains("\"elsewhere\"") && told.contains("permission denied"), "{told}");
    let told = is_refused(&nobody).await;
    assert!(told.contains("etcd refuses"), "{told}");

    // It goes on for longer than tokens live, also when etcd has forgotten all of them.
    let before = incarnation(&one);
    tokio::time::sleep(Duration::from_secs(2)).await;
    two.set_state(MemberState::Draining);
    sees(&one, "two", |two| two.is_some_and(|two| two.state == MemberState::Draining)).await;
    block_in_place(|| etcd.restart(0));
    claims(&one).await;
    two.set_state(MemberState::Active);
    sees(&one, "two", active).await;
    assert!(incarnation(&one) >= before);
    assert!(two.leave(PATIENCE).await, "it may give its own lease back");
    sees(&one, "two", |two| two.is_none()).await;
}
