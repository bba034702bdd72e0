//! Who may do what: two users, every operation, every right that it needs missing one at a time. On memory and on a real directory.
//!
//! What each operation needs is written here as MS-FSA and MS-SMB2 have it, not as the server decides it.
#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod rig;

use std::sync::Arc;

use bytes::Bytes;
use persistence_model::Share;
use rig::{Client, Rig};
use smb_backend::{Backend, BackendError, MemoryBackend, PosixBackend};
use smb_proto::{
    Command,
    fsctl::{CopychunkChunk, CopychunkRequest, DuplicateExtents, ResumeKeyResponse, SetZeroData, code},
    info::{
        DirectoryClass, FileBasicInformation, FileClass, FileDispositionInformation, FileEndOfFileInformation, FileLinkInformation,
        FileRenameInformation, FullEa, RenameFlags, full_ea,
    },
    message::{
        change_notify::{ChangeNotifyRequest, CompletionFilter},
        close::CloseRequest,
        create::{CreateRequest, CreateResponse},
        ioctl::{IOCTL_FLAG_IS_FSCTL, IoctlRequest, IoctlResponse},
        lock::{LockElement, LockFlags, LockRequest},
        query_directory::{QueryDirectoryFlags, QueryDirectoryRequest},
        query_info::{InfoType, QueryInfoRequest},
        read::ReadRequest,
        set_info::SetInfoRequest,
        write::WriteRequest,
    },
    security::{Ace, AceFlags, Acl, SecurityControl, SecurityDescriptor, SecurityInformation},
};
use smb_server::{ServerConfig, StoreExt as _};
use smb_types::{AccessMask, CreateDisposition, CreateOptions, FileId, FileTime, NtStatus, ShareAccess, Sid};

const ALL: AccessMask = AccessMask::FILE_ALL;
const OK: NtStatus = NtStatus::SUCCESS;
const DENIED: NtStatus = NtStatus::ACCESS_DENIED;

/// Every right of a file by itself.
const RIGHTS: [AccessMask; 14] = [
    AccessMask::READ_DATA,
    AccessMask::WRITE_DATA,
    AccessMask::APPEND_DATA,
    AccessMask::READ_EA,
    AccessMask::WRITE_EA,
    AccessMask::EXECUTE,
    AccessMask::DELETE_CHILD,
    AccessMask::READ_ATTRIBUTES,
    AccessMask::WRITE_ATTRIBUTES,
    AccessMask::DELETE,
    AccessMask::READ_CONTROL,
    AccessMask::WRITE_DAC,
    AccessMask::WRITE_OWNER,
    AccessMask::SYNCHRONIZE,
];

/// A server with one file system; alice owns everything, bob gets what a cell gives him.
struct Table {
    rig: Rig,
    alice: Client,
    bob: Client,
    bob_sid: Sid,
    alice_sid: Sid,
    cells: usize,
    next: u32,
}

impl Table {
    async fn over(backend: Arc<dyn Backend>) -> Self {
        let factory = move |_: &Share| -> Result<Arc<dyn Backend>, BackendError> { Ok(Arc::clone(&backend)) };
        let rig = Rig::over(ServerConfig::default(), Arc::new(factory));
        let alice = rig.ready("plain").await;
        let mut bob = rig.connect();
        bob.client_guid = smb_types::Guid([8; 16]);
        bob.negotiate(&[smb_types::Dialect::Smb311]).await;
        assert_eq!(bob.log_on("bob", "hidden", 0).await, OK);
        assert_eq!(bob.tree("plain").await.0, OK);
        let sid = |name: &str| rig.store.with_state(|state| state.user_by_name(name).unwrap().sid.clone());
        let (alice_sid, bob_sid) = (sid("alice"), sid("bob"));
        Self { rig, alice, bob, bob_sid, alice_sid, cells: 0, next: 0 }
    }

    /// A name that was not used before.
    fn fresh(&mut self, what: &str) -> String {
        self.next += 1;
        format!("{what}{}", self.next)
    }

    /// alice makes a directory on which bob has these rights.
    async fn directory(&mut self, path: &str, bob: AccessMask) {
        let id = create(&mut self.alice, path, ALL, CreateOptions::DIRECTORY_FILE, CreateDisposition::Create).await.unwrap();
        self.give(id, bob).await;
        close(&mut self.alice, id).await;
    }

