//! The questions: may this client reach, open, make, rename, link, see? Each answer is a value that [`super::Names`] wants before it does it.

use std::sync::Arc;

use persistence_model::Open as OpenRecord;
use smb_backend::{BackendError, DescriptorStore, FileKind, Metadata, RelPath, Security, StoredDescriptor, UnixOwner};
use smb_proto::security::{Ace, AceFlags, Acl, SecurityControl, SecurityDescriptor};
use smb_types::{AccessMask, FileAttributes, NtStatus, Sid};

use super::{
    Accounts, Allowed, MayCreate, MayLink, MayRename, MayRenameStream, Names, Privileges, Reached, ShareRules, Token, Unproven, descriptor,
    identity::Identities as _, inherit, names::Parent, posix,
};
use crate::{blocking::blocking, error::Refusal};

/// What a CREATE asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Intent {
    /// Rights by name, generic ones replaced; may have MAXIMUM_ALLOWED.
    pub(crate) asked: AccessMask,
    /// Rights that the disposition needs besides.
    pub(crate) needed: AccessMask,
    /// FILE_OPEN_FOR_BACKUP_INTENT.
    pub(crate) for_backup: bool,
}

/// What a listing that hides things wants to be allowed: reading as a whole, so that what is shown can be opened.
// windows
const READS: AccessMask =
    AccessMask(AccessMask::READ_DATA.0 | AccessMask::READ_EA.0 | AccessMask::READ_ATTRIBUTES.0 | AccessMask::READ_CONTROL.0);

/// What is to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct New<'a> {
    /// File or directory.
    pub(crate) kind: FileKind,
    /// A named stream of the file.
    pub(crate) stream: Option<&'a str>,
    /// The descriptor that the client sends.
    pub(crate) descriptor: Option<&'a [u8]>,
}

/// What has a name that a client wants to give, and is to be replaced by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occupant {
    /// Nothing has it, or nothing is to be replaced.
    None,
    /// The file itself, under another of its names.
    Itself,
    /// Another file.
    Other,
}

/// A client and the share through which it asks.
#[derive(Clone)]
pub(crate) struct Asker {
    pub(super) names: Arc<Names>,
    pub(super) token: Arc<Token>,
    pub(super) rules: Arc<ShareRules>,
    /// The most that the share allows.
    pub(super) through_share: AccessMask,
    pub(super) accounts: Accounts,
}

impl Asker {
    /// A client, with the most that the share allows it.
    pub(crate) fn new(names: Arc<Names>, token: Arc<Token>, rules: Arc<ShareRules>, through_share: AccessMask, accounts: Accounts) -> Self {
        Self { names, token, rules, through_share, accounts }
    }

    /// The names of the share.
    pub(crate) fn names(&self) -> &Arc<Names> {
        &self.names
    }

    /// The client's token.
    pub(crate) fn token(&self) -> &Token {
        &self.token
    }

    /// Reaches a path.
    ///
    /// # Errors
    /// ACCESS_DENIED when a directory on the way is closed; OBJECT_PATH_NOT_FOUND when one is missing.
    // MS-FSA 2.1.5.1
    // Every user has the privilege to pass through directories, as on Windows. Where rights are derived from permission bits, passing
    // through is one of them: who closes a directory on disk closes what is below it.
    pub(crate) fn reach(&self, path: &RelPath) -> Result<Reached, Refusal> {
        let on_the_way = blocking(|| self.names.security_on_the_way(path))?;
        let mut parent = None;
        let own = path.components().count();
        for (depth, directory) in on_the_way.iter().enumerate() {
            // Behind the path's own directories come those of a link.
            let is_parent = depth + 1 == own;
            let is_open_to_all = matches!(directory.stored, StoredDescriptor::Bytes(_));
            if is_open_to_all && !is_parent {
                continue;
            }
            let descriptor = self.descriptor(directory);
            let rights = descriptor::maximal(&descriptor, &self.token, false);
            if !is_open_to_all && !rights.contains(AccessMask::EXECUTE) {
                return Err(Refusal::new(NtStatus::ACCESS_DENIED, "a directory on the way may not be passed through"));
            }
            if is_parent {
                let is_sticky = directory.stored == StoredDescriptor::None && directory.mode & posix::STICKY != 0;
                parent = Some(Parent { rights, is_sticky, descriptor });
            }
        }
        Ok(Reached { path: path.clone(), parent })
    }

