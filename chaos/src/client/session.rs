//! NEGOTIATE and SESSION_SETUP: from a TCP connection to an authenticated session.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use smb_auth::spnego::{Initiator, InitiatorConfig, InitiatorStep};
use smb_auth::{CipherId, Credentials, NonceSequence, PreauthHash, Role, SessionKeys, SigningAlgorithm};
use smb_proto::Command;
use smb_proto::message::negotiate::{
    CIPHER_AES_128_GCM, CIPHER_AES_256_GCM, Capabilities, HASH_SHA512, NegotiateContext, NegotiateRequest, NegotiateResponse,
    SIGNING_AES_CMAC, SIGNING_AES_GMAC, SecurityMode,
};
use smb_proto::message::oplock_break::OplockBreakResponse;
use smb_proto::message::session_setup::{SessionFlags, SessionSetupRequest, SessionSetupResponse};
use smb_types::{Dialect, FileTime, Guid, NtStatus};
use tokio::sync::mpsc;

use super::connection::{Call, Connection, Sealing, Security, SeverOnDrop};
use super::error::ClientError;
use super::random;

/// How long a silent server is believed in, unless an option says otherwise.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(20);

/// Who we are, to every server.
#[derive(Clone, Debug)]
pub struct ClientIdentity {
    /// ClientGuid: the same on all connections of one client.
    pub client_guid: Guid,
    /// User name.
    pub user: String,
    /// Password.
    pub password: String,
    /// Offer encryption, and use it for everything.
    pub encrypt: bool,
    /// How long a silent server is believed in.
    pub request_limit: Duration,
}

impl ClientIdentity {
    /// A client machine with a fresh ClientGuid.
    #[must_use]
    pub fn new(user: &str, password: &str) -> Self {
        Self {
            client_guid: Guid(random()),
            user: user.to_owned(),
            password: password.to_owned(),
            encrypt: false,
            request_limit: REQUEST_LIMIT,
        }
    }

    /// The credentials that go with it.
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        Credentials::password(&self.user, "", &self.password)
    }
}

/// An authenticated session on its connection.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its connection.
    pub connection: Connection,
    /// SessionId.
    pub session_id: u64,
    /// What NEGOTIATE agreed on.
    pub negotiated: Arc<NegotiateResponse>,
}

impl Session {
    /// Connects, negotiates 3.1.1 and logs on.
    pub async fn connect(
        address: std::net::SocketAddr,
        identity: &ClientIdentity,
        previous_session_id: u64,
    ) -> Result<(Self, mpsc::UnboundedReceiver<OplockBreakResponse>), ClientError> {
        let (connection, breaks) = Connection::connect(address, identity.request_limit).await?;
        let guard = SeverOnDrop::new(&connection);
        let session = Self::log_on(&connection, identity, previous_session_id).await?;
        guard.disarm();
        Ok((session, breaks))
    }

    /// Negotiates 3.1.1 and logs on, on a connection that is there already. It stays open when that fails.
    pub async fn log_on(connection: &Connection, identity: &ClientIdentity, previous_session_id: u64) -> Result<Self, ClientError> {
        let mut preauth = PreauthHash::START;
        let negotiated = negotiate(connection, identity, &mut preauth).await?;
        let mut initiator = Initiator::new(InitiatorConfig::new(identity.credentials(), "CHAOS", ""));
        let mut token = initiator.start()?;
        let mut session_id = 0;
        // NTLM takes two requests; a server that wants more is not believed.
        for _ in 0..4 {
            let request = SessionSetupRequest {
                security_mode: SecurityMode::SIGNING_ENABLED,
                capabilities: Capabilities::DFS,
                previous_session_id,
                security_buffer: token,
                ..SessionSetupRequest::default()
            };
            let call = Call { session_id: Some(session_id), ..Call::default() };
            let reply = connection.call(Command::SessionSetup, call, |out| request.encode(out)).await?;
            // MS-SMB2 3.2.5.3.1: every request counts, of the responses only those that ask for more.
            preauth.update(&reply.sent);
            session_id = reply.header.session_id;
            match reply.status() {
                NtStatus::MORE_PROCESSING_REQUIRED => {
                    preauth.update(&reply.message);
                    let response = SessionSetupResponse::decode(&reply.message)?;
                    match initiator.step(&response.security_buffer, random(), random(), now())? {
                        InitiatorStep::Continue(next) => token = next,
                        InitiatorStep::Done(_) => return Err(ClientError::Protocol("logon ended on one side only")),
                    }
                }
                NtStatus::SUCCESS => {
                    let response = SessionSetupResponse::decode(&reply.message)?;
                    let key = initiator.session_key().cloned().ok_or(ClientError::Protocol("logon succeeded without proof"))?;
                    let cipher = chosen_cipher(&negotiated);
                    let keys = SessionKeys::derive(Dialect::Smb311, &key, &preauth, cipher);
                    let signing = keys.signing_key(chosen_signing(&negotiated));
                    if response.session_flags.intersects(SessionFlags::IS_GUEST | SessionFlags::IS_NULL) {
                        return Err(ClientError::Protocol("logged on as a guest"));
                    }
                    // MS-SMB2 3.2.5.3.1: the final response of 3.1.1 is signed, always.
                    if !reply.header.is_signed() || !signing.verify_shared(&reply.message, Role::Server) {
                        return Err(ClientError::Protocol("final SESSION_SETUP response does not verify"));
                    }
                    initiator.step(&response.security_buffer, random(), random(), now())?;
                    let sealing = keys.cipher.as_ref().map(|c| Sealing {
                        outgoing: c.encryption(Role::Client),
                        incoming: c.decryption(Role::Client),
                        nonces: NonceSequence::new(random()),
                    });
                    let encrypt_all = identity.encrypt || response.session_flags.contains(SessionFlags::ENCRYPT_DATA);
                    if encrypt_all && sealing.is_none() {
                        return Err(ClientError::Protocol("encryption is wanted, but no cipher was agreed on"));
                    }
                    connection.secure(Security { session_id, signing, sealing, encrypt_all })?;
                    return Ok(Self { connection: connection.clone(), session_id, negotiated: Arc::new(negotiated) });
                }
                status => return Err(ClientError::Status { what: "SESSION_SETUP", status }),
            }
        }
        Err(ClientError::Protocol("logon has no end"))
    }

