//! How names are compared: upper-cased character by character, as NTFS does, never by locale.

/// Longest name of a file or stream, in UTF-16 units.
pub const NAME_UNITS_MAX: usize = 255;
/// Longest name a POSIX directory can hold, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// Upper-cases one character if it has a single-character upper case.
#[must_use]
pub fn upcase(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_uppercase();
    }
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        // windows: its table keeps the dotless i and the long s apart from the ASCII letters.
        (Some(u), None) if !u.is_ascii() => u,
        _ => c,
    }
}

/// The form of a name that is equal for all spellings.
#[must_use]
pub fn fold(name: &str) -> String {
    name.chars().map(upcase).collect()
}

/// Tells whether two names are the same file.
#[must_use]
pub fn eq_ignore_case(a: &str, b: &str) -> bool {
    a == b || a.chars().map(upcase).eq(b.chars().map(upcase))
}

/// Tells whether a client can speak this name: `name` is one component, not a path.
#[must_use]
pub fn is_speakable(name: &str) -> bool {
    !name.is_empty()
        && name != "."
        && name != ".."
        && name.encode_utf16().count() <= NAME_UNITS_MAX
        && !name.chars().any(|c| c < ' ' || matches!(c, '"' | '/' | '\\' | ':' | '|' | '<' | '>' | '*' | '?'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_like_ntfs() {
        assert!(eq_ignore_case("Ärger.TXT", "äRGER.txt"));
        assert!(!eq_ignore_case("ß", "SS"));
        assert!(!eq_ignore_case("ı", "I"));
        assert!(!eq_ignore_case("ſ", "S"));
        assert!(!eq_ignore_case("a", "ab"));
        assert_eq!(fold("aÿ"), "AŸ");
    }

    #[test]
    fn unspeakable_names() {
        for bad in ["", ".", "..", "a/b", "a\\b", "a:b", "x*", "q?", "\u{1}", &"n".repeat(256)] {
            assert!(!is_speakable(bad), "{bad:?}");
        }
        for good in ["a", ".a", "a b", "ü", &"n".repeat(255)] {
            assert!(is_speakable(good), "{good:?}");
        }
    }
}
