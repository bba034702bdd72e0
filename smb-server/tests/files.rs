//! READ, WRITE, QUERY_INFO, SET_INFO, QUERY_DIRECTORY, CHANGE_NOTIFY, IOCTL and pipes through the whole server.
#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod rig;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use dcerpc_rs::{
    EndpointMap, SyntaxId,
    epm::{EPMAPPER, Place},
    interface::srvsvc::SRVSVC,
    pdu::{Bind, BindAck, ContextElement, Frame, PacketType, ResultCode, encode, flags},
    syntax::NDR20,
};
use persistence_model::{Command as Record, Share};
use rig::{Client, Rig};
use smb_backend::{Backend, BackendError, Fault, FaultyBackend, MemoryBackend, Op};
use smb_proto::{
    Command, Header,
    fsctl::{
        CopychunkChunk, CopychunkRequest, CopychunkResponse, NetworkInterface, ResumeKeyResponse, SetZeroData, ValidateNegotiateRequest,
        code,
    },
    info::{
        DirectoryClass, DirectoryEntry, DispositionFlags, FileAllInformation, FileBasicInformation, FileClass, FileDispositionInformation,
        FileDispositionInformationEx, FileEndOfFileInformation, FileNotifyInformation, FileRenameInformation, FileStandardInformation,
        FileStreamInformation, FullEa, NotifyAction, RenameFlags,
        fs::{FS_ATTRIBUTE, FileFsAttributeInformation},
        full_ea,
    },
    message::{
        change_notify::{ChangeNotifyRequest, ChangeNotifyResponse, CompletionFilter},
        close::CloseRequest,
        create::{CreateRequest, CreateResponse},
        ioctl::{IOCTL_FLAG_IS_FSCTL, IoctlRequest, IoctlResponse},
        lock::{LockElement, LockFlags, LockRequest},
        negotiate::{Capabilities, SecurityMode},
        query_directory::{QueryDirectoryFlags, QueryDirectoryRequest, QueryDirectoryResponse},
        query_info::{InfoType, QueryInfoRequest, QueryInfoResponse},
        read::{ReadRequest, ReadResponse},
        set_info::SetInfoRequest,
        write::{WriteRequest, WriteResponse},
    },
    security::{SecurityDescriptor, SecurityInformation},
};
use smb_server::{ServerConfig, StoreExt as _};
use smb_types::{AccessMask, CreateDisposition, CreateOptions, Dialect, FileAttributes, FileId, FileTime, NtStatus, ShareAccess, Sid};

async fn open_with(client: &mut Client, name: &str, access: AccessMask, options: CreateOptions, disposition: CreateDisposition) -> FileId {
    let request = CreateRequest {
        desired_access: access,
        share_access: ShareAccess::ALL,
        create_disposition: disposition,
        create_options: options,
        name: name.to_owned(),
        ..CreateRequest::default()
    };
    let (header, message) = client.request(Command::Create, |out| request.encode(out)).await;
    assert_eq!(header.status(), NtStatus::SUCCESS, "CREATE {name}");
    CreateResponse::decode(&message).unwrap().file_id
}

async fn file(client: &mut Client, name: &str) -> FileId {
    open_with(client, name, AccessMask::FILE_ALL, CreateOptions::NONE, CreateDisposition::OpenIf).await
}

async fn directory(client: &mut Client, name: &str) -> FileId {
    let disposition = if name.is_empty() { CreateDisposition::Open } else { CreateDisposition::OpenIf };
    open_with(client, name, AccessMask(0x0012_01FF), CreateOptions::DIRECTORY_FILE, disposition).await
}

async fn close(client: &mut Client, file_id: FileId) {
    let request = CloseRequest { file_id, ..CloseRequest::default() };
    assert_eq!(client.request(Command::Close, |out| request.encode(out)).await.0.status(), NtStatus::SUCCESS);
}

async fn write(client: &mut Client, file_id: FileId, offset: u64, data: &'static [u8]) -> NtStatus {
    let request = WriteRequest { offset, file_id, data: Bytes::from_static(data), ..WriteRequest::default() };
    let (header, message) = client.request(Command::Write, |out| request.encode(out)).await;
    if header.status() == NtStatus::SUCCESS {
        assert_eq!(WriteResponse::decode(&message).unwrap().count as usize, data.len());
    }
    header.status()
}

