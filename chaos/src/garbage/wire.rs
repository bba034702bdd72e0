//! A connection that keeps no rules: frames of a logon, whole or spoilt, from any address of the loopback net.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use smb_auth::Credentials;
use smb_auth::spnego::{Initiator, InitiatorConfig, InitiatorStep};
use smb_proto::message::negotiate::{Capabilities, HASH_SHA512, NegotiateContext, NegotiateRequest, SIGNING_AES_CMAC, SecurityMode};
use smb_proto::message::session_setup::{SessionSetupRequest, SessionSetupResponse};
use smb_proto::{Command, Header, frame};
use smb_types::{Dialect, FileTime, Guid, NtStatus};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::client::random;
use crate::rng::Rng;

/// How long anything may take that a server does at once.
const LIMIT: Duration = Duration::from_secs(5);

/// A frame around a message.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let prefix = frame::prefix(message.len()).unwrap_or_default();
    [&prefix[..], message].concat()
}

/// NEGOTIATE of a client that wants many credits.
pub(super) fn negotiate() -> Vec<u8> {
    let request = NegotiateRequest {
        security_mode: SecurityMode::SIGNING_ENABLED,
        capabilities: Capabilities(0x7F),
        client_guid: Guid(random()),
        dialects: vec![Dialect::Smb311.to_wire()],
        contexts: vec![
            NegotiateContext::PreauthIntegrity { hash_algorithms: vec![HASH_SHA512], salt: vec![7; 32] },
            NegotiateContext::Signing { algorithms: vec![SIGNING_AES_CMAC] },
        ],
    };
    let mut header = Header::request(Command::Negotiate, 0);
    header.credits = 512;
    message(&header, |out| request.encode(out))
}

/// SESSION_SETUP with a token.
pub(super) fn session_setup(message_id: u64, session_id: u64, token: Vec<u8>) -> Vec<u8> {
    let request =
        SessionSetupRequest { security_mode: SecurityMode::SIGNING_ENABLED, security_buffer: token, ..SessionSetupRequest::default() };
    let mut header = Header::request(Command::SessionSetup, message_id);
    header.credits = 64;
    header.session_id = session_id;
    message(&header, |out| request.encode(out))
}

fn message(header: &Header, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    header.encode(&mut out);
    body(&mut out);
    out
}

fn initiator(user: &str, password: &str) -> Initiator {
    Initiator::new(InitiatorConfig::new(Credentials::password(user, "", password), "CHAOS", ""))
}

/// The first token of a logon.
pub(super) fn first_token() -> Vec<u8> {
    initiator("nobody-here", "wrong").start().unwrap_or_default()
}

/// Spoils bytes from `from` on: flips a few of them, and sometimes cuts the end off.
pub(super) fn spoil(bytes: &mut Vec<u8>, from: usize, rng: &mut Rng) {
    let Some(length) = bytes.len().checked_sub(from).filter(|length| *length > 0) else { return };
    let mut place = || from + usize::try_from(rng.between(0, length as u64 - 1)).unwrap_or(0);
    let places: Vec<usize> = (0..4).map(|_| place()).collect();
    let cut = place();
    for at in &places[..usize::try_from(rng.between(1, 4)).unwrap_or(1)] {
        let value = u8::try_from(rng.between(0, 255)).unwrap_or(0);
        // Ends of numbers' ranges find more than numbers do.
        bytes[*at] = match rng.between(0, 3) {
            0 => 0xFF,
            1 => 0,
            _ => bytes[*at] ^ value,
        };
    }
    if rng.between(0, 4) == 0 {
        bytes.truncate(cut.max(from));
    }
}

/// One connection.
pub(super) struct Wire {
    pub(super) stream: TcpStream,
    next_id: u64,
}

impl Wire {
    /// Connects from an address; None leaves that to the kernel.
    pub(super) async fn connect(from: Option<IpAddr>, to: SocketAddr) -> std::io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if let Some(from) = from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        let stream = tokio::time::timeout(LIMIT, socket.connect(to)).await.map_err(|_| std::io::ErrorKind::TimedOut)??;
        Ok(Self { stream, next_id: 0 })
    }

    /// Writes a message with its prefix.
    pub(super) async fn send(&mut self, message: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(&framed(message)).await
    }

    /// Reads a message; None when the server has closed or stays silent.
    pub(super) async fn receive(&mut self) -> Option<Vec<u8>> {
        let read = async {
            let mut prefix = [0; frame::PREFIX_SIZE];
            self.stream.read_exact(&mut prefix).await.ok()?;
            let mut message = vec![0; frame::prefix_length(prefix).ok()?];
            self.stream.read_exact(&mut message).await.ok()?;
            Some(message)
        };
        tokio::time::timeout(LIMIT, read).await.ok()?
    }

    /// NEGOTIATE and its answer; false when there is none.
    pub(super) async fn negotiate(&mut self) -> bool {
        self.next_id = 1;
        self.send(&negotiate()).await.is_ok() && self.receive().await.is_some()
    }

    /// The first leg of a logon, without waiting for its answer.
    pub(super) async fn begin_logon(&mut self) -> std::io::Result<()> {
        let message = session_setup(self.next_id, 0, first_token());
        self.next_id += 1;
        self.send(&message).await
    }

    /// A whole logon with a wrong password; its status, if it was answered.
    pub(super) async fn refused_logon(&mut self, user: &str) -> Option<NtStatus> {
        let mut initiator = initiator(user, "certainly wrong");
        let (mut token, mut session_id) = (initiator.start().ok()?, 0);
        loop {
            let message = session_setup(self.next_id, session_id, token);
            self.next_id += 1;
            self.send(&message).await.ok()?;
            let answer = self.receive().await?;
            let header = Header::decode(&answer).ok()?;
            if header.status() != NtStatus::MORE_PROCESSING_REQUIRED {
                return Some(header.status());
            }
            session_id = header.session_id;
            let response = SessionSetupResponse::decode(&answer).ok()?;
            match initiator.step(&response.security_buffer, random(), random(), FileTime(0)).ok()? {
                InitiatorStep::Continue(next) => token = next,
                InitiatorStep::Done(_) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spoilt_is_reproducible_and_leaves_the_beginning() {
        let whole = vec![7; 100];
        let spoilt = |seed| {
            let mut bytes = whole.clone();
            spoil(&mut bytes, 64, &mut Rng::new(seed));
            bytes
        };
        assert_eq!(spoilt(3), spoilt(3));
        assert!((0..50).all(|seed| spoilt(seed)[..64] == whole[..64]));
        assert!((0..50).any(|seed| spoilt(seed).len() < 100) && (0..50).any(|seed| spoilt(seed).len() == 100));
    }
}
