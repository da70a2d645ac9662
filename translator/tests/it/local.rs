//! The engines that run on this machine.

use std::{path::Path, sync::Arc};

use rookery_translator::{
    engine::{Batch, Class, Engine, EngineError, apertium::Apertium, firefox::Firefox},
    engines,
};

use crate::support::{self, lang};

async fn ask(
    engine: &dyn Engine,
    source: &str,
    target: &str,
    texts: &[&str],
) -> Result<Vec<String>, EngineError> {
    let texts = texts.iter().map(|text| (*text).to_owned()).collect();
    let batch = Batch { texts, source: lang(source), targets: vec![lang(target)] };
    engine.translate(batch).await.map(|mut all| all.remove(0))
}

#[tokio::test]
async fn apertium_translates_line_by_line_in_order() {
    let Some(engine) = support::apertium().await else { return };
    let answers = ask(&engine, "en", "es", &["The house is big", "I have two cats."]).await.unwrap();
    assert_eq!(answers, ["La casa es grande", "Tengo dos gatos."]);
    // Letters that mean something in its own format, and a word that it does not know.
    let odd = ask(&engine, "en", "es", &["the [big] house/tree ^x$ Q1Q <b> \\ {zzyzx}"]).await.unwrap();
    for kept in ["[", "]", "/", "Q1Q", "<b>", "\\", "{zzyzx}"] {
        assert!(odd[0].contains(kept), "{odd:?}");
    }
    assert_eq!(ask(&engine, "en", "es", &[""]).await.unwrap(), [""]);
    assert!(matches!(ask(&engine, "en", "ja", &["no"]).await, Err(EngineError::Unfit(_))));
}

