//! NEGOTIATE: dialect, capabilities and algorithms of a connection (MS-SMB2 3.3.5.3, 3.3.5.4).
//!
//! Runs in the reader: nothing else may happen on the connection meanwhile.

use std::sync::Arc;

use smb_auth::{Acceptor, CipherId, SigningAlgorithm};
use smb_proto::{
    Command, Header,
    message::negotiate::{Capabilities, HASH_SHA512, NegotiateContext, NegotiateRequest, NegotiateResponse, SecurityMode},
    smb1::{Smb1Negotiate, WILDCARD_REVISION},
};
use smb_types::{Dialect, FileTime, Guid, NtStatus};

use super::message::Element;
use crate::{
    clock::random,
    error::{Disconnect, Failure, Refusal},
    send::{
        Response,
        seal::{self, Outgoing},
    },
    state::{Connection, Negotiated, Server},
};

/// Largest transfer without large MTU.
const SMALL_TRANSFER_BYTES: u32 = 65_536;
/// Length of the salt in our preauthentication context.
const SALT_BYTES: usize = 32;
/// Ciphers by preference. 128 bits come first: with 256-bit ones, clients disagree about the length of signing keys.
const CIPHERS: [CipherId; 4] = [CipherId::Aes128Gcm, CipherId::Aes256Gcm, CipherId::Aes128Ccm, CipherId::Aes256Ccm];
/// Signing algorithms by preference: GMAC is an order of magnitude faster.
const SIGNING: [SigningAlgorithm; 3] = [SigningAlgorithm::AesGmac, SigningAlgorithm::AesCmac, SigningAlgorithm::HmacSha256];

/// Answers a NEGOTIATE request, or ends the connection if the first request is anything else.
pub(crate) async fn handle(
    server: &Arc<Server>,
    connection: &Arc<Connection>,
    message: &[u8],
    elements: Vec<Element>,
) -> Result<(), Disconnect> {
    let mut elements = elements.into_iter();
    let (Some(element), None) = (elements.next(), elements.next()) else {
        return Err(Disconnect::because("NEGOTIATE in a compound"));
    };
    connection.remove_request(&element.request);
    if element.header.command != Command::Negotiate {
        return Err(Disconnect::because("the first request is not NEGOTIATE"));
    }
    if connection.negotiated().is_some() {
        return Err(Disconnect::because("a second NEGOTIATE"));
    }
    let response = match negotiate(server, message) {
        Ok((negotiated, response)) => {
            let dialect = negotiated.dialect;
            if dialect == Dialect::Smb311 {
                connection.preauth.lock().update(message);
            }
            server.clients.add(negotiated.client_guid, connection);
            connection.set_negotiated(negotiated)?;
            Response::success(|out| response.encode(out))
        }
        Err(Failure::Refused(refusal)) => {
            tracing::debug!(status = %refusal.status, because = refusal.because, "NEGOTIATE refused");
            Response::refused(&refusal, None)
        }
        Err(Failure::Disconnect(because)) => return Err(because),
    };
    answer(connection, &element.header, response).await
}

/// Answers an SMB1 NEGOTIATE that offers SMB2 among its dialects.
// MS-SMB2 3.3.5.3
// It counts as message 0; the client goes on with 1, by a real NEGOTIATE unless only 2.0.2 was offered.
pub(crate) async fn multi_protocol(server: &Arc<Server>, connection: &Arc<Connection>, message: &[u8]) -> Result<(), Disconnect> {
    let request = Smb1Negotiate::decode(message).map_err(|_| Disconnect::because("an SMB1 message other than NEGOTIATE"))?;
    let revision = request.revision().ok_or(Disconnect::because("only SMB1 is offered"))?;
    connection.window.lock().take(0, 1).map_err(|_| Disconnect::because("SMB1 is legal as the very first message only"))?;
    let mut response = base_response(server);
    response.dialect_revision = revision;
    response.max_transact_size = SMALL_TRANSFER_BYTES;
    response.max_read_size = SMALL_TRANSFER_BYTES;
    response.max_write_size = SMALL_TRANSFER_BYTES;
    if revision == WILDCARD_REVISION {
        // Sizes of the wildcard answer are provisional; the real NEGOTIATE says them again.
        response.capabilities = Capabilities::LEASING | Capabilities::LARGE_MTU;
    } else {
        let request = NegotiateRequest { dialects: vec![Dialect::Smb202.to_wire()], ..NegotiateRequest::default() };
        let negotiated = fix(server, &request, Dialect::Smb202, None, SigningAlgorithm::HmacSha256);
        connection.set_negotiated(negotiated)?;
    }
    let mut header = Header::request(Command::Negotiate, 0);
    header.set_tree_id(0);
    answer(connection, &header, Response::success(|out| response.encode(out))).await
}

