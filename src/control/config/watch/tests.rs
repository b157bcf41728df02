use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

fn dir() -> TempDir {
    TempDir::new().expect("a temporary folder")
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("write");
}

fn take(path: &Path) -> Snapshot {
    Snapshot::take(&[path.to_owned()], &[])
}

#[test]
fn what_is_not_read_wakes_nobody() {
    use notify::event::{DataChange, MetadataKind, RemoveKind, RenameMode};
    let (dir, away) = (dir(), TempDir::new().expect("a temporary folder"));
    let at = |name: &str| dir.path().join(name);
    for name in ["a.yaml", "access.log", "b.txt", "own.pem", ".a.yaml.swp"] {
        write(&at(name), "1");
    }
    fs::create_dir(at("more")).expect("a folder");
    fs::create_dir(at("..2026")).expect("a folder");
    symlink("..2026", at("..data")).expect("a link");
    symlink("b.txt", at("b.yaml")).expect("a link");
    symlink("..data/m.yaml", at("m.yaml")).expect("a link");
    symlink("nowhere", at("link")).expect("a link");
    write(&away.path().join("c.txt"), "1");
    write(&away.path().join("d.txt"), "1");
    symlink(away.path().join("c.txt"), at("c.yaml")).expect("a link");
    let snapshot = Snapshot::take(&[dir.path().to_owned()], &[at("own.pem"), at("later.pem")]);
    let relevant = Relevant::default();
    assert!(relevant.set(&snapshot, &snapshot.folders));
    assert!(!relevant.set(&snapshot, &snapshot.folders), "the same again");
    let write = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    let attributes = EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any));
    let created = EventKind::Create(CreateKind::File);
    let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::To));
    for (path, read) in [
        (at("a.yaml"), true),
        (at("new.yml"), true),
        (at("new.json"), true),
        (at("b.txt"), true),
        (away.path().join("c.txt"), true),
        (at("own.pem"), true),
        (at("later.pem"), true),
        (at("access.log"), false),
        (at("access.log.1"), false),
        (at(".a.yaml.swp"), false),
        (at(".hidden.yaml"), false),
        (away.path().join("d.txt"), false),
    ] {
        for kind in [write, attributes, created] {
            assert_eq!(relevant.has(kind, &path), read, "{kind:?} {}", path.display());
        }
        // A path that was renamed or removed may have been a folder; hidden ones are never looked into.
        let may_be_a_folder =
            path.starts_with(dir.path()) && !path.ends_with(".a.yaml.swp") && !path.ends_with(".hidden.yaml");
        for kind in [renamed, EventKind::Remove(RemoveKind::File), EventKind::Any] {
            assert_eq!(relevant.has(kind, &path), read || may_be_a_folder, "{kind:?} {}", path.display());
        }
    }
    let folder = EventKind::Create(CreateKind::Folder);
    assert!(relevant.has(folder, &at("more")));
    let beside = dir.path().with_extension("beside");
    assert!(!relevant.has(folder, &beside), "the folder above is only on the way");
    assert!(relevant.has(EventKind::Remove(RemoveKind::Folder), dir.path()));
    assert!(relevant.has(renamed, &at("..data")) && relevant.has(created, &at("..data")), "a ConfigMap is swapped");
    assert!(!relevant.has(folder, &at("..2027")), "not before the swap");
    assert!(relevant.has(created, &at("link")), "a link was made");
    assert!(relevant.has(attributes, &at("more")), "it may be entered now");
}

#[test]
fn a_change_is_told_once_and_a_watch_ends_at_once() {
    let dir = dir();
    let file = dir.path().join("a.yaml");
    write(&file, "1");
    let (events, told) = std::sync::mpsc::channel();
    let watch = Watch::start(vec![file.clone()], take(&file), events).expect("a watch");
    for text in ["two", "three"] {
        write(&file, text);
        let patience = Duration::from_secs(20);
        let Ok(Event::Config(ConfigEvent::Changed(revision))) = told.recv_timeout(patience) else {
            panic!("{text} was not seen")
        };
        assert_eq!(revision, Revision(take(&file)));
    }
    drop(watch);
    assert!(told.recv().is_err(), "nothing more, and nobody who could tell");
}