#[tokio::test]
async fn apertium_serves_many_at_once_and_long_texts() {
    let Some(engine) = support::apertium().await else { return };
    let engine = Arc::new(engine);
    let tasks: Vec<_> = (0..20)
        .map(|number| {
            let engine = engine.clone();
            tokio::spawn(async move {
                let text = format!("There are {number} houses. ").repeat(100);
                let answers = ask(&*engine, "en", "es", &[&text, "Hello"]).await.unwrap();
                assert_eq!(answers[0].matches(&number.to_string()).count() % 100, 0, "{answers:?}");
                assert!(answers[0].contains("casas") && answers.len() == 2, "{answers:?}");
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// The tasks in a folder of `/proc` that the scheduler has in the idle class: their names, and whose children they are.
fn idle(folder: &str) -> Vec<(String, String)> {
    let tasks = std::fs::read_dir(folder).unwrap().flatten();
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
    let idle = stats.filter_map(|stat| {
        // proc(5): the name is in brackets; after it `ppid` is the second field, and `policy` the 39th, where 5 is `SCHED_IDLE`.
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
        let fields: Vec<_> = rest.split_whitespace().collect();
        (fields.get(38) == Some(&"5")).then(|| (name.to_owned(), fields[1].to_owned()))
    });
    idle.collect()
}

/// So chat on the same machine goes first.
#[tokio::test]
async fn engines_get_what_nobody_else_wants() {
    if support::apertium().await.is_some() {
        let engine = Apertium::find(support::modes(), Class::Idle).await;
        assert_eq!(ask(&engine, "en", "es", &["The house is big"]).await.unwrap(), ["La casa es grande"]);
        let own = std::process::id().to_string();
        let programs: Vec<_> = idle("/proc").into_iter().filter(|(_, parent)| *parent == own).collect();
        assert!(programs.len() >= 5 && programs.iter().any(|(name, _)| name == "lt-proc"), "{programs:?}");
    }
    if let Some(models) = support::models() {
        let engine = Firefox::find(&models, Class::Idle).unwrap();
        ask(&engine, "en", "pt", &["The house is big"]).await.unwrap();
        let threads = idle("/proc/self/task");
        assert!(threads.iter().any(|(name, _)| name == "firefox en-pt"), "{threads:?}");
        assert_eq!(threads.len(), 1, "nothing else of the process: {threads:?}");
    }
}

#[tokio::test]
async fn a_mode_that_does_not_work_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("eng-spa.mode", "lt-proc '/nowhere/x.bin'");
    write("eng-fra.mode", "cat");
    write("eng-deu_AT.mode", "lt-proc '/nowhere/y.bin'");
    assert!(Apertium::find(folder.path(), Class::Usual).await.is_empty());
    assert!(Apertium::find("/nowhere".as_ref(), Class::Usual).await.is_empty());
}

/// Before the programs of a mode: hands on what it reads, but ends or says nothing more when it reads that it is to.
const SABOTEUR: &str = r#"#!/usr/bin/env python3
import os, sys, time
with open(sys.argv[2], "a") as starts: starts.write(f"{os.getpid()}\n")
while chunk := os.read(0, 65536):
    if b"qqdie" in chunk: sys.exit(1)
    if b"qqhang" in chunk: time.sleep(3600)
    os.write(1, chunk)
"#;

#[tokio::test]
async fn programs_that_die_or_hang_are_ended_and_started_again() {
    use std::os::unix::fs::PermissionsExt as _;
    let real = rookery_testbed::find_modes()
        .and_then(|modes| std::fs::read_to_string(modes.join("eng-spa.mode")).ok());
    let Some(real) = real else { return support::skipped("apertium-eng-spa is not installed") };
    let folder = tempfile::tempdir().unwrap();
    let (program, starts) = (folder.path().join("lt-proc"), folder.path().join("starts"));
    std::fs::write(&program, SABOTEUR).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mode = format!("'{}' '{}' | {real}", program.display(), starts.display());
    std::fs::write(folder.path().join("eng-spa.mode"), mode).unwrap();
    let started = || -> Vec<String> {
        std::fs::read_to_string(&starts).unwrap_or_default().lines().map(str::to_owned).collect()
    };
    let runs = |pid: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    };

    let engine = Apertium::find(folder.path(), Class::Usual).await;
    let house = async || support::within("an answer", ask(&engine, "en", "es", &["The house is big"])).await;
    assert_eq!(house().await.unwrap(), ["La casa es grande"]);
    // The first was the self-test's.
    assert_eq!(started().len(), 2);
    let died = support::within("its end", ask(&engine, "en", "es", &["qqdie"])).await;
    assert!(matches!(died, Err(EngineError::Away(_))), "{died:?}");
    assert_eq!(house().await.unwrap(), ["La casa es grande"]);
    let hung =
        support::within("its patience", ask(&engine, "en", "es", &["There are two dogs qqhang"])).await;
    assert!(matches!(hung, Err(EngineError::Late)), "{hung:?}");
    // Nobody is given what was said to another's text.
    assert_eq!(house().await.unwrap(), ["La casa es grande"]);
    let pids = started();
    assert_eq!(pids.len(), 4, "each once");
    support::eventually("those that hang are ended", || !runs(&pids[2])).await;
    assert!(runs(&pids[3]));
}

#[tokio::test]
async fn firefox_translates_both_ways_and_many_lines_at_once() {
    let Some(engine) = support::firefox() else { return };
    let answers =
        ask(&engine, "en", "pt", &["The weather is nice today.", "Look at Q1Q, please."]).await.unwrap();
    assert!(answers[0].starts_with("O tempo") && answers[1].contains("Q1Q"), "{answers:?}");
    let answers = ask(&engine, "pt", "en", &["O tempo está bom hoje."]).await.unwrap();
    assert!(answers[0].contains("weather"), "{answers:?}");
    assert!(engine.has(lang("pt"), lang("en")) && !engine.has(lang("pt"), lang("fr")));
    // What is asked for together is translated as if it were asked for alone, in its order.
    let lines: Vec<String> = (0..40)
        .map(|number| match number % 4 {
            0 => format!("There are {number} houses here. They are big!"),
            1 => format!("I saw {number} of them."),
            2 => "  ".to_owned(),
            _ => format!("{} in the garden.", "the dog and the cat and the bird and the fish ".repeat(10)),
        })
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let together = ask(&engine, "en", "pt", &lines).await.unwrap();
    for (line, answer) in lines.iter().zip(&together) {
        assert_eq!(ask(&engine, "en", "pt", &[line]).await.unwrap(), [&**answer], "{line}");
    }
    assert_ne!(engine.version(lang("pt"), lang("en")), engine.version(lang("en"), lang("pt")));
    // One word does not become a story.
    for answer in ask(&engine, "en", "pt", &["thanks", "Hello", "cats"]).await.unwrap() {
        assert!(answer.split_whitespace().count() <= 2, "{answer}");
    }
}

#[tokio::test]
async fn firefox_goes_by_way_of_english_where_it_has_no_model() {
    let Some(models) = support::models() else { return };
    let folder = tempfile::tempdir().unwrap();
    let copy = |pair: &str, named: &str| {
        let into = folder.path().join(named);
        std::fs::create_dir(&into).unwrap();
        for entry in std::fs::read_dir(models.join(pair)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().replace(pair, named);
            std::fs::copy(&path, into.join(name)).unwrap();
        }
    };
    // There are no models of a third language here: Galician, which is close to it, is what Portuguese is called.
    copy("pten", "pten");
    copy("enpt", "engl");
    let engine = Firefox::find(folder.path(), Class::Usual).unwrap();
    assert!(engine.has(lang("pt"), lang("gl")) && !engine.has(lang("gl"), lang("pt")));
    let version = engine.version(lang("pt"), lang("gl"));
    let [first, second] = [("pt", "en"), ("en", "gl")].map(|(from, to)| engine.version(lang(from), lang(to)));
    assert_eq!(version, format!("{first}+{second}"), "what is remembered is told apart by both models");
    let lines = ["O tempo está bom hoje.", "A casa é grande e a água está fria."];
    let answers = ask(&engine, "pt", "gl", &lines).await.unwrap();
    assert!(answers[0].contains("tempo") && answers[1].contains("casa"), "{answers:?}");
    // Both steps were made: it says what English says of it.
    let english = ask(&engine, "pt", "en", &lines).await.unwrap();
    let english: Vec<&str> = english.iter().map(String::as_str).collect();
    assert!(english[0].contains("weather"), "{english:?}");
    assert_eq!(ask(&engine, "en", "gl", &english).await.unwrap(), answers);
}

/// A folder with the files of `enpt`, each as `change` makes it; `None`: left out.
fn changed_models(models: &Path, change: impl Fn(&str, Vec<u8>) -> Option<Vec<u8>>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(models.join("enpt")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if let Some(bytes) = change(name, std::fs::read(&path).unwrap()) {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
    }
    folder
}

#[tokio::test]
async fn a_model_that_is_missing_or_damaged_is_named_at_the_start() {
    let Some(models) = support::models() else { return };
    let half = |first: &'static str| {
        move |name: &str, mut bytes: Vec<u8>| {
            if name.starts_with(first) {
                bytes.truncate(bytes.len() / 2);
            }
            Some(bytes)
        }
    };
    let without =
        |first: &'static str| move |name: &str, bytes: Vec<u8>| (!name.starts_with(first)).then_some(bytes);
    let noise = |first: &'static str| {
        move |name: &str, bytes: Vec<u8>| {
            Some(if name.starts_with(first) { vec![0xA5; bytes.len()] } else { bytes })
        }
    };
    let model = "model.enpt.intgemm.alphas.bin: ";
    for (words, folder) in [
        ("there is no model in ", changed_models(&models, without("model."))),
        ("there is no vocab.enpt.spm", changed_models(&models, without("vocab."))),
        (model, changed_models(&models, half("model."))),
        (model, changed_models(&models, noise("model."))),
        (model, changed_models(&models, noise("vocab."))),
        (model, changed_models(&models, half("lex."))),
    ] {
        let mut settings = support::only("firefox");
        settings.firefox.models = folder.path().to_owned();
        let why = engines::set_up(&settings).await.err().unwrap_or_else(|| panic!("it is used: {words}"));
        let named = why.starts_with("translator.firefox.models: ")
            && why.contains(folder.path().to_str().unwrap())
            && why.contains(words);
        assert!(named, "{words}: {why}");
    }
    // Without its shortlist a model is slower, and no worse.
    let slower = changed_models(&models, without("lex."));
    assert!(Firefox::find(slower.path(), Class::Usual).unwrap().has(lang("en"), lang("pt")));
}

#[tokio::test]
async fn a_model_that_is_damaged_later_is_an_error_and_nothing_else() {
    let Some(models) = support::models() else { return };
    let folder = changed_models(&models, |_, bytes| Some(bytes));
    // It is loaded when it is first needed.
    let engine = Firefox::find(folder.path(), Class::Usual).unwrap();
    let list = folder.path().join("lex.50.50.enpt.s2t.bin");
    let bytes = std::fs::read(&list).unwrap();
    std::fs::write(&list, &bytes[..bytes.len() / 2]).unwrap();
    for _ in 0..2 {
        assert!(matches!(ask(&engine, "en", "pt", &["Hello there"]).await, Err(EngineError::Away(_))));
    }
}
