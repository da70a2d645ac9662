//! Apertium's stream format: what its programs read and write.
//! See <https://wiki.apertium.org/wiki/Apertium_stream_format>.

/// Letters that mean something in the format.
const RESERVED: &[char] = &['[', ']', '{', '}', '^', '$', '/', '\\', '@', '<', '>'];
/// Ends a text that has no end of its own, so that its last words are taken for a whole sentence; not part of the text.
const END: &str = ".[]";
/// The part of that which programs hand on as it is, and write nowhere else.
const MARK: &str = "[]";

/// A line as the programs read it.
pub(super) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if RESERVED.contains(&c) {
            out.push('\\');
        }
        out.push(if c == '\0' || c == '\n' { ' ' } else { c });
    }
    out.push_str(END);
    out
}

/// Whether all of a line was written. When a program ends, those after it end the line where it is, as if that were all.
pub(super) fn is_whole(answer: &str) -> bool {
    answer.contains(MARK)
}

/// A line as the programs wrote it.
pub(super) fn decode(answer: &str) -> String {
    let answer =
        answer.trim_end().strip_suffix(MARK).map_or(answer, |rest| rest.strip_suffix('.').unwrap_or(rest));
    let mut out = String::with_capacity(answer.len());
    let mut letters = answer.chars();
    let mut blank = false;
    while let Some(c) = letters.next() {
        match c {
            '\\' => out.extend(letters.next()),
            '[' => blank = true,
            ']' => blank = false,
            _ if blank => {}
            _ => out.push(c),
        }
    }
    out.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back() {
        for text in ["plain", "a [b] c", "1/2 ^x$ <y> {z} @w \\", "", "Done."] {
            assert!(is_whole(&encode(text)));
            assert_eq!(decode(&encode(text)), text);
        }
        for cut in ["", "La casa", "a \\[\\] b"] {
            assert!(!is_whole(cut));
        }
    }
}
