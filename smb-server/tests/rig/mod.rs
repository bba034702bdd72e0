//! A server with an in-process store and memory file systems, and a client that speaks bytes to it over a pipe.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "a helper of tests; each test file uses its part")]

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use persistence_model::{ClusterSettings, Command as Record, Outcome, Share, ShareSettings};
use smb_auth::{
    CipherId, Credentials, Initiator, NonceSequence, NtHash, PreauthHash, Role, SealingKey, SessionKeys, SigningAlgorithm, SigningKey,
    keys::channel_signing_key,
    sealing::TRANSFORM_HEADER_LENGTH,
    spnego::{InitiatorConfig, InitiatorStep},
};
use smb_backend::{Backend, BackendError, MemoryBackend, OpenHow, RelPath, Want};
use smb_proto::{
    Command, Header, HeaderFlags,
    message::{
        negotiate::{Capabilities, NegotiateContext, NegotiateRequest, NegotiateResponse, SecurityMode},
        session_setup::{SessionSetupFlags, SessionSetupRequest, SessionSetupResponse},
        tree_connect::{TreeConnectFlags, TreeConnectRequest, TreeConnectResponse},
    },
};
use smb_server::{BackendFactory, LocalStore, Server, ServerConfig, SystemClock, events, transport::serve};
use smb_types::{Dialect, FileTime, Guid, NtStatus};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_util::sync::CancellationToken;

/// The server's GUID.
pub const SERVER: Guid = Guid([7; 16]);
/// The client's GUID.
pub const CLIENT: Guid = Guid([9; 16]);

/// A server to talk to. Users: alice/secret, bob/hidden. Shares: data (CA), plain, sealed (CA, encrypted).
pub struct Rig {
    pub server: Arc<Server>,
    pub store: Arc<LocalStore>,
    pub stop: CancellationToken,
}

impl Rig {
    pub fn new() -> Self {
        Self::with(ServerConfig::default())
    }

    pub fn with(config: ServerConfig) -> Self {
        Self::over(config, Self::memory())
    }

    /// File systems in memory, empty, with roots that every user may write.
    pub fn memory() -> Arc<dyn BackendFactory> {
        Arc::new(|_: &Share| -> Result<Arc<dyn Backend>, BackendError> { Ok(Arc::new(open_to_all(MemoryBackend::new()))) })
    }

    /// Over other file systems than empty ones in memory.
    pub fn over(config: ServerConfig, backends: Arc<dyn BackendFactory>) -> Self {
        let (rig, events) = Self::deaf(config, backends);
        tokio::spawn(events);
        rig
    }

    /// Which carries out no events before it is told to go on with what it gives beside itself.
    pub fn deaf(config: ServerConfig, backends: Arc<dyn BackendFactory>) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let store = Arc::new(LocalStore::new("HOLDFAST", SERVER));
        for (name, ca, encrypt) in [("data", true, false), ("plain", false, false), ("sealed", true, true)] {
            let settings = ShareSettings {
                path: name.to_owned(),
                comment: String::new(),
                ca,
                scaleout: false,
                encrypt,
                ca_timeout_ms: 0,
                ..ShareSettings::default()
            };
            store.apply(&Record::ShareAdd { name: name.to_owned(), settings });
        }
        for (name, password) in [("alice", "secret"), ("bob", "hidden")] {
            store.apply(&Record::UserAdd {
                name: name.to_owned(),
                nt_hash: *NtHash::of_password(password).expose(),
                sid: None,
                unix: None,
            });
        }
        let server = Server::new(config, SERVER, store.clone(), Arc::new(SystemClock), backends);
        let stop = CancellationToken::new();
        let events = events::run(Arc::clone(&server), stop.clone());
        (Self { server, store, stop }, events)
    }

    /// Changes the cluster's settings.
    pub fn set(&self, change: impl FnOnce(&mut ClusterSettings)) {
        let instead_of = self.server.settings();
        let mut settings = instead_of.clone();
        change(&mut settings);
        assert_eq!(self.store.apply(&Record::ClusterSet { settings, instead_of: Box::new(instead_of) }), Outcome::Done);
    }

    /// A new connection.
    pub fn connect(&self) -> Client {
        self.connect_from([127, 0, 0, 1])
    }

    /// A new connection of a client at this address.
    pub fn connect_from(&self, client: impl Into<IpAddr>) -> Client {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let (reader, writer) = tokio::io::split(theirs);
        let address = SocketAddr::from(([127, 0, 0, 1], 445));
        let peer = SocketAddr::new(client.into(), 50_000);
        let served = tokio::spawn(serve(Arc::clone(&self.server), reader, writer, peer, address, self.stop.child_token()));
        Client {
            stream: ours,
            served,
            next_id: 0,
            session_id: 0,
            tree_id: 0,
            key: None,
            preauth: PreauthHash::START,
            dialect: None,
            signing: SigningAlgorithm::AesCmac,
            cipher: None,
            credits: 1,
            session_preauth: PreauthHash::START,
            client_guid: CLIENT,
            last_signature: [0; 16],
            sealing: None,
            encrypts: false,
        }
    }

    /// A connection of another client machine on which alice is logged on and uses a share.
    pub async fn connect_as(&self, client_guid: Guid, share: &str) -> Client {
        let mut client = self.connect();
        client.client_guid = client_guid;
        client.negotiate(&[Dialect::Smb311]).await;
        assert_eq!(client.log_on("alice", "secret", 0).await, NtStatus::SUCCESS);
        assert_eq!(client.tree(share).await.0, NtStatus::SUCCESS);
        client
    }

    /// A connection on which alice is logged on and uses a share.
    pub async fn ready(&self, share: &str) -> Client {
        let mut client = self.connect();
        client.negotiate(&[Dialect::Smb311]).await;
        assert_eq!(client.log_on("alice", "secret", 0).await, NtStatus::SUCCESS);
        assert_eq!(client.tree(share).await.0, NtStatus::SUCCESS);
        client
    }
}

