//! Pages on which long runs say what they found.

use std::{env, fs};

/// Writes what a run found into the page that this variable of the environment names (`ROOKERY_E2E_REPORT`): between the marks of one that
/// has them, else as a file of its own.
///
/// # Panics
/// If it cannot be written.
pub fn write(variable: &str, run: &str) {
    const FROM: &str = "<!-- the run -->\n";
    const TO: &str = "<!-- end of the run -->\n";
    let Some(path) = env::var_os(variable).filter(|path| !path.is_empty()) else {
        return;
    };
    let before = fs::read_to_string(&path).unwrap_or_default();
    let around = before.split_once(FROM).and_then(|(head, rest)| Some((head, rest.split_once(TO)?.1)));
    let (head, tail) = around.unwrap_or_default();
    let page = format!("{head}{FROM}{run}{TO}{tail}");
    fs::write(&path, page).unwrap_or_else(|error| panic!("cannot write the report: {error}"));
}

/// A variable of the environment that is told in reports.
pub fn from_environment(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| "unknown".to_owned())
}

/// This machine, in words.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    format!("{cores} cores of {}", model.trim_start_matches([' ', '\t', ':']))
}
