//! A recording in a temporary file until the client is in the room, so that a server that cannot be
//! reached does not cost an older recording.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::PcmError;

/// A temporary file that replaces another one, or is removed.
#[derive(Debug)]
pub struct TempFile {
    at: PathBuf,
    wanted: PathBuf,
    kept: bool,
}

impl TempFile {
    /// Where to write what is to be `wanted` in the end. What is no plain file (a pipe, a device) is
    /// written directly.
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

    /// Where to write.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Gives the file its name; who has it open writes on.
    ///
    /// # Errors
    /// [`PcmError::Open`] when it cannot take the place of what is there.
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
            // Gone already is what is wanted.
            let _ = fs::remove_file(&self.at);
        }
    }
}

/// A name in the same folder, so that renaming copies nothing, which nobody else uses.
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
    fn an_older_recording_is_replaced_only_when_kept() {
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
    fn a_device_is_written_directly() {
        assert_eq!(
            TempFile::new(Path::new("/dev/null")).path(),
            Path::new("/dev/null")
        );
    }
}