    /// alice makes a file of some bytes on which bob has these rights.
    async fn file(&mut self, path: &str, bob: AccessMask) {
        let id = create(&mut self.alice, path, ALL, CreateOptions::NONE, CreateDisposition::Create).await.unwrap();
        let request = WriteRequest { file_id: id, data: Bytes::from_static(b"0123456789"), ..WriteRequest::default() };
        assert_eq!(self.alice.request(Command::Write, |out| request.encode(out)).await.0.status(), OK);
        self.give(id, bob).await;
        close(&mut self.alice, id).await;
    }

    /// Sets a list that gives alice everything and bob these rights.
    async fn give(&mut self, id: FileId, bob: AccessMask) {
        let mut entries = vec![Ace::allow(self.alice_sid.clone(), ALL, AceFlags::NONE)];
        if !bob.is_empty() {
            entries.push(Ace::allow(self.bob_sid.clone(), bob, AceFlags::NONE));
        }
        let descriptor = SecurityDescriptor { dacl: Some(Acl::new(entries)), ..SecurityDescriptor::default() };
        assert_eq!(set_security(&mut self.alice, id, SecurityInformation::DACL, &descriptor).await, OK);
    }

    fn cell(&mut self, what: &str, found: NtStatus, expected: NtStatus) {
        self.cells += 1;
        assert_eq!(found, expected, "{what}");
    }
}

async fn create(
    client: &mut Client,
    name: &str,
    access: AccessMask,
    options: CreateOptions,
    disposition: CreateDisposition,
) -> Result<FileId, NtStatus> {
    let request = CreateRequest {
        desired_access: access,
        share_access: ShareAccess::ALL,
        create_disposition: disposition,
        create_options: options,
        name: name.to_owned(),
        ..CreateRequest::default()
    };
    let (header, message) = client.request(Command::Create, |out| request.encode(out)).await;
    if header.status() == OK { Ok(CreateResponse::decode(&message).unwrap().file_id) } else { Err(header.status()) }
}

/// Opens what exists and closes it again; the status of the opening.
async fn try_open(client: &mut Client, name: &str, access: AccessMask, options: CreateOptions) -> NtStatus {
    match create(client, name, access, options, CreateDisposition::Open).await {
        Ok(id) => {
            close(client, id).await;
            OK
        }
        Err(status) => status,
    }
}

async fn close(client: &mut Client, file_id: FileId) {
    let request = CloseRequest { file_id, ..CloseRequest::default() };
    assert_eq!(client.request(Command::Close, |out| request.encode(out)).await.0.status(), OK);
}

async fn set_security(client: &mut Client, id: FileId, which: SecurityInformation, descriptor: &SecurityDescriptor) -> NtStatus {
    let set = SetInfoRequest {
        info_type: InfoType::Security,
        information_class: 0,
        additional_information: which.0,
        file_id: id,
        buffer: descriptor.to_bytes(),
    };
    client.request(Command::SetInfo, |out| set.encode(out)).await.0.status()
}

async fn get_security(client: &mut Client, id: FileId, which: SecurityInformation) -> NtStatus {
    let mut request = QueryInfoRequest::new(InfoType::Security, 0, 4096, id);
    request.additional_information = which.0;
    client.request(Command::QueryInfo, |out| request.encode(out)).await.0.status()
}

async fn set_file(client: &mut Client, id: FileId, class: FileClass, buffer: Vec<u8>) -> NtStatus {
    let request = SetInfoRequest::file(class.to_wire(), id, buffer);
    client.request(Command::SetInfo, |out| request.encode(out)).await.0.status()
}

async fn query_file(client: &mut Client, id: FileId, class: FileClass) -> NtStatus {
    let request = QueryInfoRequest::new(InfoType::File, class.to_wire(), 4096, id);
    client.request(Command::QueryInfo, |out| request.encode(out)).await.0.status()
}

async fn ioctl(client: &mut Client, ctl_code: u32, file_id: FileId, input: Vec<u8>) -> (NtStatus, Vec<u8>) {
    let request =
        IoctlRequest { ctl_code, file_id, input, max_output_response: 4096, flags: IOCTL_FLAG_IS_FSCTL, ..IoctlRequest::default() };
    let (header, message) = client.request(Command::Ioctl, |out| request.encode(out)).await;
    let output = if header.status() == OK { IoctlResponse::decode(&message).unwrap().output.to_vec() } else { Vec::new() };
    (header.status(), output)
}

