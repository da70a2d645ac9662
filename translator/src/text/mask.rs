//! What must come through untouched: code, addresses, mentions, emoji.
//!
//! A text is cut into lines. Of each line, what must not be touched is taken off both ends, and within it stands a mark for it
//! while an engine has the line. Engines may lose marks, double them or change them. So each mark must come back exactly
//! once; where it does not, the words between the marks are translated one by one, without any mark.

use std::sync::LazyLock;

use regex::Regex;

/// In order of preference where several begin at the same place.
static UNTOUCHED: LazyLock<Regex> = LazyLock::new(|| {
    let emoji = r"(?:\p{Regional_Indicator}{2}|[0-9#*]\x{FE0F}?\x{20E3}|\p{Extended_Pictographic}(?:\p{Emoji_Modifier}|\x{FE0F}\x{20E3}?|[\x{E0020}-\x{E007E}]+\x{E007F})?(?:\x{200D}\p{Extended_Pictographic}(?:\p{Emoji_Modifier}|\x{FE0F})?)*)";
    let parts = [
        r"`[^`\n]+`",
        r"(?i:\b[a-z][a-z0-9+.-]{1,15}://|\bmailto:|\bwww\.)[^\s<>\x22]*[^\s<>\x22.,;:!?')\]}…»”]",
        r"[\p{L}\p{N}._%+-]+@[\p{L}\p{N}-]+(?:\.[\p{L}\p{N}-]+)+",
        r"@[\p{L}\p{N}_](?:[\p{L}\p{N}_.-]*[\p{L}\p{N}_])?",
        r":[a-z0-9_+-]{2,32}:",
        emoji,
    ];
    #[expect(clippy::expect_used, reason = "the same text each time")]
    Regex::new(&parts.join("|")).expect("a regular expression")
});

/// A block of code, over several lines or one; one without an end goes to the text's.
static BLOCK: LazyLock<Regex> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the same text each time")]
    Regex::new(r"(?s)```.*?(?:```|\z)").expect("a regular expression")
});

/// A text, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkedText {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Kept(String),
    Sentence(Sentence),
}

/// A line for an engine, with marks for what it must not touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentence {
    marked: String,
    /// Marks and what they stand for, in order.
    kept: Vec<(String, String)>,
}

fn has_letters(text: &str) -> bool {
    text.chars().any(char::is_alphabetic)
}

impl MarkedText {
    /// Takes `text` apart.
    pub fn new(text: &str) -> Self {
        let mut parts = Vec::new();
        let mut at = 0;
        for block in BLOCK.find_iter(text) {
            lines(&text[at..block.start()], &mut parts);
            keep(&mut parts, block.as_str());
            at = block.end();
        }
        lines(&text[at..], &mut parts);
        Self { parts }
    }

    /// What an engine is given.
    pub fn sentences(&self) -> impl Iterator<Item = &Sentence> {
        self.parts.iter().filter_map(|part| match part {
            Part::Kept(_) => None,
            Part::Sentence(sentence) => Some(sentence),
        })
    }

    /// Nothing but language, to find out which.
    pub fn words(&self) -> String {
        let mut words = String::new();
        for sentence in self.sentences() {
            for piece in sentence.pieces() {
                words.push_str(piece);
                words.push(' ');
            }
        }
        words
    }

    /// Puts it together again, with `translated` in place of the sentences, in their order.
    pub fn join(&self, translated: impl IntoIterator<Item = String>) -> String {
        let mut translated = translated.into_iter();
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Kept(kept) => text.push_str(kept),
                Part::Sentence(sentence) => {
                    text.push_str(&translated.next().unwrap_or_else(|| sentence.original()));
                }
            }
        }
        text
    }
}

fn keep(parts: &mut Vec<Part>, text: &str) {
    if let Some(Part::Kept(last)) = parts.last_mut() {
        last.push_str(text);
    } else if !text.is_empty() {
        parts.push(Part::Kept(text.to_owned()));
    }
}

fn lines(text: &str, parts: &mut Vec<Part>) {
    for line in text.split_inclusive('\n') {
        let found: Vec<_> = UNTOUCHED.find_iter(line).map(|found| found.range()).collect();
        // Between them stands what an engine may have.
        let mut between = Vec::with_capacity(found.len() + 1);
        let mut at = 0;
        for range in &found {
            between.push(at..range.start);
            at = range.end;
        }
        between.push(at..line.len());
        let first = between.iter().position(|range| has_letters(&line[range.clone()]));
        let last = between.iter().rposition(|range| has_letters(&line[range.clone()]));
        let (Some(first), Some(last)) = (first, last) else {
            keep(parts, line);
            continue;
        };
        let trimmed_start = line[between[first].clone()].trim_start().len();
        let from = between[first].end - trimmed_start;
        let trimmed_end = line[between[last].clone()].trim_end().len();
        let to = between[last].start + trimmed_end;
        keep(parts, &line[..from]);
        parts.push(Part::Sentence(Sentence::new(&line[from..to], &found[first..last], from)));
        keep(parts, &line[to..]);
    }
}

