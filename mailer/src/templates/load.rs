//! Reading the templates: those built in, those of a folder, and a trial of all of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use minijinja::Environment;
use rookery_protocol::outbox::{Mail, UnreadRoom};
use toml::{Table, Value};

use super::{FALL_BACK, Templates, tags};

const WORDS: &[(&str, &str)] = &[
    ("en", include_str!("../../templates/words.en.toml")),
    ("de", include_str!("../../templates/words.de.toml")),
    ("es", include_str!("../../templates/words.es.toml")),
    ("fr", include_str!("../../templates/words.fr.toml")),
];
const LAYOUTS: &[(&str, &str)] = &[
    ("mail.txt", include_str!("../../templates/mail.txt")),
    ("mail.html", include_str!("../../templates/mail.html")),
];
/// A file of templates is no longer, bytes.
const FILE_BYTES: u64 = 256 * 1024;

/// A template cannot be used. Never holds what was put in: that may be a code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template {file}: {why}")]
pub struct TemplateError {
    /// Which file, or which text of which language.
    pub file: String,
    /// What is wrong in it.
    pub why: String,
}

impl TemplateError {
    fn new(file: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self { file: file.into(), why: why.to_string() }
    }

    /// Kind and place; the detail could quote a value.
    pub(super) fn of(name: &str, error: &minijinja::Error) -> Self {
        let at = error.line().map(|line| format!(" in line {line}")).unwrap_or_default();
        Self::new(name, format!("{}{at}", error.kind()))
    }
}

/// Adds all templates, and returns the languages that there are words for.
pub(super) fn fill(
    environment: &mut Environment<'static>,
    folder: Option<&Path>,
) -> Result<Vec<String>, TemplateError> {
    let mut words: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (language, source) in WORDS {
        let file = format!("words.{language}.toml");
        words.insert((*language).to_owned(), parse(&file, source)?);
    }
    let mut layouts: BTreeMap<String, String> =
        LAYOUTS.iter().map(|(name, source)| ((*name).to_owned(), (*source).to_owned())).collect();
    let known: BTreeSet<String> = words[FALL_BACK].keys().cloned().collect();
    let (mut given, mut given_layouts) = (BTreeMap::new(), Vec::new());
    for (name, source) in folder.map(files).transpose()?.unwrap_or_default() {
        let Some(language) = name.strip_prefix("words.").and_then(|rest| rest.strip_suffix(".toml")) else {
            given_layouts.push((name, source));
            continue;
        };
        let texts = parse(&name, &source)?;
        if let Some(unknown) = texts.keys().find(|key| !known.contains(*key)) {
            return Err(TemplateError::new(name, format!("there is no text {unknown}")));
        }
        if !is_tag(language) {
            return Err(TemplateError::new(
                name,
                "the part between the dots must be a language, as pt or pt-BR",
            ));
        }
        if given.insert(language.to_ascii_lowercase(), texts).is_some() {
            return Err(TemplateError::new(name, "there is another file for this language"));
        }
    }
    // A language comes before its kinds: `pt` before `pt-br`.
    for (language, texts) in given {
        // What it has no words for, it says as the language that it is a kind of, or in English.
        let near = tags(&language).find_map(|tag| words.get(&tag)).unwrap_or(&words[FALL_BACK]).clone();
        words.entry(language).or_insert(near).extend(texts);
    }
    for (name, source) in given_layouts {
        layouts.insert(layout(&name, &words)?, source);
    }
    for (language, texts) in &words {
        for (key, text) in texts {
            add(environment, format!("{language}/{key}"), text.clone())?;
        }
    }
    for (name, source) in layouts {
        add(environment, name, source)?;
    }
    Ok(words.into_keys().collect())
}