    /// ECHO: tells whether the server answers.
    pub async fn echo(&self) -> Result<(), ClientError> {
        let body = smb_proto::message::echo::EchoRequest;
        self.connection.call(Command::Echo, Call::default(), |out| body.encode(out)).await?.succeeded("ECHO").map(drop)
    }

    /// LOGOFF, then the connection is closed.
    pub async fn log_off(&self) -> Result<(), ClientError> {
        let body = smb_proto::message::logoff::LogoffRequest;
        let done = self.connection.call(Command::Logoff, Call::default(), |out| body.encode(out)).await;
        self.connection.sever();
        done?.succeeded("LOGOFF").map(drop)
    }
}

async fn negotiate(
    connection: &Connection,
    identity: &ClientIdentity,
    preauth: &mut PreauthHash,
) -> Result<NegotiateResponse, ClientError> {
    let request = NegotiateRequest {
        security_mode: SecurityMode::SIGNING_ENABLED,
        // DFS and directory leases are things that this client never asks about.
        capabilities: Capabilities::LEASING
            | Capabilities::LARGE_MTU
            | Capabilities::MULTI_CHANNEL
            | Capabilities::PERSISTENT_HANDLES
            | Capabilities::ENCRYPTION,
        client_guid: identity.client_guid,
        dialects: vec![Dialect::Smb311.to_wire()],
        contexts: vec![
            NegotiateContext::PreauthIntegrity { hash_algorithms: vec![HASH_SHA512], salt: random::<32>().to_vec() },
            NegotiateContext::Encryption { ciphers: vec![CIPHER_AES_128_GCM, CIPHER_AES_256_GCM] },
            NegotiateContext::Signing { algorithms: vec![SIGNING_AES_GMAC, SIGNING_AES_CMAC] },
        ],
    };
    let reply = connection.call(Command::Negotiate, Call::default(), |out| request.encode(out)).await?.succeeded("NEGOTIATE")?;
    let response = NegotiateResponse::decode(&reply.message)?;
    if response.dialect_revision != Dialect::Smb311.to_wire() {
        return Err(ClientError::Protocol("server does not speak 3.1.1"));
    }
    preauth.update(&reply.sent);
    preauth.update(&reply.message);
    Ok(response)
}

fn chosen_cipher(response: &NegotiateResponse) -> Option<CipherId> {
    response.contexts.iter().find_map(|c| match c {
        NegotiateContext::Encryption { ciphers } => ciphers.first().copied().and_then(CipherId::from_wire),
        _ => None,
    })
}

fn chosen_signing(response: &NegotiateResponse) -> SigningAlgorithm {
    let named = response.contexts.iter().find_map(|c| match c {
        NegotiateContext::Signing { algorithms } => algorithms.first().copied().and_then(SigningAlgorithm::from_wire),
        _ => None,
    });
    SigningAlgorithm::of(Dialect::Smb311, named)
}

fn now() -> FileTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    FileTime::from_unix(i64::try_from(since.as_secs()).unwrap_or(0), since.subsec_nanos())
}
