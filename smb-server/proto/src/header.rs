//! The 64-byte header of every SMB2 message (MS-SMB2 2.2.1).

use smb_types::NtStatus;

use crate::error::DecodeError;
use crate::wire::{Put, Reader, flags};

/// Length of the header; body offsets on the wire count from its first byte.
pub const HEADER_SIZE: usize = 64;

/// First four bytes of a plain message.
pub const PROTOCOL_ID: [u8; 4] = [0xFE, b'S', b'M', b'B'];

/// MessageId of messages the server sends on its own (breaks).
pub const UNSOLICITED_MESSAGE_ID: u64 = u64::MAX;

macro_rules! commands {
    ($($(#[$doc:meta])* $name:ident = $v:literal;)*) => {
        /// What a message asks for.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u16)]
        pub enum Command { $($(#[$doc])* $name = $v,)* }
        impl Command {
            /// Every command, in wire order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
            /// Decodes the wire value; None when it is unknown.
            #[must_use]
            pub const fn from_wire(v: u16) -> Option<Self> {
                match v { $($v => Some(Self::$name),)* _ => None }
            }
            /// The wire value.
            #[must_use]
            pub const fn to_wire(self) -> u16 { self as u16 }
            /// The command's name, for logs and metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

commands! {
    /// NEGOTIATE.
    Negotiate = 0;
    /// SESSION_SETUP.
    SessionSetup = 1;
    /// LOGOFF.
    Logoff = 2;
    /// TREE_CONNECT.
    TreeConnect = 3;
    /// TREE_DISCONNECT.
    TreeDisconnect = 4;
    /// CREATE.
    Create = 5;
    /// CLOSE.
    Close = 6;
    /// FLUSH.
    Flush = 7;
    /// READ.
    Read = 8;
    /// WRITE.
    Write = 9;
    /// LOCK.
    Lock = 0xA;
    /// IOCTL.
    Ioctl = 0xB;
    /// CANCEL.
    Cancel = 0xC;
    /// ECHO.
    Echo = 0xD;
    /// QUERY_DIRECTORY.
    QueryDirectory = 0xE;
    /// CHANGE_NOTIFY.
    ChangeNotify = 0xF;
    /// QUERY_INFO.
    QueryInfo = 0x10;
    /// SET_INFO.
    SetInfo = 0x11;
    /// OPLOCK_BREAK.
    OplockBreak = 0x12;
    /// SERVER_TO_CLIENT_NOTIFICATION.
    ServerToClientNotification = 0x13;
    /// Anything else; the header keeps the value.
    Unknown = 0xFFFF;
}

flags! {
    /// Flags of the header.
    HeaderFlags(u32) {
        /// SMB2_FLAGS_SERVER_TO_REDIR: a response.
        SERVER_TO_REDIR = 0x1;
        /// SMB2_FLAGS_ASYNC_COMMAND: the header carries an AsyncId.
        ASYNC_COMMAND = 0x2;
        /// SMB2_FLAGS_RELATED_OPERATIONS: ids come from the message before.
        RELATED_OPERATIONS = 0x4;
        /// SMB2_FLAGS_SIGNED.
        SIGNED = 0x8;
        /// SMB2_FLAGS_PRIORITY_MASK (3.1.1).
        PRIORITY_MASK = 0x70;
        /// SMB2_FLAGS_DFS_OPERATIONS.
        DFS_OPERATIONS = 0x1000_0000;
        /// SMB2_FLAGS_REPLAY_OPERATION.
        REPLAY_OPERATION = 0x2000_0000;
    }
}

/// The eight bytes that mean a tree, or an asynchronous operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Routing {
    /// Without ASYNC_COMMAND.
    Sync {
        /// Reserved; older clients put a process id there, and responses echo it.
        process_id: u32,
        /// TreeId.
        tree_id: u32,
    },
    /// With ASYNC_COMMAND.
    Async {
        /// AsyncId.
        async_id: u64,
    },
}

/// A decoded header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// CreditCharge.
    pub credit_charge: u16,
    /// The field at offset 8 as it is: a status in responses, a channel sequence in 3.x requests.
    pub status_field: u32,
    /// Command.
    pub command: Command,
    /// The wire value of an unknown command, so that the refusal can repeat it; 0 for known ones.
    pub unknown_command: u16,
    /// CreditRequest or CreditResponse.
    pub credits: u16,
    /// Flags; ASYNC_COMMAND is kept in step with `routing` when encoding.
    pub flags: HeaderFlags,
    /// Offset of the next header in a compound; 0 in the last.
    pub next_command: u32,
    /// MessageId.
    pub message_id: u64,
    /// TreeId or AsyncId.
    pub routing: Routing,
    /// SessionId.
    pub session_id: u64,
    /// Signature.
    pub signature: [u8; 16],
}

impl Header {
    /// A request header of a client with zero ids.
    #[must_use]
    pub const fn request(command: Command, message_id: u64) -> Self {
        Self {
            credit_charge: 1,
            status_field: 0,
            command,
            unknown_command: 0,
            credits: 1,
            flags: HeaderFlags::NONE,
            next_command: 0,
            message_id,
            routing: Routing::Sync { process_id: 0xFEFF, tree_id: 0 },
            session_id: 0,
            signature: [0; 16],
        }
    }

    /// The header of the response to this request: same ids, response flag set, not signed yet.
    #[must_use]
    pub const fn response(&self, status: NtStatus, credits: u16) -> Self {
        let keep = HeaderFlags::RELATED_OPERATIONS.0 | HeaderFlags::PRIORITY_MASK.0 | HeaderFlags::REPLAY_OPERATION.0;
        Self {
            credit_charge: self.credit_charge,
            status_field: status.0,
            command: self.command,
            unknown_command: self.unknown_command,
            credits,
            flags: HeaderFlags(HeaderFlags::SERVER_TO_REDIR.0 | (self.flags.0 & keep)),
            next_command: 0,
            message_id: self.message_id,
            routing: match self.routing {
                Routing::Sync { process_id, tree_id } => Routing::Sync { process_id, tree_id },
                Routing::Async { async_id } => Routing::Async { async_id },
            },
            session_id: self.session_id,
            signature: [0; 16],
        }
    }

    /// The header of an unsolicited OPLOCK_BREAK notification.
    #[must_use]
    pub const fn notification(session_id: u64) -> Self {
        // MS-SMB2 3.3.4.6: all bits of the message id set, no tree, no credits.
        Self {
            credit_charge: 0,
            status_field: 0,
            command: Command::OplockBreak,
            unknown_command: 0,
            credits: 0,
            flags: HeaderFlags::SERVER_TO_REDIR,
            next_command: 0,
            message_id: UNSOLICITED_MESSAGE_ID,
            routing: Routing::Sync { process_id: 0, tree_id: 0 },
            session_id,
            signature: [0; 16],
        }
    }

    /// The response's status.
    #[must_use]
    pub const fn status(&self) -> NtStatus {
        NtStatus(self.status_field)
    }

    /// The request's ChannelSequence (3.x dialects).
    #[must_use]
    pub const fn channel_sequence(&self) -> u16 {
        let [a, b, _, _] = self.status_field.to_le_bytes();
        u16::from_le_bytes([a, b])
    }

    /// Sets the request's ChannelSequence.
    pub fn set_channel_sequence(&mut self, v: u16) {
        self.status_field = u32::from(v);
    }

    /// The TreeId; 0 in an asynchronous header.
    #[must_use]
    pub const fn tree_id(&self) -> u32 {
        match self.routing {
            Routing::Sync { tree_id, .. } => tree_id,
            Routing::Async { .. } => 0,
        }
    }

    /// Sets the TreeId, making the header synchronous.
    pub fn set_tree_id(&mut self, tree_id: u32) {
        let process_id = match self.routing {
            Routing::Sync { process_id, .. } => process_id,
            Routing::Async { .. } => 0,
        };
        self.routing = Routing::Sync { process_id, tree_id };
    }

    /// The AsyncId of an asynchronous header.
    #[must_use]
    pub const fn async_id(&self) -> Option<u64> {
        match self.routing {
            Routing::Sync { .. } => None,
            Routing::Async { async_id } => Some(async_id),
        }
    }

    /// Tells whether this is a response.
    #[must_use]
    pub const fn is_response(&self) -> bool {
        self.flags.contains(HeaderFlags::SERVER_TO_REDIR)
    }

    /// Tells whether ids come from the message before in the compound.
    #[must_use]
    pub const fn is_related(&self) -> bool {
        self.flags.contains(HeaderFlags::RELATED_OPERATIONS)
    }

    /// Tells whether the signature is to be checked.
    #[must_use]
    pub const fn is_signed(&self) -> bool {
        self.flags.contains(HeaderFlags::SIGNED)
    }

    /// Tells whether the client sends this request again.
    #[must_use]
    pub const fn is_replay(&self) -> bool {
        self.flags.contains(HeaderFlags::REPLAY_OPERATION)
    }

    /// Decodes the header at the start of `msg`; anything wrong with it ends the connection.
    pub fn decode(msg: &[u8]) -> Result<Self, DecodeError> {
        // MS-SMB2 3.3.5.2: a message without a sound header is not answered.
        let drop = |what| DecodeError::Disconnect { what };
        let head = msg.get(..HEADER_SIZE).ok_or(drop("message shorter than a header"))?;
        let mut r = Reader::new(head);
        if r.array()? != PROTOCOL_ID {
            return Err(drop("ProtocolId"));
        }
        if r.u16()? != 64 {
            return Err(drop("StructureSize of the header"));
        }
        let credit_charge = r.u16()?;
        let status_field = r.u32()?;
        let wire = r.u16()?;
        // An unknown command is refused like a bad body, and says nothing against its neighbours in the compound.
        let (command, unknown_command) = match Command::from_wire(wire) {
            None | Some(Command::Unknown) => (Command::Unknown, wire),
            Some(command) => (command, 0),
        };
        let credits = r.u16()?;
        let flags = HeaderFlags(r.u32()?);
        let next_command = r.u32()?;
        let message_id = r.u64()?;
        let routing = if flags.contains(HeaderFlags::ASYNC_COMMAND) {
            Routing::Async { async_id: r.u64()? }
        } else {
            Routing::Sync { process_id: r.u32()?, tree_id: r.u32()? }
        };
        let session_id = r.u64()?;
        let signature = r.array()?;
        Ok(Self {
            credit_charge,
            status_field,
            command,
            unknown_command,
            credits,
            flags,
            next_command,
            message_id,
            routing,
            session_id,
            signature,
        })
    }

    /// Appends the 64 bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_bytes(&PROTOCOL_ID);
        out.put_u16(64);
        out.put_u16(self.credit_charge);
        out.put_u32(self.status_field);
        out.put_u16(if self.command == Command::Unknown { self.unknown_command } else { self.command.to_wire() });
        out.put_u16(self.credits);
        let flags = match self.routing {
            Routing::Sync { .. } => self.flags.without(HeaderFlags::ASYNC_COMMAND),
            Routing::Async { .. } => self.flags | HeaderFlags::ASYNC_COMMAND,
        };
        out.put_u32(flags.0);
        out.put_u32(self.next_command);
        out.put_u64(self.message_id);
        match self.routing {
            Routing::Sync { process_id, tree_id } => {
                out.put_u32(process_id);
                out.put_u32(tree_id);
            }
            Routing::Async { async_id } => out.put_u64(async_id),
        }
        out.put_u64(self.session_id);
        out.put_bytes(&self.signature);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_there_and_back_sync_and_async() {
        let mut h = Header::request(Command::Write, 77);
        h.session_id = 0x1122;
        h.set_tree_id(5);
        h.set_channel_sequence(0xFFFE);
        let mut b = Vec::new();
        h.encode(&mut b);
        assert_eq!(b.len(), HEADER_SIZE);
        let d = Header::decode(&b).unwrap();
        assert_eq!(d, h);
        assert_eq!(d.channel_sequence(), 0xFFFE);
        let mut r = d.response(NtStatus::PENDING, 3);
        r.routing = Routing::Async { async_id: 9 };
        b.clear();
        r.encode(&mut b);
        let d = Header::decode(&b).unwrap();
        assert!(d.flags.contains(HeaderFlags::ASYNC_COMMAND) && d.is_response());
        assert_eq!((d.async_id(), d.status(), d.tree_id()), (Some(9), NtStatus::PENDING, 0));
    }

    #[test]
    fn unsound_header_means_disconnect() {
        let mut b = Vec::new();
        Header::request(Command::Echo, 1).encode(&mut b);
        assert!(Header::decode(&b[..63]).unwrap_err().is_disconnect());
        b[12] = 0x14;
        let unknown = Header::decode(&b).unwrap();
        assert_eq!(unknown.command, Command::Unknown);
        let mut again = Vec::new();
        unknown.encode(&mut again);
        assert_eq!(again[..], b[..HEADER_SIZE], "the number is kept");
        b[12] = 0xD;
        b[4] = 63;
        assert!(Header::decode(&b).unwrap_err().is_disconnect(), "structure size");
    }
}
