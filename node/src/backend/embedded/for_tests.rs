//! For tests of what stands on these backends.

use std::{path::Path, sync::Arc, time::Duration};

use prometheus_client::registry::Registry;

use super::{Mailbox, OpenError, Store, StoreMetrics, StoreSettings};

/// Opens the store, once a former holder has let go of it.
pub(crate) async fn open_when_free(dir: &Path, settings: &StoreSettings) -> Arc<Store> {
    let metrics = StoreMetrics::register(&mut Registry::default());
    let let_go = async {
        loop {
            match Store::open(dir, settings, metrics.clone()) {
                Err(OpenError::Locked { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
                opened => break opened.unwrap(),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), let_go).await.expect("it is let go of")
}

/// The code of the newest mail to an address that has one.
pub(crate) fn code(mailbox: &Mailbox, to: &str) -> String {
    let is_code = |word: &&str| (6..=8).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_digit());
    let mails = mailbox.list(Some(to));
    let code = mails.iter().find_map(|mail| mail.text.split_whitespace().find(is_code));
    code.expect("a mail with a code").to_owned()
}
