//! What mails say: words in each language, and the layouts that they are put into.
//!
//! The words are `words.LANG.toml`, the layouts `mail.txt` and `mail.html`; a folder may replace any of them, and bring more
//! languages. All of it is tried at the start, so that no mail finds a mistake.
//!
//! A mail with a code has exactly one word of 6-8 digits, so that people, mail programs and tests find it.

mod load;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::LazyLock};

use minijinja::{Environment, UndefinedBehavior, Value, context};
use rookery_protocol::outbox::Mail;

pub use load::TemplateError;

/// Steps of a template's program that one mail may take.
const FUEL: u64 = 100_000;
/// Rooms that a mail names.
pub const ROOMS: usize = 10;
/// A name is shortened to so many characters.
const NAME_CHARS: usize = 80;
/// And any other value, a link among them, to so many.
const LINE_CHARS: usize = 2_000;

/// A mail's words.
#[derive(Clone, PartialEq, Eq)]
pub struct Text {
    /// Subject, in one line and without a code.
    pub subject: String,
    /// Plain text.
    pub text: String,
    /// The same as HTML.
    pub html: String,
}

/// The templates in force.
pub struct Templates {
    environment: Environment<'static>,
    /// Language tags, lower case.
    languages: Vec<String>,
    service: String,
}

/// Those that are built in, for who shows mails instead of sending them.
pub fn built_in() -> &'static Templates {
    static BUILT_IN: LazyLock<Templates> =
        LazyLock::new(|| Templates::load(None, "Rookery").expect("tests write every mail by them"));
    &BUILT_IN
}

/// The language of last resort.
const FALL_BACK: &str = "en";

