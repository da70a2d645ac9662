//! Templates from a ConfigMap, as the kubelet puts it into a pod.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use rookery_testbed::{PATIENCE, SmtpOptions};
use serde_json::Value;

use crate::world::{World, welcome};

/// A folder of links to `..data/NAME`, and `..data` a link to the folder that holds the files now.
struct ConfigMap(PathBuf);

impl ConfigMap {
    fn new(folder: &Path, files: &[(&str, &str)]) -> Self {
        fs::create_dir(folder).unwrap();
        let map = Self(folder.to_owned());
        map.replace("..2026_01_01_00_00_00.1", files);
        map
    }

    /// All at once, by renaming a link over `..data`; then what was is removed.
    fn replace(&self, version: &str, files: &[(&str, &str)]) {
        let (data, new) = (self.0.join("..data"), self.0.join("..data_tmp"));
        let was = fs::read_link(&data).ok();
        fs::create_dir(self.0.join(version)).unwrap();
        for (name, text) in files {
            fs::write(self.0.join(version).join(name), text).unwrap();
        }
        symlink(version, &new).unwrap();
        fs::rename(new, &data).unwrap();
        for (name, _) in files {
            let link = self.0.join(name);
            if fs::symlink_metadata(&link).is_err() {
                symlink(Path::new("..data").join(name), link).unwrap();
            }
        }
        if let Some(was) = was {
            fs::remove_dir_all(self.0.join(was)).unwrap();
        }
    }
}

fn subject(mail: &Value) -> &str {
    mail["headers"]["subject"].as_str().unwrap()
}

#[test]
fn a_config_map_is_read_through_its_links_at_each_start() {
    let Some(world) = World::new(&SmtpOptions::default()) else { return };
    let folder = world.bed.dir().join("templates");
    let words = |subject: &str| format!("[welcome]\nsubject = '{subject}'\n");
    let (first, second) = (words("The kettle is on"), words("The tea is ready"));
    let layout = ("welcome.txt", "{{ hello }} ({{ service }})\n");
    let map = ConfigMap::new(&folder, &[("words.en.toml", &first), layout]);
    let settings = world.settings(&world.smtp_settings());
    let settings = settings.replace("[mail]\n", &format!("[mail]\ntemplates = '{}'\n", folder.display()));
    let mailer = world.mailer("mailer", &settings);
    world.enqueue(&welcome("a", "a@example.org"));
    let mail = world.await_mail("a@example.org");
    assert_eq!(subject(&mail), "The kettle is on");
    assert_eq!(mail["text"].as_str().unwrap().trim_end(), "Hello ada, (Tea Chat)");

    // Who runs goes on with what he has, whatever is put there; also if it could not be used.
    map.replace(
        "..2026_01_01_00_00_00.2",
        &[("words.en.toml", "[welcome]\nsubject = '{{ nobody }}'\n"), layout],
    );
    world.enqueue(&welcome("b", "b@example.org"));
    assert_eq!(subject(&world.await_mail("b@example.org")), "The kettle is on");
    mailer.process.terminate();
    mailer.process.wait(PATIENCE).expect("it ends");
    // Who starts says what is wrong, and sends nothing.
    mailer.process.start();
    let status = mailer.process.wait(PATIENCE).expect("it ends");
    assert_eq!(status.code(), Some(2), "{}", mailer.process.log_tail(20));
    let log = mailer.process.log_tail(5);
    assert!(log.contains("mail: template en/welcome.subject: undefined value"), "{log}");

    map.replace("..2026_01_01_00_00_00.3", &[("words.en.toml", &second), layout]);
    mailer.process.start();
    mailer.await_ready();
    world.enqueue(&welcome("c", "c@example.org"));
    assert_eq!(subject(&world.await_mail("c@example.org")), "The tea is ready");
    world.await_empty();
}
