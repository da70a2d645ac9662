use super::{load::samples, *};

fn built_in() -> Templates {
    Templates::load(None, "Rookery").unwrap()
}

/// Words of 6-8 digits, as `\b\d{6,8}\b` finds them.
fn codes(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.filter(|word| (6..=8).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_digit())).collect()
}

fn sign_up(username: &str) -> Mail {
    Mail::SignUpCode { code: "04711815".into(), username: username.into(), minutes: 15 }
}

#[test]
fn an_english_mail_reads_well() {
    let mail = built_in().render(&sign_up("anna"), "en-GB").unwrap();
    assert_eq!(mail.subject, "Confirm your e-mail address");
    assert_eq!(
        mail.text,
        "Hello anna,\n\nwith this code you finish your registration.\n\nYour code is 04711815\n\n\
         It is valid for 15 minutes. Give it to nobody.\n\nIf this was not you, ignore this mail.\n"
    );
    let notice = built_in().render(samples().last().unwrap(), "en").unwrap();
    assert_eq!(notice.subject, "3 unread mentions");
    assert_eq!(
        notice.text,
        "Hello ada,\n\nwhile you were away, this was written to you:\n\n- Tea: 7 unread messages\n- Tea: 1 mention, 7 unread \
         messages\n- Tea: 2 mentions, 7 unread messages\n- and more in 3 other rooms\n\nRead it: https://chat.example.org/\n\n\
         No more mails like this: https://chat.example.org/v1/mail/stop\n"
    );
}

#[test]
fn every_mail_with_a_code_has_one_and_no_other_has_any() {
    let templates = built_in();
    for mail in samples() {
        let wanted: &[&str] = if mail.kind().ends_with("code") || mail.kind() == "password_reset" {
            &["04711815"]
        } else {
            &[]
        };
        for language in ["en", "de-AT", "es", "FR", "tlh", ""] {
            let said = templates.render(&mail, language).unwrap();
            assert_eq!(codes(&said.text), wanted, "{}", said.text);
            assert_eq!(codes(&said.html), wanted, "{}", said.html);
            assert!(codes(&said.subject).is_empty() && !said.subject.is_empty());
            assert!(!format!("{}{}{}", said.text, said.html, said.subject).contains(['{', '}']));
        }
    }
    for username in ["123456", "anna-1234567"] {
        assert_eq!(codes(&templates.render(&sign_up(username), "en").unwrap().text), ["04711815"]);
    }
}

#[test]
fn names_are_only_text() {
    let templates = built_in();
    let said = templates.render(&sign_up("<b>\r\nBcc: x@y.z\n\n{{ code }}"), "de").unwrap();
    assert!(!said.html.contains("<b>\r") && said.html.contains("&lt;b&gt;"), "{}", said.html);
    assert!(said.text.starts_with("Hallo <b>  Bcc: x@y.z  {{ code }},\n"), "{}", said.text);
    let room =
        rookery_protocol::outbox::UnreadRoom { name: "a\nb".into(), direct: false, mentions: 1, messages: 1 };
    let mail = Mail::Unread {
        username: "ada".into(),
        rooms: vec![room; 12],
        more_rooms: 0,
        link: None,
        unsubscribe: None,
    };
    let said = templates.render(&mail, "en").unwrap();
    assert_eq!(said.text.matches("- a b: ").count(), ROOMS);
    assert!(said.text.contains("and more in 2 other rooms"));
}

