use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;
use crate::istio::{self, Options};

fn dir() -> TempDir {
    TempDir::new().expect("a temporary folder")
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("write");
}

fn take(path: &Path) -> Snapshot {
    Snapshot::take(&[path.to_owned()], &[])
}

fn watches(snapshot: &Snapshot, folder: &Path) -> bool {
    snapshot.folders.contains_key(&id(&fs::metadata(folder).expect("a folder")))
}

#[test]
fn only_what_is_read_counts() {
    let dir = dir();
    write(&dir.path().join("a.yaml"), "1");
    let before = take(dir.path());
    write(&dir.path().join("notes.txt"), "1");
    write(&dir.path().join(".a.yaml.swp"), "1");
    assert_eq!(take(dir.path()), before);
    fs::create_dir(dir.path().join("more")).expect("a folder");
    assert_eq!(take(dir.path()), before, "there is nothing in it");
    for name in ["b.yaml", "b.yml", "b.json", "more/c.yaml"] {
        let before = take(dir.path());
        write(&dir.path().join(name), "1");
        assert_ne!(take(dir.path()), before, "{name} was added");
    }
    let before = take(dir.path());
    fs::remove_file(dir.path().join("b.yml")).expect("remove");
    assert_ne!(take(dir.path()), before, "one was removed");
}

#[test]
fn a_file_that_looks_the_same_is_another_one() {
    let dir = dir();
    let (file, other) = (dir.path().join("a.yaml"), dir.path().join("other"));
    write(&file, "one");
    let before = take(&file);
    assert_eq!(take(&file), before);
    write(&other, "two");
    let times = fs::metadata(&file).expect("a file").modified().expect("a time");
    let handle = fs::File::options().write(true).open(&other).expect("open");
    handle.set_modified(times).expect("set the time");
    fs::rename(&other, &file).expect("rename over");
    assert_ne!(take(&file), before, "as long, and as old");
}

#[test]
fn every_folder_on_the_way_is_watched() {
    let dir = dir();
    let real = dir.path().join("releases/1/etc");
    fs::create_dir_all(&real).expect("folders");
    write(&real.join("a.yaml"), "1");
    symlink("releases/1", dir.path().join("current")).expect("a link");
    let away = TempDir::new().expect("a temporary folder");
    symlink(dir.path().join("current/etc/a.yaml"), away.path().join("b.yaml")).expect("a link");
    let snapshot = take(&away.path().join("b.yaml"));
    assert!(watches(&snapshot, away.path()), "the link itself can be replaced");
    assert!(watches(&snapshot, dir.path()), "the link on the way can be replaced");
    assert!(watches(&snapshot, &real), "the file can be replaced");
    let snapshot = take(away.path());
    assert!(watches(&snapshot, &real), "also when the link is found in a folder");
}

#[test]
fn loops_of_links_end() {
    let dir = dir();
    write(&dir.path().join("a.yaml"), "1");
    for name in ["x", "y"] {
        symlink(".", dir.path().join(name)).expect("a link");
        symlink(format!("{name}.yaml"), dir.path().join(format!("{name}.yaml"))).expect("a link");
    }
    assert_eq!(take(dir.path()).files.len(), 1);
    assert_eq!(take(&dir.path().join("x.yaml")).files.len(), 0);
}

/// The names of the Gateways that are read, and what is wrong with the files themselves.
fn read(paths: &[PathBuf], stdin: &mut dyn Read) -> (Vec<String>, Vec<String>) {
    let walk = Walk::through(paths);
    let (world, problems) = istio::read(walk.read(stdin), &mut OpenedFiles::default(), Options::default());
    let of_files = problems.iter().filter(|problem| problem.is_error() && problem.resource.is_empty());
    let lines = of_files.map(ToString::to_string).collect();
    (world.gateways.iter().map(|gateway| gateway.meta.name.clone()).collect(), lines)
}

fn gateway(name: &str) -> String {
    format!("{{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {{name: {name}}}, spec: {{}}}}\n")
}