/// A file system whose root every user may write.
pub fn open_to_all<B: Backend>(backend: B) -> B {
    let root = backend.open(&RelPath::root(), &OpenHow::existing(Want::PATH_ONLY)).unwrap();
    root.file.set_owner(None, None, Some(0o777)).unwrap();
    backend
}

/// What an authentication is for.
pub enum Proof {
    New,
    Anonymous,
    Binding,
    Renewal,
}

/// A user's credentials.
pub fn credentials(user: &str, password: &str) -> Credentials {
    Credentials::User { user: user.to_owned(), domain: String::new(), nt_hash: NtHash::of_password(password) }
}

/// One connection's client end.
pub struct Client {
    stream: DuplexStream,
    /// Ends when the server has dealt with the connection's end.
    pub served: tokio::task::JoinHandle<()>,
    pub next_id: u64,
    pub session_id: u64,
    pub tree_id: u32,
    pub key: Option<SigningKey>,
    preauth: PreauthHash,
    session_preauth: PreauthHash,
    pub dialect: Option<Dialect>,
    pub signing: SigningAlgorithm,
    pub cipher: Option<CipherId>,
    pub credits: u32,
    pub client_guid: Guid,
    /// Signature of the message sent last; refusals may echo it.
    pub last_signature: [u8; 16],
    sealing: Option<Sealing>,
    /// Sends everything encrypted from now on, and takes nothing in clear.
    pub encrypts: bool,
}

/// A session's cipher keys.
struct Sealing {
    session_id: u64,
    outgoing: SealingKey,
    incoming: SealingKey,
    nonces: NonceSequence,
}

/// A response: header, and the element from its header on.
pub type Answer = (Header, Bytes);

impl Client {
    /// Writes one message with its prefix.
    pub async fn send_raw(&mut self, message: &[u8]) {
        self.last_signature = message.get(48..64).map_or([0; 16], |field| field.try_into().unwrap());
        let mut message = message.to_vec();
        if let Some(sealing) = self.sealing.as_ref().filter(|_| self.encrypts) {
            message.splice(..0, [0; TRANSFORM_HEADER_LENGTH]);
            sealing.outgoing.encrypt(&mut message, sealing.session_id, sealing.nonces.draw().unwrap()).unwrap();
        }
        let prefix = smb_proto::frame::prefix(message.len()).unwrap();
        self.stream.write_all(&prefix).await.unwrap();
        self.stream.write_all(&message).await.unwrap();
    }

    /// Writes bytes as they are.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Closes the connection.
    pub fn hang_up(&mut self) {
        self.stream = tokio::io::duplex(1).0;
    }

    /// Reads one message; None when the server has hung up.
    pub async fn receive_raw(&mut self) -> Option<Bytes> {
        let mut prefix = [0; 4];
        self.stream.read_exact(&mut prefix).await.ok()?;
        let mut message = vec![0; smb_proto::frame::prefix_length(prefix).unwrap()];
        self.stream.read_exact(&mut message).await.ok()?;
        if let Some(sealing) = self.sealing.as_ref().filter(|_| self.encrypts) {
            sealing.incoming.decrypt(&mut message).expect("nothing is answered in clear, or with another session's keys");
            message.drain(..TRANSFORM_HEADER_LENGTH);
        }
        Some(message.into())
    }

