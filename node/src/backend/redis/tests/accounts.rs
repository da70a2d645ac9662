//! What becomes of accounts when Redis goes away, and comes back empty.

use super::*;
use crate::{
    accounts::{Accounts, AccountsMetrics, AccountsSettings, LoggedIn, Registration},
    backend::embedded::{Mailbox, Store, StoreMetrics, StoreSettings, SystemClock},
};

#[tokio::test]
async fn who_is_here_goes_on_and_nobody_logs_in_until_it_is_back() {
    let Some(mut server) = Server::start(&[]) else { return };
    let redis = connected(settings(server.url())).await;
    let dir = tempfile::tempdir().unwrap();
    let stored = StoreSettings::default();
    let store = Store::open(dir.path(), &stored, StoreMetrics::register(&mut Registry::default())).unwrap();
    let mailbox = Arc::new(Mailbox::open(store.clone(), &stored, Arc::new(SystemClock)).await.unwrap());
    let accounts = Accounts::start(
        AccountsSettings { cache_seconds: 1, ..AccountsSettings::default() },
        store,
        redis.clone(),
        mailbox.clone(),
        AccountsMetrics::default(),
    )
    .await
    .unwrap();
    let (address, password) = ([127, 0, 0, 1].into(), || "wrong-horse-7-battery-staple".to_owned().into());
    let registration = Registration {
        email: "ada@example.com".to_owned(),
        username: "ada".to_owned(),
        password: password(),
        display_name: None,
        language: None,
    };
    accounts.register(&registration, address).await.unwrap();
    let mail = mailbox.list(None).remove(0).text;
    let is_code = |word: &&str| word.len() == 6 && word.bytes().all(|byte| byte.is_ascii_digit());
    let code = mail.split_whitespace().find(is_code).unwrap().to_owned();
    let session = accounts.verify("ada@example.com", &code.into(), address).await.unwrap();
    let me = accounts.authenticate(&session.access_token).await.unwrap();

    server.kill();
    wait(&redis, false).await;
    // Also when it is time to look again.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    accounts.authenticate(&session.access_token).await.expect("who is here goes on");
    let away = |status: u16| assert_eq!(status, 503);
    away(accounts.log_in("ada", &password(), address).await.err().unwrap().status);
    away(accounts.issue_ticket(&me, address).await.err().unwrap().status);
    away(accounts.refresh(&session.refresh_token.clone().into(), address).await.err().unwrap().status);
    away(accounts.forgot_password("ada@example.com", address).await.err().unwrap().status);

    server.restart();
    wait(&redis, true).await;
    let Ok(LoggedIn::Session(new)) = accounts.log_in("ada", &password(), address).await else {
        panic!("no code is asked for")
    };
    accounts.authenticate(&new.access_token).await.unwrap();
    // All is lost, so his old login has ended: he logs in again.
    let ended = accounts.refresh(&session.refresh_token.clone().into(), address).await.err().unwrap();
    assert_eq!((ended.status, ended.code), (401, "session_revoked"));
    let ended = accounts.authenticate(&session.access_token).await.err().unwrap();
    assert_eq!((ended.status, ended.code), (401, "session_revoked"));
}
