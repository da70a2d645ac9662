//! A node's HTTP with accounts on a real store in a directory of its own.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::{Answer, send};
use crate::{
    accounts::{Accounts, AccountsMetrics, AccountsSettings, Limit, LimitSettings},
    backend::{
        MailJob, Outbox, Unavailable,
        embedded::{
            Clock, EmbeddedReminders, Mailbox, Store, StoreSettings, SystemClock, Ttl,
            for_tests::{code, open_when_free},
        },
    },
    edge::{App, http::HttpSettings},
    notices::{self, NoticesMetrics, NoticesSettings},
};

/// The machine's clock, so many milliseconds ahead.
#[derive(Default)]
struct Ahead(AtomicU64);

impl Clock for Ahead {
    fn now_ms(&self) -> u64 {
        SystemClock.now_ms() + self.0.load(Ordering::SeqCst)
    }
}

/// What standalone has below accounts.
struct Backends {
    store: Arc<Store>,
    ephemeral: Arc<Ttl>,
    mailbox: Arc<Mailbox>,
}

impl Backends {
    /// Opens the store, once a former holder has let go of it.
    async fn open(dir: &Path, clock: Arc<Ahead>) -> Self {
        let settings = StoreSettings::default();
        let store = open_when_free(dir, &settings).await;
        let ephemeral = Ttl::open(store.clone(), &settings, clock).await.unwrap();
        let mailbox = Mailbox::open(store.clone(), &settings, Arc::new(SystemClock)).await.unwrap();
        Self { store, ephemeral: Arc::new(ephemeral), mailbox: Arc::new(mailbox) }
    }
}

/// The jobs that go into the mailbox, whole.
pub(super) struct Jobs {
    mailbox: Arc<Mailbox>,
    seen: parking_lot::Mutex<Vec<MailJob>>,
}

#[async_trait]
impl Outbox for Jobs {
    async fn enqueue(&self, job: MailJob) -> Result<(), Unavailable> {
        self.seen.lock().push(job.clone());
        self.mailbox.enqueue(job).await
    }
}

/// A node's HTTP.
pub(super) struct World {
    pub(super) at: SocketAddr,
    pub(super) app: Arc<App>,
    pub(super) accounts: Arc<Accounts>,
    mailbox: Arc<Mailbox>,
    notices: Arc<Jobs>,
    server: tokio::task::JoinHandle<()>,
    _notices: notices::Running,
    clock: Arc<Ahead>,
    dir: Arc<TempDir>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Settings without rate limits.
pub(super) fn unlimited() -> AccountsSettings {
    let off = Limit::OFF;
    let limits = LimitSettings {
        register_per_address: off,
        register_per_account: off,
        verify_per_account: off,
        resend_per_account: off,
        login_per_address: off,
        login_per_account: off,
        login_verify_per_account: off,
        forgot_per_account: off,
        reset_per_account: off,
        ..LimitSettings::default()
    };
    AccountsSettings { limits, ..AccountsSettings::default() }
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with(unlimited(), HttpSettings::default()).await
    }

    pub(super) async fn with(settings: AccountsSettings, http: HttpSettings) -> Self {
        Self::telling(settings, http, NoticesSettings { enabled: false, ..NoticesSettings::default() }).await
    }

    /// With mails about what is unread.
    pub(super) async fn telling(
        settings: AccountsSettings,
        http: HttpSettings,
        notices: NoticesSettings,
    ) -> Self {
        Self::on(Arc::new(TempDir::new().unwrap()), settings, http, notices).await
    }

    /// Stops, and starts again on the same store.
    pub(super) async fn restart(self, settings: AccountsSettings) -> Self {
        let dir = self.dir.clone();
        drop(self);
        let notices = NoticesSettings { enabled: false, ..NoticesSettings::default() };
        Self::on(dir, settings, HttpSettings::default(), notices).await
    }