    /// Header of the next request.
    pub fn header(&mut self, command: Command) -> Header {
        let mut header = Header::request(command, self.next_id);
        self.next_id += 1;
        header.credits = 16;
        header.session_id = self.session_id;
        header.set_tree_id(self.tree_id);
        header
    }

    /// Encodes (and signs, when logged on) one request.
    pub fn encode(&self, mut header: Header, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let key = self.key.as_ref().filter(|_| !self.encrypts);
        if key.is_some() {
            header.flags |= HeaderFlags::SIGNED;
        }
        let mut message = Vec::new();
        header.encode(&mut message);
        body(&mut message);
        if let Some(key) = key {
            key.sign(&mut message, Role::Client);
        }
        message
    }

    /// Reads one response and checks its signature if it has one.
    pub async fn receive(&mut self) -> Option<Answer> {
        let message = self.receive_raw().await?;
        let header = Header::decode(&message).unwrap();
        assert!(header.is_response());
        self.credits += u32::from(header.credits);
        if let (true, Some(key)) = (header.is_signed(), &self.key) {
            let echoed = header.status().is_error() && header.signature == self.last_signature;
            assert!(echoed || key.verify_shared(&message, Role::Server), "the response's signature is good");
        }
        Some((header, message))
    }

    /// One request and its response; None when the server hangs up.
    pub async fn try_request(&mut self, command: Command, body: impl FnOnce(&mut Vec<u8>)) -> Option<Answer> {
        let header = self.header(command);
        let message = self.encode(header, body);
        self.send_raw(&message).await;
        self.receive().await
    }

    /// One request and its response.
    pub async fn request(&mut self, command: Command, body: impl FnOnce(&mut Vec<u8>)) -> Answer {
        self.try_request(command, body).await.expect("the server answers")
    }

    /// NEGOTIATE with everything a modern client offers.
    pub async fn negotiate(&mut self, dialects: &[Dialect]) -> NegotiateResponse {
        let contexts = if dialects.contains(&Dialect::Smb311) {
            vec![
                NegotiateContext::PreauthIntegrity { hash_algorithms: vec![1], salt: vec![3; 32] },
                NegotiateContext::Encryption { ciphers: vec![4, 3, 2, 1] },
                NegotiateContext::Signing { algorithms: vec![1, 2, 0] },
            ]
        } else {
            Vec::new()
        };
        let request = NegotiateRequest {
            security_mode: SecurityMode::SIGNING_ENABLED,
            capabilities: Capabilities(0x7F),
            client_guid: self.client_guid,
            dialects: dialects.iter().map(|dialect| dialect.to_wire()).collect(),
            contexts,
        };
        let header = self.header(Command::Negotiate);
        let message = self.encode(header, |out| request.encode(out));
        self.preauth.update(&message);
        self.send_raw(&message).await;
        let (header, message) = self.receive().await.expect("NEGOTIATE is answered");
        assert_eq!(header.status(), NtStatus::SUCCESS);
        self.preauth.update(&message);
        let response = NegotiateResponse::decode(&message).unwrap();
        self.dialect = Dialect::from_wire(response.dialect_revision);
        let mut chosen = None;
        for context in &response.contexts {
            match context {
                NegotiateContext::Encryption { ciphers } => self.cipher = CipherId::from_wire(ciphers[0]),
                NegotiateContext::Signing { algorithms } => chosen = SigningAlgorithm::from_wire(algorithms[0]),
                _ => {}
            }
        }
        self.signing = SigningAlgorithm::of(self.dialect.unwrap(), chosen);
        response
    }

    /// Logs on; the final status.
    pub async fn log_on(&mut self, user: &str, password: &str, previous: u64) -> NtStatus {
        self.authenticate(credentials(user, password), SessionSetupFlags::NONE, previous, Proof::New).await
    }

    /// Binds this connection to a session whose signing key is `session_key`.
    pub async fn bind(&mut self, session_id: u64, user: &str, password: &str, session_key: SigningKey) -> NtStatus {
        self.session_id = session_id;
        self.key = Some(session_key);
        self.authenticate(credentials(user, password), SessionSetupFlags::BINDING, 0, Proof::Binding).await
    }

