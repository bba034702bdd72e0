//! Reads a connection: frames, decryption, compounds, message ids; hands each message to a task of its own (MS-SMB2 3.3.5.2.1 to 3.3.5.2.3).

use std::{future::poll_fn, io, ops::Range, pin::pin, sync::Arc};

use bytes::{Buf as _, BytesMut};
use persistence_model::SessionId;
use smb_auth::{Role, TransformHeader, sealing::TRANSFORM_HEADER_LENGTH};
use smb_proto::{
    Command, HEADER_SIZE, Header,
    frame::{COMPOUND_ELEMENTS_MAX, MessageKind, PREFIX_SIZE, prefix_length},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::task::TaskTracker;

use crate::{
    error::Disconnect,
    limits::Limit,
    metrics as names,
    receive::{
        cancel,
        message::{self, Element, Received},
        negotiate,
    },
    state::{Connection, Request, Server, Session},
};

/// Room for many small messages; a large one gets a buffer of its own.
const INBOX_BYTES: usize = 32 << 10;
/// Room for a message where no user has proved himself, and how long it may be without room of the node's for such messages.
pub const SMALL_BYTES: usize = 4 << 10;
/// With less room than this, unless it is all that is missing, more is made before the next read.
const READ_BYTES_MIN: usize = 512;
/// Messages that are worked on at one time where no user has proved himself.
const MESSAGES_BEFORE_LOGON: usize = 4;
/// A buffer is made for so many times what has arrived of a message: a length alone gets nothing.
const GROWTH: usize = 32;
/// Largest message without large MTU.
// MS-SMB2 3.3.5.2.1
const SMALL_MESSAGE_BYTES_MAX: usize = 68 << 10;
/// What a message may have beyond its payload: headers, contexts, a transform header.
const OVERHEAD_BYTES_MAX: usize = 1024;

/// Reads until the connection ends; returns why it did.
pub(crate) async fn run<R: AsyncRead + Unpin>(
    server: &Arc<Server>,
    connection: &Arc<Connection>,
    mut socket: R,
    tasks: &TaskTracker,
) -> Disconnect {
    let mut inbox = BytesMut::new();
    let messages_max = server.config.limits.messages_per_connection;
    let places = Arc::new(Semaphore::new(messages_max.min(MESSAGES_BEFORE_LOGON)));
    let mut was_proved = false;
    loop {
        let (frame, room) = match next_frame(server, connection, &mut socket, &mut inbox).await {
            Ok(frame) => frame,
            Err(because) => return because,
        };
        if connection.is_proved() && !was_proved {
            was_proved = true;
            places.add_permits(messages_max.saturating_sub(MESSAGES_BEFORE_LOGON));
        }
        metrics::counter!(names::BYTES_IN).increment(frame.len() as u64);
        let received = match take_in(server, connection, frame).await {
            Ok(Some(received)) => received,
            Ok(None) => continue,
            Err(because) => return because,
        };
        let Ok(permit) = Arc::clone(&places).acquire_owned().await else { return Disconnect::because("ended") };
        let serving = message::serve(Arc::clone(server), Arc::clone(connection), received, Some(permit));
        match room {
            None => tasks.spawn(serving),
            Some(room) => tasks.spawn(async move {
                serving.await;
                drop(room);
            }),
        };
    }
}

/// The next message without its length prefix, and its part of the node's room for long messages before a logon.
async fn next_frame<R: AsyncRead + Unpin>(
    server: &Server,
    connection: &Connection,
    socket: &mut R,
    inbox: &mut BytesMut,
) -> Result<(BytesMut, Option<OwnedSemaphorePermit>), Disconnect> {
    let least = if connection.is_proved() { INBOX_BYTES } else { SMALL_BYTES };
    fill(socket, inbox, PREFIX_SIZE, least).await?;
    let prefix = [inbox[0], inbox[1], inbox[2], inbox[3]];
    let length = prefix_length(prefix).map_err(|_| Disconnect::because("no direct-TCP prefix"))?;
    // MS-SMB2 3.3.5.2.1
    let limit = match connection.negotiated() {
        Some(negotiated) if negotiated.supports_multi_credit => {
            let payload = negotiated.transact_bytes_max.max(negotiated.write_bytes_max);
            usize::try_from(payload).unwrap_or(usize::MAX).saturating_add(OVERHEAD_BYTES_MAX)
        }
        _ => SMALL_MESSAGE_BYTES_MAX,
    };
    let room = if connection.is_proved() { None } else { room_before_logon(server, connection, length)? };
    if length > limit {
        return Err(Disconnect::because("the message is too long"));
    }
    inbox.advance(PREFIX_SIZE);
    fill(socket, inbox, length, least).await?;
    Ok((inbox.split_to(length), room))
}

/// What a message needs of the node's room for long ones where no user has proved himself.
fn room_before_logon(server: &Server, connection: &Connection, length: usize) -> Result<Option<OwnedSemaphorePermit>, Disconnect> {
    let refuse = |limit, because| {
        server.refused(limit, connection.peer.ip());
        Err(Disconnect::because(because))
    };
    if length > server.config.limits.message_bytes_before_logon {
        return refuse(Limit::MessageBytesBeforeLogon, "a message is too long before a user has proved himself");
    }
    if length <= SMALL_BYTES {
        return Ok(None);
    }
    let kib = u32::try_from(length.div_ceil(1024)).unwrap_or(u32::MAX);
    match Arc::clone(&server.room_before_logon).try_acquire_many_owned(kib) {
        Ok(room) => Ok(Some(room)),
        Err(_) => refuse(Limit::BytesBeforeLogon, "too many long messages before users have proved themselves"),
    }
}

/// Reads until at least `length` bytes are there. While nothing is, a connection has no buffer: most of them wait.
async fn fill<R: AsyncRead + Unpin>(socket: &mut R, inbox: &mut BytesMut, length: usize, least: usize) -> Result<(), Disconnect> {
    while inbox.len() < length {
        let read = poll_fn(|cx| {
            let missing = length - inbox.len();
            if inbox.capacity() - inbox.len() < missing.min(READ_BYTES_MIN) {
                inbox.reserve(missing.clamp(least, (inbox.len() * GROWTH).max(least)));
            }
            let read = pin!(socket.read_buf(inbox)).poll(cx);
            if read.is_pending() && inbox.is_empty() {
                *inbox = BytesMut::new();
            }
            read
        });
        match read.await {
            Ok(0) => return Err(Disconnect::because("the client closed the connection")),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(Disconnect::because("the connection broke")),
        }
    }
    Ok(())
}

/// Takes a message through everything that must happen in the order of arrival. None: it is dealt with already.
async fn take_in(server: &Arc<Server>, connection: &Arc<Connection>, frame: BytesMut) -> Result<Option<Received>, Disconnect> {
    let kind = MessageKind::of(&frame).map_err(|_| Disconnect::because("unknown ProtocolId"))?;
    let (mut bytes, decrypted_by) = match kind {
        MessageKind::Plain => (frame, None),
        MessageKind::Encrypted => {
            let (bytes, session) = decrypt(connection, frame)?;
            (bytes, Some(session))
        }
        MessageKind::Compressed => return Err(Disconnect::because("compression was not negotiated")),
        MessageKind::Smb1 => {
            negotiate::multi_protocol(server, connection, &frame).await?;
            return Ok(None);
        }
    };
    let headers = split(&bytes)?;
    let Some((first, range)) = headers.first() else { return Ok(None) };
    if first.command == Command::Cancel {
        let (header, range) = (first.clone(), range.clone());
        receive_cancel(connection, &header, &mut bytes[range], decrypted_by.is_some());
        return Ok(None);
    }
    let elements = register(connection, headers)?;
    if connection.negotiated().is_none() || elements[0].header.command == Command::Negotiate {
        negotiate::handle(server, connection, &bytes, elements).await?;
        return Ok(None);
    }
    Ok(Some(Received { bytes, elements, decrypted_by }))
}

/// Opens an encrypted message in place.
// MS-SMB2 3.3.5.2.1.1
// Any doubt ends the connection.
fn decrypt(connection: &Connection, mut frame: BytesMut) -> Result<(BytesMut, Arc<Session>), Disconnect> {
    let header = TransformHeader::parse(&frame).map_err(|_| Disconnect::because("malformed transform header"))?;
    let session = connection.session(SessionId(header.session_id)).ok_or(Disconnect::because("encrypted for an unknown session"))?;
    if !connection.is_proved() {
        return Err(Disconnect::because("encrypted before anybody has proved himself"));
    }
    let sealing =
        session.security().and_then(|security| security.sealing.as_ref()).ok_or(Disconnect::because("the session has no cipher keys"))?;
    sealing.decryption.decrypt(&mut frame).map_err(|_| Disconnect::because("an encrypted message has a wrong tag"))?;
    frame.advance(TRANSFORM_HEADER_LENGTH);
    if !matches!(MessageKind::of(&frame), Ok(MessageKind::Plain)) {
        return Err(Disconnect::because("an encrypted message holds no SMB2 message"));
    }
    Ok((frame, session))
}

/// Finds the elements of a message.
// MS-SMB2 3.3.5.2.7
fn split(bytes: &[u8]) -> Result<Vec<(Header, Range<usize>)>, Disconnect> {
    let mut headers = Vec::with_capacity(1);
    let mut start = 0;
    loop {
        let rest = bytes.get(start..).unwrap_or_default();
        let header = Header::decode(rest).map_err(|_| Disconnect::because("malformed header"))?;
        if header.is_response() || headers.len() >= COMPOUND_ELEMENTS_MAX {
            return Err(Disconnect::because("a response from a client, or too long a compound"));
        }
        let next = usize::try_from(header.next_command).unwrap_or(usize::MAX);
        if next == 0 {
            headers.push((header, start..bytes.len()));
            return Ok(headers);
        }
        if !next.is_multiple_of(8) || next < HEADER_SIZE || next >= rest.len() {
            return Err(Disconnect::because("NextCommand leads nowhere"));
        }
        headers.push((header, start..start + next));
        start += next;
    }
}

/// Takes the message ids from the window and enters the requests in the request table.
// MS-SMB2 3.3.5.2.3
fn register(connection: &Connection, headers: Vec<(Header, Range<usize>)>) -> Result<Vec<Element>, Disconnect> {
    let multi_credit = connection.negotiated().is_some_and(|negotiated| negotiated.supports_multi_credit);
    let mut elements = Vec::with_capacity(headers.len());
    for (header, range) in headers {
        let charge = if multi_credit { header.credit_charge } else { 1 };
        if header.command != Command::Cancel {
            connection.window.lock().take(header.message_id, charge).map_err(|_| Disconnect::because("a message id outside the window"))?;
        }
        let request = Arc::new(Request::new(header.message_id, header.command, &connection.ended));
        connection.add_request(&request);
        elements.push(Element { header, range, request });
    }
    Ok(elements)
}

/// CANCEL is dealt with at once: it must overtake what it cancels. One that is not authentic is ignored.
fn receive_cancel(connection: &Connection, header: &Header, message: &mut [u8], encrypted: bool) {
    let Some(session) = connection.session(SessionId(header.session_id)) else { return };
    let Some(security) = session.security() else { return };
    let key = session.signing_key(connection.connection_id);
    let authentic = match (header.is_signed(), key) {
        _ if encrypted => true,
        (true, Some(key)) => key.verify(message, Role::Client),
        (true, None) => false,
        (false, _) => !security.signing_required,
    };
    if authentic {
        cancel::handle(connection, header);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;

    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// Capacity of the buffer while a message of `length` bytes waits for what is missing.
    async fn capacity(length: usize, arrived: usize) -> usize {
        let (mut ours, mut theirs) = tokio::io::duplex(8 << 20);
        ours.write_all(&vec![1; arrived]).await.unwrap();
        let mut inbox = BytesMut::new();
        let filled = {
            let mut reading = pin!(fill(&mut theirs, &mut inbox, length, INBOX_BYTES));
            poll_fn(|cx| std::task::Poll::Ready(reading.as_mut().poll(cx).is_ready())).await
        };
        assert!(!filled && inbox.len() == arrived);
        inbox.capacity()
    }

    #[tokio::test]
    async fn a_length_alone_gets_no_buffer() {
        assert_eq!(capacity(8 << 20, 0).await, 0, "who waits for the next message has none");
        assert!(capacity(8 << 20, 100).await <= INBOX_BYTES);
        assert!(capacity(8 << 20, INBOX_BYTES + 1).await <= 2 * GROWTH * INBOX_BYTES);
        assert!(capacity(1 << 20, (1 << 20) - 1).await <= (1 << 20) + INBOX_BYTES);
    }
}
