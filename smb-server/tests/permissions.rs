//! Rights beyond the table: shares, groups, privileges, files that came another way, whom files belong to on disk.
#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod rig;

use std::sync::Arc;

use persistence_model::{Command as Record, Outcome, Share, ShareSettings, UnixUser};
use rig::{Client, Rig};
use smb_backend::{Backend, BackendError, FileKind, MemoryBackend, OpenHow, RelPath, StoredDescriptor, Want};
use smb_proto::{
    Command,
    info::DirectoryClass,
    message::{
        close::CloseRequest,
        create::{CreateRequest, CreateResponse},
        query_directory::{QueryDirectoryFlags, QueryDirectoryRequest, QueryDirectoryResponse},
        query_info::{InfoType, QueryInfoRequest, QueryInfoResponse},
        read::ReadRequest,
        set_info::SetInfoRequest,
        tree_connect::ShareFlags,
    },
    security::{Ace, AceFlags, AceKind, Acl, SecurityDescriptor, SecurityInformation},
};
use smb_server::{ServerConfig, StoreExt as _};
use smb_types::{AccessMask, CreateDisposition, CreateOptions, Dialect, FileId, Guid, NtStatus, ShareAccess, Sid};

const ALL: AccessMask = AccessMask::FILE_ALL;
const OK: NtStatus = NtStatus::SUCCESS;
const DENIED: NtStatus = NtStatus::ACCESS_DENIED;

/// A server over one file system in memory that the test can reach, too.
struct World {
    rig: Rig,
    disk: MemoryBackend,
}

impl World {
    fn new() -> Self {
        let disk = rig::open_to_all(MemoryBackend::new());
        let below = disk.clone();
        let factory = move |_: &Share| -> Result<Arc<dyn Backend>, BackendError> { Ok(Arc::new(below.clone())) };
        Self { rig: Rig::over(ServerConfig::default(), Arc::new(factory)), disk }
    }

    async fn log_on(&self, user: &str, password: &str) -> Client {
        let mut client = self.rig.connect();
        client.client_guid = Guid([user.len() as u8; 16]);
        client.negotiate(&[Dialect::Smb311]).await;
        assert_eq!(client.log_on(user, password, 0).await, OK);
        client
    }

    async fn alice(&self) -> Client {
        let mut client = self.log_on("alice", "secret").await;
        assert_eq!(client.tree("plain").await.0, OK);
        client
    }

    async fn bob(&self) -> Client {
        let mut client = self.log_on("bob", "hidden").await;
        assert_eq!(client.tree("plain").await.0, OK);
        client
    }

    fn sid(&self, name: &str) -> Sid {
        self.rig.store.with_state(|state| state.account_by_name(name).unwrap().sid().clone())
    }

    /// A command of the operator; every node has applied it when it is answered.
    fn operator(&self, command: Record) {
        let outcome = self.rig.store.apply(&command);
        assert!(!matches!(outcome, Outcome::Rejected(_)), "{command:?}: {outcome:?}");
        self.rig.server.accounts_changed();
        let shares: Vec<_> = self.rig.store.with_state(|state| state.shares().map(|share| share.id).collect());
        shares.into_iter().for_each(|share| self.rig.server.share_changed(share));
    }

    /// Changes the share "plain".
    fn set_share(&self, change: impl FnOnce(&mut ShareSettings)) {
        let (share, mut settings) =
            self.rig.store.with_state(|state| state.share_by_name("plain").map(|share| (share.id, share.settings.clone())).unwrap());
        let instead_of = Box::new(settings.clone());
        change(&mut settings);
        self.operator(Record::ShareChange { share, settings, instead_of });
    }

    fn member(&self, group: &str, member: &str, on: bool) {
        self.operator(Record::GroupMember { group: group.to_owned(), member: self.sid(member), on });
    }

    /// A file that did not come through the server.
    fn on_disk(&self, path: &str, kind: FileKind, owner: (u32, u32), mode: u32) {
        let file = self.disk.open(&p(path), &OpenHow::create_new(kind)).unwrap().file;
        file.set_owner(Some(owner.0), Some(owner.1), Some(mode)).unwrap();
    }

