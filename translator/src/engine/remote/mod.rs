//! Engines that are asked over HTTP.
//!
//! Here belong what each service wants to be asked and how its answers are read. Keys travel in headers wherever a service takes
//! them there, never in addresses; neither keys nor texts are in errors.

mod azure;
mod deepl;
mod google;
mod http;
mod libretranslate;

pub use azure::Azure;
pub use deepl::Deepl;
pub use google::Google;
pub use libretranslate::LibreTranslate;

use crate::{settings::RemoteSettings, text::Lang};

/// Which pairs a service is used for.
#[derive(Debug, Clone)]
struct Languages(Vec<Lang>);

impl Languages {
    fn new(settings: &RemoteSettings) -> Self {
        Self(settings.languages.split_whitespace().filter_map(Lang::parse).collect())
    }

    fn have(&self, source: Lang, target: Lang) -> bool {
        source != target && (self.0.is_empty() || (self.0.contains(&source) && self.0.contains(&target)))
    }
}