async fn rename(client: &mut Client, id: FileId, to: &str, replace: bool) -> NtStatus {
    let flags = if replace { RenameFlags::REPLACE_IF_EXISTS } else { RenameFlags::NONE };
    let mut buffer = Vec::new();
    FileRenameInformation { flags, file_name: to.to_owned() }.encode(&mut buffer);
    set_file(client, id, FileClass::Rename, buffer).await
}

async fn link(client: &mut Client, id: FileId, to: &str, replace: bool) -> NtStatus {
    let mut buffer = Vec::new();
    FileLinkInformation { replace_if_exists: replace, file_name: to.to_owned() }.encode(&mut buffer);
    set_file(client, id, FileClass::Link, buffer).await
}

/// Each right by itself lets its own be opened, and nothing else; all but one let everything be opened but that one.
// MS-DTYP 2.5.3.2, MS-FSA 2.1.5.1.2.1
async fn opening(table: &mut Table) {
    for (kind, options) in [("file", CreateOptions::NON_DIRECTORY_FILE), ("directory", CreateOptions::DIRECTORY_FILE)] {
        for right in RIGHTS {
            // A directory that gives bob nothing: neither DELETE_CHILD nor LIST_DIRECTORY helps.
            let holder = table.fresh("holder");
            table.directory(&holder, AccessMask::NONE).await;
            let (only, without) = (format!("{holder}\\only"), format!("{holder}\\without"));
            if kind == "file" {
                table.file(&only, right).await;
                table.file(&without, ALL.without(right)).await;
            } else {
                table.directory(&only, right).await;
                table.directory(&without, ALL.without(right)).await;
            }
            let found = try_open(&mut table.bob, &only, right, options).await;
            table.cell(&format!("{kind}: only {right:?}, asked for it"), found, OK);
            let found = try_open(&mut table.bob, &without, right, options).await;
            table.cell(&format!("{kind}: all but {right:?}, asked for it"), found, DENIED);
            let found = try_open(&mut table.bob, &without, ALL.without(right), options).await;
            table.cell(&format!("{kind}: all but {right:?}, asked for the rest"), found, OK);
            let found = try_open(&mut table.bob, &only, ALL, options).await;
            table.cell(&format!("{kind}: only {right:?}, asked for all"), found, DENIED);
        }
    }
}

/// The owner may always read and change the list, whatever it says, and nothing else.
// MS-DTYP 2.5.3.2
async fn owning(table: &mut Table) {
    for right in RIGHTS {
        let name = table.fresh("owned");
        let id = create(&mut table.alice, &name, ALL, CreateOptions::NONE, CreateDisposition::Create).await.unwrap();
        let nothing = SecurityDescriptor { dacl: Some(Acl::default()), ..SecurityDescriptor::default() };
        assert_eq!(set_security(&mut table.alice, id, SecurityInformation::DACL, &nothing).await, OK);
        close(&mut table.alice, id).await;
        // The share's root lets everyone list and remove names in it: these two come from there.
        let from_root = [AccessMask::READ_ATTRIBUTES, AccessMask::DELETE].contains(&right);
        let expected = [AccessMask::READ_CONTROL, AccessMask::WRITE_DAC].contains(&right) || from_root;
        let found = try_open(&mut table.alice, &name, right, CreateOptions::NONE).await;
        table.cell(&format!("owner without an entry asks {right:?}"), found, if expected { OK } else { DENIED });
        let found = try_open(&mut table.bob, &name, right, CreateOptions::NONE).await;
        table.cell(&format!("another asks {right:?}"), found, if from_root { OK } else { DENIED });
    }
}

/// What the directory that holds a file gives besides: DELETE by DELETE_CHILD, READ_ATTRIBUTES by LIST_DIRECTORY.
// MS-FSA 2.1.5.1.2.1
async fn opening_by_the_directory(table: &mut Table) {
    for (by, gives) in [(AccessMask::DELETE_CHILD, AccessMask::DELETE), (AccessMask::READ_DATA, AccessMask::READ_ATTRIBUTES)] {
        for with in [true, false] {
            let holder = table.fresh("holder");
            table.directory(&holder, if with { by } else { ALL.without(by) }).await;
            let name = format!("{holder}\\f");
            table.file(&name, AccessMask::NONE).await;
            let found = try_open(&mut table.bob, &name, gives, CreateOptions::NONE).await;
            table.cell(&format!("{gives:?} by {by:?} on the directory: {with}"), found, if with { OK } else { DENIED });
            let found = try_open(&mut table.bob, &name, AccessMask::READ_DATA, CreateOptions::NONE).await;
            table.cell(&format!("READ_DATA by {by:?} on the directory: {with}"), found, DENIED);
        }
    }
}

