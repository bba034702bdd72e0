//! A connected share: each request once, each answer as it comes. No retries here.

use bytes::Bytes;
use smb_proto::Command;
use smb_proto::context::{DurableResponseV2, LeaseContext, ResponseContext};
use smb_proto::info::{FileClass, FileStandardInformation};
use smb_proto::message::close::{CloseRequest, CloseResponse};
use smb_proto::message::create::{CreateRequest, CreateResponse};
use smb_proto::message::flush::FlushRequest;
use smb_proto::message::lock::{LockElement, LockRequest};
use smb_proto::message::oplock_break::{LeaseBreakAck, OplockBreak, OplockBreakRequest};
use smb_proto::message::query_info::{InfoType, QueryInfoRequest, QueryInfoResponse};
use smb_proto::message::read::{ReadRequest, ReadResponse};
use smb_proto::message::set_info::SetInfoRequest;
use smb_proto::message::tree_connect::{ShareCapabilities, ShareFlags, TreeConnectRequest, TreeConnectResponse};
use smb_proto::message::tree_disconnect::TreeDisconnectRequest;
use smb_proto::message::write::{WriteRequest, WriteResponse};
use smb_types::{FileId, NtStatus};

use super::connection::{Call, Reply};
use super::error::ClientError;
use super::session::Session;

/// What a request says about earlier tries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Try {
    /// It was sent before, and nobody knows what became of it.
    pub replay: bool,
    /// ChannelSequence.
    pub channel_sequence: u16,
}

/// A connected share.
#[derive(Clone, Debug)]
pub struct Tree {
    /// Its session.
    pub session: Session,
    /// TreeId.
    pub tree_id: u32,
    /// What the share says of itself.
    pub response: TreeConnectResponse,
}

impl Tree {
    /// TREE_CONNECT to `\\server\share`.
    pub async fn connect(session: &Session, server: &str, share: &str) -> Result<Self, ClientError> {
        let request = TreeConnectRequest { path: format!("\\\\{server}\\{share}"), ..TreeConnectRequest::default() };
        let reply = session.connection.call(Command::TreeConnect, Call::default(), |out| request.encode(out)).await?;
        let reply = reply.succeeded("TREE_CONNECT")?;
        let response = TreeConnectResponse::decode(&reply.message)?;
        Ok(Self { session: session.clone(), tree_id: reply.header.tree_id(), response })
    }

    /// Tells whether the share is continuously available.
    #[must_use]
    pub fn is_continuously_available(&self) -> bool {
        self.response.capabilities.contains(ShareCapabilities::CONTINUOUS_AVAILABILITY)
    }

    /// Tells whether a Windows client would register with the witness: both bits, not one.
    #[must_use]
    pub fn wants_witness(&self) -> bool {
        self.is_continuously_available() && self.response.capabilities.contains(ShareCapabilities::CLUSTER)
    }

    fn call(&self, again: Try, payload_bytes: usize) -> Call {
        Call {
            tree_id: self.tree_id,
            replay: again.replay,
            channel_sequence: again.channel_sequence,
            payload_bytes,
            encrypt: self.response.share_flags.contains(ShareFlags::ENCRYPT_DATA),
            ..Call::default()
        }
    }

    async fn ask(&self, command: Command, again: Try, payload_bytes: usize, body: impl FnOnce(&mut Vec<u8>)) -> Result<Reply, ClientError> {
        self.session.connection.call(command, self.call(again, payload_bytes), body).await
    }

    /// CREATE.
    pub async fn create(&self, request: &CreateRequest, again: Try) -> Result<CreateResponse, ClientError> {
        let reply = self.ask(Command::Create, again, 0, |out| request.encode(out)).await?.succeeded("CREATE")?;
        Ok(CreateResponse::decode(&reply.message)?)
    }

    /// CLOSE.
    pub async fn close(&self, file_id: FileId, again: Try) -> Result<CloseResponse, ClientError> {
        let request = CloseRequest { flags: 0, file_id };
        let reply = self.ask(Command::Close, again, 0, |out| request.encode(out)).await?.succeeded("CLOSE")?;
        Ok(CloseResponse::decode(&reply.message)?)
    }

    /// WRITE; the server must take all of it.
    pub async fn write(&self, file_id: FileId, offset: u64, data: Bytes, again: Try) -> Result<(), ClientError> {
        let length = data.len();
        let request = WriteRequest { offset, file_id, data, ..WriteRequest::default() };
        let reply = self.ask(Command::Write, again, length, |out| request.encode(out)).await?.succeeded("WRITE")?;
        let written = WriteResponse::decode(&reply.message)?.count;
        if usize::try_from(written) == Ok(length) { Ok(()) } else { Err(ClientError::Protocol("short WRITE")) }
    }

