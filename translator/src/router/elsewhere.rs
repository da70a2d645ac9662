//! Equal requests under way at several translators: one of them asks an engine, the others wait for what it puts into the cache they
//! share. Without Redis, or when it does not answer, each asks for itself.

use std::{sync::Arc, time::Duration};

use super::{cache::Key, shared::SharedStore};

/// Whoever waits looks this often, at first and later.
const LOOKS: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(100)];

/// See the module's text.
pub(super) struct Elsewhere {
    shared: Option<SharedStore>,
    /// A translator that died keeps nobody waiting for longer.
    life: Duration,
}

/// A claim to ask. If it is not given back, it ends by itself.
pub(super) struct Claim(Option<(SharedStore, String, Arc<str>)>);

impl Elsewhere {
    /// Nobody waits for another translator for longer than `life`.
    pub(super) fn new(shared: Option<SharedStore>, life: Duration) -> Self {
        Self { shared, life }
    }

    fn name(key: &Key) -> String {
        format!("flight:{}", key.name())
    }

    /// Claims what has this key; `None`: another translator is at it.
    pub(super) async fn claim(&self, key: &Key) -> Option<Claim> {
        let Some(shared) = self.shared.as_ref().filter(|shared| shared.is_well()) else {
            return Some(Claim(None));
        };
        let (name, token) = (Self::name(key), rand::random::<u128>().to_string());
        match shared.claim(&name, &token, self.life).await {
            Some(true) => Some(Claim(Some((shared.clone(), name, token.into())))),
            Some(false) => None,
            None => Some(Claim(None)),
        }
    }

    /// Waits a little, and says whether another translator is still at it then. `looks`: how often was looked; `begun`: since when is waited.
    pub(super) async fn is_claimed(&self, key: &Key, looks: u32, begun: tokio::time::Instant) -> bool {
        let Some(shared) = self.shared.as_ref().filter(|_| begun.elapsed() < self.life) else { return false };
        tokio::time::sleep(LOOKS[usize::from(looks > 10)]).await;
        let found = shared.get(&[Self::name(key)]).await;
        matches!(&found[..], [Some(_)])
    }
}

impl Claim {
    /// What was claimed is in the cache, or is not to be had.
    pub(super) async fn end(self) {
        if let Some((shared, name, token)) = self.0 {
            shared.release(&name, &token).await;
        }
    }
}
