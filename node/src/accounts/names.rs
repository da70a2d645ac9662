//! Names: usernames, names to show, languages, pictures.

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};
use unicode_security::{
    GeneralSecurityProfile, RestrictionLevel, RestrictionLevelDetection, confusable_detection::skeleton,
};

use super::email::is_invisible;

/// Names that seem to speak for the service, or are words of the API.
const RESERVED: &[&str] = &[
    "abuse",
    "admin",
    "administrator",
    "all",
    "anonymous",
    "bot",
    "channel",
    "everyone",
    "here",
    "help",
    "info",
    "mailer",
    "me",
    "moderator",
    "nobody",
    "null",
    "official",
    "operator",
    "owner",
    "postmaster",
    "root",
    "rookery",
    "security",
    "server",
    "service",
    "staff",
    "support",
    "sysadmin",
    "system",
    "undefined",
    "webmaster",
];

/// A unique name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Username {
    /// As it is shown: NFKC of what was typed.
    pub(super) shown: String,
    /// The same for names that look alike: what uniqueness goes by.
    pub(super) key: String,
}

impl Username {
    /// Reads a name that somebody wants: 2-32 characters, letters and digits of one script (or of those that are written
    /// together, UTS 39 "highly restrictive"), and `.`, `_`, `-` inside.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub(super) fn choose(text: &str) -> Result<Self, &'static str> {
        let name = Self::find(text).ok_or("A username has 2 to 32 characters.")?;
        let shown = &name.shown;
        if !(2..=32).contains(&shown.chars().count()) {
            return Err("A username has 2 to 32 characters.");
        }
        let is_letter = |c: char| (c.is_alphanumeric() || is_combining_mark(c)) && c.identifier_allowed();
        if !shown.chars().all(|c| is_letter(c) || matches!(c, '.' | '_' | '-')) {
            return Err("A username has letters, digits, and . _ - between them.");
        }
        if !shown.starts_with(char::is_alphanumeric) || !shown.ends_with(is_letter) {
            return Err("A username begins and ends with a letter or digit.");
        }
        if !shown.check_restriction_level(RestrictionLevel::HighlyRestrictive) {
            return Err("A username does not mix scripts.");
        }
        if RESERVED.iter().any(|reserved| key(reserved) == name.key) {
            return Err("This username is reserved.");
        }
        Ok(name)
    }

    /// Reads a name that somebody looks for. `None`: nobody has it.
    pub(super) fn find(text: &str) -> Option<Self> {
        // A character becomes at most 18 by NFKC, so the bound keeps the work small.
        if text.len() > 32 * 4 * 4 {
            return None;
        }
        let shown: String = text.trim().nfkc().collect();
        let key = key(&shown);
        (!key.is_empty() && key.len() <= 512).then_some(Self { shown, key })
    }

    /// Whether this is `other` but for case: looking alike is not enough to find somebody.
    pub(super) fn same(&self, other: &str) -> bool {
        fold(&self.shown) == fold(other)
    }
}

fn fold(name: &str) -> String {
    name.nfkc().collect::<String>().to_lowercase().nfkc().collect()
}

/// UTS 39 skeleton. It maps some letters to others of the other case (0 → O), so case is folded before and after.
fn key(name: &str) -> String {
    skeleton(&fold(name)).collect::<String>().to_lowercase()
}

/// A name to show: 1-64 characters.
///
/// # Errors
/// A sentence that says what is wrong.
pub(super) fn display_name(text: &str) -> Result<String, &'static str> {
    let name: String = text.trim().nfc().collect();
    if !(1..=64).contains(&name.chars().count()) {
        return Err("A display name has 1 to 64 characters.");
    }
    if name.chars().any(|c| c.is_control() || is_invisible(c)) {
        return Err("A display name has no control characters and none that change the direction of text.");
    }
    Ok(name)
}

/// A language tag (BCP 47), in its usual case: `pt-BR`, `zh-Hant`.
///
/// # Errors
/// A sentence that says what is wrong.
pub(super) fn language(text: &str) -> Result<String, &'static str> {
    const WRONG: &str = "A language is a BCP 47 tag such as en, pt-BR or zh-Hant.";
    if text.len() > 35 {
        return Err(WRONG);
    }
    let mut out = String::with_capacity(text.len());
    let mut after_singleton = false;
    for (at, part) in text.split('-').enumerate() {
        if !(1..=8).contains(&part.len()) || !part.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(WRONG);
        }
        let alphabetic = part.bytes().all(|b| b.is_ascii_alphabetic());
        if at == 0 {
            if !alphabetic || part.len() < 2 {
                return Err(WRONG);
            }
        } else {
            out.push('-');
        }
        // RFC 5646, 2.1.1: regions upper case, scripts in title case, all else lower; not after a singleton.
        if at > 0 && !after_singleton && part.len() == 2 && alphabetic {
            out.push_str(&part.to_ascii_uppercase());
        } else if at > 0 && !after_singleton && part.len() == 4 && alphabetic {
            out.push_str(&part[..1].to_ascii_uppercase());
            out.push_str(&part[1..].to_ascii_lowercase());
        } else {
            out.push_str(&part.to_ascii_lowercase());
        }
        after_singleton |= part.len() == 1;
    }
    if text.rsplit('-').next().is_some_and(|last| last.len() == 1) { Err(WRONG) } else { Ok(out) }
}