#[test]
fn long_names_are_shortened_and_links_are_not() {
    let templates = built_in();
    let said = templates.render(&sign_up(&"ä".repeat(81)), "en").unwrap();
    assert!(said.text.starts_with(&format!("Hello {}…,\n", "ä".repeat(79))), "{}", said.text);
    assert!(templates.render(&sign_up(&"ä".repeat(80)), "en").unwrap().text.contains(&"ä".repeat(80)));
    let link = format!("https://chat.example.org/{}", "a".repeat(700));
    let room =
        |name: String| rookery_protocol::outbox::UnreadRoom { name, direct: false, mentions: 1, messages: 1 };
    let mail = Mail::Unread {
        username: "ada".into(),
        rooms: vec![room("b".repeat(100))],
        more_rooms: 0,
        link: Some(link.clone()),
        unsubscribe: None,
    };
    let said = templates.render(&mail, "en").unwrap();
    assert!(said.text.contains(&format!("- {}…: 1 mention", "b".repeat(79))), "{}", said.text);
    assert!(said.text.contains(&link), "{}", said.text);
}

#[test]
fn languages_differ_and_unknown_ones_are_english() {
    let templates = built_in();
    let subject = |language| templates.render(&sign_up("ada"), language).unwrap().subject;
    let all: std::collections::HashSet<_> = ["en", "de", "es", "fr"].map(subject).into();
    assert_eq!(all.len(), 4);
    assert_eq!(subject("tlh"), subject("en"));
}

#[test]
fn a_folder_replaces_words_and_layouts_and_brings_languages() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("words.de.toml", "hello = 'Servus{% if name %} {{ name }}{% endif %}!'");
    write("words.pt.toml", "[welcome]\nsubject = 'Bem-vindo a {{ service }}'");
    write("welcome.txt", "{{ hello }} <{{ service }}>");
    write("README.md", "{{ not a template");
    let templates = Templates::load(Some(dir.path()), "Tea Chat").unwrap();
    assert!(templates.render(&sign_up("ada"), "de").unwrap().text.starts_with("Servus ada!\n"));
    let welcome = Mail::Welcome { username: "ada".into() };
    let said = templates.render(&welcome, "pt-BR").unwrap();
    assert_eq!((&*said.subject, &*said.text), ("Bem-vindo a Tea Chat", "Hello ada, <Tea Chat>\n"));

    // A kind of a language says as the language what it has no words for, and stands in for its other kinds.
    write("words.pt-BR.toml", "hello = 'Oi'");
    write("words.zh-Hant.toml", "hello = '你好'");
    write("welcome.pt-BR.txt", "{{ hello }} {{ subject }}");
    let templates = Templates::load(Some(dir.path()), "Tea Chat").unwrap();
    let welcome_in = |language| templates.render(&welcome, language).unwrap().text;
    assert_eq!(welcome_in("pt-BR"), "Oi Bem-vindo a Tea Chat\n");
    assert_eq!(welcome_in("pt_br"), welcome_in("pt-BR"));
    assert_eq!(welcome_in("pt-PT"), "Hello ada, <Tea Chat>\n");
    assert_eq!(welcome_in("zh-Hant-TW"), "你好 <Tea Chat>\n");
    assert_eq!(welcome_in("zh"), welcome_in("zh-Hant"));

    // A file that is never used is a mistake.
    for name in [
        "welcom.txt",
        "welcome.it.html",
        "mail.de.txt",
        "word.it.toml",
        "words.português.toml",
        "words.pt-br.toml",
    ] {
        write(name, "hello = 'x'");
        let why = Templates::load(Some(dir.path()), "x").err().unwrap_or_else(|| panic!("{name} is taken"));
        assert!(why.to_string().starts_with(&format!("template {name}: ")), "{why}");
        std::fs::remove_file(dir.path().join(name)).unwrap();
    }

    write("words.de.toml", "helo = 'x'");
    let why = Templates::load(Some(dir.path()), "x").err().unwrap().to_string();
    assert_eq!(why, "template words.de.toml: there is no text helo");
    write("words.de.toml", "hello = '{{ nam }}'");
    let why = Templates::load(Some(dir.path()), "x").err().unwrap().to_string();
    assert!(why.starts_with("template de/hello: undefined value"), "{why}");
    write("words.de.toml", "hello = '{% if %}'");
    assert!(Templates::load(Some(dir.path()), "x").is_err());
}
