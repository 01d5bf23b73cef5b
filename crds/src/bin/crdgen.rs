//! Writes `crds/yaml/*.yaml`, one file a kind, from the Rust types.

use std::path::Path;

use headgate_crds::KINDS;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("yaml");
    std::fs::create_dir_all(&folder)?;
    for kind in KINDS {
        let file = folder.join(kind.file_name());
        std::fs::write(&file, kind.yaml()?)?;
        println!("{}", file.display());
    }
    Ok(())
}