    /// Proves that a file may be opened.
    ///
    /// # Errors
    /// ACCESS_DENIED; PRIVILEGE_NOT_HELD when only the privilege to audit is missing.
    // MS-FSA 2.1.5.1.2.1
    pub(crate) fn prove(&self, at: &Reached, file: Unproven, metadata: &Metadata, intent: Intent) -> Result<Allowed, Refusal> {
        let security = blocking(|| file.file.security())?;
        let maximal = self.maximal(at, &security, intent.for_backup);
        let mut usable = maximal;
        if metadata.attributes.contains(FileAttributes::READONLY) && !metadata.is_directory() {
            usable = usable.without(AccessMask::WRITE_DATA | AccessMask::APPEND_DATA | AccessMask::DELETE_CHILD);
        }
        let granted = grant(intent.asked, usable)?;
        if !usable.contains(intent.needed) {
            return Err(Refusal::new(NtStatus::ACCESS_DENIED, "what the disposition does to the file is not allowed"));
        }
        let Unproven { file, path } = file;
        Ok(Allowed { file, path, granted, maximal })
    }

    /// Proves that a file may be opened by whom a reservation was made for, whose node died after it had made the file. Its creator has what
    /// it had asked for, as the first try would have given it; a file of another owner is another's.
    ///
    /// # Errors
    /// As [`Self::prove`].
    pub(crate) fn prove_made(
        &self,
        at: &Reached,
        file: Unproven,
        metadata: &Metadata,
        reservation: &OpenRecord,
        intent: Intent,
    ) -> Result<Allowed, Refusal> {
        let security = blocking(|| file.file.security())?;
        if self.descriptor(&security).owner.as_ref() != Some(self.token.user()) {
            return self.prove(at, file, metadata, intent);
        }
        let granted = reservation.granted_access;
        let maximal = self.maximal(at, &security, intent.for_backup) | granted;
        let Unproven { file, path } = file;
        Ok(Allowed { file, path, granted, maximal })
    }

    /// The most that the client may do with an object.
    // MS-FSA 2.1.5.1.2.1
    // Who may delete children of the directory may delete this one, and who may list it sees the attributes of what is in it.
    fn maximal(&self, at: &Reached, security: &Security, for_backup: bool) -> AccessMask {
        let mut rights = descriptor::maximal(&self.descriptor(security), &self.token, for_backup);
        if self.may_remove_name(at, security) {
            rights |= AccessMask::DELETE;
        }
        let may_list = at.parent.as_ref().is_some_and(|parent| parent.rights.contains(AccessMask::READ_DATA));
        if may_list && security.stored != StoredDescriptor::Damaged {
            rights |= AccessMask::READ_ATTRIBUTES;
        }
        rights & self.through_share
    }

    /// Tells whether the directory lets the client remove this name.
    fn may_remove_name(&self, at: &Reached, security: &Security) -> bool {
        let Some(parent) = &at.parent else { return false };
        let own = || self.token.is(&self.accounts.of_uid(security.uid));
        parent.rights.contains(AccessMask::DELETE_CHILD) || (parent.is_sticky && parent.rights.contains(AccessMask::WRITE_DATA) && own())
    }

    /// Asks to make a file or directory, or a stream.
    ///
    /// # Errors
    /// ACCESS_DENIED, INVALID_OWNER, PRIVILEGE_NOT_HELD; DISK_FULL and the like when the directory's descriptor cannot be read.
    // MS-FSA 2.1.5.1.1
    // A file needs the right to add a file to its directory, a directory that to add a directory. A stream of a file that exists needs the
    // right to write that file: it is the file's own descriptor that counts.
    pub(crate) fn may_create(&self, at: &Reached, new: &New<'_>, intent: Intent) -> Result<MayCreate, Refusal> {
        let may_audit = self.token.holds(Privileges::SECURITY);
        if intent.asked.contains(AccessMask::ACCESS_SYSTEM_SECURITY) && !may_audit {
            return Err(not_privileged());
        }
        let base = match new.stream {
            Some(_) => match blocking(|| self.names.security(&at.path)) {
                Ok(security) => Some(security),
                Err(BackendError::NotFound { .. }) => None,
                Err(error) => return Err(error.into()),
            },
            None => None,
        };
        let (descriptor, maximal) = match &base {
            Some(file) => (None, self.maximal_of_new_stream(at, file, intent)?),
            None => {
                let made = self.descriptor_of_new(at, new, intent, may_audit)?;
                let maximal = descriptor::maximal(&made, &self.token, intent.for_backup) & self.through_share;
                (Some(made), maximal)
            }
        };
        // MS-FSA 2.1.5.1.1
        // Who makes it has what is asked for by name, as far as the share allows.
        let granted = if intent.asked.contains(AccessMask::MAXIMUM_ALLOWED) || base.is_some() {
            grant(intent.asked, maximal)?
        } else {
            grant(intent.asked, self.through_share)?
        };
        let owner = descriptor.as_ref().map(|made| self.on_disk(made, new.kind == FileKind::Directory));
        let (owner, mode) = owner.unwrap_or_default();
        Ok(MayCreate {
            path: at.path.clone(),
            stream: new.stream.map(str::to_owned),
            kind: new.kind,
            descriptor: descriptor.filter(|_| self.keeps_descriptors()).map(|made| made.to_bytes()),
            owner,
            mode,
            granted,
            maximal: maximal | granted,
        })
    }