async fn read(client: &mut Client, file_id: FileId, offset: u64, length: u32, minimum_count: u32) -> Result<Bytes, NtStatus> {
    let request = ReadRequest { file_id, offset, length, minimum_count, ..ReadRequest::default() };
    let (header, message) = client.request(Command::Read, |out| request.encode(out)).await;
    if header.status() != NtStatus::SUCCESS {
        return Err(header.status());
    }
    Ok(ReadResponse::decode(&message).unwrap().data)
}

async fn query(client: &mut Client, request: &QueryInfoRequest) -> (NtStatus, Vec<u8>) {
    let (header, message) = client.request(Command::QueryInfo, |out| request.encode(out)).await;
    let output = if header.status().is_error() { Vec::new() } else { QueryInfoResponse::decode(&message).unwrap().output };
    (header.status(), output)
}

async fn query_file(client: &mut Client, file_id: FileId, class: FileClass) -> (NtStatus, Vec<u8>) {
    query(client, &QueryInfoRequest::new(InfoType::File, class.to_wire(), 4096, file_id)).await
}

async fn set_file(client: &mut Client, file_id: FileId, class: FileClass, buffer: Vec<u8>) -> NtStatus {
    let request = SetInfoRequest::file(class.to_wire(), file_id, buffer);
    client.request(Command::SetInfo, |out| request.encode(out)).await.0.status()
}

async fn rename(client: &mut Client, file_id: FileId, to: &str, replace: bool) -> NtStatus {
    let flags = if replace { RenameFlags::REPLACE_IF_EXISTS } else { RenameFlags::NONE };
    let mut buffer = Vec::new();
    FileRenameInformation { flags, file_name: to.to_owned() }.encode(&mut buffer);
    set_file(client, file_id, FileClass::Rename, buffer).await
}

async fn ioctl(client: &mut Client, ctl_code: u32, file_id: FileId, input: Vec<u8>) -> Option<(NtStatus, Vec<u8>)> {
    let request =
        IoctlRequest { ctl_code, file_id, input, max_output_response: 4096, flags: IOCTL_FLAG_IS_FSCTL, ..IoctlRequest::default() };
    let (header, message) = client.try_request(Command::Ioctl, |out| request.encode(out)).await?;
    let output = IoctlResponse::decode(&message).map(|response| response.output).unwrap_or_default();
    Some((header.status(), output))
}

async fn list(client: &mut Client, file_id: FileId, pattern: &str, flags: QueryDirectoryFlags, room: u32) -> Result<Vec<String>, NtStatus> {
    let class = DirectoryClass::IdBothDirectory;
    let request = QueryDirectoryRequest {
        information_class: class.to_wire(),
        flags,
        file_index: 0,
        file_id,
        pattern: pattern.to_owned(),
        output_buffer_length: room,
    };
    let (header, message) = client.request(Command::QueryDirectory, |out| request.encode(out)).await;
    if header.status() != NtStatus::SUCCESS {
        return Err(header.status());
    }
    let output = QueryDirectoryResponse::decode(&message).unwrap().output;
    Ok(DirectoryEntry::decode_list(class, &output).unwrap().into_iter().map(|entry| entry.file_name).collect())
}

// MS-SMB2 3.3.5.12, 3.3.5.13
#[tokio::test]
async fn reads_and_writes_keep_to_the_end_of_the_file() {
    let rig = Rig::new();
    let mut client = rig.ready("data").await;
    let id = file(&mut client, "f").await;
    assert_eq!(write(&mut client, id, 0, b"hello world").await, NtStatus::SUCCESS);
    assert_eq!(read(&mut client, id, 6, 100, 0).await.unwrap().as_ref(), b"world");
    assert_eq!(read(&mut client, id, 11, 1, 0).await, Err(NtStatus::END_OF_FILE));
    assert_eq!(read(&mut client, id, 0, 20, 12).await, Err(NtStatus::END_OF_FILE));
    assert_eq!(read(&mut client, id, 3, 0, 0).await.unwrap().len(), 0);
    assert_eq!(read(&mut client, id, 1 << 63, 0, 0).await, Err(NtStatus::INVALID_PARAMETER));
    assert_eq!(write(&mut client, id, u64::MAX, b"x").await, NtStatus::INVALID_PARAMETER);
    let only_append = open_with(&mut client, "f", AccessMask::APPEND_DATA, CreateOptions::NONE, CreateDisposition::Open).await;
    assert_eq!(write(&mut client, only_append, u64::MAX, b"!").await, NtStatus::SUCCESS);
    assert_eq!(read(&mut client, only_append, 0, 1, 0).await, Err(NtStatus::ACCESS_DENIED));
    assert_eq!(read(&mut client, id, 0, 100, 0).await.unwrap().as_ref(), b"hello world!");
    let top = directory(&mut client, "").await;
    assert_eq!(read(&mut client, top, 0, 1, 0).await, Err(NtStatus::INVALID_DEVICE_REQUEST));
    close(&mut client, id).await;
    assert_eq!(read(&mut client, id, 0, 1, 0).await, Err(NtStatus::FILE_CLOSED));
}

