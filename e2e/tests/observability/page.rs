//! `docs/metrics.md`: a line for each metric, as programs tell it and as the sources register it. `ROOKERY_GOLDEN=write` writes what was
//! seen, with the lines of metrics that nothing has happened to yet as they were.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// A metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Family {
    name: String,
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

/// Where a metric is on the page. A node has those of the mailer and the translator, too, which it can be itself in standalone.
fn section(name: &str) -> &'static str {
    let of = |prefix: &str| name.starts_with(prefix);
    if of("process_") || of("rookery_build") {
        "All programs"
    } else if of("rookery_mailer_") {
        "Mailer"
    } else if of("rookery_translator_") {
        "Translator"
    } else if of("rookery_operator_") {
        "Operator"
    } else {
        "Node"
    }
}

/// Reads OpenMetrics text. A metric is called as its samples are.
pub(crate) fn families(program: &str, text: &str) -> Vec<Family> {
    let mut all: Vec<Family> = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
            let help = help.trim_end_matches('.').to_owned();
            let name = name.to_owned();
            all.push(Family { name, kind: String::new(), help, labels: BTreeSet::new() });
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let family = all.last_mut().unwrap_or_else(|| panic!("{program}: {line} without HELP"));
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, ""));
            assert_eq!(name, family.name, "{program}: {line}");
            kind.clone_into(&mut family.kind);
            if kind == "counter" {
                family.name.push_str("_total");
            } else if kind == "info" {
                family.name.push_str("_info");
            }
        } else if let Some((_, rest)) = line.split_once('{')
            && !line.starts_with('#')
        {
            let labels = rest.split_once('}').map_or("", |(labels, _)| labels);
            let names = labels
                .split("\",")
                .filter_map(|label| label.split_once('='))
                .map(|(name, _)| name.to_owned());
            let family = all.last_mut().expect("a sample belongs to a metric");
            // Of a histogram's buckets.
            family.labels.extend(names.filter(|name| name != "le"));
        }
    }
    all
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn file() -> PathBuf {
    root().join("docs/metrics.md")
}

/// The lines of the page, by the metric's name; and what stands before each table.
fn read() -> BTreeMap<String, Family> {
    let text = fs::read_to_string(file()).expect("there is docs/metrics.md");
    let mut all = BTreeMap::new();
    let mut heading = "";
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            heading = title;
        }
        let Some(rest) = line.strip_prefix("| `") else { continue };
        let cells: Vec<&str> = rest.trim_end_matches(" |").split(" | ").collect();
        let [name, kind, labels, help] = cells.as_slice() else { panic!("not a line of the table: {line}") };
        let name = name.trim_end_matches('`').to_owned();
        assert_eq!(heading, section(&name), "{name} is in the wrong section");
        let labels = labels.split(", ").map(|label| label.trim_matches('`').trim().to_owned());
        let labels = labels.filter(|label| !label.is_empty()).collect();
        let family =
            Family { name: name.clone(), kind: (*kind).to_owned(), help: (*help).to_owned(), labels };
        assert_eq!(all.insert(name.clone(), family), None, "{name} is there twice");
    }
    all
}

fn write(all: &BTreeMap<String, Family>) {
    let before = fs::read_to_string(file()).expect("there is docs/metrics.md");
    let mut page = String::new();
    let mut heading = "";
    for line in before.lines() {
        if line.starts_with("| `") {
            continue;
        }
        page.push_str(line);
        page.push('\n');
        if let Some(title) = line.strip_prefix("## ") {
            heading = title;
        }
        if line.starts_with("| ---") {
            for Family { name, kind, labels, help } in
                all.values().filter(|family| section(&family.name) == heading)
            {
                let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
                page.push_str(&format!("| `{name}` | {kind} | {} | {help} |\n", labels.join(", ")));
            }
        }
    }
    fs::write(file(), page).expect("the page can be written");
}

/// What programs told is on the page as they told it.
pub(crate) fn compare(seen: &[Family]) {
    let mut page = read();
    if std::env::var_os("ROOKERY_GOLDEN").is_some_and(|value| value == "write") {
        for family in seen {
            let entry = page.entry(family.name.clone()).or_insert_with(|| family.clone());
            let labels = entry.labels.union(&family.labels).cloned().collect();
            *entry = Family { labels, ..family.clone() };
        }
        write(&page);
    }
    for family in seen {
        let name = &family.name;
        let line = page.get(name).unwrap_or_else(|| panic!("{name} is not on docs/metrics.md: {family:?}"));
        let told = (&line.kind, &line.help);
        assert_eq!(told, (&family.kind, &family.help), "docs/metrics.md says otherwise of {name}");
        assert!(
            family.labels.is_subset(&line.labels),
            "docs/metrics.md: labels of {name}: {:?}",
            family.labels
        );
    }
    assert!(seen.len() > 100, "{} metrics were told", seen.len());
}

/// Names as the files `metrics.rs` of a program register them: the prefix, and the first text of each call; a unit is appended.
fn registered(folder: &Path, into: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            registered(&path, into);
        } else if path.file_name().is_some_and(|name| name == "metrics.rs") {
            let text = fs::read_to_string(&path).expect("it can be read");
            let Some((_, rest)) = text.split_once("sub_registry_with_prefix(\"") else { continue };
            let prefix = rest.split('"').next().unwrap_or_default();
            for call in rest.split(".register").skip(1) {
                let unit = call.split(';').next().and_then(|call| call.split_once("Unit::"));
                let unit = unit
                    .map_or("", |(_, unit)| if unit.starts_with("Bytes") { "_bytes" } else { "_seconds" });
                let name = call.split('"').nth(1).unwrap_or_default();
                into.insert(format!("{prefix}_{name}{unit}"));
            }
        }
    }
}

/// What the sources register and what is on the page are the same.
pub(crate) fn compare_with_sources() {
    let mut sources = BTreeSet::new();
    for program in ["node", "mailer", "translator", "operator"] {
        registered(&root().join(program).join("src"), &mut sources);
    }
    let of_sources = |name: &&String| section(name) != "All programs";
    let page: BTreeSet<_> =
        read().keys().filter(of_sources).map(|name| name.trim_end_matches("_total").to_owned()).collect();
    let missing: Vec<_> = sources.difference(&page).collect();
    assert!(missing.is_empty(), "not on docs/metrics.md: {missing:?}");
    let gone: Vec<_> = page.difference(&sources).collect();
    assert!(gone.is_empty(), "on docs/metrics.md, but no program has them: {gone:?}");
}
