//! Lines of one word or two that chats are full of. Neural engines are worst at these: they were taught sentences, and make one
//! up (`thanks` becomes "Thank you for sending an edit").

use super::Lang;

const LANGUAGES: [&str; 8] = ["en", "es", "pt", "fr", "de", "it", "nl", "ca"];

/// A row per phrase, a column per language. What a phrase means is the first row where it stands.
const PHRASES: &[[&str; 8]] = &[
    ["yes", "sí", "sim", "oui", "ja", "sì", "ja", "sí"],
    ["no", "no", "não", "non", "nein", "no", "nee", "no"],
    ["hello", "hola", "olá", "bonjour", "hallo", "ciao", "hallo", "hola"],
    ["hi", "hola", "oi", "salut", "hallo", "ciao", "hoi", "hola"],
    ["hey", "hola", "ei", "salut", "hey", "ehi", "hé", "ei"],
    ["bye", "adiós", "tchau", "au revoir", "tschüss", "arrivederci", "doei", "adeu"],
    ["goodbye", "adiós", "adeus", "au revoir", "auf wiedersehen", "arrivederci", "tot ziens", "adeu"],
    ["thanks", "gracias", "obrigado", "merci", "danke", "grazie", "bedankt", "gràcies"],
    ["thank you", "gracias", "obrigado", "merci", "danke", "grazie", "dank je", "gràcies"],
    ["please", "por favor", "por favor", "s'il te plaît", "bitte", "per favore", "alsjeblieft", "si us plau"],
    ["sorry", "lo siento", "desculpa", "désolé", "entschuldigung", "scusa", "sorry", "perdó"],
    ["welcome", "bienvenido", "bem-vindo", "bienvenue", "willkommen", "benvenuto", "welkom", "benvingut"],
    [
        "good morning",
        "buenos días",
        "bom dia",
        "bonjour",
        "guten morgen",
        "buongiorno",
        "goedemorgen",
        "bon dia",
    ],
    [
        "good night",
        "buenas noches",
        "boa noite",
        "bonne nuit",
        "gute nacht",
        "buonanotte",
        "welterusten",
        "bona nit",
    ],
    ["today", "hoy", "hoje", "aujourd'hui", "heute", "oggi", "vandaag", "avui"],
    ["tomorrow", "mañana", "amanhã", "demain", "morgen", "domani", "morgen", "demà"],
    ["yesterday", "ayer", "ontem", "hier", "gestern", "ieri", "gisteren", "ahir"],
    ["now", "ahora", "agora", "maintenant", "jetzt", "adesso", "nu", "ara"],
    ["later", "más tarde", "mais tarde", "plus tard", "später", "più tardi", "later", "més tard"],
    ["never", "nunca", "nunca", "jamais", "nie", "mai", "nooit", "mai"],
    ["always", "siempre", "sempre", "toujours", "immer", "sempre", "altijd", "sempre"],
    ["maybe", "quizás", "talvez", "peut-être", "vielleicht", "forse", "misschien", "potser"],
    ["perfect", "perfecto", "perfeito", "parfait", "perfekt", "perfetto", "perfect", "perfecte"],
    ["great", "genial", "ótimo", "super", "großartig", "fantastico", "geweldig", "genial"],
    ["good", "bien", "bom", "bien", "gut", "bene", "goed", "bé"],
    ["what", "qué", "o quê", "quoi", "was", "cosa", "wat", "què"],
    ["why", "por qué", "por quê", "pourquoi", "warum", "perché", "waarom", "per què"],
    ["who", "quién", "quem", "qui", "wer", "chi", "wie", "qui"],
    ["where", "dónde", "onde", "où", "wo", "dove", "waar", "on"],
    ["when", "cuándo", "quando", "quand", "wann", "quando", "wanneer", "quan"],
    ["how", "cómo", "como", "comment", "wie", "come", "hoe", "com"],
    ["of course", "claro", "claro", "bien sûr", "natürlich", "certo", "natuurlijk", "és clar"],
    ["agreed", "de acuerdo", "combinado", "d'accord", "einverstanden", "d'accordo", "akkoord", "d'acord"],
    [
        "congratulations",
        "felicidades",
        "parabéns",
        "félicitations",
        "glückwunsch",
        "congratulazioni",
        "gefeliciteerd",
        "felicitats",
    ],
    ["help", "ayuda", "ajuda", "aide", "hilfe", "aiuto", "help", "ajuda"],
];

/// The same everywhere, as far as the languages above go.
const SAME: &[&str] =
    &["ok", "okay", "lol", "haha", "wow", "hm", "hmm", "oh", "ah", "xd", "brb", "afk", "omg"];

fn column(lang: Lang) -> Option<usize> {
    LANGUAGES.iter().position(|known| *known == lang.as_str())
}

/// `line` in another language if it is one of these phrases, capitals and closing marks as they were.
pub fn phrase(line: &str, source: Lang, target: Lang) -> Option<String> {
    let (from, to) = (column(source)?, column(target)?);
    let bare = line.trim_start_matches(['¡', '¿']).trim_end_matches(['.', '!', '?', '…', ' ']);
    if bare.chars().count() > 24 {
        return None;
    }
    let marks = &line[line.len() - (line.trim_start_matches(['¡', '¿']).len() - bare.len())..];
    let small = bare.to_lowercase();
    if SAME.contains(&&*small) {
        return Some(line.to_owned());
    }
    let found = PHRASES.iter().find(|row| row[from] == small)?[to];
    let found = if bare.chars().count() > 1 && bare.chars().all(|c| !c.is_lowercase()) {
        found.to_uppercase()
    } else if bare.chars().next().is_some_and(char::is_uppercase) {
        let mut letters = found.chars();
        letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
    } else {
        found.to_owned()
    };
    Some(format!("{found}{marks}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_capitals_and_marks() {
        let say = |line, from, to| phrase(line, Lang::parse(from).unwrap(), Lang::parse(to).unwrap());
        assert_eq!(say("Thanks!", "en", "es").as_deref(), Some("Gracias!"));
        assert_eq!(say("YES", "en", "pt").as_deref(), Some("SIM"));
        assert_eq!(say("¡Hola!", "es", "de").as_deref(), Some("Hallo!"));
        assert_eq!(say("ok...", "en", "fr").as_deref(), Some("ok..."));
        assert_eq!(say("Hola, ¿qué tal?", "es", "en"), None);
        assert_eq!(say("thanks", "en", "ru"), None);
        assert_eq!(say("thanks", "es", "en"), None);
    }

    #[test]
    fn no_phrase_is_missing_in_a_language() {
        assert!(
            PHRASES.iter().flatten().all(|phrase| !phrase.is_empty() && phrase.to_lowercase() == *phrase)
        );
    }
}