// MS-FSA 2.1.4.10
#[tokio::test]
async fn locks_of_others_stand_in_the_way() {
    let rig = Rig::new();
    let mut client = rig.ready("plain").await;
    let (holder, other) = (file(&mut client, "f").await, file(&mut client, "f").await);
    assert_eq!(write(&mut client, holder, 0, b"0123456789").await, NtStatus::SUCCESS);
    let element = LockElement { offset: 2, length: 4, flags: LockFlags(0x12) };
    let request = LockRequest { file_id: holder, locks: vec![element], ..LockRequest::default() };
    assert_eq!(client.request(Command::Lock, |out| request.encode(out)).await.0.status(), NtStatus::SUCCESS);
    assert_eq!(read(&mut client, other, 0, 3, 0).await, Err(NtStatus::FILE_LOCK_CONFLICT));
    assert_eq!(write(&mut client, other, 5, b"x").await, NtStatus::FILE_LOCK_CONFLICT);
    assert_eq!(read(&mut client, other, 6, 3, 0).await.unwrap().as_ref(), b"678");
    assert_eq!(write(&mut client, holder, 2, b"x").await, NtStatus::SUCCESS);
}

#[tokio::test]
async fn an_unknown_outcome_ends_the_connection_and_with_it_what_cannot_be_repeated() {
    let rig = Rig::new();
    let mut client = rig.ready("plain").await;
    let id = file(&mut client, "f").await;
    let element = LockElement { offset: 2, length: 4, flags: LockFlags(0x12) };
    let request = LockRequest { file_id: id, locks: vec![element], ..LockRequest::default() };
    rig.store.set_mute(true);
    assert!(client.try_request(Command::Lock, |out| request.encode(out)).await.is_none(), "it may hold the lock, or not");
    rig.store.set_mute(false);
    client.served.await.unwrap();
    // The handle went with its session: nothing that nobody knows of stays behind.
    let mut again = rig.ready("plain").await;
    let id = file(&mut again, "f").await;
    let request = LockRequest { file_id: id, locks: vec![element], ..LockRequest::default() };
    assert_eq!(again.request(Command::Lock, |out| request.encode(out)).await.0.status(), NtStatus::SUCCESS);
}

// MS-SMB2 3.3.5.20.1
#[tokio::test]
async fn queries_tell_what_was_set() {
    let rig = Rig::new();
    let mut client = rig.ready("plain").await;
    let id = file(&mut client, "Name.txt").await;
    let basic = FileBasicInformation {
        creation_time: FileTime(130_000_000_000_000_000),
        last_write_time: FileTime(131_000_000_000_000_000),
        file_attributes: FileAttributes::HIDDEN,
        ..FileBasicInformation::default()
    };
    assert_eq!(set_file(&mut client, id, FileClass::Basic, basic.to_bytes()).await, NtStatus::SUCCESS);
    assert_eq!(write(&mut client, id, 0, b"12345").await, NtStatus::SUCCESS);
    let (status, bytes) = query_file(&mut client, id, FileClass::All).await;
    let all = FileAllInformation::decode(&bytes).unwrap();
    assert_eq!((status, all.standard.end_of_file, all.name.file_name.as_str()), (NtStatus::SUCCESS, 5, "\\Name.txt"));
    assert_eq!((all.basic.creation_time, all.basic.file_attributes), (basic.creation_time, FileAttributes::HIDDEN));
    assert_eq!(all.basic.last_write_time, basic.last_write_time, "a time that was set stays, whatever this open writes");
    let small = QueryInfoRequest::new(InfoType::File, FileClass::Basic.to_wire(), 39, id);
    assert_eq!(query(&mut client, &small).await.0, NtStatus::INFO_LENGTH_MISMATCH);
    let cut = QueryInfoRequest::new(InfoType::File, FileClass::All.to_wire(), 104, id);
    assert_eq!(query(&mut client, &cut).await, (NtStatus::BUFFER_OVERFLOW, bytes[..104].to_vec()));
    let unknown = QueryInfoRequest::new(InfoType::File, 200, 100, id);
    assert_eq!(query(&mut client, &unknown).await.0, NtStatus::INVALID_INFO_CLASS);
    let attribute = QueryInfoRequest::new(InfoType::FileSystem, FS_ATTRIBUTE, 100, id);
    let (_, bytes) = query(&mut client, &attribute).await;
    assert_eq!(FileFsAttributeInformation::decode(&bytes).unwrap().file_system_name, "NTFS");
    let end = FileEndOfFileInformation { end_of_file: 2 }.to_bytes();
    assert_eq!(set_file(&mut client, id, FileClass::EndOfFile, end).await, NtStatus::SUCCESS);
    assert_eq!(read(&mut client, id, 0, 9, 0).await.unwrap().as_ref(), b"12");
}

