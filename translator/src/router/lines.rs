//! From a text to an engine's lines and back.

use std::sync::Arc;

use super::{Refusal, guarded::Guarded};
use crate::{
    engine::Batch,
    metrics::TranslatorMetrics,
    text::{Lang, MarkedText, Sentence, phrase},
};

/// A line of more pieces, none of which can be a sentence, stays as it is where marks are lost.
const MOST_PIECES: usize = 256;

/// The text in each of `targets`.
pub(super) async fn translate(
    guarded: &Arc<Guarded>,
    marked: &MarkedText,
    source: Lang,
    targets: &[Lang],
    metrics: &TranslatorMetrics,
) -> Result<Vec<String>, Refusal> {
    let sentences: Vec<&Sentence> = marked.sentences().collect();
    let known = |sentence: &Sentence, target| phrase(&sentence.original(), source, target);
    // A line that is a phrase in all of them is not asked for.
    let asked: Vec<&Sentence> = sentences
        .iter()
        .copied()
        .filter(|sentence| targets.iter().any(|target| known(sentence, *target).is_none()))
        .collect();
    let texts = asked.iter().map(|sentence| sentence.marked().to_owned()).collect();
    let batch = Batch { texts, source, targets: targets.to_vec() };
    let answers = guarded.ask(batch).await?;

    let mut texts = Vec::with_capacity(targets.len());
    for (target, answers) in targets.iter().zip(answers) {
        let mut answers = answers.into_iter();
        let mut lines: Vec<Option<String>> = Vec::with_capacity(sentences.len());
        for sentence in &sentences {
            let phrase = known(sentence, *target);
            let answer = if targets.iter().any(|target| known(sentence, *target).is_none()) {
                answers.next()
            } else {
                None
            };
            lines.push(phrase.or_else(|| sentence.restore(&answer?)));
        }
        mend(guarded, &sentences, &mut lines, (source, *target), metrics).await?;
        let lines = lines
            .into_iter()
            .zip(&sentences)
            .map(|(line, sentence)| line.unwrap_or_else(|| sentence.original()));
        texts.push(marked.join(lines));
    }
    Ok(texts)
}

/// Lines in which marks were lost are translated by the pieces between the marks.
async fn mend(
    guarded: &Arc<Guarded>,
    sentences: &[&Sentence],
    lines: &mut [Option<String>],
    (source, target): (Lang, Lang),
    metrics: &TranslatorMetrics,
) -> Result<(), Refusal> {
    let few = |at: &usize| sentences[*at].pieces().len() <= MOST_PIECES;
    let broken: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].is_none()).filter(few).collect();
    if broken.is_empty() {
        return Ok(());
    }
    metrics.pieces.inc_by(broken.len() as u64);
    let pieces = broken.iter().flat_map(|at| sentences[*at].pieces()).map(str::to_owned).collect();
    let batch = Batch { texts: pieces, source, targets: vec![target] };
    let mut answers = guarded.ask(batch).await?.pop().unwrap_or_default().into_iter();
    for at in broken {
        let count = sentences[at].pieces().len();
        lines[at] = Some(sentences[at].rejoin(answers.by_ref().take(count)));
    }
    Ok(())
}