/// A language, as `pt` or `pt-BR` (BCP 47).
fn is_tag(text: &str) -> bool {
    let mut parts = text.split('-');
    let is_part = |part: &str, most| {
        (2..=most).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    parts.next().is_some_and(|first| is_part(first, 3)) && parts.all(|part| is_part(part, 8))
}

/// The name of a layout, as it is looked for; one that is never looked for is a mistake.
fn layout(file: &str, words: &BTreeMap<String, BTreeMap<String, String>>) -> Result<String, TemplateError> {
    let kinds: Vec<_> = samples().iter().map(Mail::kind).collect();
    let parts: Vec<_> = file.split('.').collect();
    let language = |text: &str| words.contains_key(&text.to_ascii_lowercase());
    match parts[..] {
        ["mail", "txt" | "html"] => Ok(file.to_owned()),
        [kind, "txt" | "html"] if kinds.contains(&kind) => Ok(file.to_owned()),
        [kind, tag, form @ ("txt" | "html")] if kinds.contains(&kind) && language(tag) => {
            Ok(format!("{kind}.{}.{form}", tag.to_ascii_lowercase()))
        }
        _ => Err(TemplateError::new(
            file,
            format!(
                "no mail has this name: words.LANG.toml, mail.txt, mail.html, KIND.txt, KIND.html, KIND.LANG.txt or \
                 KIND.LANG.html is expected, with KIND one of {} and LANG one of {}",
                kinds.join(", "),
                words.keys().cloned().collect::<Vec<_>>().join(", ")
            ),
        )),
    }
}

fn add(environment: &mut Environment<'static>, name: String, source: String) -> Result<(), TemplateError> {
    let added = environment.add_template_owned(name.clone(), source);
    added.map_err(|error| TemplateError::new(name, format!("{error:#}")))
}

/// The texts of one language, `KIND.NAME` each.
fn parse(file: &str, source: &str) -> Result<BTreeMap<String, String>, TemplateError> {
    let table: Table = source.parse().map_err(|error| TemplateError::new(file, error))?;
    let mut texts = BTreeMap::new();
    let wrong = |key: &str| TemplateError::new(file, format!("{key} must be a text"));
    for (key, value) in table {
        match value {
            Value::String(text) => {
                texts.insert(key, text);
            }
            Value::Table(inner) => {
                for (name, value) in inner {
                    let Value::String(text) = value else { return Err(wrong(&name)) };
                    texts.insert(format!("{key}.{name}"), text);
                }
            }
            _ => return Err(wrong(&key)),
        }
    }
    Ok(texts)
}

/// The templates in a folder; files of other kinds, and the links that a ConfigMap is made of, are passed over.
fn files(folder: &Path) -> Result<Vec<(String, String)>, TemplateError> {
    let shown = folder.display().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| TemplateError::new(&shown, error))? {
        let entry = entry.map_err(|error| TemplateError::new(&shown, error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_ours = [".toml", ".html", ".txt"].iter().any(|form| name.ends_with(form));
        let Some(about) = std::fs::metadata(entry.path()).ok().filter(|about| about.is_file() && is_ours)
        else {
            continue;
        };
        if about.len() > FILE_BYTES {
            return Err(TemplateError::new(name, format!("must be shorter than {FILE_BYTES} bytes")));
        }
        let source =
            std::fs::read_to_string(entry.path()).map_err(|error| TemplateError::new(&name, error))?;
        found.push((name, source));
    }
    found.sort();
    Ok(found)
}

/// Writes each mail in each language once.
pub(super) fn try_all(templates: &Templates) -> Result<(), TemplateError> {
    for mail in samples() {
        for language in &templates.languages {
            templates.render(&mail, language)?;
        }
    }
    Ok(())
}

/// A mail of each kind.
pub(super) fn samples() -> Vec<Mail> {
    let (code, username, minutes) = ("04711815".to_owned(), "ada".to_owned(), 15);
    let room = |mentions| UnreadRoom { name: "Tea".to_owned(), direct: mentions == 0, mentions, messages: 7 };
    vec![
        Mail::SignUpCode { code: code.clone(), username: username.clone(), minutes },
        Mail::LoginCode { code: code.clone(), username: username.clone(), minutes },
        Mail::PasswordReset { code, username: username.clone(), minutes },
        Mail::AlreadyRegistered { username: username.clone() },
        Mail::Welcome { username: username.clone() },
        Mail::Unread {
            username,
            rooms: vec![room(0), room(1), room(2)],
            more_rooms: 3,
            link: Some("https://chat.example.org/".to_owned()),
            unsubscribe: Some("https://chat.example.org/v1/mail/stop".to_owned()),
        },
    ]
}