    fn stored(&self, path: &str) -> Option<SecurityDescriptor> {
        match self.disk.security(&p(path)).unwrap().stored {
            StoredDescriptor::Bytes(bytes) => Some(SecurityDescriptor::decode(&bytes).unwrap()),
            StoredDescriptor::None | StoredDescriptor::Damaged => None,
        }
    }
}

fn p(path: &str) -> RelPath {
    RelPath::parse_smb(path).unwrap()
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

async fn try_open(client: &mut Client, name: &str, access: AccessMask) -> NtStatus {
    try_open_with(client, name, access, CreateOptions::NONE).await
}

async fn try_open_with(client: &mut Client, name: &str, access: AccessMask, options: CreateOptions) -> NtStatus {
    match create(client, name, access, options, CreateDisposition::Open).await {
        Ok(id) => {
            close(client, id).await;
            OK
        }
        Err(status) => status,
    }
}

async fn made(client: &mut Client, name: &str) -> FileId {
    create(client, name, ALL, CreateOptions::NONE, CreateDisposition::Create).await.unwrap()
}

async fn close(client: &mut Client, file_id: FileId) {
    let request = CloseRequest { file_id, ..CloseRequest::default() };
    assert_eq!(client.request(Command::Close, |out| request.encode(out)).await.0.status(), OK);
}

async fn read(client: &mut Client, file_id: FileId) -> NtStatus {
    let request = ReadRequest { file_id, length: 4, ..ReadRequest::default() };
    client.request(Command::Read, |out| request.encode(out)).await.0.status()
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

async fn get_security(client: &mut Client, id: FileId, which: SecurityInformation) -> Result<SecurityDescriptor, NtStatus> {
    let mut request = QueryInfoRequest::new(InfoType::Security, 0, 4096, id);
    request.additional_information = which.0;
    let (header, message) = client.request(Command::QueryInfo, |out| request.encode(out)).await;
    if header.status() != OK {
        return Err(header.status());
    }
    Ok(SecurityDescriptor::decode(&QueryInfoResponse::decode(&message).unwrap().output).unwrap())
}

async fn names(client: &mut Client, directory: &str, pattern: &str) -> Result<Vec<String>, NtStatus> {
    let id = create(client, directory, AccessMask::READ_DATA, CreateOptions::DIRECTORY_FILE, CreateDisposition::Open).await?;
    let request = QueryDirectoryRequest {
        information_class: DirectoryClass::Names.to_wire(),
        flags: QueryDirectoryFlags::NONE,
        file_index: 0,
        file_id: id,
        pattern: pattern.to_owned(),
        output_buffer_length: 4096,
    };
    let (header, message) = client.request(Command::QueryDirectory, |out| request.encode(out)).await;
    close(client, id).await;
    if header.status() != OK {
        return Err(header.status());
    }
    let mut names = Vec::new();
    let output = QueryDirectoryResponse::decode(&message).unwrap().output;
    let mut at = 0;
    loop {
        let word = |from: usize| u32::from_le_bytes(output[from..from + 4].try_into().unwrap()) as usize;
        let (next, length) = (word(at), word(at + 8));
        let units: Vec<u16> = output[at + 12..at + 12 + length].chunks(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
        names.push(String::from_utf16(&units).unwrap());
        if next == 0 {
            break;
        }
        at += next;
    }
    names.retain(|name| name != "." && name != "..");
    Ok(names)
}

fn list(entries: Vec<Ace>) -> SecurityDescriptor {
    SecurityDescriptor { dacl: Some(Acl::new(entries)), ..SecurityDescriptor::default() }
}

/// What the operator sets counts for what is opened next; what is open stays open.
// MS-SMB2 3.3.5.7
#[tokio::test]
async fn a_share_is_changed_under_its_clients() {
    let world = World::new();
    let (mut alice, mut bob) = (world.alice().await, world.bob().await);
    let held = made(&mut bob, "f").await;
    world.set_share(|settings| settings.read_only = true);
    assert_eq!(try_open(&mut bob, "f", AccessMask::READ_DATA).await, OK);
    for changing in [AccessMask::WRITE_DATA, AccessMask::DELETE, AccessMask::WRITE_DAC, AccessMask::WRITE_EA, AccessMask::WRITE_ATTRIBUTES]
    {
        assert_eq!(try_open(&mut bob, "f", changing).await, DENIED, "{changing:?} on a share for reading");
    }
    let new = create(&mut alice, "new", AccessMask::READ_DATA, CreateOptions::NONE, CreateDisposition::OpenIf).await;
    assert_eq!(new, Err(DENIED), "nothing is made");
    assert_eq!(read(&mut bob, held).await, NtStatus::END_OF_FILE, "the handle is as it was");
    let (alice_sid, staff) = (world.sid("alice"), Record::GroupAdd { name: "staff".to_owned(), comment: String::new(), gid: None });
    world.operator(staff);
    let staff = world.sid("staff");
    world.set_share(|settings| {
        settings.read_only = false;
        settings.valid_users = vec![alice_sid.clone(), staff.clone()];
    });
    assert_eq!(
        (try_open(&mut alice, "f", AccessMask::WRITE_DATA).await, try_open(&mut bob, "f", AccessMask::READ_DATA).await),
        (OK, DENIED)
    );
    assert_eq!(world.log_on("bob", "hidden").await.tree("plain").await.0, DENIED);
    world.member("staff", "bob", true);
    assert_eq!(try_open(&mut bob, "f", AccessMask::READ_DATA).await, OK, "by the group, at once");
    world.set_share(|settings| {
        settings.valid_users.clear();
        settings.hosts_allow = vec!["192.0.2.0/24".parse().unwrap()];
    });
    assert_eq!(try_open(&mut bob, "f", AccessMask::READ_DATA).await, DENIED, "not from this address");
    assert_eq!(world.log_on("alice", "secret").await.tree("plain").await.0, DENIED);
    world.set_share(|settings| settings.hosts_allow = vec!["127.0.0.0/8".parse().unwrap()]);
    assert_eq!(try_open(&mut bob, "f", AccessMask::READ_DATA).await, OK);
    assert_eq!(read(&mut bob, held).await, NtStatus::END_OF_FILE, "all the while");
}

/// A share's own list is a limit for everybody, and TREE_CONNECT tells it.
// MS-SMB2 3.3.5.7
#[tokio::test]
async fn a_share_has_a_list_of_its_own() {
    let world = World::new();
    let change = AccessMask(0x0013_01BF);
    let entries =
        vec![Ace::allow(world.sid("bob"), change, AceFlags::NONE), Ace::allow(world.sid("alice"), AccessMask(0x0012_00A9), AceFlags::NONE)];
    world.set_share(|settings| settings.security = Some(list(entries).to_bytes()));
    let mut bob = world.log_on("bob", "hidden").await;
    assert_eq!(bob.tree("plain").await.1.maximal_access, change);
    let own = create(&mut bob, "own", AccessMask::MAXIMUM_ALLOWED, CreateOptions::NONE, CreateDisposition::Create).await.unwrap();
    assert_eq!(set_security(&mut bob, own, SecurityInformation::DACL, &list(Vec::new())).await, DENIED, "not even of what is one's own");
    let mut alice = world.alice().await;
    assert_eq!(try_open(&mut alice, "own", AccessMask::READ_DATA).await, OK);
    assert_eq!(try_open(&mut alice, "own", AccessMask::WRITE_DATA).await, DENIED);
    // An audit list is changed by who may change lists.
    world.member("Administrators", "bob", true);
    assert_eq!(try_open(&mut bob, "own", AccessMask::ACCESS_SYSTEM_SECURITY).await, NtStatus::PRIVILEGE_NOT_HELD);
    world.set_share(|settings| settings.security = Some(vec![9, 9]));
    assert_eq!(try_open(&mut alice, "own", AccessMask::READ_DATA).await, DENIED, "a damaged list keeps all but administrators out");
    assert_eq!(try_open(&mut bob, "own", AccessMask::READ_DATA).await, OK);
}

/// Listings of such a share show what can be read, by pattern and by name.
#[tokio::test]
async fn what_cannot_be_read_can_be_hidden() {
    let world = World::new();
    let (mut alice, mut bob) = (world.alice().await, world.bob().await);
    for (name, entries) in [("open", vec![Ace::allow(Sid::everyone(), ALL, AceFlags::NONE)]), ("hidden", Vec::new())] {
        let id = made(&mut alice, name).await;
        assert_eq!(set_security(&mut alice, id, SecurityInformation::DACL, &list(entries)).await, OK);
        close(&mut alice, id).await;
    }
    assert_eq!(names(&mut bob, "", "*").await.unwrap(), ["hidden", "open"], "what is there is shown by default");
    world.set_share(|settings| settings.access_based_enumeration = true);
    assert_eq!(names(&mut bob, "", "*").await.unwrap(), ["open"]);
    assert_eq!(names(&mut bob, "", "hidden").await, Err(NtStatus::NO_SUCH_FILE));
    let told = world.log_on("bob", "hidden").await.tree("plain").await.1.share_flags;
    assert!(told.contains(ShareFlags::ACCESS_BASED_DIRECTORY_ENUM));
}

/// Members of members count, entries that deny do too, and a change counts from the next request on.
// MS-DTYP 2.5.3.2
#[tokio::test]
async fn nested_groups_and_denials() {
    let world = World::new();
    let (mut alice, mut bob) = (world.alice().await, world.bob().await);
    for name in ["inner", "outer", "barred"] {
        world.operator(Record::GroupAdd { name: name.to_owned(), comment: String::new(), gid: None });
    }
    world.member("outer", "inner", true);
    let id = made(&mut alice, "f").await;
    let entries = vec![
        Ace::deny(world.sid("barred"), AccessMask::WRITE_DATA, AceFlags::NONE),
        Ace::allow(world.sid("outer"), AccessMask::READ_DATA | AccessMask::WRITE_DATA, AceFlags::NONE),
    ];
    assert_eq!(set_security(&mut alice, id, SecurityInformation::DACL, &list(entries)).await, OK);
    assert_eq!(try_open(&mut bob, "f", AccessMask::READ_DATA).await, DENIED);
    world.member("inner", "bob", true);
    assert_eq!(try_open(&mut bob, "f", AccessMask::READ_DATA | AccessMask::WRITE_DATA).await, OK);
    world.member("barred", "bob", true);
    assert_eq!(try_open(&mut bob, "f", AccessMask::WRITE_DATA).await, DENIED);
    assert_eq!(try_open(&mut bob, "f", AccessMask::READ_DATA).await, OK);
    world.member("outer", "inner", false);
    assert_eq!(try_open(&mut bob, "f", AccessMask::READ_DATA).await, DENIED);
}

/// The SACL is opened, read and set by who has the privilege to audit; it stays when the DACL is set.
// MS-FSA 2.1.5.14, 2.1.5.17
#[tokio::test]
async fn auditing_and_taking_ownership() {
    let world = World::new();
    let (mut alice, mut bob) = (world.alice().await, world.bob().await);
    let id = made(&mut alice, "f").await;
    assert_eq!(set_security(&mut alice, id, SecurityInformation::DACL, &list(Vec::new())).await, OK);
    close(&mut alice, id).await;
    let audit = AccessMask::ACCESS_SYSTEM_SECURITY;
    assert_eq!(try_open(&mut bob, "f", audit).await, NtStatus::PRIVILEGE_NOT_HELD);
    assert_eq!(try_open(&mut alice, "f", audit | AccessMask::READ_CONTROL).await, NtStatus::PRIVILEGE_NOT_HELD, "owning is not auditing");
    assert_eq!(try_open(&mut bob, "f", AccessMask::WRITE_OWNER).await, DENIED);
    world.member("Administrators", "bob", true);
    let held = create(&mut bob, "f", audit | AccessMask::WRITE_OWNER, CreateOptions::NONE, CreateDisposition::Open).await.unwrap();
    let entry = Ace {
        flags: AceFlags::SUCCESSFUL_ACCESS | AceFlags::FAILED_ACCESS,
        kind: AceKind::Audit { mask: AccessMask::WRITE_DATA, sid: Sid::everyone() },
    };
    let sacl = SecurityDescriptor { sacl: Some(Acl::new(vec![entry.clone()])), ..SecurityDescriptor::default() };
    assert_eq!(set_security(&mut bob, held, SecurityInformation::SACL, &sacl).await, OK);
    assert_eq!(get_security(&mut bob, held, SecurityInformation::SACL).await.unwrap().sacl.unwrap().entries, std::slice::from_ref(&entry));
    assert_eq!(get_security(&mut bob, held, SecurityInformation::DACL).await, Err(DENIED), "the right to audit is not the right to read");
    let own = SecurityDescriptor { owner: Some(world.sid("bob")), ..SecurityDescriptor::default() };
    assert_eq!(set_security(&mut bob, held, SecurityInformation::OWNER, &own).await, OK);
    close(&mut bob, held).await;
    let stored = world.stored("f").unwrap();
    assert_eq!((stored.owner, stored.sacl.unwrap().entries.len(), stored.dacl.unwrap().entries.len()), (Some(world.sid("bob")), 1, 0));
    assert_eq!(try_open(&mut bob, "f", AccessMask::WRITE_DAC).await, OK, "the new owner");
    assert_eq!(try_open(&mut alice, "f", AccessMask::WRITE_DAC).await, DENIED, "the former one");
    // Without a SACL in the request and without the right to audit: SET_INFO of the DACL keeps it.
    let dacl = list(vec![Ace::allow(Sid::everyone(), AccessMask::READ_DATA, AceFlags::NONE)]);
    let held = create(&mut bob, "f", AccessMask::WRITE_DAC, CreateOptions::NONE, CreateDisposition::Open).await.unwrap();
    assert_eq!(set_security(&mut bob, held, SecurityInformation::SACL, &sacl).await, DENIED);
    assert_eq!(set_security(&mut bob, held, SecurityInformation::DACL, &dacl).await, OK);
    assert_eq!(world.stored("f").unwrap().sacl.unwrap().entries, [entry]);
}

/// Backup operators read and write every file that they open for a backup, and no other.
// MS-FSA 2.1.5.1
#[tokio::test]
async fn backups() {
    let world = World::new();
    let (mut alice, mut bob) = (world.alice().await, world.bob().await);
    let id = made(&mut alice, "f").await;
    assert_eq!(set_security(&mut alice, id, SecurityInformation::DACL, &list(Vec::new())).await, OK);
    close(&mut alice, id).await;
    let (read, for_backup) = (AccessMask::READ_DATA | AccessMask::READ_CONTROL, CreateOptions::OPEN_FOR_BACKUP_INTENT);
    assert_eq!(try_open_with(&mut bob, "f", read, for_backup).await, DENIED, "not everybody who says so");
    world.member("Backup Operators", "bob", true);
    assert_eq!(try_open_with(&mut bob, "f", read, CreateOptions::NONE).await, DENIED);
    assert_eq!(try_open_with(&mut bob, "f", read, for_backup).await, OK);
    assert_eq!(try_open_with(&mut bob, "f", AccessMask::WRITE_DATA | AccessMask::WRITE_OWNER, for_backup).await, OK);
    // What is restored can be given to whom it belonged.
    let held = create(&mut bob, "f", AccessMask::WRITE_OWNER, for_backup, CreateDisposition::Open).await.unwrap();
    let own = SecurityDescriptor { owner: Some(Sid::new(5, &[21, 9, 9, 9, 1])), ..SecurityDescriptor::default() };
    assert_eq!(set_security(&mut bob, held, SecurityInformation::OWNER, &own).await, OK);
}

/// Files that did not come through the server: owner, bits and the directories on the way count as they do on disk.
#[tokio::test]
async fn what_was_there_before() {
    let world = World::new();
    for (name, uid) in [("alice", 1001), ("bob", 1002)] {
        world.operator(Record::UserMap { name: name.to_owned(), unix: Some(UnixUser { uid, gid: Some(uid) }) });
    }
    world.operator(Record::GroupAdd { name: "staff".to_owned(), comment: String::new(), gid: Some(50) });
    world.on_disk("alice", FileKind::Directory, (1001, 1001), 0o700);
    world.on_disk("alice\\letter", FileKind::File, (1001, 1001), 0o644);
    world.on_disk("public", FileKind::Directory, (0, 50), 0o775);
    world.on_disk("public\\note", FileKind::File, (0, 50), 0o640);
    world.on_disk("tmp", FileKind::Directory, (0, 0), 0o1777);
    world.on_disk("tmp\\of alice", FileKind::File, (1001, 1001), 0o600);
    let (mut alice, mut bob) = (world.alice().await, world.bob().await);
    assert_eq!(try_open(&mut alice, "alice\\letter", AccessMask::READ_DATA | AccessMask::WRITE_DATA).await, OK);
    // Its bits would let him read it, were the way to it not closed.
    assert_eq!(try_open(&mut bob, "alice\\letter", AccessMask::READ_DATA).await, DENIED);
    assert_eq!(names(&mut bob, "alice", "*").await, Err(DENIED));
    let own = made(&mut bob, "own").await;
    let moved = rename(&mut bob, own, "alice\\own").await;
    assert_eq!(moved, DENIED);
    assert_eq!(try_open(&mut bob, "public\\note", AccessMask::READ_DATA).await, DENIED);
    world.member("staff", "bob", true);
    assert_eq!(try_open(&mut bob, "public\\note", AccessMask::READ_DATA).await, OK);
    assert_eq!(try_open(&mut bob, "public\\note", AccessMask::WRITE_DATA).await, DENIED);
    assert_eq!(try_open(&mut bob, "public\\note", AccessMask::DELETE).await, OK, "the group may write the directory");
    assert_eq!(try_open(&mut bob, "tmp\\of alice", AccessMask::DELETE).await, DENIED, "a sticky directory");
    assert_eq!(try_open(&mut alice, "tmp\\of alice", AccessMask::DELETE).await, OK);
    // What owner and group are is on disk, whoever asks.
    let held = create(&mut alice, "public\\note", AccessMask::READ_ATTRIBUTES, CreateOptions::NONE, CreateDisposition::Open).await.unwrap();
    assert_eq!(get_security(&mut alice, held, SecurityInformation::OWNER).await, Err(DENIED));
    let held = create(&mut bob, "public\\note", AccessMask::READ_CONTROL, CreateOptions::NONE, CreateDisposition::Open).await.unwrap();
    let told = get_security(&mut bob, held, SecurityInformation(7)).await.unwrap();
    assert_eq!((told.owner, told.group), (Some(Sid::unix_user(0)), Some(world.sid("staff"))));
}

async fn rename(client: &mut Client, id: FileId, to: &str) -> NtStatus {
    use smb_proto::info::{FileClass, FileRenameInformation, RenameFlags};
    let mut buffer = Vec::new();
    FileRenameInformation { flags: RenameFlags::NONE, file_name: to.to_owned() }.encode(&mut buffer);
    let request = SetInfoRequest::file(FileClass::Rename.to_wire(), id, buffer);
    client.request(Command::SetInfo, |out| request.encode(out)).await.0.status()
}

/// Every new file has an owner and a list of its own; who changes the list alone leaves the owner.
#[tokio::test]
async fn owners_are_kept() {
    let world = World::new();
    world.operator(Record::UserMap { name: "alice".to_owned(), unix: Some(UnixUser { uid: 1001, gid: None }) });
    let (mut alice, mut bob) = (world.alice().await, world.bob().await);
    let id = made(&mut alice, "f").await;
    assert_eq!(world.stored("f").unwrap().owner, Some(world.sid("alice")));
    let all = list(vec![Ace::allow(Sid::everyone(), ALL, AceFlags::NONE)]);
    assert_eq!(set_security(&mut alice, id, SecurityInformation::DACL, &all).await, OK);
    let held = create(&mut bob, "f", AccessMask::WRITE_DAC, CreateOptions::NONE, CreateDisposition::Open).await.unwrap();
    assert_eq!(set_security(&mut bob, held, SecurityInformation::DACL, &all).await, OK);
    assert_eq!(world.stored("f").unwrap().owner, Some(world.sid("alice")), "bob has changed the list, not the owner");
    // The same of a file that never had a descriptor.
    world.on_disk("old", FileKind::File, (1001, 0), 0o644);
    world.member("Administrators", "bob", true);
    let held = create(&mut bob, "old", AccessMask::WRITE_DAC, CreateOptions::NONE, CreateDisposition::Open).await.unwrap();
    assert_eq!(set_security(&mut bob, held, SecurityInformation::DACL, &all).await, OK);
    assert_eq!(world.stored("old").unwrap().owner, Some(world.sid("alice")));
}

/// On a share that maps, files belong on disk to who made them; elsewhere to whom the share says.
#[tokio::test]
async fn whom_files_belong_to_on_disk() {
    let world = World::new();
    world.operator(Record::UserMap { name: "alice".to_owned(), unix: Some(UnixUser { uid: 1001, gid: Some(100) }) });
    let (mut alice, mut bob) = (world.alice().await, world.bob().await);
    let on_disk = |path: &str| {
        let security = world.disk.security(&p(path)).unwrap();
        (security.uid, security.gid)
    };
    close_made(&mut alice, "unmapped").await;
    assert_eq!(on_disk("unmapped"), (0, 0), "the server's own");
    world.set_share(|settings| {
        settings.map = true;
        settings.force_user = Some(UnixUser { uid: 99, gid: Some(98) });
    });
    close_made(&mut alice, "mapped").await;
    assert_eq!(on_disk("mapped"), (1001, 100));
    close_made(&mut bob, "forced").await;
    assert_eq!(on_disk("forced"), (99, 98), "bob has no number on disk");
    // The root's list lets everybody write what is made there; a list for the owner alone closes the file on disk, too.
    assert_eq!(world.disk.security(&p("mapped")).unwrap().mode, 0o666);
    let held = create(&mut alice, "mapped", AccessMask::WRITE_DAC, CreateOptions::NONE, CreateDisposition::Open).await.unwrap();
    let own = list(vec![Ace::allow(world.sid("alice"), ALL, AceFlags::NONE)]);
    assert_eq!(set_security(&mut alice, held, SecurityInformation::DACL, &own).await, OK);
    assert_eq!(world.disk.security(&p("mapped")).unwrap().mode, 0o600);
    world.set_share(|settings| settings.map = false);
    close_made(&mut alice, "forced too").await;
    assert_eq!(on_disk("forced too"), (99, 98));
}

async fn close_made(client: &mut Client, name: &str) {
    let id = made(client, name).await;
    close(client, id).await;
}

/// What was stored and makes no sense lets only administrators in, who can set another.
#[tokio::test]
async fn a_damaged_descriptor() {
    let world = World::new();
    let (mut alice, mut bob) = (world.alice().await, world.bob().await);
    close_made(&mut alice, "f").await;
    let file = world.disk.open(&p("f"), &OpenHow::existing(Want::PATH_ONLY)).unwrap().file;
    file.set_security_descriptor(&[&[1, 0, 4, 0x80][..], &[0xff; 16]].concat()).unwrap();
    for right in [AccessMask::READ_DATA, AccessMask::READ_CONTROL, AccessMask::WRITE_DAC] {
        assert_eq!(try_open(&mut alice, "f", right).await, DENIED, "{right:?}");
    }
    world.member("Administrators", "bob", true);
    let held = create(&mut bob, "f", AccessMask::WRITE_DAC, CreateOptions::NONE, CreateDisposition::Open).await.unwrap();
    let all = list(vec![Ace::allow(Sid::everyone(), ALL, AceFlags::NONE)]);
    assert_eq!(set_security(&mut bob, held, SecurityInformation::DACL, &all).await, OK);
    assert_eq!(try_open(&mut alice, "f", AccessMask::READ_DATA).await, OK);
}
