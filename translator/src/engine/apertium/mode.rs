//! Mode files: which programs a pipe consists of.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::text::Lang;

/// The programs that can be told where a text ends, all by `-z`. A mode with another one is passed over.
const FLUSHING: &[&str] = &[
    "lt-proc",
    "apertium-tagger",
    "apertium-pretransfer",
    "apertium-transfer",
    "apertium-interchunk",
    "apertium-postchunk",
    "apertium-anaphora",
    "lrx-proc",
    "lsx-proc",
    "rtx-proc",
    "cg-proc",
    "hfst-proc",
];

/// A mode that can be kept running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mode {
    pub(super) source: Lang,
    pub(super) target: Lang,
    /// Changes with the mode or its data.
    pub(super) version: String,
    /// Programs with their arguments, first to last.
    pub(super) stages: Vec<Vec<String>>,
}

/// All modes in a folder that translate between two languages, without those for variants (`spa-eng_US`).
pub(super) fn find(folder: &Path) -> Vec<Mode> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found = BTreeMap::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        let Some(mode) = read(&path) else { continue };
        found.insert((mode.source, mode.target), mode);
    }
    found.into_values().collect()
}

fn read(path: &Path) -> Option<Mode> {
    let name = path.file_name()?.to_str()?.strip_suffix(".mode")?;
    let (source, target) = name.split_once('-')?;
    let (source, target) = (plain(source)?, plain(target)?);
    let text = std::fs::read_to_string(path).ok()?;
    let stages = parse(&text)?;
    let version = version(&text, &stages);
    Some(Mode { source, target, version, stages })
}

fn plain(code: &str) -> Option<Lang> {
    code.bytes().all(|b| b.is_ascii_lowercase()).then(|| Lang::parse(code)).flatten()
}

/// Commands joined by `|`, as shells read them, without anything but words and quotes.
fn parse(text: &str) -> Option<Vec<Vec<String>>> {
    let mut stages = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.trim().chars().chain([' ']) {
        match (quote, c) {
            (Some(end), c) if c == end => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '|' | ' ' | '\t' | '\n') => {
                stages.last_mut()?.extend(word.take().and_then(argument));
                if c == '|' {
                    stages.push(Vec::new());
                }
            }
            (None, ';' | '&' | '<' | '>' | '`' | '(' | ')' | '\\') => return None,
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return None;
    }
    for stage in &mut stages {
        let program = Path::new(stage.first()?).file_name()?.to_str()?;
        if !FLUSHING.contains(&program) {
            return None;
        }
        if !stage.iter().any(|argument| argument == "-z") {
            stage.insert(1, "-z".to_owned());
        }
    }
    Some(stages)
}

/// `$1` is how words without a translation come out: `-n`, without a mark. `$2` is for the tagger, and empty.
fn argument(word: String) -> Option<String> {
    match &*word {
        "$1" => Some("-n".to_owned()),
        "$2" => None,
        _ => Some(word),
    }
}

fn version(text: &str, stages: &[Vec<String>]) -> String {
    let mut hash = Sha256::new();
    hash.update(text);
    for file in stages.iter().flatten().map(PathBuf::from).filter(|path| path.is_absolute()) {
        let about = std::fs::metadata(&file).ok();
        let changed = about.as_ref().and_then(|about| about.modified().ok());
        let changed = changed.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        hash.update(about.map_or(0, |about| about.len()).to_be_bytes());
        hash.update(changed.map_or(0, |since| since.as_secs()).to_be_bytes());
    }
    hash.finalize().iter().take(5).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_read_as_a_shell_reads_it() {
        let text = "lt-proc '/a b/x.bin' | apertium-tagger -g $2 \"/y.prob\" | /usr/bin/lt-proc $1 /z.bin\n";
        let wanted = [
            vec!["lt-proc", "-z", "/a b/x.bin"],
            vec!["apertium-tagger", "-z", "-g", "/y.prob"],
            vec!["/usr/bin/lt-proc", "-z", "-n", "/z.bin"],
        ];
        assert_eq!(parse(text).unwrap(), wanted);
    }

    #[test]
    fn what_cannot_be_kept_running_is_passed_over() {
        for text in [
            "lt-proc /x | sed s/a/b/",
            "lt-proc /x; rm -r /",
            "lt-proc $(ls)",
            "lt-proc 'x",
            "lt-proc x | | lt-proc y",
            "",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
