//! E-mail addresses: what is accepted, and when two are the same.

/// An address that mail can be sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Email {
    /// As its owner wrote it, without surrounding space: what mails are sent to.
    pub(super) typed: String,
    /// The same for all spellings that reach the same mailbox nearly everywhere: lower case, domain in ASCII.
    ///
    /// RFC 5321 lets the part before the @ depend on case; no provider of note makes use of it, and people do
    /// not remember how they wrote it.
    pub(super) canonical: String,
}

/// RFC 5321, 4.5.3.1: a path is at most 256 octets, two of them brackets.
const LONGEST: usize = 254;
/// RFC 5321, 4.5.3.1.1.
const LONGEST_LOCAL: usize = 64;

impl Email {
    /// Reads an address.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let typed = text.trim();
        if typed.len() > LONGEST {
            return Err("An e-mail address has at most 254 bytes.");
        }
        // Control characters would end up in the headers of mails.
        if typed.chars().any(|c| c.is_control() || c.is_whitespace() || is_invisible(c)) {
            return Err("An e-mail address has no spaces and no control characters.");
        }
        let mut parts = typed.split('@');
        let (Some(local), Some(domain), None) = (parts.next(), parts.next(), parts.next()) else {
            return Err("An e-mail address has exactly one @.");
        };
        if local.is_empty()
            || local.len() > LONGEST_LOCAL
            || local.starts_with('.')
            || local.ends_with('.')
            || local.contains("..")
            || local.contains(|c| "\"(),:;<>[]\\".contains(c))
        {
            return Err("The part before the @ is not one that mail can be sent to.");
        }
        let domain = idna::domain_to_ascii_strict(domain)
            .map_err(|_| "The part after the @ is not the name of a domain.")?;
        let plausible = domain == "localhost"
            || domain.rsplit_once('.').is_some_and(|(rest, top)| {
                !rest.is_empty() && top.len() >= 2 && !top.bytes().all(|b| b.is_ascii_digit())
            });
        if !plausible {
            return Err("The part after the @ is not the whole name of a domain.");
        }
        let local: String = unicode_normalization::UnicodeNormalization::nfkc(local).collect();
        Ok(Self { typed: typed.to_owned(), canonical: format!("{}@{domain}", local.to_lowercase()) })
    }
}

/// Characters that change how text looks without being seen: bidirectional controls, zero-width ones, tags.
pub(super) fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180E}'
        | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
        | '\u{3164}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E0FFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_mailbox_are_one() {
        let canonical = |text: &str| Email::parse(text).unwrap().canonical;
        assert_eq!(canonical(" Ada@Example.ORG "), "ada@example.org");
        assert_eq!(canonical("ada@bücher.example"), canonical("ADA@xn--bcher-kva.example"));
        assert_eq!(canonical("ada+chat@example.org"), "ada+chat@example.org");
        assert_eq!(Email::parse("Ada@Example.org").unwrap().typed, "Ada@Example.org");
    }

    #[test]
    fn refuses_what_is_none() {
        let long = format!("{}@{}.org", "a".repeat(64), "b.".repeat(100));
        for text in [
            "",
            "@",
            "ada",
            "ada@",
            "@example.org",
            "a@b@example.org",
            "ada@example",
            "ada@example..org",
            "a b@example.org",
            "ada@example.org\r\nBcc: x@example.org",
            "ada@exa mple.org",
            ".ada@example.org",
            "a..b@example.org",
            "ada@127.0.0.1",
            "\"a\"@example.org",
            "a@exa_mple.org",
            "a\u{202e}b@example.org",
            "ada@-example.org",
            &long,
        ] {
            assert!(Email::parse(text).is_err(), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics_and_canonical_is_stable(text in "\\PC{0,40}@\\PC{0,40}") {
            if let Ok(email) = Email::parse(&text) {
                let again = Email::parse(&email.canonical).map(|e| e.canonical);
                proptest::prop_assert!(again.is_err() || again == Ok(email.canonical.clone()));
                proptest::prop_assert!(!email.typed.chars().any(char::is_control));
            }
        }
    }
}
