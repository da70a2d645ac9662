//! What texts a room takes. Lengths are in characters, not bytes.

use super::{
    Refusal,
    limits::{CLIENT_MSG_ID_CHARS, EMOJI_BYTES, MAX_TEXT_CHARS, NAME_CHARS, TOPIC_CHARS},
};

/// Usernames and names to show come from accounts, which have narrower rules; this bounds what is stored.
const PROFILE_BYTES: usize = 512;

/// Whether there is anything to see: no text of spaces, control and zero-width characters alone.
fn visible(text: &str) -> bool {
    let blank = |c: char| {
        let zero_width = matches!(c,
            '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{E0000}'..='\u{E0FFF}');
        c.is_whitespace() || c.is_control() || zero_width
    };
    !text.chars().all(blank)
}

/// Whether it has at most `max` characters; looks no further than needed.
fn fits(text: &str, max: usize) -> bool {
    text.len() <= max || text.chars().nth(max).is_none()
}

const fn invalid(field: &'static str, why: &'static str) -> Refusal {
    Refusal::Invalid { field, why }
}

/// A message.
pub(super) fn check_text(text: &str, max: usize) -> Result<(), Refusal> {
    if text.contains('\0') {
        return Err(invalid("text", "must not contain NUL"));
    }
    if !visible(text) {
        return Err(invalid("text", "must not be blank"));
    }
    if !fits(text, max.min(MAX_TEXT_CHARS)) {
        return Err(invalid("text", "is too long"));
    }
    Ok(())
}

pub(super) fn check_client_msg_id(id: &str) -> Result<(), Refusal> {
    if id.is_empty() || !fits(id, CLIENT_MSG_ID_CHARS) {
        return Err(invalid("client_msg_id", "must have 1 to 64 characters"));
    }
    if id.chars().any(char::is_control) {
        return Err(invalid("client_msg_id", "must not contain control characters"));
    }
    Ok(())
}

/// A room's name.
pub(super) fn check_name(name: &str) -> Result<(), Refusal> {
    if !visible(name) || !fits(name, NAME_CHARS) {
        return Err(invalid("name", "must have 1 to 100 characters"));
    }
    if name.chars().any(char::is_control) {
        return Err(invalid("name", "must not contain control characters"));
    }
    Ok(())
}

pub(super) fn check_topic(topic: &str) -> Result<(), Refusal> {
    if !fits(topic, TOPIC_CHARS) {
        return Err(invalid("topic", "must have at most 500 characters"));
    }
    if topic.chars().any(|c| c.is_control() && c != '\n') {
        return Err(invalid("topic", "must not contain control characters"));
    }
    Ok(())
}

pub(super) fn check_profile(user: &super::Profile) -> Result<(), Refusal> {
    if user.username.is_empty()
        || user.username.len() > PROFILE_BYTES
        || user.display_name.len() > PROFILE_BYTES
    {
        return Err(invalid("user", "has a name that is empty or too long"));
    }
    Ok(())
}

/// One emoji.
pub(super) fn check_emoji(emoji: &str) -> Result<(), Refusal> {
    if emoji.len() > EMOJI_BYTES || !is_emoji(emoji) {
        return Err(invalid("emoji", "must be one emoji of at most 64 bytes"));
    }
    Ok(())
}

/// Whether `text` is one emoji sequence, as UTS #51 (section 1.4.9) forms them. Which code points may start
/// one is told by blocks and not by a table of all emojis, so that new ones need no new program.
fn is_emoji(text: &str) -> bool {
    let mut rest = text;
    loop {
        rest = match element(rest) {
            Some("") => return true,
            Some(after) => match after.strip_prefix('\u{200D}') {
                Some(next) => next,
                None => return false,
            },
            None => return false,
        };
    }
}

/// What follows one element: a flag, a keycap, or an emoji with its modifiers.
fn element(text: &str) -> Option<&str> {
    let first = text.chars().next()?;
    let after = &text[first.len_utf8()..];
    if regional(first) {
        return after.strip_prefix(regional);
    }
    if first.is_ascii_digit() || matches!(first, '#' | '*') {
        return after.strip_prefix('\u{FE0F}').unwrap_or(after).strip_prefix('\u{20E3}');
    }
    if !starts_emoji(first) {
        return None;
    }
    let presentation = |c: char| matches!(c, '\u{FE0E}' | '\u{FE0F}');
    let after = after.strip_prefix(presentation).unwrap_or(after);
    let after = after.strip_prefix(skin_tone).unwrap_or(after);
    let untagged = after.trim_start_matches(|c| matches!(c, '\u{E0020}'..='\u{E007E}'));
    if untagged.len() < after.len() { untagged.strip_prefix('\u{E007F}') } else { Some(after) }
}

fn regional(c: char) -> bool {
    matches!(c, '\u{1F1E6}'..='\u{1F1FF}')
}

fn skin_tone(c: char) -> bool {
    matches!(c, '\u{1F3FB}'..='\u{1F3FF}')
}

fn starts_emoji(c: char) -> bool {
    matches!(c,
        '\u{A9}' | '\u{AE}' | '\u{203C}' | '\u{2049}' | '\u{2122}' | '\u{2139}' | '\u{2194}'..='\u{21AA}'
        | '\u{231A}'..='\u{23FF}' | '\u{24C2}' | '\u{25AA}'..='\u{25FE}' | '\u{2600}'..='\u{27BF}'
        | '\u{2934}' | '\u{2935}' | '\u{2B05}'..='\u{2B55}' | '\u{3030}' | '\u{303D}' | '\u{3297}' | '\u{3299}'
        | '\u{1F004}'..='\u{1FAFF}')
        && !regional(c)
        && !skin_tone(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_characters() {
        assert_eq!(check_text(&"é".repeat(4000), 4000), Ok(()));
        assert!(check_text(&"é".repeat(4001), 4000).is_err());
        for blank in ["", " ", "\n\t\u{200B}", "\u{202E}", "a\0"] {
            assert!(check_text(blank, 10).is_err(), "{blank:?}");
        }
    }

    #[test]
    fn knows_emojis() {
        for emoji in ["👍", "👍🏽", "❤️", "❤", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "👨🏿‍🚀", "☝🏻", "🫠", "©️"]
        {
            assert_eq!(check_emoji(emoji), Ok(()), "{emoji}");
        }
        for other in ["", "a", "1", "👍👍", "👍 ", "🇩", "‍", "👍‍", "<3", "+1", ":smile:", "\u{FE0F}", "🏽🏽"]
        {
            assert!(check_emoji(other).is_err(), "{other:?}");
        }
        assert!(check_emoji(&["👩"; 16].join("\u{200D}")).is_err());
    }
}
