//! What stands in the log: a command of the model, perhaps under a condition, or the taking of authority.
//!
//! Authority is the right to say which node is dead. It is taken by a log entry and known by that entry's index; a declaration of death
//! carries the index, and is void when somebody else has taken authority before it in the log. So a former leader, however late its
//! declaration arrives, cannot kill a node whose lease the present one has renewed.
//!
//! ```text
//! entry:    tag u8 | 1: command | 2: authority u64le, command | 3: node u64le | 4: change of the accord
//! outcome:  tag u8 | 0: applied: class u8, news u8, codec of the model, without events | 1 void | 2 authority taken | 3 not understood
//! ```

use persistence_model::codec::{self, DecodeError, Kind};
use persistence_model::{Applied, Class, Command, NodeId};

use crate::accord::Change;

const PLAIN: u8 = 1;
const GUARDED: u8 = 2;
const TAKE: u8 = 3;
const ACCORD: u8 = 4;

const APPLIED: u8 = 0;
const VOID: u8 = 1;
const TAKEN: u8 = 2;
const NONSENSE: u8 = 3;

const CLASSES: [Class; 3] = [Class::Volatile, Class::Durable, Class::Persistent];

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A command.
    Plain(Command),
    /// A command that counts only under this authority.
    Guarded { authority: u64, command: Command },
    /// A node takes authority.
    TakeAuthority { node: NodeId },
    /// The nodes agree on something about themselves. Written from level 2 on.
    Accord(Change),
}

impl Entry {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Plain(command) => [&[PLAIN][..], &codec::encode_command(command)].concat(),
            Self::Guarded { authority, command } => [&[GUARDED][..], &authority.to_le_bytes(), &codec::encode_command(command)].concat(),
            Self::TakeAuthority { node } => [&[TAKE][..], &node.0.to_le_bytes()].concat(),
            Self::Accord(change) => [&[ACCORD][..], &change.encode()].concat(),
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (tag, rest) = bytes.split_first().ok_or(DecodeError::Truncated)?;
        match *tag {
            PLAIN => Ok(Self::Plain(codec::decode_command(rest)?)),
            GUARDED => {
                let (authority, rest) = rest.split_first_chunk::<8>().ok_or(DecodeError::Truncated)?;
                Ok(Self::Guarded { authority: u64::from_le_bytes(*authority), command: codec::decode_command(rest)? })
            }
            TAKE => {
                let node = <[u8; 8]>::try_from(rest).map_err(|_| DecodeError::Truncated)?;
                Ok(Self::TakeAuthority { node: NodeId(u64::from_le_bytes(node)) })
            }
            ACCORD => Change::decode(rest).map(Self::Accord).map_err(|version| match version {
                Some(version) => DecodeError::Version(u16::from(version)),
                None => DecodeError::Payload("no change of the accord".to_owned()),
            }),
            tag => Err(DecodeError::Version(u16::from(tag))),
        }
    }
}

/// Names what a log entry asks for, without what it says: commands hold password hashes.
#[must_use]
pub fn describe_entry(bytes: &[u8]) -> String {
    let name = |command: &Command| {
        let text = format!("{command:?}");
        text.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
    };
    match Entry::decode(bytes) {
        _ if bytes.is_empty() => String::new(),
        Ok(Entry::Plain(command)) => name(&command),
        Ok(Entry::Guarded { authority, command }) => format!("{} under authority {authority}", name(&command)),
        Ok(Entry::TakeAuthority { node }) => format!("TakeAuthority by node {node}"),
        Ok(Entry::Accord(change)) => match change {
            Change::Level(level) => format!("Accord: level {level}"),
            Change::Trust { pems } => format!("Accord: trust {} authorities", pems.len()),
            Change::Activate { .. } => "Accord: another authority issues certificates".to_owned(),
            Change::Forget { .. } => "Accord: an authority is trusted no longer".to_owned(),
            Change::Give { node } => format!("Accord: id {node} is given"),
            Change::Remove { node } => format!("Accord: node {node} is removed"),
        },
        Err(error) => format!("not understood: {error}"),
    }
}