/// Making something takes the right to add it to its directory; a stream takes that to write its file.
// MS-FSA 2.1.5.1.1
async fn making(table: &mut Table) {
    let needs = [
        ("file", CreateOptions::NON_DIRECTORY_FILE, AccessMask::WRITE_DATA),
        ("directory", CreateOptions::DIRECTORY_FILE, AccessMask::APPEND_DATA),
    ];
    for (kind, options, needed) in needs {
        for (rights, expected) in [(needed, OK), (ALL.without(needed), DENIED), (AccessMask::NONE, DENIED)] {
            for disposition in [CreateDisposition::Create, CreateDisposition::OpenIf] {
                let holder = table.fresh("holder");
                table.directory(&holder, rights).await;
                let made = create(&mut table.bob, &format!("{holder}\\new"), ALL, options, disposition).await;
                let found = made.err().unwrap_or(OK);
                table.cell(&format!("making a {kind} with {rights:?} on its directory, {disposition:?}"), found, expected);
                if let Ok(id) = made {
                    close(&mut table.bob, id).await;
                }
            }
        }
    }
    let holder = table.fresh("holder");
    table.directory(&holder, ALL).await;
    for (rights, expected) in [(AccessMask::WRITE_DATA, OK), (ALL.without(AccessMask::WRITE_DATA), DENIED)] {
        let name = table.fresh(&format!("{holder}\\f"));
        table.file(&name, rights).await;
        // The directory lets bob do everything: it is the file that counts.
        let stream = format!("{name}:s");
        let made = create(&mut table.bob, &stream, AccessMask::WRITE_DATA, CreateOptions::NONE, CreateDisposition::Create).await;
        let found = made.err().unwrap_or(if expected == OK { OK } else { DENIED });
        table.cell(&format!("a stream of a file with {rights:?}"), found, expected);
    }
}

/// Overwriting throws data away; superseding replaces the file; deletion at the close needs what deletion needs.
// MS-FSA 2.1.5.1.2
async fn overwriting(table: &mut Table) {
    let holder = table.fresh("holder");
    table.directory(&holder, AccessMask::READ_DATA).await;
    let needs = [
        (CreateDisposition::Overwrite, AccessMask::WRITE_DATA),
        (CreateDisposition::OverwriteIf, AccessMask::WRITE_DATA),
        (CreateDisposition::Supersede, AccessMask::DELETE),
        // smbtorture: smb2.acls.OVERWRITE_READ_ONLY_FILE
        (CreateDisposition::Supersede, AccessMask::WRITE_DATA),
    ];
    for (disposition, needed) in needs {
        for (rights, expected) in [(ALL, OK), (ALL.without(needed), DENIED)] {
            let name = table.fresh(&format!("{holder}\\f"));
            table.file(&name, rights).await;
            let opened = create(&mut table.bob, &name, AccessMask::READ_DATA, CreateOptions::NONE, disposition).await;
            table.cell(&format!("{disposition:?} with {rights:?}"), opened.err().unwrap_or(OK), expected);
        }
    }
    for (rights, expected) in [(ALL, OK), (ALL.without(AccessMask::DELETE), DENIED)] {
        for asked in [AccessMask::DELETE | AccessMask::READ_DATA, AccessMask::MAXIMUM_ALLOWED] {
            let name = table.fresh(&format!("{holder}\\f"));
            table.file(&name, rights).await;
            let found = try_open(&mut table.bob, &name, asked, CreateOptions::DELETE_ON_CLOSE).await;
            table.cell(&format!("DELETE_ON_CLOSE with {rights:?}, asked {asked:?}"), found, expected);
            let is_there = try_open(&mut table.alice, &name, AccessMask::READ_DATA, CreateOptions::NONE).await;
            let expected = if expected == OK { NtStatus::OBJECT_NAME_NOT_FOUND } else { OK };
            table.cell("what came of it", is_there, expected);
        }
    }
}

