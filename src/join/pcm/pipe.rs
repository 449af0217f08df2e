//! Named pipes and devices, such as `<(arecord ...)` and `>(aplay ...)` of a shell.
//!
//! They are opened at their first use, by the thread that may block, because opening a named pipe
//! waits until another process opens its other end.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Whether the path exists and is a named pipe or a character device.
pub fn is_one(path: &Path) -> bool {
    let kind = path.metadata().map(|found| found.file_type());
    kind.is_ok_and(|kind| kind.is_fifo() || kind.is_char_device())
}

/// A pipe or a device, for reading or writing.
#[derive(Debug)]
pub struct Pipe {
    path: PathBuf,
    open: Option<File>,
}

impl Pipe {
    /// Returns a handle to the pipe or device at this path, which is not opened yet.
    pub fn of(path: &Path) -> Pipe {
        Pipe {
            path: path.to_owned(),
            open: None,
        }
    }

    fn file(&mut self, options: &OpenOptions) -> std::io::Result<&mut File> {
        let file = match self.open.take() {
            Some(file) => file,
            None => options.open(&self.path)?,
        };
        Ok(self.open.insert(file))
    }
}

impl Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.file(File::options().read(true))?.read(into)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file(File::options().write(true))?.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_recognised_as_pipes() {
        assert!(is_one(Path::new("/dev/null")));
        assert!(!is_one(Path::new("Cargo.toml")));
        assert!(!is_one(Path::new("/nowhere")));
    }

    #[test]
    fn pipe_is_opened_at_its_first_use() {
        let mut pipe = Pipe::of(Path::new("/nowhere"));
        assert!(pipe.flush().is_ok());
        assert!(pipe.read(&mut [0; 2]).is_err());
        let mut zero = Pipe::of(Path::new("/dev/zero"));
        let mut read = [1; 4];
        zero.read_exact(&mut read).unwrap();
        assert_eq!(read, [0; 4]);
        assert_eq!(Pipe::of(Path::new("/dev/null")).write(&read).unwrap(), 4);
    }
}
