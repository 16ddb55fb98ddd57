//! Autobahn's fuzzing client, which runs on Python 2.7 alone. No distribution has that any more: where one is
//! lying about it is used, and where none is the client is left out.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::python;
use crate::{exec, workspace};

/// Installs it below `target`, with a link `python` to what runs it.
pub(crate) fn install() -> Result<()> {
    let Some(python) = interpreter() else {
        eprintln!("note: no Python 2.7 here (pyenv has one): the tests go without Autobahn");
        return Ok(());
    };
    let folder = workspace::target().join("tests/autobahn");
    python::unless_locked("tests/autobahn/requirements.txt", &folder, |lock| {
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
        }
        let mut install = Command::new(&python);
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir"]);
        install.args(["--require-hashes", "--target"]).arg(&folder).arg("--requirement").arg(lock);
        exec::run(&mut install)?;
        // A package of its time: without this file Python 2 finds nothing in the folder.
        fs::write(folder.join("zope/__init__.py"), "").context("write zope/__init__.py")?;
        symlink(&python, folder.join("python")).context("link the interpreter")
    })
}

/// A Python 2.7 with pip: on the path, or one of pyenv's.
fn interpreter() -> Option<PathBuf> {
    let root = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let root = root.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".pyenv")));
    let versions = root.and_then(|root| fs::read_dir(root.join("versions")).ok());
    let pyenvs = versions.into_iter().flatten().flatten().map(|version| version.path());
    let pyenvs = pyenvs
        .filter(|path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"2.7")));
    let pyenvs = pyenvs.map(|path| path.join("bin/python2.7"));
    exec::find("python2.7").into_iter().chain(pyenvs).find(|python| runs(python))
}

/// Whether it is one, and not what pyenv puts on the path for those that are not chosen.
fn runs(python: &Path) -> bool {
    let probe = exec::output(Command::new(python).args(["-c", "import pip"]));
    probe.is_ok_and(|probe| probe.status.success())
}