/// Renaming takes DELETE on the file, the right to add to the new directory, and to remove what is replaced there.
// MS-FSA 2.1.5.15.12
async fn renaming(table: &mut Table) {
    for (kind, adding) in [("file", AccessMask::WRITE_DATA), ("directory", AccessMask::APPEND_DATA)] {
        for (rights, expected) in [(adding, OK), (ALL.without(adding), DENIED), (AccessMask::NONE, DENIED)] {
            let (from, to) = (table.fresh("from"), table.fresh("to"));
            table.directory(&from, ALL).await;
            table.directory(&to, rights).await;
            let name = format!("{from}\\x");
            let options = if kind == "file" {
                table.file(&name, ALL).await;
                CreateOptions::NONE
            } else {
                table.directory(&name, ALL).await;
                CreateOptions::DIRECTORY_FILE
            };
            let id = create(&mut table.bob, &name, ALL, options, CreateDisposition::Open).await.unwrap();
            let found = rename(&mut table.bob, id, &format!("{to}\\x"), false).await;
            table.cell(&format!("a {kind} to a directory with {rights:?}"), found, expected);
            close(&mut table.bob, id).await;
            let moved = try_open(&mut table.alice, &format!("{to}\\x"), AccessMask::READ_ATTRIBUTES, options).await;
            table.cell("where it is", moved, if expected == OK { OK } else { NtStatus::OBJECT_NAME_NOT_FOUND });
        }
    }
    let from = table.fresh("from");
    table.directory(&from, ALL).await;
    let name = format!("{from}\\x");
    table.file(&name, ALL).await;
    let without = ALL.without(AccessMask::DELETE);
    let id = create(&mut table.bob, &name, without, CreateOptions::NONE, CreateDisposition::Open).await.unwrap();
    let found = rename(&mut table.bob, id, &format!("{from}\\y"), false).await;
    table.cell("an open without DELETE", found, DENIED);
    close(&mut table.bob, id).await;
}

/// What a rename or a link replaces is removed: by DELETE on it, or DELETE_CHILD on its directory.
// MS-FSA 2.1.5.15.12, 2.1.5.15.6
async fn replacing(table: &mut Table) {
    let add = AccessMask::WRITE_DATA;
    let cells = [
        (AccessMask::DELETE, add, OK),
        (ALL.without(AccessMask::DELETE), add, DENIED),
        (AccessMask::NONE, add | AccessMask::DELETE_CHILD, OK),
        (AccessMask::NONE, ALL.without(AccessMask::DELETE_CHILD), DENIED),
        (ALL, ALL.without(add), DENIED),
    ];
    for (on_victim, on_directory, expected) in cells {
        for by_link in [false, true] {
            let (from, to) = (table.fresh("from"), table.fresh("to"));
            table.directory(&from, ALL).await;
            table.directory(&to, on_directory).await;
            let (own, victim) = (format!("{from}\\own"), format!("{to}\\victim"));
            table.file(&own, ALL).await;
            table.file(&victim, on_victim).await;
            let id = create(&mut table.bob, &own, ALL, CreateOptions::NONE, CreateDisposition::Open).await.unwrap();
            let found =
                if by_link { link(&mut table.bob, id, &victim, true).await } else { rename(&mut table.bob, id, &victim, true).await };
            let how = if by_link { "link" } else { "rename" };
            table.cell(&format!("{how} over a file with {on_victim:?} in a directory with {on_directory:?}"), found, expected);
            close(&mut table.bob, id).await;
        }
    }
}

/// A link takes the right to add a file to its directory.
// MS-FSA 2.1.5.15.6
async fn linking(table: &mut Table) {
    for (rights, expected) in [(AccessMask::WRITE_DATA, OK), (ALL.without(AccessMask::WRITE_DATA), DENIED)] {
        let (from, to) = (table.fresh("from"), table.fresh("to"));
        table.directory(&from, AccessMask::READ_DATA).await;
        table.directory(&to, rights).await;
        let own = format!("{from}\\own");
        table.file(&own, AccessMask::READ_DATA).await;
        let id = create(&mut table.bob, &own, AccessMask::READ_DATA, CreateOptions::NONE, CreateDisposition::Open).await.unwrap();
        let found = link(&mut table.bob, id, &format!("{to}\\h"), false).await;
        table.cell(&format!("a link in a directory with {rights:?}"), found, expected);
        close(&mut table.bob, id).await;
    }
}

/// An operation on an open handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    Read,
    Write,
    Flush,
    Lock,
    QueryBasic,
    QueryAll,
    QueryNetworkOpen,
    QueryAttributeTag,
    QueryEa,
    QueryStandard,
    QueryName,
    QueryOwner,
    QueryDacl,
    QuerySacl,
    SetBasic,
    SetEa,
    SetEnd,
    SetAllocation,
    SetValidData,
    SetDisposition,
    SetOwner,
    SetDacl,
    SetSacl,
    SetSparse,
    ZeroData,
    AllocatedRanges,
    CopyFrom,
    CopyTo,
    CloneFrom,
    CloneTo,
    SetCompression,
}

