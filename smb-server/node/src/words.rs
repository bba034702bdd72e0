//! Words of the command line: `NAME:PASSWORD`, `NAME[=DIR][,ca][,scaleout][,encrypt]`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `--user NAME:PASSWORD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserWord {
    /// The name.
    pub name: String,
    /// The password; may hold colons.
    pub password: String,
}

impl std::str::FromStr for UserWord {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, password) = text.split_once(':').ok_or("write NAME:PASSWORD")?;
        if name.is_empty() || password.is_empty() {
            return Err("neither the name nor the password may be empty: write NAME:PASSWORD".to_owned());
        }
        Ok(Self { name: name.to_owned(), password: password.to_owned() })
    }
}

/// `--share NAME[=DIR][,ca][,scaleout][,encrypt]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareWord {
    /// The name.
    pub name: String,
    /// The directory on every node; None: the program chooses.
    pub dir: Option<PathBuf>,
    /// Continuously available.
    pub ca: bool,
    /// Announced as scale-out.
    pub scaleout: bool,
    /// Sessions must encrypt.
    pub encrypt: bool,
}

impl std::str::FromStr for ShareWord {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let first = parts.next().unwrap_or_default();
        let (name, dir) = match first.split_once('=') {
            Some((_, "")) => return Err("the directory after = is empty".to_owned()),
            Some((name, dir)) => (name, Some(PathBuf::from(dir))),
            None => (first, None),
        };
        if name.is_empty() {
            return Err("the share has no name: write NAME[=DIR][,ca][,scaleout][,encrypt]".to_owned());
        }
        let mut share = Self { name: name.to_owned(), dir, ca: false, scaleout: false, encrypt: false };
        for option in parts {
            match option {
                "ca" => share.ca = true,
                "scaleout" => share.scaleout = true,
                "encrypt" => share.encrypt = true,
                other => return Err(format!("{other:?} is no option of a share: there are ca, scaleout and encrypt")),
            }
        }
        if share.scaleout && !share.ca {
            return Err("scaleout needs ca: write NAME,ca,scaleout".to_owned());
        }
        Ok(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users() {
        assert_eq!("a:b:c".parse(), Ok(UserWord { name: "a".to_owned(), password: "b:c".to_owned() }));
        for bad in ["a", ":b", "a:", ""] {
            assert!(bad.parse::<UserWord>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn shares() {
        let share: ShareWord = "vm=/srv/vm,ca,scaleout".parse().unwrap();
        assert_eq!((share.name.as_str(), share.dir, share.ca, share.scaleout), ("vm", Some("/srv/vm".into()), true, true));
        for bad in ["", "=x", "a=", "a,b", "a,scaleout"] {
            assert!(bad.parse::<ShareWord>().is_err(), "{bad:?}");
        }
    }
}
