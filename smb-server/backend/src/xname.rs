//! The names of extended attributes: which hold EAs of clients, which hold streams, which are the server's own.

use crate::{BackendError, Result, name};

/// What the kernel takes in one extended attribute.
pub(crate) const VALUE_BYTES_MAX: usize = 65_536;
/// A stream is one extended attribute with Samba's closing zero byte.
pub const STREAM_BYTES_MAX: u64 = 65_535;
/// Longest extended attribute name, namespace included.
const XATTR_NAME_BYTES_MAX: usize = 255;

const USER: &str = "user.";
const STREAM_PREFIX: &str = "user.DosStream.";
const STREAM_SUFFIX: &str = ":$DATA";

/// Names below `user.` that clients neither see nor set, upper-cased.
const RESERVED: [&str; 5] = ["DOSATTRIB", "DOSEAS", "DOSSTREAMS", "NTACL", "SAMBA_PAI"];
const RESERVED_PREFIXES: [&str; 2] = ["DOSSTREAM.", "HOLDFAST."];

/// Where an EA is stored.
pub(crate) fn of_ea(ea: &str, path: &str) -> Result<String> {
    if ea.is_empty() || is_reserved(ea) || ea.chars().any(|c| c < ' ' || matches!(c, '"' | '*' | '<' | '>' | '?' | '|' | '=')) {
        return Err(BackendError::NameInvalid { path: path.to_owned() });
    }
    checked(format!("{USER}{ea}"), path)
}

/// The EA stored there, if it is one.
pub(crate) fn ea_of(xattr: &str) -> Option<&str> {
    let ea = xattr.strip_prefix(USER)?;
    (!ea.is_empty() && !is_reserved(ea)).then_some(ea)
}

/// Where a stream is stored.
pub(crate) fn of_stream(stream: &str, path: &str) -> Result<String> {
    if !name::is_speakable_stream(stream) {
        return Err(BackendError::NameInvalid { path: path.to_owned() });
    }
    checked(format!("{STREAM_PREFIX}{stream}{STREAM_SUFFIX}"), path)
}

/// The stream stored there, if it is one.
pub(crate) fn stream_of(xattr: &str) -> Option<&str> {
    let stream = xattr.strip_prefix(STREAM_PREFIX)?;
    let stream = stream.strip_suffix(STREAM_SUFFIX).unwrap_or(stream);
    name::is_speakable_stream(stream).then_some(stream)
}

fn is_reserved(ea: &str) -> bool {
    let upper = name::fold(ea);
    RESERVED.contains(&upper.as_str()) || RESERVED_PREFIXES.iter().any(|p| upper.starts_with(p))
}

fn checked(xattr: String, path: &str) -> Result<String> {
    if xattr.len() > XATTR_NAME_BYTES_MAX {
        return Err(BackendError::NameTooLong { path: path.to_owned() });
    }
    Ok(xattr)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eas_and_streams_have_their_own_names() {
        assert_eq!(of_ea("FOO", "").unwrap(), "user.FOO");
        assert_eq!(ea_of("user.FOO"), Some("FOO"));
        for own in ["dosattrib", "DosStream.x", "Holdfast.sd", "ntacl", "SAMBA_PAI", ""] {
            assert!(of_ea(own, "").is_err(), "{own}");
            assert_eq!(ea_of(&format!("user.{own}")), None, "{own}");
        }
        assert_eq!(ea_of("security.x"), None);
        let stored = of_stream("Zone.Identifier", "").unwrap();
        assert_eq!(stored, "user.DosStream.Zone.Identifier:$DATA");
        assert_eq!(stream_of(&stored), Some("Zone.Identifier"));
        assert!(of_stream("a:b", "").is_err());
        assert!(matches!(of_stream(&"n".repeat(250), ""), Err(BackendError::NameTooLong { .. })));
    }
}
