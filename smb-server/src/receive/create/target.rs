//! The name in a CREATE: path, stream, and what is there now.

use smb_backend::{BackendError, FileKey, FileKind, Metadata, RelPath};
use smb_proto::name::{ParsedName, SEPARATORS};
use smb_types::{FileAttributes, NtStatus};

use crate::{
    access::{Names, Reached},
    error::Refusal,
};

/// A checked name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The file or directory.
    pub(crate) path: RelPath,
    /// The named stream of it.
    pub(crate) stream: Option<String>,
    /// `$INDEX_ALLOCATION` was written: a directory is meant.
    pub(crate) directory_type: bool,
    /// `::$DATA` was written: no directory can be meant.
    pub(crate) data_type: bool,
    /// A separator ended the name: no file can be meant.
    pub(crate) trailing_separator: bool,
}

impl Target {
    /// Reads the name of a request.
    ///
    /// # Errors
    /// INVALID_PARAMETER for a leading separator, OBJECT_PATH_SYNTAX_BAD for a way above the root, OBJECT_NAME_INVALID for the rest.
    // MS-SMB2 3.3.5.9
    pub(crate) fn parse(name: &str) -> Result<Self, Refusal> {
        if leaves_root(name) {
            return Err(Refusal::new(NtStatus::OBJECT_PATH_SYNTAX_BAD, "the path leads above the root of the share"));
        }
        let parsed = ParsedName::parse(name)?;
        let path = RelPath::from_components(parsed.components.iter().map(String::as_str))
            .map_err(|_| Refusal::new(NtStatus::OBJECT_NAME_INVALID, "a component cannot be stored"))?;
        Ok(Self {
            path,
            stream: parsed.stream,
            directory_type: parsed.directory_type,
            data_type: parsed.data_type,
            trailing_separator: parsed.trailing_separator,
        })
    }

    /// Reads the path of a record: `directory\file:stream`.
    pub(crate) fn of_record(path: &str) -> Option<Self> {
        let (path, stream) = path.split_once(':').map_or((path, None), |(path, stream)| (path, Some(stream.to_owned())));
        let path = RelPath::parse_smb(&path.replace('/', "\\")).ok()?;
        Some(Self { path, stream, directory_type: false, data_type: false, trailing_separator: false })
    }
}

/// Tells whether ".." leads out of the share at some point.
fn leaves_root(name: &str) -> bool {
    let mut depth = 0usize;
    for component in name.split(SEPARATORS) {
        match component {
            "" | "." => {}
            ".." => match depth.checked_sub(1) {
                Some(up) => depth = up,
                None => return true,
            },
            _ => depth += 1,
        }
    }
    false
}

/// The path of a file or stream as the records write it.
pub(crate) fn record_path(path: &RelPath, stream: Option<&str>) -> String {
    match stream {
        Some(stream) => format!("{}:{stream}", path.to_smb()),
        None => path.to_smb(),
    }
}

/// What a name means at this moment.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Of the file, or of the stream (with the attributes of its file).
    pub(crate) metadata: Metadata,
    /// The path as it is spelled on disk.
    pub(crate) path: RelPath,
    /// The file that a stream belongs to; of a file, itself.
    pub(crate) base: FileKey,
    /// The stream as it is spelled on disk.
    pub(crate) stream: Option<String>,
}

/// Looks a name up; None when the last component (or the stream) is missing.
pub(crate) fn find(names: &Names, at: &Reached, stream: Option<&str>) -> Result<Option<Found>, BackendError> {
    let entry = match names.lookup(at) {
        Ok(entry) => entry,
        Err(BackendError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let base = entry.metadata.key;
    let Some(stream) = stream else { return Ok(Some(Found { metadata: entry.metadata, path: entry.path, base, stream: None })) };
    match names.stream_metadata(at, stream) {
        Ok(of_stream) => {
            let attributes = entry.metadata.attributes.without(FileAttributes::DIRECTORY);
            let attributes = if attributes.is_empty() { FileAttributes::NORMAL } else { attributes };
            let metadata = Metadata { attributes, kind: FileKind::File, ..of_stream };
            let same = |name: &str| smb_backend::name::eq_ignore_case(name, stream);
            let spelled = names.streams(at)?.into_iter().map(|stream| stream.name).find(|name| same(name));
            Ok(Some(Found { metadata, path: entry.path, base, stream: Some(spelled.unwrap_or_else(|| stream.to_owned())) }))
        }
        Err(BackendError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_there_and_back() {
        let target = Target::parse("dir\\File.txt:Zone:$DATA").unwrap();
        assert_eq!(record_path(&target.path, target.stream.as_deref()), "dir\\File.txt:Zone");
        assert_eq!(Target::of_record("dir\\File.txt:Zone").unwrap(), target);
        assert_eq!(Target::parse("\\a").unwrap_err().status, NtStatus::INVALID_PARAMETER);
        assert_eq!(Target::parse("a*b").unwrap_err().status, NtStatus::OBJECT_NAME_INVALID);
        assert!(Target::parse("").unwrap().path.is_root());
        assert_eq!(Target::parse("a\\..\\..\\b").unwrap_err().status, NtStatus::OBJECT_PATH_SYNTAX_BAD);
        assert_eq!(Target::parse("a\\..\\b").unwrap().path.as_str(), "b");
    }
}