    fn maximal_of_new_stream(&self, at: &Reached, file: &Security, intent: Intent) -> Result<AccessMask, Refusal> {
        let maximal = self.maximal(at, file, intent.for_backup);
        if maximal.contains(AccessMask::WRITE_DATA) {
            return Ok(maximal);
        }
        Err(Refusal::new(NtStatus::ACCESS_DENIED, "the file's descriptor does not let a stream be added"))
    }

    fn descriptor_of_new(&self, at: &Reached, new: &New<'_>, intent: Intent, may_audit: bool) -> Result<SecurityDescriptor, Refusal> {
        let parent = at.parent.as_ref().ok_or(Refusal::new(NtStatus::ACCESS_DENIED, "the root of a share is not made"))?;
        let is_directory = new.kind == FileKind::Directory;
        self.check_adding(parent, is_directory, intent.for_backup)?;
        inherit::of_new(new.descriptor, &parent.descriptor, &self.token, may_audit, is_directory)
    }

    /// The right to add a name to a directory.
    fn check_adding(&self, parent: &Parent, is_directory: bool, for_backup: bool) -> Result<(), Refusal> {
        let needed = if is_directory { AccessMask::APPEND_DATA } else { AccessMask::WRITE_DATA };
        let restores = for_backup && self.token.holds(Privileges::RESTORE);
        if self.through_share.contains(needed) && (parent.rights.contains(needed) || restores) {
            return Ok(());
        }
        Err(Refusal::new(NtStatus::ACCESS_DENIED, "nothing may be added to the directory"))
    }

    /// Asks to give an open file another name.
    ///
    /// # Errors
    /// ACCESS_DENIED.
    // MS-FSA 2.1.5.15.12
    // DELETE on the file, which its open has by the file's descriptor or its directory's; the right to add to the new directory; and to
    // remove what has the name there.
    pub(crate) fn may_rename(
        &self,
        granted: AccessMask,
        from: &RelPath,
        to: &Reached,
        is_directory: bool,
        occupant: Occupant,
    ) -> Result<MayRename, Refusal> {
        if !granted.contains(AccessMask::DELETE) {
            return Err(Refusal::new(NtStatus::ACCESS_DENIED, "the open lacks DELETE"));
        }
        self.check_new_name(to, is_directory, occupant)?;
        Ok(MayRename { from: from.clone(), to: to.path.clone(), replace: occupant != Occupant::None })
    }

    /// Asks to give an open file one more name.
    ///
    /// # Errors
    /// ACCESS_DENIED.
    // MS-FSA 2.1.5.15.6
    // The file itself is asked for nothing: it gets a name, and its descriptor goes with it.
    pub(crate) fn may_link(&self, from: &RelPath, to: &Reached, occupant: Occupant) -> Result<MayLink, Refusal> {
        self.check_new_name(to, false, occupant)?;
        Ok(MayLink { from: from.clone(), to: to.path.clone(), replace: occupant != Occupant::None })
    }

    fn check_new_name(&self, to: &Reached, is_directory: bool, occupant: Occupant) -> Result<(), Refusal> {
        let parent = to.parent.as_ref().ok_or(Refusal::new(NtStatus::ACCESS_DENIED, "the root of a share has no other name"))?;
        self.check_adding(parent, is_directory, false)?;
        if occupant == Occupant::Other {
            let security = blocking(|| self.names.security(&to.path))?;
            if !self.maximal(to, &security, false).contains(AccessMask::DELETE) {
                return Err(Refusal::new(NtStatus::ACCESS_DENIED, "what has the new name may not be removed"));
            }
        }
        Ok(())
    }