/// Operations on files and the rights of which each needs at least one. None: no right at all.
// MS-SMB2 3.3.5.12 to 3.3.5.21, MS-FSA 2.1.5.2 to 2.1.5.17
const ON_FILES: [(On, AccessMask); 31] = [
    (On::Read, AccessMask(AccessMask::READ_DATA.0 | AccessMask::EXECUTE.0)),
    (On::Write, AccessMask(AccessMask::WRITE_DATA.0 | AccessMask::APPEND_DATA.0)),
    (On::Flush, AccessMask(AccessMask::WRITE_DATA.0 | AccessMask::APPEND_DATA.0)),
    (On::Lock, AccessMask(AccessMask::READ_DATA.0 | AccessMask::WRITE_DATA.0 | AccessMask::APPEND_DATA.0 | AccessMask::EXECUTE.0)),
    (On::QueryBasic, AccessMask::READ_ATTRIBUTES),
    (On::QueryAll, AccessMask::READ_ATTRIBUTES),
    (On::QueryNetworkOpen, AccessMask::READ_ATTRIBUTES),
    (On::QueryAttributeTag, AccessMask::READ_ATTRIBUTES),
    (On::QueryEa, AccessMask::READ_EA),
    (On::QueryStandard, AccessMask::NONE),
    (On::QueryName, AccessMask::NONE),
    (On::QueryOwner, AccessMask::READ_CONTROL),
    (On::QueryDacl, AccessMask::READ_CONTROL),
    (On::QuerySacl, AccessMask::ACCESS_SYSTEM_SECURITY),
    (On::SetBasic, AccessMask::WRITE_ATTRIBUTES),
    (On::SetEa, AccessMask::WRITE_EA),
    (On::SetEnd, AccessMask::WRITE_DATA),
    (On::SetAllocation, AccessMask::WRITE_DATA),
    (On::SetValidData, AccessMask::WRITE_DATA),
    (On::SetDisposition, AccessMask::DELETE),
    (On::SetOwner, AccessMask::WRITE_OWNER),
    (On::SetDacl, AccessMask::WRITE_DAC),
    (On::SetSacl, AccessMask::ACCESS_SYSTEM_SECURITY),
    (On::SetSparse, AccessMask(AccessMask::WRITE_DATA.0 | AccessMask::APPEND_DATA.0 | AccessMask::WRITE_ATTRIBUTES.0)),
    (On::ZeroData, AccessMask::WRITE_DATA),
    (On::AllocatedRanges, AccessMask::READ_DATA),
    (On::CopyFrom, AccessMask(AccessMask::READ_DATA.0 | AccessMask::EXECUTE.0)),
    (On::CopyTo, AccessMask::WRITE_DATA),
    (On::CloneFrom, AccessMask::READ_DATA),
    (On::CloneTo, AccessMask::WRITE_DATA),
    (On::SetCompression, AccessMask(AccessMask::READ_DATA.0 | AccessMask::WRITE_DATA.0)),
];

