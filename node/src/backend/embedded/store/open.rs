//! Opening: one process at a time, a known format, and nothing damaged.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
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

pub(super) fn open(dir: &Path, settings: &StoreSettings) -> Result<Opened, OpenError> {
    let db = dir.join("db");
    std::fs::create_dir_all(&db).map_err(|source| OpenError::Io {
        what: "create",
        path: db.clone(),
        source,
    })?;
    let lock = lock(dir)?;
    journal::check(&db)?;
    let broken = |error: &fjall::Error| OpenError::Engine { dir: dir.into(), why: describe(error) };
    let engine = Engine::open(&db, settings).map_err(|error| match error {
        fjall::Error::Locked => OpenError::Locked { dir: dir.into() },
        error => broken(&error),
    })?;
    let number = |key: &[u8]| {
        let row = engine.row(&row_key(Table::Meta, key)).map_err(|error| broken(&error))?;
        Ok(row.and_then(|(_, value)| value.as_ref().try_into().ok().map(u64::from_be_bytes)))
    };
    match number(FORMAT_KEY)? {
        Some(FORMAT) => {}
        Some(found) => return Err(OpenError::Format { dir: dir.into(), found: found.to_string() }),
        None if engine.is_new().map_err(|error| broken(&error))? => {
            let mut batch = engine.batch();
            let row = (0, Bytes::copy_from_slice(&FORMAT.to_be_bytes()));
            engine.put_row(&mut batch, &row_key(Table::Meta, FORMAT_KEY), Some(&row));
            batch.commit().map_err(|error| broken(&error))?;
        }
        None => return Err(OpenError::Format { dir: dir.into(), found: "unknown".to_owned() }),
    }
    let counter = number(COUNTER)?.unwrap_or(0);
    Ok(Opened { engine, lock, counter })
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let io = |source| OpenError::Io { what: "lock", path: path.clone(), source };
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { dir: dir.into() }),
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}
