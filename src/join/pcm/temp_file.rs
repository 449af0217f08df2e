//! Keeps a recording in a temporary file until the client has joined, so that an unreachable server
//! does not destroy an older recording of the same name.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::PcmError;

/// A temporary file that [`TempFile::keep`] renames; otherwise it is removed when dropped.
#[derive(Debug)]
pub struct TempFile {
    at: PathBuf,
    wanted: PathBuf,
    kept: bool,
}

impl TempFile {
    /// Chooses a temporary path next to `wanted`. If `wanted` is a pipe or a device, its own path
    /// is used.
    pub fn new(wanted: &Path) -> TempFile {
        let is_special = fs::metadata(wanted).is_ok_and(|found| !found.is_file());
        let at = if is_special {
            wanted.to_owned()
        } else {
            beside(wanted)
        };
        TempFile {
            at,
            wanted: wanted.to_owned(),
            kept: false,
        }
    }

    /// Returns the path to write to.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Renames the file to its final name; open handles stay valid.
    ///
    /// # Errors
    /// [`PcmError::Open`] when it cannot replace the existing file.
    pub fn keep(mut self) -> Result<(), PcmError> {
        if self.at != self.wanted {
            fs::rename(&self.at, &self.wanted).map_err(|source| PcmError::Open {
                path: self.wanted.clone(),
                source,
            })?;
        }
        self.kept = true;
        Ok(())
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !self.kept && self.at != self.wanted {
            // Removing the file fails if it has already been removed.
            let _ = fs::remove_file(&self.at);
        }
    }
}

/// Returns an unused name in the same folder, so that renaming copies nothing.
fn beside(wanted: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(wanted.file_name().unwrap_or_default());
    name.push(format!(".{}.part", std::process::id()));
    wanted.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("mixminus-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for the test");
        folder
    }

    #[test]
    fn temp_file_replaces_an_older_recording_only_when_kept() {
        let folder = folder("provisional");
        let wanted = folder.join("heard.wav");
        fs::write(&wanted, "old").expect("writable");
        let given_up = TempFile::new(&wanted);
        fs::write(given_up.path(), "new").expect("writable");
        drop(given_up);
        assert_eq!(fs::read_to_string(&wanted).expect("it is there"), "old");
        let kept = TempFile::new(&wanted);
        fs::write(kept.path(), "new").expect("writable");
        kept.keep().expect("it can be renamed");
        assert_eq!(fs::read_to_string(&wanted).expect("it is there"), "new");
        assert_eq!(
            fs::read_dir(&folder).expect("readable").count(),
            1,
            "nothing is left behind"
        );
        fs::remove_dir_all(&folder).expect("removable");
    }

    #[test]
    fn temp_file_writes_to_a_device_directly() {
        assert_eq!(
            TempFile::new(Path::new("/dev/null")).path(),
            Path::new("/dev/null")
        );
    }
}