/// Carries out an operation through a handle; `other` is a handle with all rights on another file.
async fn carry_out(client: &mut Client, on: On, id: FileId, other: FileId, own: &Sid) -> NtStatus {
    let descriptor = SecurityDescriptor {
        control: SecurityControl::NONE,
        owner: Some(own.clone()),
        group: None,
        sacl: Some(Acl::default()),
        dacl: Some(Acl::new(vec![Ace::allow(Sid::everyone(), ALL, AceFlags::NONE)])),
    };
    match on {
        On::Read => {
            let request = ReadRequest { file_id: id, length: 4, ..ReadRequest::default() };
            client.request(Command::Read, |out| request.encode(out)).await.0.status()
        }
        On::Write => {
            let request = WriteRequest { file_id: id, data: Bytes::from_static(b"x"), ..WriteRequest::default() };
            client.request(Command::Write, |out| request.encode(out)).await.0.status()
        }
        On::Flush => {
            let request = smb_proto::message::flush::FlushRequest { file_id: id };
            client.request(Command::Flush, |out| request.encode(out)).await.0.status()
        }
        On::Lock => {
            let element = LockElement { offset: 0, length: 1, flags: LockFlags::SHARED | LockFlags::FAIL_IMMEDIATELY };
            let request = LockRequest { file_id: id, locks: vec![element], ..LockRequest::default() };
            client.request(Command::Lock, |out| request.encode(out)).await.0.status()
        }
        On::QueryBasic => query_file(client, id, FileClass::Basic).await,
        On::QueryAll => query_file(client, id, FileClass::All).await,
        On::QueryNetworkOpen => query_file(client, id, FileClass::NetworkOpen).await,
        On::QueryAttributeTag => query_file(client, id, FileClass::AttributeTag).await,
        On::QueryEa => query_file(client, id, FileClass::FullEa).await,
        On::QueryStandard => query_file(client, id, FileClass::Standard).await,
        On::QueryName => query_file(client, id, FileClass::NormalizedName).await,
        On::QueryOwner => get_security(client, id, SecurityInformation::OWNER).await,
        On::QueryDacl => get_security(client, id, SecurityInformation::DACL).await,
        On::QuerySacl => get_security(client, id, SecurityInformation::SACL).await,
        On::SetBasic => {
            let set = FileBasicInformation { last_write_time: FileTime(0x01D9_0000_0000_0000), ..FileBasicInformation::default() };
            set_file(client, id, FileClass::Basic, set.to_bytes()).await
        }
        On::SetEa => {
            let eas = [FullEa { flags: 0, name: b"A".to_vec(), value: b"b".to_vec() }];
            set_file(client, id, FileClass::FullEa, full_ea::encode_list(&eas)).await
        }
        On::SetEnd => set_file(client, id, FileClass::EndOfFile, FileEndOfFileInformation { end_of_file: 5 }.to_bytes()).await,
        On::SetAllocation => set_file(client, id, FileClass::Allocation, 4096_u64.to_le_bytes().to_vec()).await,
        On::SetValidData => set_file(client, id, FileClass::ValidDataLength, 1_u64.to_le_bytes().to_vec()).await,
        On::SetDisposition => {
            set_file(client, id, FileClass::Disposition, FileDispositionInformation { delete_pending: true }.to_bytes()).await
        }
        On::SetOwner => set_security(client, id, SecurityInformation::OWNER, &descriptor).await,
        On::SetDacl => set_security(client, id, SecurityInformation::DACL, &descriptor).await,
        On::SetSacl => set_security(client, id, SecurityInformation::SACL, &descriptor).await,
        On::SetSparse => ioctl(client, code::SET_SPARSE, id, vec![1]).await.0,
        On::ZeroData => {
            let mut input = Vec::new();
            SetZeroData { file_offset: 0, beyond_final_zero: 4 }.encode(&mut input);
            ioctl(client, code::SET_ZERO_DATA, id, input).await.0
        }
        On::AllocatedRanges => ioctl(client, code::QUERY_ALLOCATED_RANGES, id, [0_u64.to_le_bytes(), 8_u64.to_le_bytes()].concat()).await.0,
        On::CopyFrom | On::CopyTo => {
            let (from, to) = if on == On::CopyFrom { (id, other) } else { (other, id) };
            let (_, key) = ioctl(client, code::SRV_REQUEST_RESUME_KEY, from, Vec::new()).await;
            let source_key = ResumeKeyResponse::decode(&key).unwrap().resume_key;
            let mut input = Vec::new();
            let chunks = vec![CopychunkChunk { source_offset: 0, target_offset: 0, length: 4 }];
            CopychunkRequest { source_key, chunks }.encode(&mut input);
            ioctl(client, code::SRV_COPYCHUNK_WRITE, to, input).await.0
        }
        On::CloneFrom | On::CloneTo => {
            let (from, to) = if on == On::CloneFrom { (id, other) } else { (other, id) };
            let mut input = Vec::new();
            DuplicateExtents { source_file_id: from, source_file_offset: 0, target_file_offset: 0, byte_count: 4 }.encode(&mut input);
            ioctl(client, code::DUPLICATE_EXTENTS_TO_FILE, to, input).await.0
        }
        On::SetCompression => ioctl(client, code::SET_COMPRESSION, id, vec![0, 0]).await.0,
    }
}