impl Sentence {
    /// `found` are places in the line whose byte `offset` is the first of `text`.
    fn new(text: &str, found: &[std::ops::Range<usize>], offset: usize) -> Self {
        let mut marked = String::with_capacity(text.len());
        let mut kept = Vec::with_capacity(found.len());
        let mut number = 0;
        let mut at = 0;
        for range in found {
            let (from, to) = (range.start - offset, range.end - offset);
            let mark = loop {
                number += 1;
                let mark = format!("Q{number}Q");
                if !text.contains(&mark) {
                    break mark;
                }
            };
            marked.push_str(&text[at..from]);
            marked.push_str(&mark);
            kept.push((mark, text[from..to].to_owned()));
            at = to;
        }
        marked.push_str(&text[at..]);
        Self { marked, kept }
    }

    /// The line as an engine gets it.
    pub fn marked(&self) -> &str {
        &self.marked
    }

    /// Whether an engine could do any harm.
    pub fn has_marks(&self) -> bool {
        !self.kept.is_empty()
    }

    /// The line as it was.
    pub fn original(&self) -> String {
        self.with(&self.marked)
    }

    fn with(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((at, mark, kept)) = self.first(rest) {
            out.push_str(&rest[..at]);
            out.push_str(kept);
            rest = &rest[at + mark.len()..];
        }
        out.push_str(rest);
        out
    }

    fn first(&self, text: &str) -> Option<(usize, &str, &str)> {
        self.kept
            .iter()
            .filter_map(|(mark, kept)| text.find(mark.as_str()).map(|at| (at, mark.as_str(), kept.as_str())))
            .min_by_key(|(at, ..)| *at)
    }

    /// An engine's answer with what the marks stand for; `None` unless each came back exactly once, standing alone.
    pub fn restore(&self, answer: &str) -> Option<String> {
        let answer = tidy(answer);
        for (mark, _) in &self.kept {
            let mut places = answer.match_indices(mark.as_str());
            let (at, _) = places.next()?;
            let alone = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
            let alone =
                alone(answer[..at].chars().next_back()) && alone(answer[at + mark.len()..].chars().next());
            // The marks stood beside letters before, too, or else an engine has joined them to something.
            if places.next().is_some() || !(alone || self.glued(mark)) {
                return None;
            }
        }
        Some(self.with(&answer))
    }

    fn glued(&self, mark: &str) -> bool {
        self.marked.find(mark).is_some_and(|at| {
            let word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
            word(self.marked[..at].chars().next_back()) || word(self.marked[at + mark.len()..].chars().next())
        })
    }

    /// The words between the marks, for an engine that does not keep marks.
    pub fn pieces(&self) -> Vec<&str> {
        self.cut()
            .into_iter()
            .filter(|(text, kept)| !kept && has_letters(text))
            .map(|(text, _)| text.trim())
            .collect()
    }

    /// The line, with `answers` in place of its [`Self::pieces`].
    pub fn rejoin(&self, answers: impl IntoIterator<Item = String>) -> String {
        let mut answers = answers.into_iter();
        let mut out = String::new();
        for (text, kept) in self.cut() {
            if kept || !has_letters(text) {
                out.push_str(text);
                continue;
            }
            let start = text.len() - text.trim_start().len();
            let end = text.trim_end().len();
            out.push_str(&text[..start]);
            out.push_str(&answers.next().map_or_else(|| text[start..end].to_owned(), |answer| tidy(&answer)));
            out.push_str(&text[end..]);
        }
        out
    }

    /// Texts between the marks (`false`), and what the marks stand for (`true`).
    fn cut(&self) -> Vec<(&str, bool)> {
        let mut cut = Vec::with_capacity(2 * self.kept.len() + 1);
        let mut rest = self.marked.as_str();
        for (mark, kept) in &self.kept {
            if let Some((before, after)) = rest.split_once(mark.as_str()) {
                cut.push((before, false));
                cut.push((kept.as_str(), true));
                rest = after;
            }
        }
        cut.push((rest, false));
        cut
    }
}

