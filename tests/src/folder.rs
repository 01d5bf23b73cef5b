//! The folder that manifests lie in.

use std::{fs, path::Path};

use tempfile::TempDir;

/// A folder of manifests that goes away with the test.
#[derive(Debug)]
pub struct Folder {
    directory: TempDir,
}

impl Folder {
    /// An empty folder.
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("failed to make a temporary folder") }
    }

    /// A folder with one file, `world.yaml`.
    pub fn of(world: &str) -> Self {
        let folder = Self::new();
        folder.write("world.yaml", world);
        folder
    }

    /// A folder with the manifests of another one.
    pub fn copy_of(other: &Path) -> Self {
        let folder = Self::new();
        for entry in fs::read_dir(other).expect("failed to read a folder").flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "yaml") {
                fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("failed to copy a manifest");
            }
        }
        folder
    }

    /// The names of its files, sorted.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path()).expect("failed to read a folder").flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Puts a file in place at once, as editors and GitOps tools do: written beside, then renamed.
    pub fn write(&self, name: &str, text: &str) {
        let beside = self.path().join(format!(".{name}.new"));
        fs::write(&beside, text).expect("failed to write a manifest");
        fs::rename(&beside, self.path().join(name)).expect("failed to rename a manifest");
    }

    /// Writes into the file as it stands, so that readers may meet it half written.
    pub fn overwrite(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).expect("failed to write a manifest");
    }

    /// Deletes a file.
    pub fn remove(&self, name: &str) {
        fs::remove_file(self.path().join(name)).expect("failed to remove a manifest");
    }

    /// What a file says now.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).expect("failed to read a manifest")
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}