    /// READ; empty at the end of the file.
    pub async fn read(&self, file_id: FileId, offset: u64, length: u32, again: Try) -> Result<Bytes, ClientError> {
        let request = ReadRequest { length, offset, file_id, padding: 80, ..ReadRequest::default() };
        let reply = self.ask(Command::Read, again, usize::try_from(length).unwrap_or(0), |out| request.encode(out)).await?;
        if reply.status() == NtStatus::END_OF_FILE {
            return Ok(Bytes::new());
        }
        Ok(ReadResponse::decode(&reply.succeeded("READ")?.message)?.data)
    }

    /// LOCK or unlock; `sequence` is (index, number), index 0 takes no part in replay detection.
    pub async fn lock(&self, file_id: FileId, locks: &[LockElement], sequence: (u32, u8), again: Try) -> Result<(), ClientError> {
        let request = LockRequest { lock_sequence_index: sequence.0, lock_sequence_number: sequence.1, file_id, locks: locks.to_vec() };
        self.ask(Command::Lock, again, 0, |out| request.encode(out)).await?.succeeded("LOCK").map(drop)
    }

    /// FLUSH.
    pub async fn flush(&self, file_id: FileId, again: Try) -> Result<(), ClientError> {
        let request = FlushRequest { file_id };
        self.ask(Command::Flush, again, 0, |out| request.encode(out)).await?.succeeded("FLUSH").map(drop)
    }

    /// QUERY_INFO of the class with sizes and the delete-pending mark.
    pub async fn query_standard(&self, file_id: FileId, again: Try) -> Result<FileStandardInformation, ClientError> {
        let output = self.query_info(file_id, InfoType::File, FileClass::Standard.to_wire(), 24, again).await?;
        Ok(FileStandardInformation::decode(&output)?)
    }

    /// QUERY_INFO of any class.
    pub async fn query_info(
        &self,
        file_id: FileId,
        info_type: InfoType,
        class: u8,
        output_bytes: u32,
        again: Try,
    ) -> Result<Vec<u8>, ClientError> {
        let request = QueryInfoRequest::new(info_type, class, output_bytes, file_id);
        let reply = self.ask(Command::QueryInfo, again, 0, |out| request.encode(out)).await?.succeeded("QUERY_INFO")?;
        Ok(QueryInfoResponse::decode(&reply.message)?.output)
    }

    /// SET_INFO of a file class.
    pub async fn set_info(&self, request: &SetInfoRequest, again: Try) -> Result<(), ClientError> {
        self.ask(Command::SetInfo, again, request.buffer.len(), |out| request.encode(out)).await?.succeeded("SET_INFO").map(drop)
    }

    /// Acknowledges a lease break.
    pub async fn acknowledge_lease(&self, ack: LeaseBreakAck) -> Result<(), ClientError> {
        let request = OplockBreakRequest::Lease(ack);
        self.ask(Command::OplockBreak, Try::default(), 0, |out| request.encode(out)).await?.succeeded("OPLOCK_BREAK").map(drop)
    }

    /// Acknowledges an oplock break.
    pub async fn acknowledge_oplock(&self, ack: OplockBreak) -> Result<(), ClientError> {
        let request = OplockBreakRequest::Oplock(ack);
        self.ask(Command::OplockBreak, Try::default(), 0, |out| request.encode(out)).await?.succeeded("OPLOCK_BREAK").map(drop)
    }

    /// TREE_DISCONNECT.
    pub async fn disconnect(&self) -> Result<(), ClientError> {
        let request = TreeDisconnectRequest;
        let reply = self.ask(Command::TreeDisconnect, Try::default(), 0, |out| request.encode(out)).await?;
        reply.succeeded("TREE_DISCONNECT").map(drop)
    }
}

/// The durable grant in a CREATE response.
#[must_use]
pub fn durable_grant(response: &CreateResponse) -> Option<DurableResponseV2> {
    response.contexts.iter().find_map(|c| match c {
        ResponseContext::DurableV2(d) => Some(*d),
        _ => None,
    })
}

/// The lease in a CREATE response.
#[must_use]
pub fn lease_grant(response: &CreateResponse) -> Option<LeaseContext> {
    response.contexts.iter().find_map(|c| match c {
        ResponseContext::Lease(l) => Some(*l),
        _ => None,
    })
}
