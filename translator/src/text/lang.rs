//! A language, as engines tell languages apart.

use std::fmt;

/// ISO 639-3 codes, which Apertium uses, of languages that have a code of two letters.
const SHORT: &[(&str, &str)] = &[
    ("afr", "af"),
    ("ara", "ar"),
    ("arg", "an"),
    ("aze", "az"),
    ("bel", "be"),
    ("ben", "bn"),
    ("bre", "br"),
    ("bul", "bg"),
    ("cat", "ca"),
    ("ces", "cs"),
    ("cym", "cy"),
    ("dan", "da"),
    ("deu", "de"),
    ("ell", "el"),
    ("eng", "en"),
    ("epo", "eo"),
    ("est", "et"),
    ("eus", "eu"),
    ("fas", "fa"),
    ("fin", "fi"),
    ("fra", "fr"),
    ("gle", "ga"),
    ("glg", "gl"),
    ("heb", "he"),
    ("hin", "hi"),
    ("hrv", "hr"),
    ("hun", "hu"),
    ("ind", "id"),
    ("isl", "is"),
    ("ita", "it"),
    ("jpn", "ja"),
    ("kaz", "kk"),
    ("kor", "ko"),
    ("lit", "lt"),
    ("lav", "lv"),
    ("mkd", "mk"),
    ("mlt", "mt"),
    ("msa", "ms"),
    ("nld", "nl"),
    ("nno", "nn"),
    ("nob", "nb"),
    ("nor", "no"),
    ("oci", "oc"),
    ("pol", "pl"),
    ("por", "pt"),
    ("ron", "ro"),
    ("rus", "ru"),
    ("slk", "sk"),
    ("slv", "sl"),
    ("spa", "es"),
    ("sqi", "sq"),
    ("srd", "sc"),
    ("srp", "sr"),
    ("swe", "sv"),
    ("tat", "tt"),
    ("tha", "th"),
    ("tur", "tr"),
    ("ukr", "uk"),
    ("urd", "ur"),
    ("vie", "vi"),
    ("cmn", "zh"),
    ("zho", "zh"),
];

/// A language: the first part of a BCP 47 tag, in small letters (`en`, `ca`, `gsw`). Regions make no difference to engines,
/// but for Chinese the script does: `zh` and `zh-hant`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lang([u8; 7]);

impl Lang {
    /// English: what others are translated by way of.
    pub const ENGLISH: Self = Self(*b"en\0\0\0\0\0");

    /// The language of a tag such as `pt-BR`, `pt_BR` or `eng`; `None` if it is no tag.
    pub fn parse(tag: &str) -> Option<Self> {
        let mut parts = tag.split(['-', '_']);
        let first = parts.next()?.to_ascii_lowercase();
        if !(2..=3).contains(&first.len()) || !first.bytes().all(|b| b.is_ascii_lowercase()) {
            return None;
        }
        if tag.len() > 35 {
            return None;
        }
        let first = SHORT.iter().find(|(long, _)| *long == first).map_or(&*first, |(_, short)| short);
        let traditional = parts.any(|part| ["hant", "tw", "hk", "mo"].contains(&&*part.to_ascii_lowercase()));
        let name = if first == "zh" && traditional { "zh-hant" } else { first };
        let mut bytes = [0; 7];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Some(Self(bytes))
    }

    /// Its code.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        std::str::from_utf8(&self.0[..end]).unwrap_or_default()
    }
}

impl fmt::Display for Lang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Lang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_become_languages() {
        for (tag, wanted) in [
            ("en", Some("en")),
            ("EN-gb", Some("en")),
            ("pt_BR", Some("pt")),
            ("spa", Some("es")),
            ("gsw", Some("gsw")),
            ("zh-TW", Some("zh-hant")),
            ("zh-Hans", Some("zh")),
            ("", None),
            ("english", None),
            ("e1", None),
            ("-", None),
        ] {
            assert_eq!(Lang::parse(tag).as_ref().map(Lang::as_str), wanted, "{tag}");
        }
        assert_eq!(Lang::parse("en"), Some(Lang::ENGLISH));
    }
}
