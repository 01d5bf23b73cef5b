//! The folder with the binaries of a control plane and the definitions of the Gateway API.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// The folder: `HEADGATE_CLUSTER_ASSETS` where that is set, else what `tests/cluster/build` says, which builds what is
/// missing (some ten minutes, once).
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| match std::env::var_os("HEADGATE_CLUSTER_ASSETS") {
        Some(path) => PathBuf::from(path),
        None => build(),
    })
}

fn build() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/build");
    let output = Command::new(&script).stderr(Stdio::inherit()).output().expect("failed to run tests/cluster/build");
    assert!(output.status.success(), "{} failed", script.display());
    let folder = String::from_utf8(output.stdout).expect("the folder's name is text");
    PathBuf::from(folder.trim_end())
}
