//! The ways in which the files of a configuration change.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

use super::{Config, Site, replace, says};
use crate::support::ringway::{Driver, Ringway, Setup};
use crate::support::wait::eventually;

const DRIVER: Driver = Driver::Epoll; // the workers have no part in this

#[track_caller]
fn eventually_answers(site: &Site, word: &str) {
    eventually(&format!("the answer {word}"), || (site.answer() == word).then_some(()));
}

/// Waits for a reload that has been noticed to be in force everywhere: one worker answers by it before the last one does.
#[track_caller]
fn eventually_reloaded(site: &Site, times: u64) {
    eventually("the end of the reload", || (site.reloads() >= times).then_some(()));
}

#[test]
fn written_in_place() {
    let (old, new) = (says("old"), says("new"));
    let site = Site::new(DRIVER, &Config::to(&[&old]));
    assert_eq!(site.answer(), "old");
    fs::write(site.file(), Config::to(&[&new]).yaml()).expect("write in place");
    eventually_answers(&site, "new");
    eventually_reloaded(&site, 1);
    assert_eq!((site.reloads(), site.refused()), (1, 0));
    site.ringway.stop();
}

#[test]
fn written_slowly() {
    let (old, new) = (says("old"), says("new"));
    let site = Site::new(DRIVER, &Config::to(&[&old]));
    let text = Config::to(&[&new]).yaml();
    // Every piece makes a file that is wrong, or lacks something; none of them may be read.
    let mut written = String::new();
    for line in text.split_inclusive('\n') {
        written.push_str(line);
        fs::write(site.file(), &written).expect("write a piece");
        std::thread::sleep(std::time::Duration::from_millis(10)); // how fast it is written is what is tested
    }
    eventually_answers(&site, "new");
    eventually_reloaded(&site, 1);
    assert_eq!((site.reloads(), site.refused()), (1, 0), "read once, when it was whole");
    site.ringway.stop();
}

#[test]
fn renamed_over_again_and_again() {
    let origins = [says("zero"), says("one"), says("two"), says("three")];
    let site = Site::new(DRIVER, &Config::to(&[&origins[0]]));
    for (origin, word) in origins.iter().zip(["zero", "one", "two", "three"]).skip(1) {
        site.write(&Config::to(&[origin]));
        eventually_answers(&site, word);
    }
    eventually_reloaded(&site, 3);
    assert_eq!((site.reloads(), site.refused()), (3, 0));
    site.ringway.stop();
}

#[test]
fn added_and_removed() {
    let (old, new) = (says("old"), says("new"));
    let site = Site::new(DRIVER, &Config::to(&[&old]));
    fs::remove_file(site.file()).expect("remove");
    let more = site.folder.path().join("more");
    fs::create_dir(&more).expect("a folder");
    fs::write(more.join("other.yml"), Config::to(&[&new]).yaml()).expect("write");
    eventually_answers(&site, "new");
    // The folder is watched from then on.
    replace(&more.join("other.yml"), &Config::to(&[&old]).yaml());
    eventually_answers(&site, "old");
    site.ringway.stop();
}

#[test]
fn the_folder_itself_is_replaced() {
    let (old, new) = (says("old"), says("new"));
    let site = Site::new(DRIVER, &Config::to(&[&old]));
    let aside = site.folder.path().with_extension("aside");
    for (origin, word) in [(&new, "new"), (&old, "old")] {
        fs::rename(site.folder.path(), &aside).expect("move away");
        fs::create_dir(site.folder.path()).expect("a new folder");
        site.write(&Config::to(&[origin]));
        eventually_answers(&site, word);
        fs::remove_dir_all(&aside).expect("remove");
    }
    for (origin, word) in [(&new, "new"), (&old, "old")] {
        fs::remove_dir_all(site.folder.path()).expect("remove");
        fs::create_dir(site.folder.path()).expect("a new folder");
        site.write(&Config::to(&[origin]));
        eventually_answers(&site, word);
    }
    site.ringway.stop();
}

/// Writes a ConfigMap's folder as the kubelet does: a folder of the data with a time for its name, and `..data`, which
/// leads to it, renamed over the one before.
fn project(volume: &Path, time: &str, config: &Config) {
    fs::create_dir(volume.join(time)).expect("a folder of data");
    fs::write(volume.join(time).join("site.yaml"), config.yaml()).expect("write");
    let before = fs::read_link(volume.join("..data")).ok();
    symlink(time, volume.join("..data_tmp")).expect("a link");
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).expect("swap");
    if let Some(before) = before {
        fs::remove_dir_all(volume.join(before)).expect("remove the old data");
    } else {
        symlink("..data/site.yaml", volume.join("site.yaml")).expect("a link");
    }
}

