//! What a share allows whatever its files say: its own descriptor, who may connect and from where, whether anything is changed through it.

use std::net::IpAddr;

use persistence_model::{Network, ShareSettings, UnixUser};
use smb_proto::security::SecurityDescriptor;
use smb_types::{AccessMask, Sid};

use super::{Token, descriptor, mask};

/// The rules of a share as its record has them now.
#[derive(Debug, Clone, Default)]
pub(crate) struct ShareRules {
    descriptor: ShareDescriptor,
    read_only: bool,
    valid_users: Vec<Sid>,
    hosts_allow: Vec<Network>,
    /// Listings leave out what the client may not read.
    pub(crate) access_based_enumeration: bool,
    /// Files belong on disk to the user who makes them.
    pub(crate) map: bool,
    /// To whom the other files belong on disk.
    pub(crate) force_user: Option<UnixUser>,
}

#[derive(Debug, Clone, Default)]
enum ShareDescriptor {
    /// Every user may do everything that the files allow.
    #[default]
    None,
    Some(SecurityDescriptor),
    /// It makes no sense: only administrators get in.
    Damaged,
}

impl ShareRules {
    /// Reads a record.
    pub(crate) fn of(settings: &ShareSettings) -> Self {
        let descriptor = match &settings.security {
            None => ShareDescriptor::None,
            Some(bytes) => match SecurityDescriptor::decode(bytes) {
                Ok(descriptor) => ShareDescriptor::Some(descriptor),
                Err(error) => {
                    tracing::error!(%error, path = settings.path, "a share's descriptor makes no sense: set it again with `holdfast share acl`");
                    ShareDescriptor::Damaged
                }
            },
        };
        Self {
            descriptor,
            read_only: settings.read_only,
            valid_users: settings.valid_users.clone(),
            hosts_allow: settings.hosts_allow.clone(),
            access_based_enumeration: settings.access_based_enumeration,
            map: settings.map,
            force_user: settings.force_user,
        }
    }

    /// The most that a token may do through the share from this address; nothing at all when it may not connect.
    // MS-SMB2 3.3.5.7
    pub(crate) fn maximal(&self, token: &Token, from: IpAddr) -> AccessMask {
        let host = self.hosts_allow.is_empty() || self.hosts_allow.iter().any(|network| network.contains(from));
        let user = self.valid_users.is_empty() || self.valid_users.iter().any(|sid| token.is(sid));
        if !host || !user {
            return AccessMask::NONE;
        }
        let mut rights = match &self.descriptor {
            ShareDescriptor::None => AccessMask::FILE_ALL,
            ShareDescriptor::Some(descriptor) => descriptor::by_list(descriptor, token),
            ShareDescriptor::Damaged if token.is_administrator() => AccessMask::FILE_ALL,
            ShareDescriptor::Damaged => AccessMask::NONE,
        };
        if self.read_only {
            rights = rights & (mask::FILE_GENERIC_READ | mask::FILE_GENERIC_EXECUTE);
        }
        // An audit list is read and changed by the same right: it goes with the right to change lists.
        if rights.contains(AccessMask::WRITE_DAC) { rights | AccessMask::ACCESS_SYSTEM_SECURITY } else { rights }
    }
}

#[cfg(test)]
mod tests {
    use smb_proto::security::{Ace, AceFlags, Acl};

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn sid(rid: u32) -> Sid {
        Sid::new(5, &[21, 1, 2, 3, rid])
    }

    #[test]
    fn who_may_connect_and_from_where() {
        let (ann, bob) = (Token::with(sid(1), [sid(100)]), Token::with(sid(2), []));
        let everything = AccessMask::FILE_ALL | AccessMask::ACCESS_SYSTEM_SECURITY;
        let rules = |settings: ShareSettings| ShareRules::of(&settings);
        assert_eq!(rules(ShareSettings::default()).maximal(&bob, HERE), everything);
        let some = rules(ShareSettings { valid_users: vec![sid(100)], ..ShareSettings::default() });
        assert_eq!((some.maximal(&ann, HERE), some.maximal(&bob, HERE)), (everything, AccessMask::NONE));
        let near = rules(ShareSettings { hosts_allow: vec!["192.0.2.0/24".parse().unwrap()], ..ShareSettings::default() });
        assert_eq!(near.maximal(&ann, HERE), AccessMask::NONE);
        assert_eq!(near.maximal(&ann, "192.0.2.9".parse().unwrap()), everything);
    }

    #[test]
    fn its_own_descriptor_and_reading_only() {
        let (ann, bob) = (Token::with(sid(1), []), Token::with(sid(2), [Sid::administrators()]));
        let list = vec![Ace::allow(sid(1), AccessMask(0x0013_01BF), AceFlags::NONE)];
        let descriptor = SecurityDescriptor { dacl: Some(Acl::new(list)), ..SecurityDescriptor::default() };
        let change = ShareRules::of(&ShareSettings { security: Some(descriptor.to_bytes()), ..ShareSettings::default() });
        assert_eq!(change.maximal(&ann, HERE), AccessMask(0x0013_01BF));
        assert_eq!(change.maximal(&bob, HERE), AccessMask::NONE, "administrators are not above a share's list");
        let damaged = ShareRules::of(&ShareSettings { security: Some(vec![1, 2]), ..ShareSettings::default() });
        assert_eq!(damaged.maximal(&ann, HERE), AccessMask::NONE);
        assert!(damaged.maximal(&bob, HERE).contains(AccessMask::FILE_ALL));
        let read = ShareRules::of(&ShareSettings { read_only: true, ..ShareSettings::default() });
        let changing = AccessMask::WRITE_DATA | AccessMask::APPEND_DATA | AccessMask::DELETE | AccessMask::WRITE_DAC | AccessMask::WRITE_EA;
        let found = read.maximal(&bob, HERE);
        assert!(!found.intersects(changing | AccessMask::ACCESS_SYSTEM_SECURITY | AccessMask::WRITE_ATTRIBUTES | AccessMask::DELETE_CHILD));
        assert!(found.contains(AccessMask::READ_DATA | AccessMask::EXECUTE | AccessMask::READ_CONTROL));
    }
}