#[tokio::test]
async fn streams_and_extended_attributes() {
    let rig = Rig::new();
    let mut client = rig.ready("plain").await;
    let id = file(&mut client, "f").await;
    let stream = file(&mut client, "f:second").await;
    assert_eq!(write(&mut client, stream, 0, b"abc").await, NtStatus::SUCCESS);
    let (_, bytes) = query_file(&mut client, id, FileClass::Stream).await;
    let streams = FileStreamInformation::decode_list(&bytes).unwrap();
    let names: Vec<_> = streams.iter().map(|stream| (stream.stream_name.as_str(), stream.stream_size)).collect();
    assert_eq!(names, [("::$DATA", 0), (":second:$DATA", 3)]);
    assert_eq!(query_file(&mut client, id, FileClass::FullEa).await.0, NtStatus::NO_EAS_ON_FILE);
    let eas = [FullEa { flags: 0, name: b"COLOUR".to_vec(), value: b"red".to_vec() }];
    assert_eq!(set_file(&mut client, id, FileClass::FullEa, full_ea::encode_list(&eas)).await, NtStatus::SUCCESS);
    let (_, bytes) = query_file(&mut client, id, FileClass::FullEa).await;
    assert_eq!(full_ea::decode_list(&bytes).unwrap(), eas);
}

// MS-SMB2 3.3.5.20.3, 3.3.5.21.3
#[tokio::test]
async fn security_descriptors() {
    let rig = Rig::new();
    let mut client = rig.ready("plain").await;
    let id = file(&mut client, "f").await;
    let mut request = QueryInfoRequest::new(InfoType::Security, 0, 1000, id);
    request.additional_information = 7;
    let (_, bytes) = query(&mut client, &request).await;
    let mut descriptor = SecurityDescriptor::decode(&bytes).unwrap();
    assert!(descriptor.owner.is_some() && descriptor.dacl.is_some());
    let tight = QueryInfoRequest { output_buffer_length: 10, ..request.clone() };
    assert_eq!(query(&mut client, &tight).await.0, NtStatus::BUFFER_TOO_SMALL);
    descriptor.owner = Some(Sid::administrators());
    let set = SetInfoRequest {
        info_type: InfoType::Security,
        information_class: 0,
        additional_information: SecurityInformation::OWNER.0,
        file_id: id,
        buffer: descriptor.to_bytes(),
    };
    // MS-FSA 2.1.5.17
    // Nobody gives files away to a group that he is not in; membership counts from the next request on.
    assert_eq!(client.request(Command::SetInfo, |out| set.encode(out)).await.0.status(), NtStatus::INVALID_OWNER);
    let alice = rig.store.with_state(|state| state.user_by_name("alice").unwrap().sid.clone());
    rig.store.apply(&Record::GroupMember { group: "Administrators".to_owned(), member: alice, on: true });
    rig.server.accounts_changed();
    assert_eq!(client.request(Command::SetInfo, |out| set.encode(out)).await.0.status(), NtStatus::SUCCESS);
    let (_, bytes) = query(&mut client, &request).await;
    assert_eq!(SecurityDescriptor::decode(&bytes).unwrap().owner, Some(Sid::administrators()));
}

