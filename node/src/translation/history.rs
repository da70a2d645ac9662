//! Translations of what was said before, for whoever asks.

use std::time::Duration;

use futures_util::{StreamExt as _, stream::iter};
use rookery_protocol::{client, translator::missing::Reason};

use super::Translation;

/// Messages of one page that are asked for at the same time.
const AT_ONCE: usize = 16;
/// A page is not kept longer than this by its translations.
const PATIENCE: Duration = Duration::from_secs(10);

/// Puts translations into messages where there are some. Says whether all were there that there could be.
pub async fn translate_page(
    translation: &Translation,
    messages: &mut [client::Message],
    language: &str,
) -> bool {
    let wanted: Vec<_> = messages
        .iter()
        .enumerate()
        .filter(|(_, message)| !message.text.is_empty())
        .map(|(at, message)| {
            let sender = message.sender.as_ref().and_then(|sender| sender.id.parse().ok());
            (at, message.text.clone(), sender)
        })
        .collect();
    let mut found = iter(wanted)
        .map(|(at, text, sender)| async move {
            let hint = match sender {
                Some(sender) => translation.writes(sender).await,
                None => None,
            };
            (at, translation.ask(&text, hint, vec![language.to_owned()]).await)
        })
        .buffer_unordered(AT_ONCE);
    let end = tokio::time::Instant::now() + PATIENCE;
    let mut complete = true;
    loop {
        let next = match tokio::time::timeout_at(end, found.next()).await {
            Ok(Some(next)) => next,
            Ok(None) => return complete,
            Err(_) => return false,
        };
        let (at, Some(reply)) = next else {
            complete = false;
            continue;
        };
        complete &= reply.missing.iter().all(|missing| missing.reason() == Reason::NotNeeded);
        if let (Some(message), Some(text)) = (messages.get_mut(at), reply.texts.into_iter().next()) {
            let (text, engine) = (text.text, text.engine);
            message.translation = Some(client::Translated { language: language.to_owned(), text, engine });
        }
    }
}
