//! Words of the command line: `[ID@]HOST:PORT`, `NAME[=DIR][,ca][,scaleout][,encrypt]`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `--node [ID@]HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAddress {
    /// Required node id.
    pub id: Option<u64>,
    /// Host name or address; IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl NodeAddress {
    /// As `HOST:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        if self.host.contains(':') { format!("[{}]:{}", self.host, self.port) } else { format!("{}:{}", self.host, self.port) }
    }
}

impl std::str::FromStr for NodeAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || "write [ID@]HOST:PORT, like 192.0.2.11:8450, 2@files.example.com:8450 or [2001:db8::11]:8450".to_owned();
        let (id, rest) = match text.split_once('@') {
            Some((id, rest)) => (Some(id.parse().map_err(|_| bad())?), rest),
            None => (None, text),
        };
        let (host, port) = rest.rsplit_once(':').ok_or_else(bad)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        if host.is_empty() || (bare.is_none() && host.contains(':')) {
            return Err(bad());
        }
        Ok(Self { id, host: host.to_owned(), port: port.parse().map_err(|_| bad())? })
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
    fn nodes() {
        let node = |id, host: &str| Ok(NodeAddress { id, host: host.to_owned(), port: 8450 });
        assert_eq!("192.0.2.11:8450".parse(), node(None, "192.0.2.11"));
        assert_eq!("2@files.example.com:8450".parse(), node(Some(2), "files.example.com"));
        assert_eq!("[2001:db8::11]:8450".parse(), node(None, "2001:db8::11"));
        assert_eq!("[2001:db8::11]:8450".parse::<NodeAddress>().unwrap().address(), "[2001:db8::11]:8450");
        for bad in ["", "host", "host:", ":8450", "x@host:8450", "2001:db8::11:8450", "host:99999"] {
            assert!(bad.parse::<NodeAddress>().is_err(), "{bad:?}");
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