// MS-FSA 2.1.5.15.12
#[tokio::test]
async fn renames_move_files_and_refuse_what_is_in_the_way() {
    let rig = Rig::new();
    let mut client = rig.ready("data").await;
    let dir = directory(&mut client, "dir").await;
    let (a, b) = (file(&mut client, "a").await, file(&mut client, "dir\\b").await);
    assert_eq!(write(&mut client, a, 0, b"of a").await, NtStatus::SUCCESS);
    assert_eq!(rename(&mut client, a, "dir\\b", false).await, NtStatus::OBJECT_NAME_COLLISION);
    assert_eq!(rename(&mut client, a, "dir\\b", true).await, NtStatus::ACCESS_DENIED, "the target is open");
    assert_eq!(rename(&mut client, a, "nowhere\\b", false).await, NtStatus::OBJECT_PATH_NOT_FOUND);
    assert_eq!(rename(&mut client, a, "b*d", false).await, NtStatus::OBJECT_NAME_INVALID);
    let mover = open_with(&mut client, "dir", AccessMask::FILE_ALL, CreateOptions::DIRECTORY_FILE, CreateDisposition::Open).await;
    assert_eq!(rename(&mut client, mover, "moved", false).await, NtStatus::ACCESS_DENIED, "something beneath is open");
    close(&mut client, b).await;
    close(&mut client, mover).await;
    close(&mut client, dir).await;
    assert_eq!(rename(&mut client, a, "dir\\b", true).await, NtStatus::SUCCESS);
    let (_, bytes) = query_file(&mut client, a, FileClass::All).await;
    assert_eq!(FileAllInformation::decode(&bytes).unwrap().name.file_name, "\\dir\\b");
    assert_eq!(rename(&mut client, a, "dir\\B", false).await, NtStatus::SUCCESS, "another spelling of its own name");
    close(&mut client, a).await;
    let again = open_with(&mut client, "dir\\b", AccessMask::READ_DATA, CreateOptions::NONE, CreateDisposition::Open).await;
    assert_eq!(read(&mut client, again, 0, 9, 0).await.unwrap().as_ref(), b"of a");
}

// MS-FSA 2.1.5.15.3
#[tokio::test]
async fn what_is_marked_goes_with_its_last_open() {
    let rig = Rig::new();
    let mut client = rig.ready("plain").await;
    let dir = open_with(&mut client, "d", AccessMask::FILE_ALL, CreateOptions::DIRECTORY_FILE, CreateDisposition::Create).await;
    let id = file(&mut client, "d\\f").await;
    let mark = FileDispositionInformation { delete_pending: true }.to_bytes();
    assert_eq!(set_file(&mut client, dir, FileClass::Disposition, mark.clone()).await, NtStatus::DIRECTORY_NOT_EMPTY);
    assert_eq!(set_file(&mut client, id, FileClass::Disposition, mark).await, NtStatus::SUCCESS);
    let (_, bytes) = query_file(&mut client, id, FileClass::Standard).await;
    let standard = FileStandardInformation::decode(&bytes).unwrap();
    assert_eq!((standard.delete_pending, standard.number_of_links), (true, 0));
    let keep = FileDispositionInformationEx { flags: DispositionFlags::NONE }.to_bytes();
    assert_eq!(set_file(&mut client, id, FileClass::DispositionEx, keep).await, NtStatus::SUCCESS);
    let delete = FileDispositionInformationEx { flags: DispositionFlags::DELETE }.to_bytes();
    assert_eq!(set_file(&mut client, id, FileClass::DispositionEx, delete).await, NtStatus::SUCCESS);
    close(&mut client, id).await;
    assert_eq!(list(&mut client, dir, "f", QueryDirectoryFlags::NONE, 4096).await, Err(NtStatus::NO_SUCH_FILE));
}

// MS-SMB2 3.3.5.18
#[tokio::test]
async fn listings_go_on_where_they_stopped() {
    let rig = Rig::new();
    let mut client = rig.ready("plain").await;
    let dir = directory(&mut client, "d").await;
    for n in 0..40 {
        let id = file(&mut client, &format!("d\\file {n:02}.txt")).await;
        close(&mut client, id).await;
    }
    let mut all = Vec::new();
    let mut rounds = 0;
    loop {
        match list(&mut client, dir, "*", QueryDirectoryFlags::NONE, 1000).await {
            Ok(names) => all.extend(names),
            Err(status) => {
                assert_eq!(status, NtStatus::NO_MORE_FILES);
                break;
            }
        }
        rounds += 1;
    }
    assert_eq!(&all[..2], [".", ".."]);
    all.sort();
    all.dedup();
    assert_eq!((all.len(), rounds > 3), (42, true));
    let single = QueryDirectoryFlags::RESTART_SCANS | QueryDirectoryFlags::RETURN_SINGLE_ENTRY;
    assert_eq!(list(&mut client, dir, "*5.TXT", single, 4096).await.unwrap().len(), 1);
    let next = list(&mut client, dir, "ignored", QueryDirectoryFlags::NONE, 4096).await.unwrap();
    assert_eq!(next.len(), 3, "the pattern stays until the scan is restarted");
    assert_eq!(list(&mut client, dir, "FILE 07.txt", QueryDirectoryFlags::REOPEN, 4096).await.unwrap(), ["file 07.txt"]);
    assert_eq!(list(&mut client, dir, "*", QueryDirectoryFlags::REOPEN, 50).await, Err(NtStatus::INFO_LENGTH_MISMATCH));
    assert_eq!(list(&mut client, dir, "", QueryDirectoryFlags::REOPEN, 4096).await, Err(NtStatus::OBJECT_NAME_INVALID));
}