/// Address of a picture: `https`, at most 512 bytes.
///
/// # Errors
/// A sentence that says what is wrong.
pub(super) fn avatar_url(text: &str) -> Result<String, &'static str> {
    const WRONG: &str = "An avatar_url begins with https:// and has at most 512 bytes.";
    let uri: axum::http::Uri =
        if text.len() <= 512 { text.parse().map_err(|_| WRONG)? } else { return Err(WRONG) };
    let host = uri.authority().map(axum::http::uri::Authority::as_str);
    let plain = uri.scheme_str() == Some("https")
        && host.is_some_and(|host| !host.is_empty() && !host.contains('@'))
        && !text.contains(['"', '\'', '<', '>', '\\']);
    if plain { Ok(text.to_owned()) } else { Err(WRONG) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(text: &str) -> Username {
        Username::choose(text).unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    #[test]
    fn real_names_are_accepted() {
        for name in [
            "ada",
            "Ada.Lovelace",
            "a-b_c",
            "x2",
            "josé",
            "Łukasz",
            "мария",
            "山田太郎",
            "محمد",
            "नमस्ते",
            "한국",
            "たろうYamada",
        ] {
            chosen(name);
        }
    }

    #[test]
    fn names_that_look_alike_collide() {
        for (one, other) in [
            ("ada", "ADA"),
            ("paypal", "pаypal"),
            ("straße", "STRASSE"),
            ("user1", "userl"),
            ("bob0", "bobo"),
            ("ａｄａ", "ada"),
            ("josé", "jose\u{301}"),
        ] {
            let keys = (Username::find(one).unwrap().key, Username::find(other).unwrap().key);
            if one == "straße" {
                // No full case folding: these are two names.
                assert_ne!(keys.0, keys.1);
            } else {
                assert_eq!(keys.0, keys.1, "{one} {other}");
            }
        }
        assert_ne!(chosen("ada").key, chosen("adam").key);
        assert!(chosen("ada").same("ADA"));
        assert!(!Username::find("user1").unwrap().same("userl"));
    }

    #[test]
    fn refuses_what_is_no_name() {
        for name in [
            "",
            "a",
            " ",
            "a b",
            ".ada",
            "ada.",
            "-ada",
            "ada_",
            "a@b",
            "pаypal",
            "ada\u{200b}",
            "ada\u{202e}x",
            "a/b",
            "😀😀",
            "admin",
            "Admin",
            "me",
            "r00t",
            "\u{301}ab",
            "aͣ\u{0}",
            &"a".repeat(33),
            &"\u{fdfa}".repeat(200),
        ] {
            assert!(Username::choose(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn display_names() {
        assert_eq!(display_name(" Ada Lovelace 👩‍💻 ").unwrap(), "Ada Lovelace 👩‍💻");
        for name in ["", "  ", "a\nb", "a\u{202e}b", &"a".repeat(65)] {
            assert!(display_name(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn languages() {
        for (text, tag) in [
            ("EN", "en"),
            ("pt-br", "pt-BR"),
            ("ZH-hant-tw", "zh-Hant-TW"),
            ("de-1996", "de-1996"),
            ("en-u-ca-gregory", "en-u-ca-gregory"),
        ] {
            assert_eq!(language(text).unwrap(), tag);
        }
        for text in [
            "",
            "e",
            "1e",
            "en_US",
            "en-",
            "-en",
            "en--us",
            "englishlanguage",
            "en-x",
            &"en-aaaaaaa".repeat(5),
        ] {
            assert!(language(text).is_err(), "{text}");
        }
    }

    #[test]
    fn avatars() {
        assert!(avatar_url("https://example.org/a.png?x=1").is_ok());
        for text in [
            "",
            "http://example.org/a",
            "javascript:alert(1)",
            "https://",
            "https://u@example.org/",
            "https://a/\"x",
            "//a/b",
        ] {
            assert!(avatar_url(text).is_err(), "{text}");
        }
        assert!(avatar_url(&format!("https://example.org/{}", "a".repeat(512))).is_err());
    }

    proptest::proptest! {
        #[test]
        fn a_chosen_name_is_found_and_stable(text in "\\PC{0,40}") {
            if let Ok(name) = Username::choose(&text) {
                let again = Username::choose(&name.shown).map(|n| n.key);
                proptest::prop_assert_eq!(again, Ok(name.key.clone()));
                proptest::prop_assert!(name.same(&text.trim().to_uppercase()) || !text.is_ascii());
            }
        }
    }
}
