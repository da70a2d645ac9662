//! Opening: one process at a time, a known format, and nothing damaged.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    committer::{COUNTER, describe},
    engine::{Engine, FORMAT, row_key},
    journal,
};
use crate::backend::{Table, embedded::StoreSettings};

/// Key in `Table::Meta` of the format's version.
const FORMAT_KEY: &[u8] = b"format";

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the store in {dir} is in use by another process; stop that one, or choose another directory")]
    Locked {
        /// Which.
        dir: PathBuf,
    },
    /// The file system refuses.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Written by another version of this program.
    #[error("the store in {dir} has format {found}; this program reads format {FORMAT}")]
    Format {
        /// Which.
        dir: PathBuf,
        /// What it says of itself.
        found: String,
    },
    /// What was acknowledged is no longer whole. Nothing was changed.
    #[error(
        "{path} is damaged at byte {offset}, with acknowledged writes after it; restore the directory from a copy \
         (nothing was changed)"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where.
        offset: u64,
    },
    /// The engine refuses.
    #[error("cannot open the store in {dir}: {why}")]
    Engine {
        /// Which.
        dir: PathBuf,
        /// The engine's words.
        why: String,
    },
}

/// The opened engine, the lock that must be held as long as it is used, and the last position given out.
pub(super) struct Opened {
    pub(super) engine: Engine,
    pub(super) lock: File,
    pub(super) counter: u64,
}

/// How long somebody else may hold the lock before the store is said to be in use: a process that is just ending, or a child
/// that has not yet come from `fork` to `exec` and has all open files until then.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

pub(super) fn open(dir: &Path, settings: &StoreSettings) -> Result<Opened, OpenError> {
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        match open_now(dir, settings) {
            Err(OpenError::Locked { .. }) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(10));
            }
            outcome => return outcome,
        }
    }
}

fn open_now(dir: &Path, settings: &StoreSettings) -> Result<Opened, OpenError> {
    // For its owner alone: keys, hashes and codes are in it.
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|source| io("create", dir, source))?;
    let lock = lock(dir)?;
    warn_if_open(dir);
    let db = dir.join("db");
    if !db.try_exists().map_err(|source| io("look for", &db, source))? {
        create(dir, &db, settings)?;
    }
    journal::check(&db)?;
    let engine = open_engine(dir, &db, settings)?;
    let number = |key: &[u8]| {
        let row = engine.row(&row_key(Table::Meta, key)).map_err(|error| refused(dir, &error))?;
        Ok(row.and_then(|(_, value)| value.as_ref().try_into().ok().map(u64::from_be_bytes)))
    };
    match number(FORMAT_KEY)? {
        Some(FORMAT) => {}
        found => {
            let found = found.map_or_else(|| "unknown".to_owned(), |found| found.to_string());
            return Err(OpenError::Format { dir: dir.into(), found });
        }
    }
    let counter = number(COUNTER)?.unwrap_or(0);
    Ok(Opened { engine, lock, counter })
}

/// A directory that was there already is left as whoever made it wants it, but not without a word.
fn warn_if_open(dir: &Path) {
    let Ok(mode) = std::fs::metadata(dir).map(|found| found.permissions().mode() & 0o777) else { return };
    if mode & 0o077 != 0 {
        let dir = dir.display();
        tracing::warn!(
            "{dir} is open to others than its owner (mode {mode:03o}), and holds keys: chmod 700 it"
        );
    }
}

/// Makes an empty store beside its place and moves it there when it is whole: the engine cannot open one whose making was
/// cut short by a crash.
fn create(dir: &Path, db: &Path, settings: &StoreSettings) -> Result<(), OpenError> {
    let new = dir.join("db.new");
    match std::fs::remove_dir_all(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io("remove", &new, error)),
        _ => {}
    }
    let engine = open_engine(dir, &new, settings)?;
    let mut batch = engine.batch();
    let row = (0, Bytes::copy_from_slice(&FORMAT.to_be_bytes()));
    engine.put_row(&mut batch, &row_key(Table::Meta, FORMAT_KEY), Some(&row));
    batch.commit().map_err(|error| refused(dir, &error))?;
    drop(engine);
    std::fs::rename(&new, db).map_err(|source| io("move into place", &new, source))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| io("sync", dir, source))
}

fn open_engine(dir: &Path, db: &Path, settings: &StoreSettings) -> Result<Engine, OpenError> {
    Engine::open(db, settings).map_err(|error| match error {
        fjall::Error::Locked => OpenError::Locked { dir: dir.into() },
        error => refused(dir, &error),
    })
}

fn refused(dir: &Path, error: &fjall::Error) -> OpenError {
    OpenError::Engine { dir: dir.into(), why: describe(error) }
}

fn io(what: &'static str, path: &Path, source: io::Error) -> OpenError {
    OpenError::Io { what, path: path.into(), source }
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let cannot = |source| io("lock", &path, source);
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { dir: dir.into() }),
        Err(TryLockError::Error(source)) => Err(cannot(source)),
    }
}