/// Sends the response; on 3.1.1 it goes into the hash.
async fn answer(connection: &Arc<Connection>, request: &Header, response: Response) -> Result<(), Disconnect> {
    let credits = connection.window.lock().grant(request.credits);
    let succeeded = response.status == NtStatus::SUCCESS;
    let header = request.response(response.status, credits);
    let frame = seal::frame(vec![Outgoing { header, response, key: None, is_proof: false }], None)?;
    if succeeded && connection.dialect() == Some(Dialect::Smb311) {
        connection.preauth.lock().update(frame.message());
    }
    // A connection that has gone needs no answer.
    let _ = connection.send(frame).await;
    Ok(())
}

fn negotiate(server: &Server, message: &[u8]) -> Result<(Negotiated, NegotiateResponse), Failure> {
    let request = NegotiateRequest::decode(message).map_err(Refusal::from)?;
    let dialect = Dialect::ALL
        .into_iter()
        .rev()
        .find(|dialect| request.offers(*dialect))
        .ok_or(Refusal::new(NtStatus::NOT_SUPPORTED, "no common dialect"))?;
    let (cipher, signing, contexts) = match dialect {
        Dialect::Smb311 => contexts(&request)?,
        Dialect::Smb300 | Dialect::Smb302 => {
            let cipher = request.capabilities.contains(Capabilities::ENCRYPTION).then_some(CipherId::Aes128Ccm);
            (cipher, SigningAlgorithm::of(dialect, None), Vec::new())
        }
        Dialect::Smb202 | Dialect::Smb210 => (None, SigningAlgorithm::of(dialect, None), Vec::new()),
    };
    let negotiated = fix(server, &request, dialect, cipher, signing);
    let mut response = base_response(server);
    response.dialect_revision = dialect.to_wire();
    response.capabilities = negotiated.server_capabilities;
    response.max_transact_size = negotiated.transact_bytes_max;
    response.max_read_size = negotiated.read_bytes_max;
    response.max_write_size = negotiated.write_bytes_max;
    response.contexts = contexts;
    Ok((negotiated, response))
}

fn base_response(server: &Server) -> NegotiateResponse {
    NegotiateResponse {
        security_mode: security_mode(server),
        server_guid: server.server_guid,
        system_time: server.clock.now(),
        server_start_time: FileTime(0),
        security_buffer: Acceptor::server_hint(),
        ..NegotiateResponse::default()
    }
}

fn security_mode(server: &Server) -> SecurityMode {
    if server.settings().signing_required {
        SecurityMode::SIGNING_ENABLED | SecurityMode::SIGNING_REQUIRED
    } else {
        SecurityMode::SIGNING_ENABLED
    }
}