    async fn on(
        dir: Arc<TempDir>,
        settings: AccountsSettings,
        http: HttpSettings,
        notices: NoticesSettings,
    ) -> Self {
        let clock = Arc::<Ahead>::default();
        let Backends { store, ephemeral, mailbox } = Backends::open(dir.path(), clock.clone()).await;
        let metrics = AccountsMetrics::default();
        let rooms = crate::rooms::Rooms::start(
            crate::rooms::RoomsSettings::default(),
            "node <1>",
            &rookery_core::ring::View::alone("node <1>"),
            store.clone(),
            store.clone(),
            crate::rooms::RoomsMetrics::default(),
        );
        let accounts = Accounts::start(settings, store.clone(), ephemeral.clone(), mailbox.clone(), metrics)
            .await
            .unwrap();
        let reminders = EmbeddedReminders::open(store, Arc::new(SystemClock)).await.unwrap();
        let jobs = Arc::new(Jobs { mailbox: mailbox.clone(), seen: parking_lot::Mutex::default() });
        let sources = notices::Sources {
            accounts: accounts.clone(),
            rooms: Arc::clone(&rooms),
            reminders: Arc::new(reminders),
            ephemeral,
            outbox: jobs.clone(),
            public_url: http.public_url.clone(),
        };
        let running = notices::start(notices, sources, NoticesMetrics::register(&mut Registry::default()));
        let app = Arc::new(App {
            node: "node <1>".to_owned(),
            accounts: accounts.clone(),
            rooms,
            hub: Arc::default(),
            http,
            mailbox: Some(mailbox.clone()),
            translation: None,
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let service = super::super::router(app.clone()).into_make_service_with_connect_info::<SocketAddr>();
        let server = tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
        Self { at, app, accounts, mailbox, notices: jobs, server, _notices: running, clock, dir }
    }

    /// So much time passes for what is kept for a while: codes, tickets, logins.
    pub(super) fn pass(&self, time: Duration) {
        self.clock.0.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Answer {
        send(self.at, "POST", path, &["content-type: application/json"], &body.to_string()).await
    }

    /// A call with an access token; no body where `body` is null.
    pub(super) async fn call(&self, token: &str, method: &str, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let token = format!("authorization: Bearer {token}");
        send(self.at, method, path, &["content-type: application/json", &token], &body).await
    }

    /// The subjects of the mails to an address, newest first.
    pub(super) fn subjects(&self, to: &str) -> Vec<String> {
        self.mailbox.list(Some(to)).into_iter().map(|mail| mail.subject).collect()
    }

    /// The newest mail to an address with this subject.
    pub(super) fn mail(&self, to: &str, subject: &str) -> Option<String> {
        self.mailbox.list(Some(to)).into_iter().find(|mail| mail.subject == subject).map(|mail| mail.text)
    }

    /// The jobs of notices so far.
    pub(super) fn notices(&self) -> Vec<MailJob> {
        self.notices.seen.lock().clone()
    }

    /// The mails to an address, newest first: all that they say.
    pub(super) fn mails(&self, to: &str) -> Vec<String> {
        let all = self.mailbox.list(Some(to)).into_iter();
        all.map(|mail| format!("{}\n{}", mail.subject, mail.text)).collect()
    }

    /// The code of the newest mail with one.
    pub(super) fn code(&self, to: &str) -> String {
        code(&self.mailbox, to)
    }

    /// Registers a user whose e-mail is `NAME@example.org` and answers the session.
    pub(super) async fn user(&self, name: &str) -> Value {
        let email = format!("{name}@example.org");
        let body = json!({ "email": email, "username": name, "password": PASSWORD });
        self.post("/v1/auth/register", body).await.accepted(202);
        let body = json!({ "email": email, "code": self.code(&email) });
        self.post("/v1/auth/verify", body).await.accepted(201)
    }

    pub(super) async fn log_in(&self, login: &str) -> Answer {
        self.post("/v1/auth/login", json!({ "login": login, "password": PASSWORD })).await
    }
}

pub(super) const PASSWORD: &str = "correct horse battery";

/// A code that is not this one.
pub(super) fn other(code: &str) -> String {
    let first = if code.starts_with('1') { "2" } else { "1" };
    format!("{first}{}", &code[1..])
}
