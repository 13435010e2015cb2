//! A file for a new secret, created before the secret exists. Existing files are never overwritten.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use crate::{error::Error, output::escape::escape};

/// A new, empty file, which is removed if no secret is written to it.
pub(super) struct SecretFile {
    path: PathBuf,
    file: File,
    is_written: bool,
}

impl SecretFile {
    /// Creates the file, which only its owner can read.
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path).map_err(|error| {
            let path = escape(&path.display().to_string());
            Error::usage(match error.kind() {
                std::io::ErrorKind::AlreadyExists => format!(
                    "--secret-file {path}: the file exists and is not overwritten. Choose another \
                     name."
                ),
                _ => format!("--secret-file {path}: {error}"),
            })
        })?;
        Ok(Self {
            path: path.to_owned(),
            file,
            is_written: false,
        })
    }

    pub(super) fn write(&mut self, secret: &str) -> std::io::Result<()> {
        self.file.write_all(secret.as_bytes())?;
        self.file.sync_all()?;
        self.is_written = true;
        Ok(())
    }

    pub(super) fn path(&self) -> String {
        escape(&self.path.display().to_string())
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        if !self.is_written {
            // If this fails, an empty file remains.
            let _ = fs::remove_file(&self.path);
        }
    }
}
