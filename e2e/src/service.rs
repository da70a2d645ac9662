//! What the tests talk to: a server of their own, or the nodes that the environment names.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use rookery_testbed::{Cluster, Node, Smtp};
use serde_json::Value;

use crate::{
    cluster, eventually,
    http::Api,
    server::{self, Options, Server},
};

/// Addresses of one service, of one node or more.
pub struct Service {
    urls: Vec<String>,
    mailbox: Mailbox,
    management: Vec<String>,
    next: AtomicUsize,
}

/// Where its mails are read.
enum Mailbox {
    /// At `/dev/mailbox` of this URL.
    Page(String),
    /// With the server that its mailer sends them to.
    Smtp(Arc<Smtp>),
}

impl Service {
    /// The service that all tests of this process share: the nodes of `ROOKERY_E2E_URLS`, a cluster when
    /// `ROOKERY_E2E_CLUSTER` asks for one, or one server started for them.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Service> = OnceLock::new();
        SHARED.get_or_init(|| {
            let named = Self::from_environment().or_else(|| cluster::shared().map(Self::of_cluster));
            named.unwrap_or_else(|| started(Options::generous()))
        })
    }

    /// A second one (of a cluster, a further node) with short times and low limits, for tests that run into them. `None` if the environment
    /// names the service: its settings are not ours.
    pub fn strict() -> Option<&'static Self> {
        static STRICT: OnceLock<Option<Service>> = OnceLock::new();
        STRICT.get_or_init(|| (!is_external()).then(|| started(Options::strict()))).as_ref()
    }

    /// One server.
    pub fn of(server: &Server) -> Self {
        Self {
            urls: vec![server.url()],
            mailbox: Mailbox::Page(server.url()),
            management: vec![server.management_url()],
            next: AtomicUsize::new(0),
        }
    }

    /// One node of a cluster. Its mails are read there, too.
    pub fn of_node(node: &Node) -> Self {
        Self {
            urls: vec![node.url()],
            mailbox: Mailbox::Page(node.url()),
            management: vec![node.management_url()],
            next: AtomicUsize::new(0),
        }
    }

    /// The nodes of a cluster.
    pub fn of_cluster(cluster: &Cluster) -> Self {
        show_log_at_panic(cluster.nodes().iter().map(|node| node.process().log().to_owned()).collect());
        Self {
            mailbox: Mailbox::Page(cluster.nodes()[0].url()),
            management: cluster.nodes().iter().map(Node::management_url).collect(),
            urls: cluster.urls(),
            next: AtomicUsize::new(0),
        }
    }

    /// What is behind this URL, sending its mails to that server.
    pub fn with_smtp(url: &str, smtp: Arc<Smtp>) -> Self {
        Self {
            urls: vec![url.to_owned()],
            mailbox: Mailbox::Smtp(smtp),
            management: Vec::new(),
            next: AtomicUsize::new(0),
        }
    }

    /// What is behind this URL, showing its mails there.
    pub fn with_mailbox(url: &str) -> Self {
        Self {
            urls: vec![url.to_owned()],
            mailbox: Mailbox::Page(url.to_owned()),
            management: Vec::new(),
            next: AtomicUsize::new(0),
        }
    }

    fn from_environment() -> Option<Self> {
        let list = |name: &str| -> Vec<String> {
            let text = std::env::var(name).unwrap_or_default();
            text.split(',')
                .map(|url| url.trim().trim_end_matches('/').to_owned())
                .filter(|url| !url.is_empty())
                .collect()
        };
        let urls = list("ROOKERY_E2E_URLS");
        let first = urls.first()?.clone();
        Some(Self {
            mailbox: Mailbox::Page(list("ROOKERY_E2E_MAILBOX").pop().unwrap_or(first)),
            management: list("ROOKERY_E2E_MANAGEMENT"),
            urls,
            next: AtomicUsize::new(0),
        })
    }

    /// Base URL of a node; each call names the next one, so that a test with several clients uses several nodes.
    pub fn url(&self) -> &str {
        &self.urls[self.next.fetch_add(1, Ordering::Relaxed) % self.urls.len()]
    }

    /// Management URLs, as far as they are known.
    pub fn management(&self) -> &[String] {
        &self.management
    }

    /// Calls by nobody in particular.
    pub fn api(&self) -> Api {
        Api::new(self.url())
    }

    /// All mails to an address, oldest first.
    pub async fn mails(&self, to: &str) -> Vec<Value> {
        let page = match &self.mailbox {
            Mailbox::Page(page) => page,
            Mailbox::Smtp(smtp) => {
                let is_his =
                    |mail: &Value| mail["to"].as_array().is_some_and(|all| all.iter().any(|one| one == to));
                return smtp.mails().into_iter().filter(is_his).collect();
            }
        };
        let path = format!("/dev/mailbox?to={}", to.replace('+', "%2B"));
        let body = Api::new(page).get(&path).await.is(200);
        let mut mails = body["mails"].as_array().expect("the mailbox lists mails").clone();
        mails.sort_by(|a, b| a["ts"].as_str().cmp(&b["ts"].as_str()));
        mails
    }

    /// The newest mail to an address, once there are at least `count`.
    pub async fn mail(&self, to: &str, count: usize) -> Value {
        eventually(&format!("mail {count} to {to}"), async || {
            let mut mails = self.mails(to).await;
            if mails.len() >= count { mails.pop() } else { None }
        })
        .await
    }

    /// The code in the newest mail to an address, once there are at least `count` mails.
    pub async fn code(&self, to: &str, count: usize) -> String {
        let mail = self.mail(to, count).await;
        code_in(&mail).unwrap_or_else(|| panic!("no code of 6-8 digits in {mail}"))
    }
}

/// Whether the environment names the service, so that tests cannot kill it or choose its settings.
pub fn is_external() -> bool {
    std::env::var_os("ROOKERY_E2E_URLS").is_some_and(|urls| !urls.is_empty())
}

/// The first number of 6 to 8 digits in a mail's text.
pub fn code_in(mail: &Value) -> Option<String> {
    mail["text"]
        .as_str()?
        .split(|c: char| !c.is_ascii_alphanumeric())
        .find(|word| (6..=8).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_digit()))
        .map(str::to_owned)
}

/// Starts a server that lives as long as this process.
fn started(options: Options) -> Service {
    static KEPT: Mutex<Vec<Server>> = Mutex::new(Vec::new());
    let server = Server::start(options);
    show_log_at_panic(vec![server.log()]);
    let service = Service::of(&server);
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).push(server);
    service
}

/// Servers that are shared by many tests show their last lines under each that fails.
#[allow(clippy::print_stderr)]
fn show_log_at_panic(logs: Vec<PathBuf>) {
    static SHOWN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let mut shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let logs: Vec<PathBuf> = logs.into_iter().filter(|log| shown.insert(log.clone())).collect();
    if logs.is_empty() {
        return;
    }
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        before(panic);
        for log in &logs {
            eprintln!("--- the last lines of {}\n{}", log.display(), server::log_tail(log, 30));
        }
    }));
}
