//! What takes lines: a file, or standard output.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Takes whole lines, in order.
pub(super) trait Outlet: Send + 'static {
    /// Writes a line with its end. After an error the same line is to be written again.
    fn write(&mut self, line: &[u8]) -> io::Result<()>;

    /// Begins anew where a name leads now; after an error what was open stays open.
    fn reopen(&mut self) -> io::Result<()>;
}

/// A descriptor, and how much of the current line it has taken.
struct Partly {
    to: File,
    taken: usize,
}

impl Partly {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        while let Some(rest) = line.get(self.taken..).filter(|rest| !rest.is_empty()) {
            match self.to.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(bytes) => self.taken += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.taken = 0;
        Ok(())
    }
}

/// Standard output, without the buffer that would hide what became of a line.
pub(super) struct StdoutOutlet(Partly);

impl StdoutOutlet {
    pub(super) fn new() -> io::Result<Self> {
        let to = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        Ok(Self(Partly { to, taken: 0 }))
    }
}

impl Outlet for StdoutOutlet {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        self.0.write(line)
    }

    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The end of a file.
pub(super) struct FileOutlet {
    path: PathBuf,
    end: Partly,
    /// The file ends within a line, since a disk was full or a process was killed.
    torn: bool,
}

impl FileOutlet {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut to = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .mode(0o600)
            .open(path)?;
        let torn = ends_within_a_line(&mut to)?;
        Ok(Self {
            path: path.to_owned(),
            end: Partly { to, taken: 0 },
            torn,
        })
    }
}

fn ends_within_a_line(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

impl Outlet for FileOutlet {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.end.write(b"\n")?;
            self.torn = false;
        }
        self.end.write(line)
    }

    fn reopen(&mut self) -> io::Result<()> {
        *self = Self::open(&self.path)?;
        Ok(())
    }
}
