//! Where the servers' programs are.

use std::{
    env,
    ffi::OsString,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// The program of that name: in `$ROOKERY_SERVERS`, where `scripts/setup` puts it, or in `PATH`. The system's own come last,
/// because they are often too old.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    own_places()
        .into_iter()
        .chain(env::split_paths(&path))
        .map(|dir| dir.join(name))
        .find(|file| is_program(file))
}

/// What a cluster consists of beside its nodes.
const SERVERS: [&str; 3] = ["nats-server", "etcd", "redis-server"];

/// Whether `ROOKERY_REQUIRE_SERVERS=1`: everything has to be tested, and nothing is skipped for want of a program.
pub fn all_required() -> bool {
    env::var_os("ROOKERY_REQUIRE_SERVERS").is_some_and(|value| value == "1")
}

/// As [`find`], but says so where it cannot be overlooked when the program is missing: a test that needs it is
/// not run.
///
/// # Panics
/// If it is a server of a cluster and `ROOKERY_REQUIRE_SERVERS=1`: where everything has to be tested, nothing is skipped for
/// want of them.
pub fn find_or_say(name: &str) -> Option<PathBuf> {
    let found = find(name);
    if found.is_none() {
        assert!(
            !(all_required() && SERVERS.contains(&name)),
            "{name} is not installed, and ROOKERY_REQUIRE_SERVERS=1: run scripts/setup test to get it"
        );
        // Not by `eprintln!`, which the test harness would swallow.
        let _ =
            writeln!(std::io::stderr(), "SKIPPED: {name} is not installed; run scripts/setup test to get it");
    }
    found
}

/// The models of Firefox Translations that `scripts/models` fetches.
pub fn find_models() -> Option<PathBuf> {
    own_places().into_iter().map(|dir| dir.join("firefox-models")).find(|models| models.is_dir())
}

/// The folder with the modes of Apertium that are installed, if some are.
pub fn find_modes() -> Option<PathBuf> {
    let folder = PathBuf::from("/usr/share/apertium/modes");
    let mut entries = folder.read_dir().ok()?.flatten();
    entries.any(|entry| entry.path().extension().is_some_and(|end| end == "mode")).then_some(folder)
}

/// Says where it cannot be overlooked which engines translators do not have.
pub(crate) fn say_engines() {
    let say = |what: &str| {
        let _ =
            writeln!(std::io::stderr(), "translators go without {what}; run scripts/setup test to get it");
    };
    if find_modes().is_none() {
        say("Apertium, of which no pair is installed");
    }
    if find_models().is_none() {
        say("models of Firefox Translations");
    }
}

fn own_places() -> Vec<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let cache = || -> Option<OsString> {
        set("XDG_CACHE_HOME").or_else(|| Some(Path::new(&set("HOME")?).join(".cache").into_os_string()))
    };
    let named = set("ROOKERY_SERVERS").map(PathBuf::from);
    named.into_iter().chain(cache().map(|dir| Path::new(&dir).join("rookery/servers"))).collect()
}

pub(crate) fn is_program(file: &Path) -> bool {
    file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}