/// What the connection is from now on.
// MS-SMB2 3.3.5.4
// Capabilities are answered only where the dialect has them and, from 3.0 on, where the client said them too.
fn fix(server: &Server, request: &NegotiateRequest, dialect: Dialect, cipher: Option<CipherId>, signing: SigningAlgorithm) -> Negotiated {
    let mut capabilities = Capabilities::NONE;
    if dialect >= Dialect::Smb210 {
        capabilities |= Capabilities::LEASING | Capabilities::LARGE_MTU;
    }
    if dialect.is_3x() {
        let both = Capabilities::MULTI_CHANNEL | Capabilities::PERSISTENT_HANDLES | Capabilities::DIRECTORY_LEASING;
        capabilities |= Capabilities(both.0 & request.capabilities.0);
    }
    // In 3.1.1 a context says it.
    if matches!(dialect, Dialect::Smb300 | Dialect::Smb302) && cipher.is_some() {
        capabilities |= Capabilities::ENCRYPTION;
    }
    let large = capabilities.contains(Capabilities::LARGE_MTU);
    let size = if large { server.config.transfer_bytes_max } else { SMALL_TRANSFER_BYTES };
    Negotiated {
        dialect,
        client_guid: if dialect == Dialect::Smb202 { Guid::ZERO } else { request.client_guid },
        client_capabilities: request.capabilities,
        server_capabilities: capabilities,
        client_security_mode: request.security_mode,
        server_security_mode: security_mode(server),
        client_dialects: request.dialects.clone(),
        server_guid: server.server_guid,
        cipher,
        signing,
        transact_bytes_max: size,
        read_bytes_max: size,
        write_bytes_max: size,
        supports_multi_credit: large,
    }
}

/// Chooses from the contexts of 3.1.1.
// MS-SMB2 3.3.5.4
// Exactly one preauthentication context with SHA-512; the others once at most. No common cipher is answered with id 0; absent ones not at all.
fn contexts(request: &NegotiateRequest) -> Result<(Option<CipherId>, SigningAlgorithm, Vec<NegotiateContext>), Refusal> {
    let (mut preauth, mut ciphers, mut signing, mut compression) = (None, None, None, false);
    for context in &request.contexts {
        let duplicate = match context {
            NegotiateContext::PreauthIntegrity { hash_algorithms, .. } => preauth.replace(hash_algorithms).is_some(),
            NegotiateContext::Encryption { ciphers: offered } => ciphers.replace(offered).is_some(),
            NegotiateContext::Signing { algorithms } => signing.replace(algorithms).is_some(),
            NegotiateContext::Compression { .. } => std::mem::replace(&mut compression, true),
            NegotiateContext::NetName(_)
            | NegotiateContext::Transport { .. }
            | NegotiateContext::RdmaTransform { .. }
            | NegotiateContext::Posix(_)
            | NegotiateContext::Unknown { .. } => false,
        };
        if duplicate {
            return Err(Refusal::invalid("a negotiate context came twice"));
        }
    }
    let hashes = preauth.ok_or(Refusal::invalid("3.1.1 without a preauthentication context"))?;
    if !hashes.contains(&HASH_SHA512) {
        return Err(Refusal::new(NtStatus::NO_PREAUTH_INTEGRITY_HASH_OVERLAP, "SHA-512 is not offered"));
    }
    let mut answer = vec![NegotiateContext::PreauthIntegrity { hash_algorithms: vec![HASH_SHA512], salt: random::<SALT_BYTES>().to_vec() }];
    let cipher = ciphers.and_then(|offered| CIPHERS.into_iter().find(|cipher| offered.contains(&cipher.to_wire())));
    if let Some(offered) = ciphers {
        if offered.is_empty() {
            return Err(Refusal::invalid("an encryption context without ciphers"));
        }
        answer.push(NegotiateContext::Encryption { ciphers: vec![cipher.map_or(0, CipherId::to_wire)] });
    }
    let mut algorithm = SigningAlgorithm::AesCmac;
    if let Some(offered) = signing {
        if offered.is_empty() {
            return Err(Refusal::invalid("a signing context without algorithms"));
        }
        algorithm = SIGNING.into_iter().find(|one| offered.contains(&one.to_wire())).unwrap_or(SigningAlgorithm::AesCmac);
        answer.push(NegotiateContext::Signing { algorithms: vec![algorithm.to_wire()] });
    }
    Ok((cipher, algorithm, answer))
}