    /// Logs on as nobody; the final status.
    pub async fn log_on_anonymous(&mut self) -> NtStatus {
        self.authenticate(Credentials::Anonymous, SessionSetupFlags::NONE, 0, Proof::Anonymous).await
    }

    /// Authenticates anew on the session; the final status.
    pub async fn renew(&mut self, credentials: Credentials) -> NtStatus {
        self.authenticate(credentials, SessionSetupFlags::NONE, 0, Proof::Renewal).await
    }

    async fn authenticate(&mut self, credentials: Credentials, flags: SessionSetupFlags, previous: u64, proof: Proof) -> NtStatus {
        let mut initiator = Initiator::new(InitiatorConfig::new(credentials, "TEST", "cifs/test"));
        let mut token = initiator.start().unwrap();
        self.session_preauth = self.preauth;
        loop {
            let request = SessionSetupRequest {
                flags,
                security_mode: SecurityMode::SIGNING_ENABLED,
                capabilities: Capabilities::NONE,
                previous_session_id: previous,
                security_buffer: token.clone(),
            };
            let header = self.header(Command::SessionSetup);
            let message = self.encode(header, |out| request.encode(out));
            self.session_preauth.update(&message);
            self.send_raw(&message).await;
            let message = self.receive_raw().await.expect("SESSION_SETUP is answered");
            let header = Header::decode(&message).unwrap();
            self.credits += u32::from(header.credits);
            let status = header.status();
            if status == NtStatus::MORE_PROCESSING_REQUIRED {
                self.session_id = header.session_id;
                self.session_preauth.update(&message);
                if let Some(key) = self.key.as_ref().filter(|_| !self.encrypts) {
                    assert!(key.verify_shared(&message, Role::Server), "interim legs of a binding are signed with the session's key");
                }
                let response = SessionSetupResponse::decode(&message).unwrap();
                match initiator.step(&response.security_buffer, [5; 8], [6; 16], FileTime(0)).unwrap() {
                    InitiatorStep::Continue(next) => token = next,
                    InitiatorStep::Done(_) => panic!("the server has not accepted yet"),
                }
                continue;
            }
            if status != NtStatus::SUCCESS {
                if let (Some(key), Proof::Binding) = (&self.key, &proof) {
                    assert!(
                        header.is_signed() && key.verify_shared(&message, Role::Server),
                        "a refused binding is signed with the session's key"
                    );
                }
                return status;
            }
            let session_key = initiator.session_key().expect("AUTHENTICATE was sent").clone();
            let dialect = self.dialect.unwrap();
            let key = match proof {
                Proof::Binding => SigningKey::new(self.signing, &channel_signing_key(dialect, &session_key, &self.session_preauth)),
                Proof::New | Proof::Anonymous => {
                    let keys = SessionKeys::derive(dialect, &session_key, &self.session_preauth, self.cipher);
                    self.sealing = self.sealing.take().or(keys.cipher.as_ref().map(|cipher| Sealing {
                        session_id: self.session_id,
                        outgoing: cipher.encryption(Role::Client),
                        incoming: cipher.decryption(Role::Client),
                        nonces: NonceSequence::new([7; 4]),
                    }));
                    keys.signing_key(self.signing)
                }
                Proof::Renewal => self.key.take().expect("a session that is renewed has a key"),
            };
            if matches!(proof, Proof::Anonymous) {
                assert!(!header.is_signed(), "nobody's key proves nothing");
                self.key = Some(key);
                return status;
            }
            assert!(header.is_signed() && key.verify_shared(&message, Role::Server), "the final response is signed with the new key");
            self.key = Some(key);
            return status;
        }
    }

    /// TREE_CONNECT.
    pub async fn tree(&mut self, share: &str) -> (NtStatus, TreeConnectResponse) {
        let (header, message) = self.tree_with(share, TreeConnectFlags::NONE).await;
        if header.status() != NtStatus::SUCCESS {
            return (header.status(), TreeConnectResponse::default());
        }
        self.tree_id = header.tree_id();
        (header.status(), TreeConnectResponse::decode(&message).unwrap())
    }

    /// TREE_CONNECT with flags, and its raw answer.
    pub async fn tree_with(&mut self, share: &str, flags: TreeConnectFlags) -> Answer {
        self.tree_id = 0;
        let request = TreeConnectRequest { flags, path: format!("\\\\any-name\\{share}"), ..TreeConnectRequest::default() };
        self.request(Command::TreeConnect, |out| request.encode(out)).await
    }
}