/// Each operation through a handle that has only what it needs, and through one that has everything else.
async fn using(table: &mut Table) {
    let other = table.fresh("other");
    table.file(&other, ALL).await;
    let other = create(&mut table.bob, &other, ALL, CreateOptions::NONE, CreateDisposition::Open).await.unwrap();
    for (on, needs) in ON_FILES {
        let privileged = needs == AccessMask::ACCESS_SYSTEM_SECURITY;
        for (granted, expected) in [(needs, OK), (ALL.without(needs), if needs.is_empty() { OK } else { DENIED })] {
            if privileged && expected == OK {
                continue; // Nobody here has the privilege; `auditing` is about who has.
            }
            let name = table.fresh("f");
            table.file(&name, ALL).await;
            let granted = if granted.is_empty() { AccessMask::SYNCHRONIZE } else { granted };
            let id = create(&mut table.bob, &name, granted, CreateOptions::NONE, CreateDisposition::Open).await.unwrap();
            let own = table.bob_sid.clone();
            let mut found = carry_out(&mut table.bob, on, id, other, &own).await;
            if on == On::QueryEa && found == NtStatus::NO_EAS_ON_FILE {
                found = OK;
            }
            table.cell(&format!("{on:?} through a handle with {granted:?}"), found, expected);
            close(&mut table.bob, id).await;
        }
    }
    // One right of the two that a copy's source or a write may have is enough; two rights that are both needed are both needed.
    let singles = [
        (On::Read, AccessMask::EXECUTE, OK),
        (On::Write, AccessMask::APPEND_DATA, OK),
        (On::Write, AccessMask::WRITE_DATA, OK),
        (On::SetSparse, AccessMask::WRITE_ATTRIBUTES, OK),
        (On::CopyFrom, AccessMask::EXECUTE, OK),
        (On::SetCompression, AccessMask::WRITE_DATA, DENIED),
        (On::SetCompression, AccessMask::READ_DATA, DENIED),
    ];
    for (on, granted, expected) in singles {
        let name = table.fresh("f");
        table.file(&name, ALL).await;
        let id = create(&mut table.bob, &name, granted, CreateOptions::NONE, CreateDisposition::Open).await.unwrap();
        let own = table.bob_sid.clone();
        let found = carry_out(&mut table.bob, on, id, other, &own).await;
        table.cell(&format!("{on:?} through a handle with only {granted:?}"), found, expected);
        close(&mut table.bob, id).await;
    }
}

/// Directories: listing and watching need LIST_DIRECTORY.
// MS-SMB2 3.3.5.18, 3.3.5.19
async fn using_directories(table: &mut Table) {
    let holder = table.fresh("holder");
    table.directory(&holder, ALL).await;
    for (granted, expected) in [(AccessMask::READ_DATA, OK), (ALL.without(AccessMask::READ_DATA), DENIED)] {
        let id = create(&mut table.bob, &holder, granted, CreateOptions::DIRECTORY_FILE, CreateDisposition::Open).await.unwrap();
        let request = QueryDirectoryRequest {
            information_class: DirectoryClass::BothDirectory.to_wire(),
            flags: QueryDirectoryFlags::NONE,
            file_id: id,
            pattern: "*".to_owned(),
            output_buffer_length: 4096,
            ..QueryDirectoryRequest::default()
        };
        let found = table.bob.request(Command::QueryDirectory, |out| request.encode(out)).await.0.status();
        table.cell(&format!("listing with {granted:?}"), found, expected);
        let watch = ChangeNotifyRequest {
            file_id: id,
            output_buffer_length: 64,
            completion_filter: CompletionFilter::FILE_NAME,
            ..ChangeNotifyRequest::default()
        };
        let found = table.bob.request(Command::ChangeNotify, |out| watch.encode(out)).await.0.status();
        table.cell(&format!("watching with {granted:?}"), found, if expected == OK { NtStatus::PENDING } else { DENIED });
        close(&mut table.bob, id).await;
        if expected == OK {
            // The watch ends with its directory.
            let ended = table.bob.receive().await.unwrap().0.status();
            table.cell("the end of a watch", ended, NtStatus::NOTIFY_CLEANUP);
        }
    }
}

async fn whole_table(backend: Arc<dyn Backend>) {
    let mut table = Table::over(backend).await;
    opening(&mut table).await;
    owning(&mut table).await;
    opening_by_the_directory(&mut table).await;
    making(&mut table).await;
    overwriting(&mut table).await;
    renaming(&mut table).await;
    replacing(&mut table).await;
    linking(&mut table).await;
    using(&mut table).await;
    using_directories(&mut table).await;
    assert!(table.cells >= 200, "{} cells", table.cells);
    println!("{} cells", table.cells);
    table.rig.stop.cancel();
}

#[tokio::test]
async fn the_table_in_memory() {
    whole_table(Arc::new(rig::open_to_all(MemoryBackend::new()))).await;
}

#[tokio::test]
async fn the_table_in_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    whole_table(Arc::new(rig::open_to_all(PosixBackend::open_root(directory.path()).unwrap()))).await;
}
