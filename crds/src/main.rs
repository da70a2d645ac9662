//! Writes the definitions' YAML, in the workspace's root or in the folder that is named.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use rookery_crds::yaml;

fn main() -> ExitCode {
    let folder = std::env::args_os().nth(1).map_or_else(|| yaml::FOLDER.into(), PathBuf::from);
    match write(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ =
                writeln!(std::io::stderr(), "rookery-crds: cannot write to {}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    std::fs::create_dir_all(folder)?;
    for (name, text) in yaml::files()? {
        std::fs::write(folder.join(name), text)?;
    }
    Ok(())
}