#[test]
fn standard_input_is_read_once() {
    let (read, lines) = read(&["-".into(), "-".into()], &mut gateway("a").as_bytes());
    assert_eq!(read, ["a"]);
    assert_eq!(lines, ["<stdin>: error: standard input can be read only once (name '-' once)"]);
}

#[test]
fn endless_input_ends() {
    let (_, lines) = read(&["-".into()], &mut io::repeat(b' '));
    assert_eq!(lines, ["<stdin>: error: larger than 64 MiB (split it, or name another file)"]);
}

/// In the order of names, each file once, and exactly those that the snapshot has.
#[test]
fn folders_are_read_in_order_and_files_once() {
    let dir = dir();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("b")).expect("a folder");
    fs::create_dir(at("..data")).expect("a folder");
    for name in ["c.json", "a.yaml", "b/x.yml", "n.txt", "..data/h.yaml", ".hidden.yaml"] {
        write(&at(name), &gateway(&name.replace(['/', '.'], "-")));
    }
    symlink(at("a.yaml"), at("z.yaml")).expect("a link");
    symlink(dir.path(), at("again")).expect("a link to the folder itself");
    symlink("nowhere", at("y.yaml")).expect("a link");
    let paths = [dir.path().to_owned(), at("a.yaml"), at("b")];
    let (names, lines) = read(&paths, &mut io::empty());
    assert_eq!(lines, [format!("{}: error: no such file or folder", at("y.yaml").display())]);
    assert_eq!(names, ["a-yaml", "b-x-yml", "c-json"]);
    let walk = Walk::through(&paths);
    let read = walk.entries.iter().filter_map(|entry| match entry {
        Entry::File(path) => Some(path),
        _ => None,
    });
    assert!(read.eq(walk.snapshot.files.keys()), "{walk:?}");
}

#[test]
fn missing_and_empty_paths_are_errors() {
    let dir = dir();
    let nowhere = dir.path().join("nowhere.yaml");
    let (_, lines) = read(&[nowhere.clone(), dir.path().to_owned(), dir.path().to_owned()], &mut io::empty());
    assert_eq!(
        lines,
        [
            format!("{}: error: no such file or folder", nowhere.display()),
            format!(
                "{}: error: no YAML files in this folder (their names must end in .yaml, .yml or .json)",
                dir.path().display()
            ),
        ]
    );
}

/// A file that a document names is read once, and then belongs to what is watched, also if it is not there yet.
#[test]
fn named_files_are_read_once_and_are_part_of_the_snapshot() {
    let (dir, away) = (dir(), dir());
    let at = |name: &str| away.path().join(name);
    write(&at("ca.pem"), "1");
    write(&at("large.pem"), "");
    let large = fs::File::options().write(true).open(at("large.pem")).expect("open");
    large.set_len(MAX_NAMED_FILE_BYTES + 1).expect("a length");
    fs::create_dir(at("folder")).expect("a folder");
    let mut opened = OpenedFiles::default();
    assert_eq!(opened.read(&at("ca.pem")).as_deref(), Ok(&b"1"[..]));
    write(&at("ca.pem"), "two");
    assert_eq!(opened.read(&at("ca.pem")).as_deref(), Ok(&b"1"[..]), "as when it was opened");
    for (name, why) in
        [("none.pem", "no such file"), ("folder", "it is not a file"), ("large.pem", "larger than 4 MiB")]
    {
        assert_eq!(opened.read(&at(name)), Err(why.to_owned()), "{name}");
    }
    let mut snapshot = take(dir.path());
    snapshot.add(&opened);
    assert!(watches(&snapshot, away.path()));
    assert_eq!(snapshot.files.len(), 3);
    let now = Snapshot::take(&[dir.path().to_owned()], &snapshot.named);
    assert_ne!(now, snapshot, "one was written since it was opened");
    write(&at("none.pem"), "1");
    assert_ne!(Snapshot::take(&[dir.path().to_owned()], &snapshot.named), now, "one has come");
}
