//! Name patterns with `*`, `?`, `<`, `>` and `"` (MS-FSA 2.1.4.4), and case-insensitive comparison.
//!
//! Pure text: knows nothing of directories.

/// The upper case of one character by a fixed table, never by locale: characters whose upper case is longer stay as they are.
#[must_use]
pub fn upcase_char(c: char) -> char {
    // MS-FSA leaves the table to the file system. Turkish dotless i and friends keep themselves, as on NTFS.
    match c {
        'ı' | 'ſ' => c,
        _ => {
            let mut up = c.to_uppercase();
            match (up.next(), up.next()) {
                (Some(u), None) => u,
                _ => c,
            }
        }
    }
}

/// The upper case of a name.
#[must_use]
pub fn upcase(name: &str) -> String {
    name.chars().map(upcase_char).collect()
}

/// Compares two names without regard to case.
#[must_use]
pub fn equal_ignoring_case(a: &str, b: &str) -> bool {
    a.chars().map(upcase_char).eq(b.chars().map(upcase_char))
}

/// Tells whether `pattern` holds any wildcard.
#[must_use]
pub fn has_wildcards(pattern: &str) -> bool {
    pattern.contains(['*', '?', '<', '>', '"'])
}

/// A pattern made ready for many names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    parts: Vec<char>,
}

impl Pattern {
    /// Prepares a pattern; an empty one and `*.*` mean everything.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        // windows: "*.*" matches names without a dot, too.
        let pattern = if pattern.is_empty() || pattern == "*.*" { "*" } else { pattern };
        Self { parts: pattern.chars().map(upcase_char).collect() }
    }

    /// Tells whether the pattern matches every name.
    #[must_use]
    pub fn matches_all(&self) -> bool {
        self.parts == ['*']
    }

    /// Tells whether the pattern holds any wildcard.
    #[must_use]
    pub fn has_wildcards(&self) -> bool {
        self.parts.iter().any(|c| matches!(c, '*' | '?' | '<' | '>' | '"'))
    }

    /// Tells whether `name` matches.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        if self.matches_all() {
            return true;
        }
        let name: Vec<char> = name.chars().map(upcase_char).collect();
        let last_dot = name.iter().rposition(|&c| c == '.');
        // `reach[i]`: the pattern read so far matches the first `i` characters. One pass per pattern character, so the time is
        // bounded by the product of the lengths whatever the pattern.
        let mut reach = vec![false; name.len() + 1];
        if let Some(first) = reach.first_mut() {
            *first = true;
        }
        for &p in &self.parts {
            reach = step(p, &name, last_dot, &reach);
        }
        reach.last().copied().unwrap_or(false)
    }
}

/// Moves on by one character of the pattern.
fn step(p: char, name: &[char], last_dot: Option<usize>, reach: &[bool]) -> Vec<bool> {
    let end = name.len();
    let mut next = vec![false; end + 1];
    let mut set = |i: usize| {
        if let Some(x) = next.get_mut(i) {
            *x = true;
        }
    };
    let mut running = false;
    for (i, &here) in reach.iter().enumerate() {
        let c = name.get(i).copied();
        match p {
            '*' => {
                running |= here;
                if running {
                    set(i);
                }
            }
            // DOS_STAR: any characters, but it may not step over the last dot of the name.
            '<' => {
                running |= here;
                if running {
                    set(i);
                }
                if last_dot == Some(i) {
                    running = false;
                }
            }
            '?' => {
                if here && c.is_some() {
                    set(i + 1);
                }
            }
            // DOS_QM: one character, or nothing at a dot or the end.
            '>' => {
                if here {
                    match c {
                        None | Some('.') => set(i),
                        Some(_) => set(i + 1),
                    }
                }
            }
            // DOS_DOT: a dot, or nothing at the end.
            '"' => {
                if here {
                    match c {
                        None => set(i),
                        Some('.') => set(i + 1),
                        Some(_) => {}
                    }
                }
            }
            _ => {
                if here && c == Some(p) {
                    set(i + 1);
                }
            }
        }
    }
    next
}

/// Tells whether `name` matches `pattern`, without regard to case.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    Pattern::new(pattern).matches(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_on_windows() {
        // MS-FSA 2.1.4.4
        for (pattern, name, want) in [
            ("*", "anything.x", true),
            ("", "x", true),
            ("*.*", "nodot", true),
            ("*.txt", "a.TXT", true),
            ("*.txt", "a.txt.bak", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("<.txt", "a.b.txt", true),
            ("<", "a.b.txt", false),
            ("<.b", "a.b.txt", false),
            ("<\"*", "a.b", true),
            ("<\"*", "nodot", true),
            (">>>.txt", "a.txt", true),
            (">>>.txt", "abcd.txt", false),
            ("a>>", "a", true),
            ("file\"", "file", true),
            ("file\"", "file.", true),
            ("file\"", "file.x", false),
            ("ÄÖ*", "äöü", true),
            ("exact", "EXACT", true),
            ("exact", "exactly", false),
            ("*a*b*c*", "xxaxxbxxcxx", true),
        ] {
            assert_eq!(matches(pattern, name), want, "{pattern} against {name}");
        }
    }

    #[test]
    fn many_stars_take_bounded_time() {
        let pattern = "*a".repeat(100);
        assert!(!matches(&pattern, &"a".repeat(99)));
        assert!(matches(&pattern, &"a".repeat(255)));
    }

    #[test]
    fn upper_case_does_not_grow() {
        assert_eq!(upcase("straße"), "STRAßE");
        assert!(equal_ignoring_case("Grüße", "GRÜßE"));
        assert!(!equal_ignoring_case("ı", "I"));
    }
}