async fn receive_final(client: &mut Client) -> (Header, Bytes) {
    client.receive().await.expect("the server answers")
}

// MS-SMB2 3.3.5.19
#[tokio::test]
async fn watchers_hear_of_changes_and_of_the_end() {
    let rig = Rig::new();
    let mut client = rig.ready("plain").await;
    let mut other = rig.ready("plain").await;
    let dir = directory(&mut client, "d").await;
    let request = ChangeNotifyRequest {
        flags: 0,
        output_buffer_length: 1000,
        file_id: dir,
        completion_filter: CompletionFilter::FILE_NAME | CompletionFilter::ATTRIBUTES,
    };
    assert_eq!(client.request(Command::ChangeNotify, |out| request.encode(out)).await.0.status(), NtStatus::PENDING);
    let id = file(&mut other, "d\\new").await;
    let (header, message) = receive_final(&mut client).await;
    assert_eq!(header.status(), NtStatus::SUCCESS);
    let changes = |message: &[u8]| FileNotifyInformation::decode_list(&ChangeNotifyResponse::decode(message).unwrap().output).unwrap();
    assert_eq!(changes(&message), [FileNotifyInformation { action: NotifyAction::Added, file_name: "new".to_owned() }]);
    assert_eq!(rename(&mut other, id, "d\\newer", false).await, NtStatus::SUCCESS);
    let (header, message) = client.request(Command::ChangeNotify, |out| request.encode(out)).await;
    assert_eq!(header.status(), NtStatus::SUCCESS, "kept since the last request");
    let found = changes(&message);
    assert_eq!((found[0].action, found[0].file_name.as_str()), (NotifyAction::RenamedOldName, "new"));
    assert_eq!((found[1].action, found[1].file_name.as_str()), (NotifyAction::RenamedNewName, "newer"));
    assert_eq!(client.request(Command::ChangeNotify, |out| request.encode(out)).await.0.status(), NtStatus::PENDING);
    let request = CloseRequest { file_id: dir, ..CloseRequest::default() };
    let header = client.header(Command::Close);
    let message = client.encode(header, |out| request.encode(out));
    client.send_raw(&message).await;
    let mut statuses = vec![receive_final(&mut client).await.0.status(), receive_final(&mut client).await.0.status()];
    statuses.sort();
    assert_eq!(statuses, [NtStatus::SUCCESS, NtStatus::NOTIFY_CLEANUP]);
}

/// What takes rights to a file waits for what was judged without it: that has to be announced for as long as the file system takes.
#[tokio::test]
async fn whatever_the_file_system_does_to_a_file_is_known_to_be_under_way() {
    let disk = FaultyBackend::new(Arc::new(rig::open_to_all(MemoryBackend::new())));
    let faulty = disk.clone();
    let rig = Rig::over(
        ServerConfig::default(),
        Arc::new(move |_: &Share| -> Result<Arc<dyn Backend>, BackendError> { Ok(Arc::new(faulty.clone())) }),
    );
    let mut client = rig.ready("data").await;
    let (one, two) = (file(&mut client, "one").await, file(&mut client, "two").await);
    let (_, key) = ioctl(&mut client, code::SRV_REQUEST_RESUME_KEY, one, Vec::new()).await.unwrap();
    let source_key = ResumeKeyResponse::decode(&key).unwrap().resume_key;
    let seen = Arc::new(Mutex::new(Vec::new()));
    for op in [Op::Write, Op::Read, Op::Resize, Op::Copy, Op::Ranges] {
        let (store, seen) = (Arc::clone(&rig.store), Arc::clone(&seen));
        let note = move |op, path: &str| {
            let opens: BTreeSet<u64> = store.in_flight().iter().map(|(_, open)| open.0).collect();
            seen.lock().unwrap().push((op, path.to_owned(), opens));
        };
        disk.inject(Fault::hook(op, note).times(u32::MAX));
    }
    assert_eq!(write(&mut client, one, 0, b"0123456789").await, NtStatus::SUCCESS);
    assert_eq!(read(&mut client, one, 0, 10, 0).await.unwrap().len(), 10);
    let end = FileEndOfFileInformation { end_of_file: 8 };
    assert_eq!(set_file(&mut client, two, FileClass::EndOfFile, end.to_bytes()).await, NtStatus::SUCCESS);
    let mut input = Vec::new();
    CopychunkRequest { source_key, chunks: vec![CopychunkChunk { source_offset: 0, target_offset: 0, length: 4 }] }.encode(&mut input);
    assert_eq!(ioctl(&mut client, code::SRV_COPYCHUNK, two, input).await.unwrap().0, NtStatus::SUCCESS);
    let zero = SetZeroData { file_offset: 0, beyond_final_zero: 128 << 20 };
    assert_eq!(
        set_file(&mut client, two, FileClass::EndOfFile, FileEndOfFileInformation { end_of_file: 128 << 20 }.to_bytes()).await,
        NtStatus::SUCCESS
    );
    assert_eq!(ioctl(&mut client, code::SET_ZERO_DATA, two, zero.to_bytes()).await.unwrap().0, NtStatus::SUCCESS);
    let (one, two) = (one.persistent, two.persistent);
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    let expected = [
        (Op::Write, "one", vec![one]),
        (Op::Read, "one", vec![one]),
        (Op::Resize, "two", vec![two]),
        (Op::Copy, "two", vec![one, two]),
        (Op::Resize, "two", vec![two]),
        (Op::Ranges, "two", vec![two]),
    ];
    let expected = expected.map(|(op, path, opens)| (op, path.to_owned(), BTreeSet::from_iter(opens)));
    assert_eq!(seen, expected);
    assert_eq!(rig.store.in_flight(), [], "all has landed");
}

