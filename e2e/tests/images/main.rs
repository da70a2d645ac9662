//! Images: what `images/build` makes of the programs of this build. Where there is no container engine, or no base image, what needs them is
//! skipped, and says so.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use rookery_e2e::{server, skipped};
use serde_json::Value;

const PROGRAMS: [&str; 4] = ["node", "mailer", "translator", "operator"];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Where the programs of this build are.
fn built() -> PathBuf {
    server::program().parent().expect("a program is in a directory").to_owned()
}

fn run(program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Result<String, String> {
    let done =
        Command::new(program).args(args).current_dir(root()).output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if done.status.success() { Ok(text(&done.stdout)) } else { Err(text(&done.stderr)) }
}

/// The list of what a program is made of.
fn sbom(program: &str) -> Value {
    let text =
        run(root().join("images/sbom"), &[program]).unwrap_or_else(|error| panic!("images/sbom: {error}"));
    serde_json::from_str(&text).expect("it is JSON")
}

/// `NAME-VERSION` of each crate whose source a program names, where it says at which line something panicked.
fn crates_in(binary: &Path) -> BTreeSet<String> {
    let places =
        run("grep", &["-aohE", "/registry/src/[A-Za-z0-9.-]+/[A-Za-z0-9_.+-]+/", &binary.to_string_lossy()]);
    let places = places.unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
    places.lines().filter_map(|place| place.split('/').nth(4)).map(str::to_owned).collect()
}

#[test]
fn the_list_of_a_program_has_every_crate_in_it() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).expect("there is a Cargo.lock");
    for program in PROGRAMS {
        let binary = built().join(format!("rookery-{program}"));
        if !binary.exists() {
            skipped("sbom", &format!("{} is not built", binary.display()));
            continue;
        }
        let list = sbom(program);
        let mut listed = BTreeSet::new();
        for component in list["components"].as_array().expect("it has components") {
            let text =
                |key: &str| component[key].as_str().unwrap_or_else(|| panic!("no {key} in {component}"));
            listed.insert(format!("{}-{}", text("name"), text("version")));
            let licence = component["licenses"][0]["expression"].as_str();
            assert!(licence.is_some_and(|licence| !licence.contains('/')), "{component}");
            let entry = format!("name = \"{}\"\nversion = \"{}\"\n", text("name"), text("version"));
            assert!(lock.contains(&entry), "{component} is not in Cargo.lock");
            if !text("name").starts_with("rookery-") {
                let sum = component["hashes"][0]["content"].as_str().unwrap_or_default();
                assert!(lock.contains(&format!("checksum = \"{sum}\"\n")), "{component}");
            }
        }
        let inside = crates_in(&binary);
        assert!(inside.len() > 20, "{program} names {} crates", inside.len());
        let missing: Vec<_> = inside.difference(&listed).collect();
        assert!(missing.is_empty(), "{program}: not listed: {missing:?}");
        let known: BTreeSet<_> = list["dependencies"]
            .as_array()
            .expect("it has dependencies")
            .iter()
            .flat_map(|part| part["dependsOn"].as_array().into_iter().flatten())
            .map(Value::to_string)
            .collect();
        for component in list["components"].as_array().expect("it has components") {
            assert!(known.contains(&component["purl"].to_string()), "nothing needs {component}");
        }
    }
}

#[test]
fn the_same_programs_give_the_same_images() {
    if run("docker", &["version"]).is_err() {
        return skipped("images", "there is no container engine: docker");
    }
    let base = std::env::var("BASE").unwrap_or_else(|_| "gcr.io/distroless/cc-debian12:nonroot".to_owned());
    if run("docker", &["image", "inspect", &base]).is_err() {
        return skipped("images", &format!("{base} is not in the container engine: docker pull {base}"));
    }
    if PROGRAMS.iter().any(|program| !built().join(format!("rookery-{program}")).exists()) {
        return skipped("images", "not all programs are built");
    }
    let tag = format!("test-{}", std::process::id());
    let _guard = Images(tag.clone());
    let build = |programs: &[&str]| {
        let from = built().to_string_lossy().into_owned();
        let options = ["--from", &from, "--tag", &tag, "--name", "rookery-test/"];
        run(root().join("images/build"), &[&options[..], programs].concat())
            .unwrap_or_else(|error| panic!("{error}"));
    };
    build(&PROGRAMS);
    let inspect = |program: &str| -> Value {
        let text = run("docker", &["image", "inspect", &format!("rookery-test/{program}:{tag}")])
            .expect("it is there");
        serde_json::from_str::<Value>(&text).expect("it is JSON")[0].clone()
    };
    let made = PROGRAMS.map(inspect);
    // Once more: the engine keeps nothing of the first time, and it is later.
    build(&["mailer"]);
    assert_eq!(inspect("mailer")["Id"], made[1]["Id"], "another image of the same");

    let version = env!("CARGO_PKG_VERSION");
    for (program, image) in PROGRAMS.iter().zip(&made) {
        let config = &image["Config"];
        assert_eq!(config["User"], "65532:65532");
        assert_eq!(config["Entrypoint"][0], format!("/usr/local/bin/rookery-{program}"));
        let label = |name: &str| config["Labels"][name].as_str().unwrap_or_default().to_owned();
        assert_eq!(label("org.opencontainers.image.title"), format!("rookery-{program}"));
        assert_eq!(label("org.opencontainers.image.version"), version);
        assert_eq!(label("org.opencontainers.image.licenses"), "Apache-2.0");
        assert!(!label("org.opencontainers.image.description").is_empty());
        assert!(!label("org.opencontainers.image.revision").is_empty());
        let said = run(
            "docker",
            &[
                "run",
                "--rm",
                "--read-only",
                "--cap-drop",
                "ALL",
                "--network",
                "none",
                &name(program, &tag),
                "--version",
            ],
        );
        assert_eq!(said.map(|said| said.trim().to_owned()), Ok(format!("rookery-{program} {version}")));
        assert_eq!(file(&name(program, &tag), &label("chat.rookery.sbom")), sbom(program), "{program}");
    }
}

fn name(program: &str, tag: &str) -> String {
    format!("rookery-test/{program}:{tag}")
}

/// A file of an image, as JSON.
fn file(image: &str, path: &str) -> Value {
    let container = run("docker", &["create", image]).expect("a container can be made");
    let dir = tempfile(&container);
    let copied = run("docker", &["cp", &format!("{}:{path}", container.trim()), &dir.to_string_lossy()]);
    let _ = run("docker", &["rm", container.trim()]);
    copied.unwrap_or_else(|error| panic!("{path}: {error}"));
    let text = std::fs::read_to_string(&dir).expect("it was copied");
    let _ = std::fs::remove_file(&dir);
    serde_json::from_str(&text).expect("it is JSON")
}

fn tempfile(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sbom-{}.json", name.trim()))
}

/// The images of a test; gone with it.
struct Images(String);

impl Drop for Images {
    fn drop(&mut self) {
        for program in PROGRAMS {
            let _ = run("docker", &["rmi", "--force", &name(program, &self.0)]);
        }
    }
}
