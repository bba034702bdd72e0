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

/// Tells whether a client can speak this name of a stream, which may have more characters than that of a file.
// MS-FSCC 2.1.5.3
#[must_use]
pub fn is_speakable_stream(name: &str) -> bool {
    !name.is_empty() && name.encode_utf16().count() <= NAME_UNITS_MAX && !name.contains(['\0', '/', '\\', ':'])
}

/// Letters of a long name that its short name keeps in front of the tilde.
const SHORT_PREFIX: usize = 3;
/// Characters behind the tilde: a hash, so that every node makes the same name without a table.
const SHORT_HASH: usize = 4;

/// The 8.3 name of a file (MS-FSCC 2.4.5): the name itself in capitals if it is one, else one made from the name. Lookup finds files by it.
#[must_use]
pub fn short_name(name: &str) -> String {
    let folded = fold(name);
    if is_8_3(&folded) {
        return folded;
    }
    let (base, extension) = folded.rsplit_once('.').unwrap_or((&folded, ""));
    let prefix: String = base.chars().filter(|c| is_short_char(*c)).take(SHORT_PREFIX).collect();
    let extension: String = extension.chars().filter(|c| is_short_char(*c)).take(3).collect();
    // FNV-1a.
    let mut hash = folded.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let mut short = prefix + "~";
    for _ in 0..SHORT_HASH {
        short.push(char::from_digit(hash % 36, 36).map_or('0', |digit| digit.to_ascii_uppercase()));
        hash /= 36;
    }
    if extension.is_empty() { short } else { short + "." + &extension }
}

/// Tells whether a name looks like one that `short_name` makes for a long name.
#[must_use]
pub fn may_be_short(name: &str) -> bool {
    let base = name.split('.').next().unwrap_or_default();
    name.is_ascii() && base.find('~').is_some_and(|at| at <= SHORT_PREFIX && base.len() == at + 1 + SHORT_HASH)
}

fn is_8_3(folded: &str) -> bool {
    let (base, extension) = folded.split_once('.').unwrap_or((folded, "X"));
    (1..=8).contains(&base.len()) && (1..=3).contains(&extension.len()) && base.chars().chain(extension.chars()).all(is_short_char)
}

fn is_short_char(c: char) -> bool {
    c.is_ascii_uppercase() || c.is_ascii_digit() || "!#$%&'()-@^_`{}~".contains(c)
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

    #[test]
    fn names_of_streams() {
        for bad in ["", "a/b", "a\\b", "a:b", "\0"] {
            assert!(!is_speakable_stream(bad), "{bad:?}");
        }
        for good in ["\u{5}Summary", "a\nb", "?*<>|\""] {
            assert!(is_speakable_stream(good), "{good:?}");
        }
    }

    #[test]
    fn short_names() {
        assert_eq!(short_name("readme.txt"), "README.TXT");
        assert_eq!(short_name("a"), "A");
        for long in ["a long name.html", "x.y.z", "ninechars", "ärger", ".profile", "a.b c"] {
            let short = short_name(long);
            assert!(is_8_3(&short) && may_be_short(&short), "{long:?} became {short:?}");
            assert_eq!(short_name(&long.to_uppercase()), short, "spelling does not matter");
        }
        assert_ne!(short_name("a long name 1"), short_name("a long name 2"));
        assert!(!may_be_short("backup~") && !may_be_short("plain.txt"));
    }
}
