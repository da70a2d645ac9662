//! Lines as a model takes them: sentence by sentence, several at once.
//!
//! The model reads its weights once for all sentences of a block: a seventh less processor time than one by one, for lines of
//! twelve words in blocks of four or more.

use fxtranslate::{
    engine::Engine,
    segment::{BasicSegmenter, MAX_SOURCE_TOKENS, Segmenter as _, reassemble},
};

/// Sentences of one block. They are of about one length, since the short ones are filled up to the longest.
const BLOCK: usize = 16;

/// A line, and what it is asked as.
struct Line {
    asked: String,
    /// Of a single word: it was made to end like a sentence.
    word: Option<bool>,
}

impl Line {
    fn new(text: &str) -> Self {
        if text.split_whitespace().nth(1).is_some() {
            return Self { asked: text.to_owned(), word: None };
        }
        // The models were taught sentences. Of a single word they make one up, less often if it ends like a sentence.
        let ended = text.ends_with(['.', '!', '?']);
        let asked = if ended { text.to_owned() } else { format!("{text}.") };
        Self { asked, word: Some(!ended) }
    }

    fn told(&self, text: &str, answer: String) -> String {
        let Some(was_made_to_end) = self.word else { return answer };
        let answer = if was_made_to_end { answer.trim_end_matches('.') } else { &*answer };
        if answer.split_whitespace().count() > 2 { text.to_owned() } else { answer.to_owned() }
    }
}

/// Translates lines.
pub(super) fn translate(engine: &Engine, texts: &[String]) -> Vec<String> {
    let lines: Vec<_> = texts.iter().map(|text| Line::new(text)).collect();
    let spans: Vec<_> = lines.iter().map(|line| BasicSegmenter.sentences(&line.asked)).collect();
    let sentences: Vec<&str> = lines
        .iter()
        .zip(&spans)
        .flat_map(|(line, spans)| spans.iter().map(|span| span.of(&line.asked)))
        .collect();
    let mut answers = sentences_of(engine, &sentences).into_iter();
    lines
        .iter()
        .zip(&spans)
        .zip(texts)
        .map(|((line, spans), text)| {
            let outputs: Vec<_> = answers.by_ref().take(spans.len()).collect();
            line.told(text, reassemble(&line.asked, spans, &outputs))
        })
        .collect()
}

fn sentences_of(engine: &Engine, sentences: &[&str]) -> Vec<String> {
    let mut answers = vec![String::new(); sentences.len()];
    // With the end that the model is told, which is not counted here.
    let length = |sentence: &str| engine.src_ids(sentence).len().saturating_sub(1);
    let mut order: Vec<_> = sentences.iter().enumerate().map(|(at, text)| (length(text), at)).collect();
    order.sort_unstable();
    let whole = order.partition_point(|(length, _)| *length <= MAX_SOURCE_TOKENS);
    let (whole, long) = order.split_at(whole);
    for block in whole.chunks(BLOCK) {
        let texts: Vec<_> = block.iter().map(|(_, at)| sentences[*at]).collect();
        for ((_, at), answer) in block.iter().zip(engine.translate_batch(&texts)) {
            answers[*at] = answer;
        }
    }
    for (_, at) in long {
        // Longer than a model can read: it is cut.
        answers[*at] = engine.translate_long(sentences[*at]);
    }
    answers
}
