//! What the operator declares for its examples, for the programs that have to understand it.

/// The settings files of this name (`node.toml`) in `operator/golden`: what their programs must accept.
///
/// # Panics
/// If there are none.
pub fn declared(name: &str) -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../operator/golden");
    let begin = format!("  {name}: |");
    let mut found = Vec::new();
    let all = std::fs::read_dir(folder).expect("the operator's golden files are there");
    let all = all.map(|file| file.expect("a file").path());
    for path in all.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")) {
        let manifest = std::fs::read_to_string(path).expect("text");
        let mut lines = manifest.lines();
        while lines.any(|line| line == begin) {
            // A block ends where a line is indented less.
            let block = lines.clone().take_while(|line| line.is_empty() || line.starts_with("    "));
            found.push(block.map(|line| line.trim_start().to_owned() + "\n").collect());
        }
    }
    assert!(!found.is_empty(), "no example of the operator's has a {name}");
    found
}
