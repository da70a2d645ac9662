//! On a real store that does not answer once: what was begun can be ended by asking again.

use std::sync::atomic::{AtomicU8, Ordering};

use tempfile::TempDir;

use super::*;
use crate::backend::{
    Entry, Expect, Row, Table, Unavailable, Written,
    embedded::{
        Mailbox, Store, StoreSettings, SystemClock, Ttl,
        for_tests::{code, open_when_free},
    },
};

/// What becomes of the next write, and of that one only.
const DONE: u8 = 0;
/// It is not done.
const REFUSED: u8 = 1;
/// It is done, and nobody hears of it.
const UNHEARD: u8 = 2;
/// It conflicts with an earlier one that was done while it was looked for what it conflicts with: the rows before the last were not there
/// yet.
const CROSSED: u8 = 3;

struct Flaky {
    store: Arc<Store>,
    next: AtomicU8,
}

#[async_trait::async_trait]
impl Rows for Flaky {
    async fn get(&self, table: Table, key: &[u8]) -> Result<Option<Entry>, Unavailable> {
        self.store.get(table, key).await
    }

    async fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, Unavailable> {
        self.store.scan(table, prefix, after, limit).await
    }

    async fn write(&self, writes: Vec<(Row, Expect)>) -> Result<Written, Unavailable> {
        let next = self.next.swap(DONE, Ordering::SeqCst);
        if next == REFUSED {
            return Err(Unavailable("it is away".into()));
        }
        let last = writes.len() - 1;
        let written = Rows::write(&*self.store, writes).await?;
        if next == CROSSED {
            assert!(matches!(written, Written::Conflict(_)), "{written:?}");
            return Ok(Written::Conflict(last));
        }
        if next == UNHEARD { Err(Unavailable("it does not answer".into())) } else { Ok(written) }
    }
}

struct World {
    accounts: Arc<Accounts>,
    rows: Arc<Flaky>,
    mailbox: Arc<Mailbox>,
    _dir: TempDir,
}

const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

impl World {
    async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let settings = StoreSettings::default();
        let store = open_when_free(dir.path(), &settings).await;
        let ttl = Arc::new(Ttl::open(store.clone(), &settings, Arc::new(SystemClock)).await.unwrap());
        let mailbox = Arc::new(Mailbox::open(store.clone(), &settings, Arc::new(SystemClock)).await.unwrap());
        let rows = Arc::new(Flaky { store, next: AtomicU8::new(DONE) });
        let (settings, metrics) = (AccountsSettings::default(), AccountsMetrics::default());
        let accounts = Accounts::start(settings, rows.clone(), ttl, mailbox.clone(), metrics).await.unwrap();
        Self { accounts, rows, mailbox, _dir: dir }
    }

    fn next_write(&self, what: u8) {
        self.rows.next.store(what, Ordering::SeqCst);
    }

    async fn register(&self, name: &str) {
        let registration = Registration {
            email: format!("{name}@example.org"),
            username: name.to_owned(),
            password: "correct horse battery".to_owned().into(),
            display_name: None,
            language: None,
        };
        self.accounts.register(&registration, ADDRESS).await.unwrap();
    }

    async fn verify(&self, name: &str, code: &str) -> Result<Session, Problem> {
        self.accounts.verify(&format!("{name}@example.org"), &code.to_owned().into(), ADDRESS).await
    }

    fn code(&self, name: &str) -> String {
        code(&self.mailbox, &format!("{name}@example.org"))
    }
}

#[tokio::test]
async fn a_registration_whose_account_could_not_be_stored_is_ended_by_the_same_code() {
    let world = World::new().await;
    for (name, becomes) in [("ada", REFUSED), ("bob", UNHEARD)] {
        world.register(name).await;
        let code = world.code(name);
        world.next_write(becomes);
        assert_eq!(world.verify(name, &code).await.err().unwrap().code, "unavailable");
        let session = world.verify(name, &code).await.unwrap();
        assert_eq!(world.accounts.authenticate(&session.access_token).await.unwrap().profile.username, name);
        assert_eq!(world.verify(name, &code).await.err().unwrap().code, "code_invalid", "it is used up");
    }
}

#[tokio::test]
async fn a_registration_that_was_stored_while_it_was_tried_again_is_ended() {
    let world = World::new().await;
    world.register("ada").await;
    let code = world.code("ada");
    world.next_write(UNHEARD);
    assert_eq!(world.verify("ada", &code).await.err().unwrap().code, "unavailable");
    world.next_write(CROSSED);
    world.verify("ada", &code).await.unwrap();
}

#[tokio::test]
async fn a_code_sent_again_ends_what_the_one_before_has_begun() {
    let world = World::new().await;
    world.register("ada").await;
    world.next_write(UNHEARD);
    assert_eq!(world.verify("ada", &world.code("ada")).await.err().unwrap().code, "unavailable");
    world.accounts.resend("ada@example.org", ADDRESS).await.unwrap();
    world.verify("ada", &world.code("ada")).await.unwrap();
}

#[tokio::test]
async fn a_password_that_could_not_be_changed_is_changed_by_the_same_code() {
    let world = World::new().await;
    world.register("ada").await;
    world.verify("ada", &world.code("ada")).await.unwrap();
    for becomes in [REFUSED, UNHEARD] {
        world.accounts.forgot_password("ada@example.org", ADDRESS).await.unwrap();
        let (code, new) =
            (Secret::from(world.code("ada")), Secret::from(format!("another password {becomes}")));
        world.next_write(becomes);
        let reset = async || world.accounts.reset_password("ada@example.org", &code, &new, ADDRESS).await;
        assert_eq!(reset().await.unwrap_err().code, "unavailable");
        reset().await.unwrap();
        assert_eq!(reset().await.unwrap_err().code, "code_invalid", "it is used up");
    }
}