/// Names what is kept under a key.
#[must_use]
pub fn describe_key(key: &[u8]) -> String {
    let kinds = ["Cluster", "Node", "Session", "Open", "File", "Share", "User", "Token", "PendingDelete"];
    match key.first().copied() {
        Some(0xF1) => "Authority".to_owned(),
        Some(0xF2) => "Accord".to_owned(),
        Some(kind) if kind == Kind::AdminToken as u8 => "AdminToken".to_owned(),
        Some(kind) => kinds.get(usize::from(kind).wrapping_sub(1)).map_or_else(|| format!("kind {kind}"), |name| (*name).to_owned()),
        None => "no key".to_owned(),
    }
}

/// What an entry came to, as its proposer learns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EntryOutcome {
    /// The model's answer; events are left out, they went another way. The class is the one that the command needed at its place in the log;
    /// there is news when other nodes have something to do about it.
    Applied { applied: Box<Applied>, class: Class, news: bool },
    /// The condition did not hold.
    Void,
    /// Authority was taken.
    Taken,
    /// The bytes were no entry.
    Nonsense,
}

impl EntryOutcome {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Applied { applied, class, news } => {
                [&[APPLIED, *class as u8, u8::from(*news)][..], &codec::encode_applied(applied)].concat()
            }
            Self::Void => vec![VOID],
            Self::Taken => vec![TAKEN],
            Self::Nonsense => vec![NONSENSE],
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (tag, rest) = bytes.split_first().ok_or(DecodeError::Truncated)?;
        match *tag {
            APPLIED => {
                let ([class, news], rest) = rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
                let class = CLASSES.into_iter().find(|known| *known as u8 == *class).ok_or(DecodeError::Version(u16::from(*class)))?;
                Ok(Self::Applied { applied: Box::new(codec::decode_applied(rest)?), class, news: *news != 0 })
            }
            VOID => Ok(Self::Void),
            TAKEN => Ok(Self::Taken),
            NONSENSE => Ok(Self::Nonsense),
            tag => Err(DecodeError::Version(u16::from(tag))),
        }
    }
}

#[cfg(test)]
mod tests {
    use persistence_model::Outcome;

    use super::*;

    #[test]
    fn entries_and_results_read_back() {
        let entries = [
            Entry::Plain(Command::Expire),
            Entry::Guarded { authority: 0x0102_0304_0506_0708, command: Command::NodeRemove { node: NodeId(3) } },
            Entry::TakeAuthority { node: NodeId(9) },
            Entry::Accord(Change::Level(2)),
        ];
        for entry in entries {
            let bytes = entry.encode();
            assert_eq!(Entry::decode(&bytes), Ok(entry));
            for cut in 0..bytes.len() {
                assert!(Entry::decode(&bytes[..cut]).is_err());
            }
        }
        let applied = Applied { outcome: Outcome::Done, events: Vec::new(), interested: vec![NodeId(2)] };
        let applied = |class| EntryOutcome::Applied { applied: Box::new(applied.clone()), class, news: class == Class::Durable };
        let [volatile, durable, persistent] = CLASSES.map(applied);
        for result in [volatile, durable, persistent, EntryOutcome::Void, EntryOutcome::Taken, EntryOutcome::Nonsense] {
            assert_eq!(EntryOutcome::decode(&result.encode()), Ok(result));
        }
        assert!(Entry::decode(&[77, 1]).is_err());
        let secret = Command::UserAdd { name: "Ann".into(), nt_hash: [7; 16], sid: None, unix: None };
        assert_eq!(describe_entry(&Entry::Plain(secret).encode()), "UserAdd");
        assert_eq!(
            [describe_key(&[7, 65]), describe_key(&[16, 1]), describe_key(&[0xF2]), describe_key(&[])],
            ["User", "AdminToken", "Accord", "no key"]
        );
    }

    #[test]
    fn the_bytes_of_version_one_stay() {
        assert_eq!(Entry::TakeAuthority { node: NodeId(2) }.encode(), [3, 2, 0, 0, 0, 0, 0, 0, 0]);
        let guarded = Entry::Guarded { authority: 5, command: Command::Expire }.encode();
        assert_eq!(guarded[..9], [2, 5, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(guarded[9..], Entry::Plain(Command::Expire).encode()[1..]);
    }
}