// MS-SMB2 3.3.5.15.6
#[tokio::test]
async fn copies_between_opens() {
    let rig = Rig::new();
    let mut client = rig.ready("data").await;
    let (from, to) = (file(&mut client, "from").await, file(&mut client, "to").await);
    assert_eq!(write(&mut client, from, 0, b"0123456789").await, NtStatus::SUCCESS);
    let (_, key) = ioctl(&mut client, code::SRV_REQUEST_RESUME_KEY, from, Vec::new()).await.unwrap();
    let source_key = ResumeKeyResponse::decode(&key).unwrap().resume_key;
    let copy = |chunks: Vec<CopychunkChunk>| {
        let mut input = Vec::new();
        CopychunkRequest { source_key, chunks }.encode(&mut input);
        input
    };
    let chunk = |source_offset, target_offset, length| CopychunkChunk { source_offset, target_offset, length };
    let (status, output) = ioctl(&mut client, code::SRV_COPYCHUNK, to, copy(vec![chunk(2, 0, 3), chunk(0, 3, 2)])).await.unwrap();
    let counts = CopychunkResponse::decode(&output).unwrap();
    assert_eq!((status, counts.chunks_written, counts.total_bytes_written), (NtStatus::SUCCESS, 2, 5));
    assert_eq!(read(&mut client, to, 0, 99, 0).await.unwrap().as_ref(), b"23401");
    let (status, output) = ioctl(&mut client, code::SRV_COPYCHUNK, to, copy(vec![chunk(0, 0, 2 << 20)])).await.unwrap();
    assert_eq!(status, NtStatus::INVALID_PARAMETER);
    assert_eq!(CopychunkResponse::decode(&output).unwrap().chunks_written, 256, "the limits come with the refusal");
    let (status, _) = ioctl(&mut client, code::SRV_COPYCHUNK, to, {
        let mut input = Vec::new();
        CopychunkRequest { source_key: [1; 24], chunks: vec![chunk(0, 0, 1)] }.encode(&mut input);
        input
    })
    .await
    .unwrap();
    assert_eq!(status, NtStatus::OBJECT_NAME_NOT_FOUND);
}

// MS-SMB2 3.3.5.15.12
#[tokio::test]
async fn the_negotiation_is_confirmed_or_the_connection_ends() {
    let rig = Rig::new();
    for honest in [true, false] {
        let mut client = rig.connect();
        client.negotiate(&[Dialect::Smb300, Dialect::Smb302]).await;
        assert_eq!(client.log_on("alice", "secret", 0).await, NtStatus::SUCCESS);
        client.tree("plain").await;
        let mut input = Vec::new();
        ValidateNegotiateRequest {
            capabilities: Capabilities(0x7F),
            client_guid: client.client_guid,
            security_mode: SecurityMode::SIGNING_ENABLED,
            dialects: if honest { vec![0x300, 0x302] } else { vec![0x300, 0x302, 0x311] },
        }
        .encode(&mut input);
        let answer = ioctl(&mut client, code::VALIDATE_NEGOTIATE_INFO, FileId::ALL_ONES, input).await;
        assert_eq!(answer.map(|(status, output)| (status, output.len())), honest.then_some((NtStatus::SUCCESS, 24)));
    }
}