fn start(path: impl AsRef<Path>) -> Ringway {
    Setup::new(DRIVER).path(path.as_ref()).start()
}

#[track_caller]
fn eventually_says(ringway: &Ringway, word: &str) {
    let answer = || crate::support::client::once(ringway.address(), super::GET).text();
    eventually(&format!("the answer {word}"), || (answer() == word).then_some(()));
}

#[test]
fn a_config_map_is_swapped() {
    let origins = [says("zero"), says("one"), says("two")];
    // Named by its folder, and by its file.
    for file in ["", "site.yaml"] {
        let volume = TempDir::new().expect("a temporary folder");
        project(volume.path(), "..2026_0", &Config::to(&[&origins[0]]));
        let ringway = start(volume.path().join(file));
        for (number, word) in [(1, "one"), (2, "two"), (0, "zero")] {
            project(volume.path(), &format!("..2026_{word}"), &Config::to(&[&origins[number]]));
            eventually_says(&ringway, word);
        }
        assert_eq!(ringway.stat("ringway.config_reload_success"), 3);
        ringway.stop();
    }
}

#[test]
fn a_link_on_the_way_is_swapped() {
    let (old, new) = (says("old"), says("new"));
    let place = TempDir::new().expect("a temporary folder");
    for (release, origin) in [("1", &old), ("2", &new)] {
        let folder = place.path().join("releases").join(release).join("etc");
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("site.yaml"), Config::to(&[origin]).yaml()).expect("write");
    }
    symlink("releases/1", place.path().join("current")).expect("a link");
    let ringway = start(place.path().join("current/etc/site.yaml"));
    eventually_says(&ringway, "old");
    symlink("releases/2", place.path().join("next")).expect("a link");
    fs::rename(place.path().join("next"), place.path().join("current")).expect("swap");
    eventually_says(&ringway, "new");
    ringway.stop();
}

/// How often the thread that looks after the files has been woken.
fn wakes(ringway: &Ringway) -> u64 {
    let tasks = format!("/proc/{}/task", ringway.process.id());
    let threads = fs::read_dir(tasks).expect("the threads").flatten().map(|entry| entry.path());
    let named = |thread: &Path| fs::read_to_string(thread.join("comm")).is_ok_and(|name| name.trim() == "watch");
    let watch = threads.into_iter().find(|thread| named(thread)).expect("the thread");
    let status = fs::read_to_string(watch.join("status")).expect("a status");
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).expect("a count");
    count.trim().parse().expect("a number")
}

/// Here the access log is written beside the configuration.
#[test]
fn a_log_beside_the_configuration_wakes_nobody() {
    let (old, new) = (says("old"), says("new"));
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("site.yaml");
    fs::write(&file, Config::to(&[&old]).yaml()).expect("write");
    let log = folder.path().join("access.log");
    let ringway = Setup::new(DRIVER).access_log(&log).path(folder.path()).start();
    let lines = || fs::read_to_string(&log).unwrap_or_default().lines().count();
    eventually_says(&ringway, "old");
    let mut written = 1;
    eventually("its line in the log", || (lines() >= written).then_some(()));
    let before = wakes(&ringway);
    for _ in 0..30 {
        eventually_says(&ringway, "old");
        written += 1;
        eventually("its line in the log", || (lines() >= written).then_some(()));
    }
    assert_eq!(wakes(&ringway), before, "{written} lines were written");
    replace(&file, &Config::to(&[&new]).yaml());
    eventually_says(&ringway, "new");
    assert!(wakes(&ringway) > before);
    ringway.stop();
}

#[test]
fn what_is_not_configuration_does_not_matter() {
    let (old, new) = (says("old"), says("new"));
    let site = Site::new(DRIVER, &Config::to(&[&old]));
    for number in 0..50 {
        fs::write(site.folder.path().join("notes.txt"), format!("{number}")).expect("write");
        fs::write(site.folder.path().join(".site.yaml.swp"), format!("{number}")).expect("write");
        assert_eq!(site.answer(), "old");
    }
    // What comes after it is seen all the same, and only that.
    site.write(&Config::to(&[&new]));
    eventually_answers(&site, "new");
    eventually_reloaded(&site, 1);
    assert_eq!((site.reloads(), site.refused()), (1, 0));
    site.ringway.stop();
}