/// A line stays one line.
fn tidy(answer: &str) -> String {
    answer.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shout(text: &MarkedText) -> String {
        text.join(text.sentences().map(|sentence| {
            sentence
                .restore(&sentence.marked().to_uppercase())
                .unwrap_or_else(|| sentence.rejoin(sentence.pieces().into_iter().map(str::to_uppercase)))
        }))
    }

    #[test]
    fn only_language_is_touched() {
        for (text, wanted) in [
            (
                "@ada look at https://a.example/b?c=d. Thanks! 😀",
                "@ada LOOK AT https://a.example/b?c=d. THANKS! 😀",
            ),
            ("run `cargo test` now", "RUN `cargo test` NOW"),
            ("see\n```\nlet x = 1;\n```\nthere", "SEE\n```\nlet x = 1;\n```\nTHERE"),
            ("```\nnever closed", "```\nnever closed"),
            ("write to ada@example.com or @bob, please", "WRITE TO ada@example.com OR @bob, PLEASE"),
            ("nice 👩‍👩‍👧‍👦 family 🇵🇹!", "NICE 👩‍👩‍👧‍👦 FAMILY 🇵🇹!"),
            (":tada: done :+1:", ":tada: DONE :+1:"),
            ("12:30 😀 1️⃣", "12:30 😀 1️⃣"),
            ("  indented\n\n\tmore  \n", "  INDENTED\n\n\tMORE  \n"),
            ("a Q1Q b @x c", "A Q1Q B @x C"),
        ] {
            let marked = MarkedText::new(text);
            assert_eq!(marked.join(marked.sentences().map(Sentence::original)), text);
            assert_eq!(shout(&marked), wanted);
        }
    }

    #[test]
    fn words_are_nothing_but_language() {
        assert_eq!(
            MarkedText::new("@ada hello https://x.example and `code` bye 😀").words(),
            "hello and bye "
        );
    }

    #[test]
    fn marks_that_are_lost_doubled_or_joined_are_noticed() {
        let text = MarkedText::new("tell @ada that");
        let sentence = text.sentences().next().unwrap();
        assert_eq!(sentence.marked(), "tell Q1Q that");
        assert_eq!(sentence.restore("Sag Q1Q das").as_deref(), Some("Sag @ada das"));
        for broken in ["Sag das", "Sag Q1Q Q1Q das", "Sag q1q das", "Sag Q1Qs das"] {
            assert_eq!(sentence.restore(broken), None, "{broken}");
        }
    }

    fn untouched() -> impl Strategy<Value = String> {
        prop::sample::select(vec![
            "https://example.org/a_b?c=d#e",
            "www.example.com",
            "@ada",
            "@bob.b",
            "`x = 1`",
            "```\ncode\n```",
            "😀",
            "👍🏽",
            "🇪🇸",
            "👩‍🚀",
            ":wave:",
            "me@example.org",
            "1️⃣",
        ])
        .prop_map(str::to_owned)
    }

    fn words() -> impl Strategy<Value = String> {
        prop_oneof!["[a-zäöñ]{1,9}", "[A-Z][a-z]{0,5}", "[0-9]{1,3}", Just("Q1Q".to_owned()), "[.,!?]"]
    }

    /// What engines have been seen to do to marks, and worse.
    fn mangle(text: &str, how: u8) -> String {
        match how % 6 {
            0 => text.to_owned(),
            1 => text.to_uppercase(),
            2 => text.chars().rev().collect(),
            3 => format!("{text} {text}"),
            4 => String::new(),
            _ => text.replace('Q', "q\n"),
        }
    }

    proptest! {
        /// Whatever an engine does to what it is given, each kept thing is in the result, exactly once, as it was.
        #[test]
        fn what_is_kept_survives_any_engine(
            pieces in prop::collection::vec(prop_oneof![words(), untouched()], 1..14),
            how in any::<u8>(),
        ) {
            let text = pieces.join(" ");
            let marked = MarkedText::new(&text);
            prop_assert_eq!(marked.join(marked.sentences().map(Sentence::original)), text.clone());
            let out = marked.join(marked.sentences().map(|sentence| {
                sentence.restore(&mangle(sentence.marked(), how)).unwrap_or_else(|| {
                    let pieces = sentence.pieces();
                    sentence.rejoin(pieces.into_iter().map(|piece| mangle(piece, how)))
                })
            }));
            for kept in ["https://example.org/a_b?c=d#e", "www.example.com", "`x = 1`", "```\ncode\n```", "👩‍🚀", "👍🏽", "🇪🇸", ":wave:"] {
                prop_assert_eq!(out.matches(kept).count(), text.matches(kept).count(), "{} in {:?}", kept, &out);
            }
        }

        #[test]
        fn any_text_comes_apart_and_together(text in "\\PC{0,60}") {
            let marked = MarkedText::new(&text);
            prop_assert_eq!(marked.join(marked.sentences().map(Sentence::original)), text);
        }
    }
}