#[tokio::test]
async fn codes_without_a_file_and_unknown_ones() {
    let rig = Rig::new();
    let mut client = rig.ready("plain").await;
    let (status, output) = ioctl(&mut client, code::QUERY_NETWORK_INTERFACE_INFO, FileId::ALL_ONES, Vec::new()).await.unwrap();
    assert_eq!((status, NetworkInterface::decode_list(&output).unwrap().len()), (NtStatus::SUCCESS, 1));
    let wrong = ioctl(&mut client, code::QUERY_NETWORK_INTERFACE_INFO, FileId { persistent: 1, volatile: 1 }, Vec::new()).await;
    assert_eq!(wrong.unwrap().0, NtStatus::INVALID_PARAMETER);
    let dfs = ioctl(&mut client, code::DFS_GET_REFERRALS, FileId::ALL_ONES, Vec::new()).await;
    assert_eq!(dfs.unwrap().0, NtStatus::FS_DRIVER_REQUIRED);
    let id = file(&mut client, "f").await;
    assert_eq!(ioctl(&mut client, 0x0009_FFFF, id, Vec::new()).await.unwrap().0, NtStatus::INVALID_DEVICE_REQUEST);
    assert_eq!(ioctl(&mut client, code::GET_REPARSE_POINT, id, Vec::new()).await.unwrap().0, NtStatus::NOT_A_REPARSE_POINT);
}

/// A bind of this interface with NDR 2.0.
fn bind_of(interface: SyntaxId) -> Vec<u8> {
    let element = ContextElement { context_id: 0, abstract_syntax: interface, transfer_syntaxes: vec![NDR20] };
    let bind = Bind { max_xmit_frag: 4280, max_recv_frag: 4280, assoc_group_id: 0, contexts: vec![element] };
    encode(PacketType::Bind, flags::WHOLE, 1, &bind.encode(), None).unwrap()
}

#[tokio::test]
async fn a_pipe_answers_a_bind() {
    let rig = Rig::new();
    let mut client = rig.ready("IPC$").await;
    let id = open_with(&mut client, "srvsvc", AccessMask(0x0012_019F), CreateOptions::NONE, CreateDisposition::Open).await;
    let (_, waiting) = ioctl(&mut client, code::PIPE_PEEK, id, Vec::new()).await.unwrap();
    assert_eq!(waiting[4..8], [0; 4], "nothing waits");
    let (status, answer) = ioctl(&mut client, code::PIPE_TRANSCEIVE, id, bind_of(SRVSVC)).await.unwrap();
    assert_eq!((status, answer[2]), (NtStatus::SUCCESS, 12), "a bind_ack");
    assert_eq!(query_file(&mut client, id, FileClass::Standard).await.0, NtStatus::SUCCESS);
    close(&mut client, id).await;
}

#[tokio::test]
async fn the_endpoint_mapper_has_a_pipe_where_there_is_one() {
    let rig = Rig::new();
    let mut client = rig.ready("IPC$").await;
    let request = CreateRequest {
        desired_access: AccessMask(0x0012_019F),
        create_disposition: CreateDisposition::Open,
        name: "epmapper".to_owned(),
        ..CreateRequest::default()
    };
    let (header, _) = client.request(Command::Create, |out| request.encode(out)).await;
    assert_eq!(header.status(), NtStatus::OBJECT_NAME_NOT_FOUND);
    let map = EndpointMap::new();
    rig.server.map_endpoints(Arc::clone(&map));
    let pipes: Vec<Place> = map.endpoints().into_iter().map(|endpoint| endpoint.place).collect();
    let pipe = |name: &str| Place::Pipe { pipe: format!(r"\pipe\{name}"), host: r"\\HOLDFAST".to_owned() };
    assert_eq!(pipes, [pipe("srvsvc"), pipe("wkssvc")]);
    let id = open_with(&mut client, "epmapper", AccessMask(0x0012_019F), CreateOptions::NONE, CreateDisposition::Open).await;
    let (status, answer) = ioctl(&mut client, code::PIPE_TRANSCEIVE, id, bind_of(EPMAPPER)).await.unwrap();
    assert_eq!(status, NtStatus::SUCCESS);
    let acknowledged = BindAck::decode(Frame::parse(answer).unwrap().body()).unwrap();
    assert_eq!((acknowledged.secondary_address.as_str(), acknowledged.results[0].result), (r"\PIPE\epmapper", ResultCode::Acceptance));
    close(&mut client, id).await;
}
