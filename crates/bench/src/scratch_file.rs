// SPDX-License-Identifier: GPL-2.0-only
//! Temporary files for other processes.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use crate::error::Result;

/// A file without a name in any folder. It vanishes with this process, even after `kill -9`.
pub struct ScratchFile(File);

impl ScratchFile {
    /// Makes a file that holds `content`.
    pub fn new(content: &[u8]) -> Result<Self> {
        let mut file = tempfile::tempfile()?;
        file.write_all(content)?;
        Ok(Self(file))
    }

    /// Returns a path by which this process and others can open the file.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, OpenOptions};

    #[test]
    fn the_path_opens_the_file() {
        let file = ScratchFile::new(b"a line\n").unwrap();
        let mut again = OpenOptions::new().append(true).open(file.path()).unwrap();
        again.write_all(b"another\n").unwrap();
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "a line\nanother\n");
    }
}
