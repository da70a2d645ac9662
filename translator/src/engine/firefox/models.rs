//! Which models there are, by the names that Firefox Translations gives their files:
//! `model.enpt.intgemm.alphas.bin`, `vocab.enpt.spm` (or `srcvocab` and `trgvocab`), `lex.50.50.enpt.s2t.bin`.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::text::Lang;

/// The files of one model.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub(super) model: PathBuf,
    pub(super) source_vocabulary: PathBuf,
    pub(super) target_vocabulary: PathBuf,
    /// Which words are likely for which: with it a model is faster.
    pub(super) shortlist: Option<PathBuf>,
    pub(super) version: String,
}

/// Folders deep.
const DEPTH: usize = 3;
/// Files and folders looked at, at most.
const MOST: usize = 10_000;
/// So much of a model tells it from another version.
const HASHED: u64 = 256 * 1024;

/// # Errors
/// A sentence that names a model which lacks something: it would be missed by those who read its language, and by nobody else.
pub(super) fn find(folder: &Path) -> Result<BTreeMap<(Lang, Lang), Files>, String> {
    let mut left = MOST;
    let mut folders = vec![(folder.to_owned(), 0)];
    let mut found = BTreeMap::new();
    while let Some((folder, depth)) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let mut names = Vec::new();
        for path in entries.flatten().map(|entry| entry.path()) {
            if left == 0 {
                return Ok(found);
            }
            left -= 1;
            if path.is_dir() && depth < DEPTH {
                folders.push((path, depth + 1));
            } else if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
                names.push(name.to_owned());
            }
        }
        for name in &names {
            let Some((pair, code)) = pair(name) else { continue };
            let files = files(&folder, name, &code, &names);
            found.insert(pair, files.map_err(|why| format!("{}: {why}", folder.join(name).display()))?);
        }
    }
    Ok(found)
}

/// `enpt` of `model.enpt.intgemm.alphas.bin`.
fn pair(name: &str) -> Option<((Lang, Lang), String)> {
    let code = name.strip_prefix("model.")?.split('.').next()?;
    if code.len() != 4 || !code.is_ascii() || !name.ends_with(".bin") {
        return None;
    }
    let pair = (Lang::parse(&code[..2])?, Lang::parse(&code[2..])?);
    Some((pair, code.to_owned()))
}

fn files(folder: &Path, model: &str, code: &str, names: &[String]) -> Result<Files, String> {
    let of = |first: &str, last: &str| {
        let name = names.iter().find(|name| {
            name.strip_prefix(first).is_some_and(|rest| rest.starts_with('.'))
                && name.contains(code)
                && name.ends_with(last)
        })?;
        Some(folder.join(name))
    };
    let (source_vocabulary, target_vocabulary) = match of("vocab", ".spm") {
        Some(both) => (both.clone(), both),
        None => match (of("srcvocab", ".spm"), of("trgvocab", ".spm")) {
            (Some(source), Some(target)) => (source, target),
            _ => {
                return Err(format!(
                    "there is no vocab.{code}.spm, nor a srcvocab and a trgvocab, beside it"
                ));
            }
        },
    };
    let model = folder.join(model);
    let version = version(&model).map_err(|error| format!("cannot read it: {error}"))?;
    Ok(Files { shortlist: of("lex", ".bin"), model, source_vocabulary, target_vocabulary, version })
}

fn version(model: &Path) -> std::io::Result<String> {
    let file = File::open(model)?;
    let mut hash = Sha256::new();
    hash.update(file.metadata()?.len().to_be_bytes());
    let mut head = Vec::new();
    file.take(HASHED).read_to_end(&mut head)?;
    hash.update(&head);
    Ok(hash.finalize().iter().take(5).map(|byte| format!("{byte:02x}")).collect())
}
