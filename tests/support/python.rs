//! The venv with Envoy, httpbin and gunicorn: made under `target/` on first use from `tests/requirements.txt`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const REQUIREMENTS: &str = include_str!("../requirements.txt");

/// The venv, or why there is none. Made once for all test processes: a file lock holds the others back meanwhile.
pub(crate) fn venv() -> Result<&'static Path, &'static str> {
    static VENV: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    VENV.get_or_init(make).as_deref().map_err(String::as_str)
}

fn make() -> Result<PathBuf, String> {
    // CARGO_TARGET_TMPDIR is target/tmp.
    let home = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(home).map_err(|error| format!("{}: {error}", home.display()))?;
    let lock = File::create(home.join("venv.lock")).map_err(|error| format!("venv.lock: {error}"))?;
    lock.lock().map_err(|error| format!("venv.lock: {error}"))?;
    let venv = home.join("venv");
    let made_from = venv.join("made-from.txt");
    if fs::read_to_string(&made_from).is_ok_and(|text| text == REQUIREMENTS) {
        return Ok(venv);
    }
    if venv.exists() {
        fs::remove_dir_all(&venv).map_err(|error| format!("{}: {error}", venv.display()))?;
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/requirements.txt");
    run(Command::new(venv.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check", "-r"])
        .arg(requirements))?;
    // Last, so that an interrupted install is made again from scratch.
    fs::write(&made_from, REQUIREMENTS).map_err(|error| format!("{}: {error}", made_from.display()))?;
    Ok(venv)
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)))
}

/// The first `lib/python3.N/site-packages/<tail>` of the venv that exists.
pub(crate) fn site_package(tail: &str) -> Result<PathBuf, String> {
    let lib = venv()?.join("lib");
    let versions = fs::read_dir(&lib).map_err(|error| format!("{}: {error}", lib.display()))?;
    let found =
        versions.flatten().map(|entry| entry.path().join("site-packages").join(tail)).find(|path| path.exists());
    found.ok_or_else(|| format!("no {tail} in {}", lib.display()))
}