    /// Asks to give an open stream another name.
    ///
    /// # Errors
    /// ACCESS_DENIED.
    // MS-FSA 2.1.5.15.12.1
    pub(crate) fn may_rename_stream(
        &self,
        granted: AccessMask,
        file: &Reached,
        from: &str,
        to: &str,
        replace: bool,
    ) -> Result<MayRenameStream, Refusal> {
        let security = blocking(|| self.names.security(&file.path))?;
        if !granted.contains(AccessMask::DELETE) || !self.maximal(file, &security, false).contains(AccessMask::WRITE_DATA) {
            return Err(Refusal::new(NtStatus::ACCESS_DENIED, "the open lacks DELETE, or the file may not be written"));
        }
        Ok(MayRenameStream { path: file.path.clone(), from: from.to_owned(), to: to.to_owned(), replace })
    }

    /// Tells whether listings of the directory show this name: all of them, but where the share hides what cannot be read.
    pub(crate) fn may_see(&self, directory: &RelPath, name: &str) -> bool {
        if !self.rules.access_based_enumeration {
            return true;
        }
        let security = directory.join(name).ok().and_then(|path| self.names.security(&path).ok());
        let rights = security.map(|security| descriptor::maximal(&self.descriptor(&security), &self.token, false));
        rights.is_some_and(|rights| rights.contains(READS))
    }

    /// The descriptor of an object: the stored one, or the one that its owner and bits come to. One that makes no sense lets only
    /// administrators in, who can set another.
    pub(crate) fn descriptor(&self, security: &Security) -> SecurityDescriptor {
        match &security.stored {
            StoredDescriptor::None => posix::derive(security, &self.accounts),
            StoredDescriptor::Damaged => for_administrators(),
            StoredDescriptor::Bytes(bytes) => SecurityDescriptor::decode(bytes).unwrap_or_else(|error| {
                tracing::error!(%error, "a stored security descriptor makes no sense: only administrators may open the file, and set another");
                for_administrators()
            }),
        }
    }

    fn keeps_descriptors(&self) -> bool {
        self.names.descriptor_store() != DescriptorStore::Unsupported
    }

    /// Whom a file with this descriptor belongs to on disk, and its permission bits there; None leaves the server's user and its umask.
    pub(crate) fn on_disk(&self, made: &SecurityDescriptor, is_directory: bool) -> (Option<UnixOwner>, Option<u32>) {
        let forced = self.rules.force_user.map(|user| UnixOwner { uid: user.uid, gid: user.gid });
        // Where no descriptor can be kept, owner and bits are all that says who may do what.
        if !self.rules.map && self.keeps_descriptors() {
            return (forced, None);
        }
        let Some(uid) = made.owner.as_ref().and_then(|owner| self.accounts.uid(owner)) else { return (forced, None) };
        let of_user = self.token.unix().filter(|unix| unix.uid == uid).and_then(|unix| unix.gid);
        let gid = made.group.as_ref().and_then(|group| self.accounts.gid(group)).or(of_user);
        (Some(UnixOwner { uid, gid }), Some(inherit::mode_of(made, is_directory)))
    }
}

/// The rights of an open: what was asked for, or all there is for MAXIMUM_ALLOWED.
///
/// # Errors
/// ACCESS_DENIED when something was asked for by name that is not allowed; PRIVILEGE_NOT_HELD when it is the right to audit.
pub(super) fn grant(asked: AccessMask, maximal: AccessMask) -> Result<AccessMask, Refusal> {
    let named = asked.without(AccessMask::MAXIMUM_ALLOWED);
    if named.contains(AccessMask::ACCESS_SYSTEM_SECURITY) && !maximal.contains(AccessMask::ACCESS_SYSTEM_SECURITY) {
        return Err(not_privileged());
    }
    if !maximal.contains(named) {
        return Err(Refusal::new(NtStatus::ACCESS_DENIED, "the security descriptor, or the share, does not allow it"));
    }
    // The right to audit is given to who asks for it by name.
    let all = maximal.without(AccessMask::ACCESS_SYSTEM_SECURITY);
    let granted = if asked.contains(AccessMask::MAXIMUM_ALLOWED) { named | all } else { named };
    if granted.is_empty() {
        return Err(Refusal::new(NtStatus::ACCESS_DENIED, "nothing is allowed"));
    }
    Ok(granted)
}

fn not_privileged() -> Refusal {
    Refusal::new(NtStatus::PRIVILEGE_NOT_HELD, "the right to audit")
}

fn for_administrators() -> SecurityDescriptor {
    let administrators = Sid::administrators();
    SecurityDescriptor {
        control: SecurityControl::DACL_PRESENT,
        owner: Some(administrators.clone()),
        group: Some(administrators.clone()),
        sacl: None,
        dacl: Some(Acl::new(vec![Ace::allow(administrators, AccessMask::FILE_ALL, AceFlags::NONE)])),
    }
}
