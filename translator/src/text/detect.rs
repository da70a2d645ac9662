//! Which language a text is in.

use std::collections::HashSet;

use whichlang::detect_language;

use super::Lang;

/// Below so many letters what is known of the writer says more than the letters do.
const SHORT: usize = 24;
/// Below so many letters nothing can be said of an engine's answer.
const TELLING: usize = 40;

/// An answer of fewer words or letters may be the same in both languages.
const ECHO: (usize, usize) = (3, 12);
/// Languages so near to each other that whole lines are the same in both.
const NEAR: [&[&str]; 7] = [
    &["es", "pt", "ca", "gl", "it", "fr", "ro", "oc", "an", "ast", "sc"],
    &["da", "nb", "nn", "no", "sv"],
    &["nl", "af"],
    &["cs", "sk"],
    &["ru", "uk", "be", "bg", "mk"],
    &["sr", "hr", "bs", "sl", "sh"],
    &["id", "ms"],
];

/// The scripts that tell languages apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Script {
    Latin,
    Cyrillic,
    Greek,
    Arabic,
    Hebrew,
    Devanagari,
    Han,
    Kana,
    Hangul,
    Thai,
    Other,
}

fn script_of(letter: char) -> Script {
    match letter as u32 {
        0x41..=0x24f | 0x1e00..=0x1eff => Script::Latin,
        0x370..=0x3ff | 0x1f00..=0x1fff => Script::Greek,
        0x400..=0x52f => Script::Cyrillic,
        0x590..=0x5ff => Script::Hebrew,
        0x600..=0x6ff | 0x750..=0x77f => Script::Arabic,
        0x900..=0x97f => Script::Devanagari,
        0xe00..=0xe7f => Script::Thai,
        0x3040..=0x30ff => Script::Kana,
        0x3400..=0x9fff => Script::Han,
        0x1100..=0x11ff | 0xac00..=0xd7af => Script::Hangul,
        _ => Script::Other,
    }
}

/// The script that a language is written in, as far as it matters here.
fn script(lang: Lang) -> Script {
    match lang.as_str() {
        "ru" | "uk" | "be" | "bg" | "mk" | "kk" | "tt" | "sr" => Script::Cyrillic,
        "el" => Script::Greek,
        "ar" | "fa" | "ur" => Script::Arabic,
        "he" => Script::Hebrew,
        "hi" | "mr" | "ne" => Script::Devanagari,
        "zh" | "zh-hant" => Script::Han,
        "ja" => Script::Kana,
        "ko" => Script::Hangul,
        "th" => Script::Thai,
        _ => Script::Latin,
    }
}

/// Number of letters, and the script of most of them.
fn letters(text: &str) -> (usize, Script) {
    let mut counts = [0_usize; 11];
    let mut all = 0;
    for letter in text.chars().filter(|c| c.is_alphabetic()) {
        all += 1;
        counts[script_of(letter) as usize] += 1;
    }
    let scripts = [
        Script::Kana,
        Script::Latin,
        Script::Cyrillic,
        Script::Greek,
        Script::Arabic,
        Script::Hebrew,
        Script::Devanagari,
        Script::Han,
        Script::Hangul,
        Script::Thai,
        Script::Other,
    ];
    let most = scripts.into_iter().max_by_key(|script| counts[*script as usize]).unwrap_or(Script::Other);
    // Japanese mixes in more Han than Kana, but nobody else mixes in Kana.
    let most = if most == Script::Han && counts[Script::Kana as usize] > 0 { Script::Kana } else { most };
    (all, most)
}

/// What `whichlang` knows, by its own three-letter codes.
fn known(lang: Lang) -> bool {
    whichlang::LANGUAGES.iter().any(|known| Lang::parse(known.three_letter_code()) == Some(lang))
}

/// The language of `text`, in which nothing is left that is not language. `hint` is the language that its writer says
/// he writes: it decides where the letters say too little. `None`: there is nothing to translate.
pub fn detect(text: &str, hint: Option<Lang>) -> Option<Lang> {
    let (count, most) = letters(text);
    if count == 0 {
        return None;
    }
    let found = Lang::parse(detect_language(text).three_letter_code());
    let Some(hint) = hint else {
        // Of the scripts that one language alone uses here, one letter is enough.
        return if count >= 3 || most != Script::Latin { found } else { None };
    };
    let fits = script(hint) == most;
    // A language that the detector does not know is never found; it must not be taken for its neighbours.
    let trusted = fits && (count < SHORT || !known(hint));
    if trusted { Some(hint) } else { found }
}

