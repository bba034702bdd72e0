//! Line files rotated by size: `NAME.log` is the current one, `NAME.1.log` the one before it.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown},
    path::{Path, PathBuf},
};

/// A current file and its predecessors.
pub(super) struct RotatedFiles {
    dir: PathBuf,
    name: &'static str,
    bytes_max: u64,
    files_max: usize,
    open: Option<(File, u64)>,
    /// The last line may be incomplete.
    torn: bool,
}

impl RotatedFiles {
    /// At most `files_max` files of at most `bytes_max` bytes each.
    pub(super) fn new(dir: &Path, name: &'static str, bytes_max: u64, files_max: usize) -> Self {
        // The last writer may have died in the middle of a line.
        Self { dir: dir.to_owned(), name, bytes_max, files_max, open: None, torn: true }
    }

    /// Appends a line and syncs it. After an error the file may hold part of the line; readers skip
    /// it.
    pub(super) fn append(&mut self, line: &str) -> io::Result<()> {
        let length = line.len() as u64 + 2;
        if let Some((_, size)) = &self.open
            && size + length > self.bytes_max
        {
            self.open = None;
            self.rotate()?;
        }
        let (file, size) = match &mut self.open {
            Some(open) => open,
            None => {
                let file = open_private(&self.dir, &self.path(0))?;
                let size = file.metadata()?.len();
                self.open.insert((file, size))
            }
        };
        let bytes = if self.torn && *size > 0 { format!("\n{line}\n") } else { format!("{line}\n") };
        self.torn = true;
        file.write_all(bytes.as_bytes())?;
        *size += bytes.len() as u64;
        file.sync_data()?;
        self.torn = false;
        Ok(())
    }

    /// Passes lines to `each`, newest first, until it returns false.
    pub(super) fn newest_first(&self, mut each: impl FnMut(&str) -> bool) {
        for place in 0..self.files_max {
            // A missing file is not an error: nothing written yet, or removed by an operator.
            let nofollow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
            let Ok(file) = OpenOptions::new().read(true).custom_flags(nofollow).open(self.path(place)) else { continue };
            let mut text = Vec::new();
            if file.take(self.bytes_max).read_to_end(&mut text).is_err() {
                continue;
            }
            let text = String::from_utf8_lossy(&text);
            if text.lines().rev().any(|line| !each(line)) {
                return;
            }
        }
    }

    fn rotate(&self) -> io::Result<()> {
        for place in (0..self.files_max.saturating_sub(1)).rev() {
            match std::fs::rename(self.path(place), self.path(place + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn path(&self, place: usize) -> PathBuf {
        self.dir.join(if place == 0 { format!("{}.log", self.name) } else { format!("{}.{place}.log", self.name) })
    }
}

/// Opens a file for appending. A file created by root gets the owner of the directory, because the
/// node may run as another user. Symbolic links are not followed and existing files keep their
/// owner, so that this user cannot make root write or give away other files.
pub(super) fn open_private(dir: &Path, path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let file = options.create_new(true).open(path)?;
            let owner = std::fs::metadata(dir)?;
            if rustix::process::geteuid().is_root() {
                fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
            }
            Ok(file)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(files: &RotatedFiles) -> Vec<String> {
        let mut lines = Vec::new();
        files.newest_first(|line| {
            lines.push(line.to_owned());
            true
        });
        lines
    }

    #[test]
    fn the_oldest_lines_go_first() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = RotatedFiles::new(dir.path(), "changes", 100, 3);
        for n in 0..40 {
            files.append(&format!("line {n:04}")).unwrap();
        }
        let kept = all(&files);
        assert_eq!(kept.first().unwrap(), "line 0039");
        assert!((20..=30).contains(&kept.len()), "{}", kept.len());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
        assert!(std::fs::read_dir(dir.path()).unwrap().all(|file| file.unwrap().metadata().unwrap().len() <= 100));
    }

    #[test]
    fn a_line_that_was_cut_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("changes.log"), "whole\nhal").unwrap();
        let mut files = RotatedFiles::new(dir.path(), "changes", 1000, 2);
        files.append("next").unwrap();
        files.append("last").unwrap();
        assert_eq!(all(&files), ["last", "next", "hal", "whole"]);
    }

    #[test]
    fn a_directory_that_is_missing_is_an_error_and_no_panic() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = RotatedFiles::new(&dir.path().join("gone"), "changes", 1000, 2);
        assert!(files.append("line").is_err());
        assert_eq!(all(&files), [""; 0]);
        std::fs::create_dir(dir.path().join("gone")).unwrap();
        files.append("line").unwrap();
    }
}
