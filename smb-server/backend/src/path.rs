//! Share-relative paths. A `RelPath` holds checked components only; it knows nothing of the file system.

use std::fmt;

use crate::name;

/// Longest path in bytes; the kernel takes 4096 with its terminator.
pub const PATH_BYTES_MAX: usize = 4095;

/// Why a name from the wire is no path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PathError {
    /// It begins with a separator.
    #[error("the path begins with a separator")]
    Leading,
    /// A component is empty, `.` or `..`.
    #[error("a component is empty or a dot name")]
    Syntax,
    /// A component has an illegal character.
    #[error("a component has an illegal character")]
    Illegal,
    /// A component or the whole path is too long.
    #[error("a component or the path is too long")]
    TooLong,
}

/// A path below the share root: checked components joined by `/`; empty is the root itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RelPath(String);

impl RelPath {
    /// The share root.
    #[must_use]
    pub const fn root() -> Self {
        Self(String::new())
    }

    /// Reads a path as SMB writes it, separated by backslashes, without a stream suffix. A trailing backslash is dropped.
    pub fn parse_smb(text: &str) -> Result<Self, PathError> {
        if text.is_empty() {
            return Ok(Self::root());
        }
        if text.starts_with('\\') {
            return Err(PathError::Leading);
        }
        Self::from_components(text.strip_suffix('\\').unwrap_or(text).split('\\'))
    }

    /// Joins components after checking each.
    pub fn from_components<'a>(components: impl IntoIterator<Item = &'a str>) -> Result<Self, PathError> {
        let mut path = Self::root();
        for c in components {
            path = path.join(c)?;
        }
        Ok(path)
    }

    /// This path with one more component.
    pub fn join(&self, component: &str) -> Result<Self, PathError> {
        check_component(component)?;
        let mut s = String::with_capacity(self.0.len() + 1 + component.len());
        s.push_str(&self.0);
        if !s.is_empty() {
            s.push('/');
        }
        s.push_str(component);
        if s.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        Ok(Self(s))
    }

    /// Tells whether this is the share root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The components from the top.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|c| !c.is_empty())
    }

    /// The last component; None for the root.
    #[must_use]
    pub fn file_name(&self) -> Option<&str> {
        self.components().next_back()
    }

    /// The directory that holds it; None for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        Some(Self(self.0.rsplit_once('/').map_or(String::new(), |(p, _)| p.to_owned())))
    }

    /// Tells whether `self` is `other` or lies below it, without regard to case.
    #[must_use]
    pub fn starts_with(&self, other: &Self) -> bool {
        let mut mine = self.components();
        other.components().all(|o| mine.next().is_some_and(|m| name::eq_ignore_case(m, o)))
    }

    /// Tells whether two paths name the same place, without regard to case.
    #[must_use]
    pub fn eq_ignore_case(&self, other: &Self) -> bool {
        name::eq_ignore_case(&self.0, &other.0)
    }

    /// The path upper-cased, for maps.
    #[must_use]
    pub fn folded(&self) -> String {
        name::fold(&self.0)
    }

    /// The path with `/` between components; empty for the root.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path as SMB writes it, with backslashes.
    #[must_use]
    pub fn to_smb(&self) -> String {
        self.0.replace('/', "\\")
    }
}

/// Checks one component against what every client and the kernel can take.
fn check_component(c: &str) -> Result<(), PathError> {
    if c.is_empty() || c == "." || c == ".." {
        return Err(PathError::Syntax);
    }
    if c.len() > name::NAME_BYTES_MAX {
        return Err(PathError::TooLong);
    }
    if !name::is_speakable(c) {
        return Err(PathError::Illegal);
    }
    Ok(())
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "." } else { &self.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_wire_paths() {
        let p = RelPath::parse_smb("a\\B c\\d.txt").unwrap();
        assert_eq!(p.as_str(), "a/B c/d.txt");
        assert_eq!(p.to_smb(), "a\\B c\\d.txt");
        assert_eq!(p.file_name(), Some("d.txt"));
        assert_eq!(p.parent().unwrap().as_str(), "a/B c");
        assert_eq!(RelPath::parse_smb("dir\\").unwrap().as_str(), "dir");
        assert!(RelPath::parse_smb("").unwrap().is_root());
        assert_eq!(RelPath::root().parent(), None);
    }

    #[test]
    fn refuses_what_could_leave_the_share() {
        assert_eq!(RelPath::parse_smb("\\a"), Err(PathError::Leading));
        for bad in ["..", "a\\..\\b", ".", "a\\\\b"] {
            assert_eq!(RelPath::parse_smb(bad), Err(PathError::Syntax), "{bad}");
        }
        for bad in ["a/b", "a:b", "a\0b", "x?"] {
            assert_eq!(RelPath::parse_smb(bad), Err(PathError::Illegal), "{bad}");
        }
        assert_eq!(RelPath::parse_smb(&"n".repeat(256)), Err(PathError::TooLong));
        let deep = vec!["d".repeat(200); 21].join("\\");
        assert_eq!(RelPath::parse_smb(&deep), Err(PathError::TooLong));
    }

    #[test]
    fn prefix_without_case() {
        let p = |s| RelPath::parse_smb(s).unwrap();
        assert!(p("A\\b\\c").starts_with(&p("a\\B")));
        assert!(p("A").starts_with(&RelPath::root()));
        assert!(!p("ab").starts_with(&p("a")));
        assert!(p("a\\B").eq_ignore_case(&p("A\\b")));
    }
}