/// Whether an engine's answer is plainly not in the language that was asked for.
pub fn in_wrong_language(text: &str, wanted: Lang) -> bool {
    let (count, most) = letters(text);
    if count < TELLING {
        return false;
    }
    let wanted_script = script(wanted);
    // Serbian has two scripts, and names stay Latin everywhere: only a text without any letter of the script is told off.
    if wanted_script != Script::Latin && wanted.as_str() != "sr" {
        return !text.chars().any(|c| script_of(c) == wanted_script);
    }
    if most != Script::Latin {
        return wanted.as_str() != "sr";
    }
    known(wanted) && Lang::parse(detect_language(text).three_letter_code()) != Some(wanted)
}

/// Whether an engine's answer is plainly the text that it was given. Names are the same everywhere, and so may be a short line in a language
/// that is near.
pub fn is_echo(asked: &str, answer: &str, (source, wanted): (Lang, Lang)) -> bool {
    let both = [source, wanted].map(|lang| lang.as_str().to_owned());
    if NEAR.iter().any(|near| both.iter().all(|lang| near.contains(&lang.as_str()))) {
        return false;
    }
    let words: Vec<_> = asked.split_whitespace().collect();
    let is_name = |word: &&str| !word.chars().any(char::is_lowercase) || word.starts_with(char::is_uppercase);
    // The first word of a line begins with a capital, too.
    let plain: HashSet<_> =
        words.iter().filter(|word| !is_name(word)).map(|word| word.to_lowercase()).collect();
    let enough = words.len() >= ECHO.0 && plain.len() + 1 >= ECHO.0 && letters(asked).0 >= ECHO.1;
    enough && words.into_iter().map(str::to_lowercase).eq(answer.split_whitespace().map(str::to_lowercase))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lang(tag: &str) -> Lang {
        Lang::parse(tag).unwrap()
    }

    #[test]
    fn the_writer_decides_where_letters_say_little() {
        assert_eq!(detect("ok", Some(lang("ca"))), Some(lang("ca")));
        assert_eq!(
            detect("El temps és bo avui i demà plourà a tot arreu", Some(lang("ca"))),
            Some(lang("ca"))
        );
        assert_eq!(detect("The weather is nice today, is it not?", Some(lang("es"))), Some(lang("en")));
        assert_eq!(detect("Привет, как дела?", Some(lang("en"))), Some(lang("ru")));
        assert_eq!(detect("El tiempo es bueno hoy, y mañana lloverá", None), Some(lang("es")));
        assert_eq!(detect("今日は天気がいいですね", None), Some(lang("ja")));
        assert_eq!(detect("12 :-) !", Some(lang("en"))), None);
        assert_eq!(detect("a", None), None);
    }

    #[test]
    fn answers_in_another_language_are_noticed() {
        let spanish = "El tiempo es bueno hoy y mañana vamos a la playa con los niños";
        assert!(!in_wrong_language(spanish, lang("es")));
        assert!(in_wrong_language(spanish, lang("en")));
        assert!(in_wrong_language(spanish, lang("ru")));
        assert!(!in_wrong_language(spanish, lang("ca")), "Catalan is not known to the detector");
        assert!(!in_wrong_language("Vale", lang("en")), "too short to say");
    }

    #[test]
    fn a_text_that_comes_back_as_it_was_is_noticed() {
        let is = |text: &str, source: &str, wanted: &str| is_echo(text, text, (lang(source), lang(wanted)));
        assert!(is("The house is big", "en", "es"));
        assert!(is("Where is my blue bag?", "en", "ca"));
        assert!(is("Где мой синий мешок?", "ru", "en"));
        let changed = is_echo("The house is big", "The house is  BIG ", (lang("en"), lang("es")));
        assert!(changed, "case and spaces are no translation");
        for (text, why) in [
            ("Ada Lovelace, Charles Babbage", "names"),
            ("NASA, ESA and JAXA", "names"),
            ("Real Madrid - Arsenal", "names"),
            ("super hotel", "two words"),
            ("a b c d e", "few letters"),
            ("hahaha hahaha hahaha hahaha", "no words"),
            ("今日は天気がいいですね", "one word, for all that is known"),
        ] {
            assert!(!is(text, "en", "es"), "{why}: {text}");
        }
        assert!(!is("come carne fresca todo dia", "es", "pt"), "it is the same in both");
        assert!(!is_echo("The house is big", "La casa es grande", (lang("en"), lang("es"))));
    }
}
