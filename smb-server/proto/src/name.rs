//! Which names may be given to files (MS-FSCC 2.1.5), and the three parts of `file:stream:type`.

use crate::error::DecodeError;

/// Longest component in UTF-16 units.
pub const COMPONENT_UNITS_MAX: usize = 255;
/// Longest path in UTF-16 units.
pub const PATH_UNITS_MAX: usize = 32_760;

/// What separates components.
// deviation: Windows refuses the slash; clients that write it mean a separator, and other servers take it as one.
pub const SEPARATORS: [char; 2] = ['\\', '/'];

/// A path as a CREATE names it, taken apart.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ParsedName {
    /// Components from the share's root down; none means the root itself.
    pub components: Vec<String>,
    /// The named stream; None is the unnamed data stream.
    pub stream: Option<String>,
    /// `$INDEX_ALLOCATION` was written: a directory is meant.
    pub directory_type: bool,
    /// `::$DATA` was written: the unnamed data stream is meant, which directories do not have.
    pub data_type: bool,
    /// A trailing backslash was written.
    pub trailing_separator: bool,
}

impl ParsedName {
    /// Takes a path apart. A leading backslash is malformed, anything else that is wrong an invalid name.
    pub fn parse(path: &str) -> Result<Self, DecodeError> {
        let bad = DecodeError::Name { what: "path" };
        // MS-SMB2 3.3.5.9: a leading separator is refused as a parameter, not as a name.
        if path.starts_with('\\') {
            return Err(DecodeError::malformed("path begins with a separator"));
        }
        if path.encode_utf16().count() > PATH_UNITS_MAX {
            return Err(bad);
        }
        let trailing_separator = path.ends_with(SEPARATORS);
        let (path, mut parsed) = split_stream(path)?;
        parsed.trailing_separator = trailing_separator && parsed.stream.is_none();
        for part in path.split(SEPARATORS) {
            match part {
                // windows: empty components and "." are passed over, ".." goes up; above the root there is nothing.
                "" | "." => {}
                ".." => {
                    if parsed.components.pop().is_none() {
                        return Err(DecodeError::Name { what: "path above the root" });
                    }
                }
                _ => {
                    check_component(part)?;
                    parsed.components.push(part.to_owned());
                }
            }
        }
        Ok(parsed)
    }

    /// The last component; None for the root.
    #[must_use]
    pub fn file_name(&self) -> Option<&str> {
        self.components.last().map(String::as_str)
    }

    /// The path joined again, without stream.
    #[must_use]
    pub fn path(&self) -> String {
        self.components.join("\\")
    }
}

fn split_stream(path: &str) -> Result<(&str, ParsedName), DecodeError> {
    let bad = DecodeError::Name { what: "stream" };
    let mut parsed = ParsedName::default();
    let Some((file, rest)) = path.split_once(':') else { return Ok((path, parsed)) };
    // A colon inside an inner component is no stream.
    if rest.contains('\\') {
        return Err(bad);
    }
    let (stream, stream_type) = rest.split_once(':').unwrap_or((rest, "$DATA"));
    match stream_type.to_ascii_uppercase().as_str() {
        "$DATA" => {
            if stream.is_empty() && !rest.contains(':') {
                return Err(bad);
            }
        }
        "$INDEX_ALLOCATION" => {
            if !stream.is_empty() && !stream.eq_ignore_ascii_case("$I30") {
                return Err(bad);
            }
            parsed.directory_type = true;
            return Ok((file, parsed));
        }
        _ => return Err(bad),
    }
    if !stream.is_empty() {
        if stream.encode_utf16().count() > COMPONENT_UNITS_MAX || stream.contains(['\0', '/', '\\', ':']) {
            return Err(bad);
        }
        parsed.stream = Some(stream.to_owned());
    }
    parsed.data_type = stream.is_empty();
    Ok((file, parsed))
}

/// Checks one component: length and characters.
pub fn check_component(name: &str) -> Result<(), DecodeError> {
    let illegal = |c: char| matches!(c, '"' | '/' | '\\' | '|' | ':' | '<' | '>' | '*' | '?') || u32::from(c) < 0x20;
    if name.is_empty() || name.encode_utf16().count() > COMPONENT_UNITS_MAX || name.contains(illegal) {
        return Err(DecodeError::Name { what: "component" });
    }
    Ok(())
}

/// Tells whether a component is the name of a DOS device, with or without extension.
#[must_use]
pub fn is_device_name(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).trim_end().to_ascii_uppercase();
    match stem.as_str() {
        "CON" | "NUL" | "PRN" | "AUX" => true,
        s => {
            let numbered = s.strip_prefix("COM").or_else(|| s.strip_prefix("LPT"));
            numbered.is_some_and(|n| n.len() == 1 && n.chars().all(|c| c.is_ascii_digit() && c != '0'))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart() {
        let p = ParsedName::parse("a\\.\\b\\..\\c.txt:s:$data").unwrap();
        assert_eq!((p.path().as_str(), p.stream.as_deref()), ("a\\c.txt", Some("s")));
        assert_eq!(ParsedName::parse("").unwrap(), ParsedName::default());
        let unnamed = ParsedName::parse("f::$DATA").unwrap();
        assert!(unnamed.stream.is_none() && unnamed.data_type);
        assert_eq!(ParsedName::parse("a/b").unwrap().path(), "a\\b");
        assert!(ParsedName::parse("d:$I30:$INDEX_ALLOCATION").unwrap().directory_type);
        assert!(ParsedName::parse("d\\").unwrap().trailing_separator);
    }

    #[test]
    fn bad_paths_are_refused() {
        assert!(matches!(ParsedName::parse("\\a"), Err(DecodeError::Malformed { .. })));
        let long = "x".repeat(256);
        for bad in ["..\\a", "a*b", "a:b/c", "a:b\\c", "a:", "a:b:$FOO", "a\u{1}", long.as_str()] {
            assert!(matches!(ParsedName::parse(bad), Err(DecodeError::Name { .. })), "{bad}");
        }
        assert!(is_device_name("nul") && is_device_name("LPT1.txt") && !is_device_name("LPT10") && !is_device_name("console"));
    }
}