impl Templates {
    /// Those that are built in, and over them those of `folder`.
    ///
    /// # Errors
    /// [`TemplateError`] names the file and what is wrong in it.
    pub fn load(folder: Option<&std::path::Path>, service: &str) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        let languages = load::fill(&mut environment, folder)?;
        let templates = Self { environment, languages, service: line(service) };
        load::try_all(&templates)?;
        Ok(templates)
    }

    /// The language of these templates that is nearest to a tag (BCP 47).
    fn language(&self, tag: &str) -> &str {
        let exact = tags(tag).find_map(|tag| self.languages.iter().find(|known| **known == tag));
        // Another kind of it is nearer than English.
        let kind = tags(tag).last().map(|primary| format!("{primary}-"));
        let near =
            || self.languages.iter().find(|known| kind.as_ref().is_some_and(|kind| known.starts_with(kind)));
        exact.or_else(near).map_or(FALL_BACK, String::as_str)
    }

    /// Writes a mail in a language (BCP 47); in English where there are no words for it.
    ///
    /// # Errors
    /// A template failed on these values; the sentence does not hold them.
    pub fn render(&self, mail: &Mail, language: &str) -> Result<Text, TemplateError> {
        let language = self.language(language);
        let kind = mail.kind();
        let (name, code) = match mail {
            Mail::SignUpCode { code, username, minutes }
            | Mail::LoginCode { code, username, minutes }
            | Mail::PasswordReset { code, username, minutes } => (username, Some((code, *minutes))),
            Mail::AlreadyRegistered { username }
            | Mail::Welcome { username }
            | Mail::Unread { username, .. } => (username, None),
        };
        // A name that could be taken for a code is left out.
        let name = if looks_like_code(name) { String::new() } else { short(name) };
        let (digits, minutes) = code.map_or((String::new(), 0), |(code, minutes)| (line(code), minutes));
        let mut all = Said { mentions: 0, lines: Vec::new(), link: String::new(), stop_link: String::new() };
        if let Mail::Unread { rooms, more_rooms, link, unsubscribe, .. } = mail {
            self.say_unread(language, rooms, *more_rooms, &mut all)?;
            all.link = link.as_deref().map(line).unwrap_or_default();
            all.stop_link = unsubscribe.as_deref().map(line).unwrap_or_default();
        }
        let values = context! {
            name => name, service => self.service.clone(), minutes => minutes, code => digits.clone(),
            mentions => all.mentions,
        };
        let say = |what: &str| self.say(language, what, &values);
        let subject = line(&say(&format!("{kind}.subject"))?);
        let mut layout = vec![
            ("lang", Value::from(language)),
            ("kind", kind.into()),
            ("service", self.service.clone().into()),
            ("subject", subject.clone().into()),
            ("hello", say("hello")?.into()),
            ("text", say(&format!("{kind}.text"))?.into()),
            ("code", digits.clone().into()),
            ("lines", all.lines.into()),
            ("link", all.link.into()),
            ("stop_link", all.stop_link.into()),
            ("open", say("unread.open")?.into()),
            ("stop", say("unread.stop")?.into()),
        ];
        let silent = matches!(mail, Mail::Welcome { .. } | Mail::Unread { .. });
        layout.push(("ignore", if silent { String::new() } else { say("ignore")? }.into()));
        if code.is_some() {
            let sentence = say("code")?;
            let (before, after) = sentence.split_once(&digits).unwrap_or((&sentence, ""));
            layout.push(("code_before", before.into()));
            layout.push(("code_after", after.into()));
            layout.push(("valid", say("valid")?.into()));
            layout.push(("code_line", sentence.into()));
        }
        let layout = Value::from(layout.into_iter().collect::<BTreeMap<&str, Value>>());
        let text = self.lay_out(kind, language, "txt", &layout)?;
        let html = self.lay_out(kind, language, "html", &layout)?;
        Ok(Text { subject, text: format!("{}\n", text.trim_end()), html: format!("{}\n", html.trim_end()) })
    }

    fn say_unread(
        &self,
        language: &str,
        rooms: &[rookery_protocol::outbox::UnreadRoom],
        more_rooms: u32,
        all: &mut Said,
    ) -> Result<(), TemplateError> {
        all.mentions = rooms.iter().map(|room| room.mentions).fold(0, u32::saturating_add);
        for room in rooms.iter().take(ROOMS) {
            let values = context! {
                room => short(&room.name), direct => room.direct,
                mentions => room.mentions, messages => room.messages,
            };
            all.lines.push(self.say(language, "unread.room", &values)?);
        }
        let hidden = u32::try_from(rooms.len().saturating_sub(ROOMS)).unwrap_or(u32::MAX);
        let more = more_rooms.saturating_add(hidden);
        if more > 0 {
            all.lines.push(self.say(language, "unread.more", &context! { more => more })?);
        }
        Ok(())
    }

    fn say(&self, language: &str, what: &str, values: &Value) -> Result<String, TemplateError> {
        self.put(&format!("{language}/{what}"), values)
    }

    /// The most particular layout that there is.
    fn lay_out(
        &self,
        kind: &str,
        language: &str,
        form: &str,
        values: &Value,
    ) -> Result<String, TemplateError> {
        let mut names = tags(language)
            .map(|tag| format!("{kind}.{tag}.{form}"))
            .chain([format!("{kind}.{form}")])
            .filter(|name| self.environment.get_template(name).is_ok());
        self.put(&names.next().unwrap_or_else(|| format!("mail.{form}")), values)
    }

    fn put(&self, name: &str, values: &Value) -> Result<String, TemplateError> {
        let rendered =
            self.environment.get_template(name).and_then(|template| template.render(values.clone()));
        rendered.map_err(|error| TemplateError::of(name, &error))
    }
}

/// What only a notice says.
struct Said {
    mentions: u32,
    lines: Vec<String>,
    link: String,
    stop_link: String,
}

/// A value in one line and of bounded length: what users choose must neither break a header nor pretend to be another part of the mail.
fn line(text: &str) -> String {
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.truncate(line.char_indices().nth(LINE_CHARS).map_or(line.len(), |(at, _)| at));
    line.trim().to_owned()
}

/// A name, in one line, and shortened where it is long.
fn short(name: &str) -> String {
    let mut name = line(name);
    if name.chars().count() > NAME_CHARS {
        name.truncate(name.char_indices().nth(NAME_CHARS - 1).map_or(name.len(), |(at, _)| at));
        name.push('…');
    }
    name
}

/// A language tag in lower case, and those that it is a kind of: `zh-hant-tw`, `zh-hant`, `zh`.
fn tags(tag: &str) -> impl Iterator<Item = String> {
    let tag = tag.to_ascii_lowercase().replace('_', "-");
    std::iter::successors(Some(tag), |tag| tag.rsplit_once('-').map(|(wider, _)| wider.to_owned()))
}

fn looks_like_code(name: &str) -> bool {
    name.as_bytes().windows(6).any(|run| run.iter().all(u8::is_ascii_digit))
}
