//! What the mails say.
//!
//! A mail with a code has exactly one word of 6-8 digits, so that people, mail programs and tests find it.

use std::{borrow::Cow, fmt::Write as _};

use crate::backend::Mail;

/// A mail's words.
pub(in crate::backend) struct Text {
    pub(in crate::backend) subject: String,
    pub(in crate::backend) text: String,
    pub(in crate::backend) html: String,
}

/// The sentences of one language. `{name}`, `{code}`, `{minutes}` are put in.
struct Words {
    hello: &'static str,
    code: &'static str,
    valid: &'static str,
    ignore: &'static str,
    sign_up: (&'static str, &'static str),
    known: (&'static str, &'static str),
    login: (&'static str, &'static str),
    reset: (&'static str, &'static str),
    welcome: (&'static str, &'static str),
}

const ENGLISH: Words = Words {
    hello: "Hello {name},",
    code: "Your code is {code}",
    valid: "It is valid for {minutes} minutes. Give it to nobody.",
    ignore: "If this was not you, ignore this mail.",
    sign_up: ("Confirm your e-mail address", "with this code you finish your registration."),
    known: (
        "You already have an account",
        "somebody tried to register with this e-mail address, which belongs to your account. You can log in, or set a \
         new password if you forgot yours.",
    ),
    login: ("Your login code", "with this code you finish your login."),
    reset: ("Set a new password", "with this code you can set a new password."),
    welcome: ("Welcome", "your account is ready. Have good conversations!"),
};

const GERMAN: Words = Words {
    hello: "Hallo {name},",
    code: "Dein Code ist {code}",
    valid: "Er gilt {minutes} Minuten. Gib ihn niemandem.",
    ignore: "Wenn du das nicht warst, ignoriere diese Mail.",
    sign_up: ("Bestätige deine E-Mail-Adresse", "mit diesem Code schließt du deine Registrierung ab."),
    known: (
        "Du hast schon ein Konto",
        "jemand wollte sich mit dieser E-Mail-Adresse registrieren, die zu deinem Konto gehört. Du kannst dich \
         anmelden oder ein neues Passwort setzen, wenn du deines vergessen hast.",
    ),
    login: ("Dein Anmeldecode", "mit diesem Code schließt du deine Anmeldung ab."),
    reset: ("Neues Passwort setzen", "mit diesem Code kannst du ein neues Passwort setzen."),
    welcome: ("Willkommen", "dein Konto ist bereit. Gute Gespräche!"),
};

const SPANISH: Words = Words {
    hello: "Hola, {name}:",
    code: "Tu código es {code}",
    valid: "Es válido durante {minutes} minutos. No se lo des a nadie.",
    ignore: "Si no has sido tú, ignora este correo.",
    sign_up: ("Confirma tu correo electrónico", "con este código terminas tu registro."),
    known: (
        "Ya tienes una cuenta",
        "alguien ha intentado registrarse con esta dirección, que pertenece a tu cuenta. Puedes iniciar sesión o \
         elegir una contraseña nueva si la has olvidado.",
    ),
    login: ("Tu código de acceso", "con este código terminas de iniciar sesión."),
    reset: ("Elige una contraseña nueva", "con este código puedes elegir una contraseña nueva."),
    welcome: ("Te damos la bienvenida", "tu cuenta está lista. ¡Buenas conversaciones!"),
};

const FRENCH: Words = Words {
    hello: "Bonjour {name},",
    code: "Votre code est {code}",
    valid: "Il est valable {minutes} minutes. Ne le donnez à personne.",
    ignore: "Si ce n'était pas vous, ignorez ce message.",
    sign_up: ("Confirmez votre adresse e-mail", "ce code termine votre inscription."),
    known: (
        "Vous avez déjà un compte",
        "quelqu'un a voulu s'inscrire avec cette adresse, qui appartient à votre compte. Vous pouvez vous connecter, \
         ou choisir un nouveau mot de passe si vous avez oublié le vôtre.",
    ),
    login: ("Votre code de connexion", "ce code termine votre connexion."),
    reset: ("Choisissez un nouveau mot de passe", "ce code permet de choisir un nouveau mot de passe."),
    welcome: ("Bienvenue", "votre compte est prêt. Bonnes conversations !"),
};

fn words(language: &str) -> &'static Words {
    let primary = language.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase();
    match primary.as_str() {
        "de" => &GERMAN,
        "es" => &SPANISH,
        "fr" => &FRENCH,
        _ => &ENGLISH,
    }
}

/// Writes a mail in a language (BCP 47); English where there are no words for it.
pub(in crate::backend) fn render(mail: &Mail, language: &str) -> Text {
    let words = words(language);
    let ((subject, why), name, code) = match mail {
        Mail::SignUpCode { code, username, minutes } => (words.sign_up, username, Some((code, minutes))),
        Mail::LoginCode { code, username, minutes } => (words.login, username, Some((code, minutes))),
        Mail::PasswordReset { code, username, minutes } => (words.reset, username, Some((code, minutes))),
        Mail::AlreadyRegistered { username } => (words.known, username, None),
        Mail::Welcome { username } => (words.welcome, username, None),
    };
    // A name that could be taken for a code is left out.
    let name = if looks_like_code(name) { "" } else { name.as_str() };
    let hello = words.hello.replace("{name}", name).replace(" ,", ",").replace(", :", ":");
    let mut lines = vec![hello, why.to_owned()];
    let mut html = format!("<p>{}</p>\n<p>{}</p>\n", escape(&lines[0]), escape(why));
    if let Some((code, minutes)) = code {
        let sentence = words.code.replace("{code}", code);
        let valid = words.valid.replace("{minutes}", &minutes.to_string());
        let big =
            escape(&words.code.replace("{code}", "\0")).replace('\0', &format!("<b>{}</b>", escape(code)));
        let _ = write!(html, "<p>{big}</p>\n<p>{}</p>\n", escape(&valid));
        lines.push(sentence);
        lines.push(valid);
    }
    if !matches!(mail, Mail::Welcome { .. }) {
        let _ = writeln!(html, "<p>{}</p>", escape(words.ignore));
        lines.push(words.ignore.to_owned());
    }
    Text { subject: subject.to_owned(), text: lines.join("\n\n") + "\n", html }
}

fn looks_like_code(name: &str) -> bool {
    name.as_bytes().windows(6).any(|run| run.iter().all(u8::is_ascii_digit))
}

fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out.into()
}
