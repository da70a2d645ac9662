//! The translator: in this process, or over NATS.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use prost::Message as _;
use rookery_protocol::translator::{TranslateReply, TranslateRequest};
use rookery_translator::{
    engines, metrics::TranslatorMetrics, router::Translator, settings::TranslatorSettings, wire,
};

use super::away::Away;

/// Longer than a translator takes with several engines that are late.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Who is asked for translations.
#[async_trait]
pub trait Asked: Send + Sync {
    /// `None`: it is away.
    async fn translate(&self, request: TranslateRequest) -> Option<TranslateReply>;
}

/// A translator of this process, with the engines that are found on this machine.
pub struct InProcess {
    translator: Arc<OnceLock<Arc<Translator>>>,
}

impl InProcess {
    /// Begins to set engines up, which takes a moment; until then it is away. `None`: nothing is set up or installed. In a Tokio
    /// runtime.
    pub fn find(settings: &TranslatorSettings, metrics: TranslatorMetrics) -> Option<Self> {
        if !engines::may_be_there(settings) {
            tracing::info!("no translation engine is set up or installed: nothing is translated");
            return None;
        }
        let translator = Arc::new(OnceLock::new());
        let (ready, settings) = (translator.clone(), settings.clone());
        tokio::spawn(async move {
            match engines::set_up(&settings).await {
                Ok(engines) if engines.is_empty() => tracing::warn!("no engine works: nothing is translated"),
                Ok(engines) => {
                    let _ = ready.set(Translator::new(engines, &settings, None, metrics));
                }
                Err(why) => tracing::error!(why, "nothing is translated"),
            }
        });
        Some(Self { translator })
    }
}

#[async_trait]
impl Asked for InProcess {
    async fn translate(&self, request: TranslateRequest) -> Option<TranslateReply> {
        wire::answer(self.translator.get()?, &request).await.ok()
    }
}

/// The cluster's translators.
pub struct OverNats {
    client: async_nats::Client,
    subject: String,
    away: Away,
}

impl OverNats {
    /// Those that serve this cluster.
    pub fn new(client: async_nats::Client, cluster: &str) -> Self {
        Self { client, subject: rookery_translator::serve::subject(cluster), away: Away::new() }
    }
}

#[async_trait]
impl Asked for OverNats {
    async fn translate(&self, request: TranslateRequest) -> Option<TranslateReply> {
        // Each message would be a request, again and again, that the servers of NATS answer in vain: chat would pay for it.
        if !self.away.may_ask(Instant::now()) {
            return None;
        }
        let asked = async_nats::Request::new().payload(request.encode_to_vec().into()).timeout(Some(TIMEOUT));
        let Ok(answer) = self.client.send_request(self.subject.clone(), asked).await else {
            self.away.goes_on(Instant::now());
            return None;
        };
        self.away.is_over();
        if answer.headers.is_some_and(|headers| headers.get("Nats-Service-Error").is_some()) {
            return None;
        }
        TranslateReply::decode(&answer.payload[..]).ok()
    }
}
