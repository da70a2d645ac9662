//! How fast the local engines are here: `cargo test -p rookery-translator --test it -- --ignored --nocapture figures`.

use std::{sync::Arc, time::Instant};

use rookery_translator::router::Translator;

use crate::support::{apertium, models, only, only_apertium, text, translator};

/// Lines that are all different, so that none is remembered.
const LINES: usize = 400;

fn line(number: usize) -> String {
    format!("The house number {number} is big and the water is cold, I think.")
}

async fn measure(name: &str, translator: &Arc<Translator>, target: &str) {
    text(translator, "The first one waits for the engine to start.", "en", target).await;
    let mut took = Vec::with_capacity(LINES);
    for number in 0..LINES {
        let began = Instant::now();
        text(translator, &line(number), "en", target).await;
        took.push(began.elapsed());
    }
    took.sort_unstable();
    let one_by_one = LINES as f64 / took.iter().sum::<std::time::Duration>().as_secs_f64();
    let began = Instant::now();
    let all = (0..8).map(|lane| {
        let (translator, target) = (translator.clone(), target.to_owned());
        tokio::spawn(async move {
            for number in 0..LINES / 8 {
                text(&translator, &line(10_000 + lane * LINES + number), "en", &target).await;
            }
        })
    });
    for task in all.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let at_once = LINES as f64 / began.elapsed().as_secs_f64();
    let began = Instant::now();
    for _ in 0..50 {
        for number in 0..LINES {
            text(translator, &line(number), "en", target).await;
        }
    }
    let known = 50.0 * LINES as f64 / began.elapsed().as_secs_f64();
    println!(
        "{name}: p50 {:.1?}, p99 {:.1?}; {one_by_one:.0}/s one by one, {at_once:.0}/s eight at once, {known:.0}/s known",
        took[LINES / 2],
        took[LINES * 99 / 100],
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures"]
async fn figures() {
    if apertium().await.is_some() {
        measure("apertium en-es", &translator(&only_apertium()).await, "es").await;
    }
    if let Some(models) = models() {
        let mut settings = only("firefox");
        settings.firefox.models = models;
        measure("firefox en-pt", &translator(&settings).await, "pt").await;
    }
}
