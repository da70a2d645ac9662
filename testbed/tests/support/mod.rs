//! What several tests need.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// A program that stands for the node: it serves, and does what the test asks it.
pub(crate) fn node_program(dir: &Path) -> PathBuf {
    let program = dir.join("node.py");
    fs::write(&program, include_str!("node.py")).expect("a script can be written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a script can be run");
    program
}
