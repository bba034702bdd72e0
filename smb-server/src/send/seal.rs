//! Turns finished responses into one frame: headers, links of a compound, signatures, encryption (MS-SMB2 3.3.4.1).
//!
//! Knows nothing of what the responses say. Each payload stays in the buffer its handler filled.

use std::sync::Arc;

use smb_auth::{Role, SigningKey, sealing::TRANSFORM_HEADER_LENGTH};
use smb_proto::{HEADER_SIZE, Header, HeaderFlags};

use super::{
    frame::{Frame, HEADROOM, PREFIX},
    response::Response,
};
use crate::{error::Disconnect, state::Session};

/// A response with its header, ready to be framed.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// The response header; NextCommand and Signature are filled in here.
    pub(crate) header: Header,
    /// What the handler said.
    pub(crate) response: Response,
    /// Signs it, unless the frame is encrypted.
    pub(crate) key: Option<Arc<SigningKey>>,
    /// The key signs it in an encrypted frame, too.
    pub(crate) is_proof: bool,
}

/// Makes the frame of one message (a compound if there are several). With `seal` the whole is encrypted with that session's keys.
pub(crate) fn frame(outgoing: Vec<Outgoing>, seal: Option<&Session>) -> Result<Frame, Disconnect> {
    assert!(!outgoing.is_empty(), "a message has at least one element");
    let last = outgoing.len() - 1;
    let mut parts = Vec::with_capacity(outgoing.len());
    for (index, element) in outgoing.into_iter().enumerate() {
        let Outgoing { mut header, response, key, is_proof } = element;
        let hash_into = response.hash_into.clone();
        let mut buffer = response.into_buffer();
        if last != 0 {
            // MS-SMB2 3.3.4.1.3
            // Each element is padded to 8; the padding belongs to it and is signed with it.
            // windows: the last one too.
            let length = (buffer.len() - HEADROOM).next_multiple_of(8);
            buffer.resize(HEADROOM + length, 0);
        }
        if index != last {
            let length = buffer.len() - HEADROOM;
            header.next_command = u32::try_from(length).map_err(|_| Disconnect::because("a compound response is too long"))?;
        }
        // MS-SMB2 3.3.4.1.1, 3.3.5.5.3
        // The tag of the envelope stands for the signature. The final SESSION_SETUP response is signed all the same: clients that encrypt look
        // for its signature when they authenticate anew.
        let key = key.filter(|_| seal.is_none() || is_proof);
        if key.is_some() {
            header.flags |= HeaderFlags::SIGNED;
        } else if seal.is_some() {
            header.flags = header.flags.without(HeaderFlags::SIGNED);
            header.signature = [0; 16];
        }
        let mut encoded = Vec::with_capacity(HEADER_SIZE);
        header.encode(&mut encoded);
        buffer[HEADROOM..HEADROOM + HEADER_SIZE].copy_from_slice(&encoded);
        if let Some(key) = key {
            key.sign(&mut buffer[HEADROOM..], Role::Server);
        }
        // MS-SMB2 3.3.5.5
        // The hash takes the element as it goes out, signature included.
        if let Some((session, connection)) = hash_into
            && let Some(authentication) = session.authentications.lock().get_mut(&connection)
        {
            authentication.preauth.update(&buffer[HEADROOM..]);
        }
        parts.push((buffer, HEADROOM));
    }
    match seal {
        None => Ok(Frame::new(parts)),
        Some(session) => encrypt(parts, session),
    }
}

/// Encrypts a message in place; a compound is joined first.
// MS-SMB2 3.1.4.3
fn encrypt(parts: Vec<(Vec<u8>, usize)>, session: &Session) -> Result<Frame, Disconnect> {
    let mut parts = parts.into_iter();
    let (mut whole, _) = parts.next().expect("a message has at least one element");
    for (part, start) in parts {
        whole.extend_from_slice(&part[start..]);
    }
    let sealing = session
        .security()
        .and_then(|security| security.sealing.as_ref())
        .ok_or(Disconnect::because("no key to encrypt a response with"))?;
    let nonce = sealing.nonces.draw().map_err(|_| Disconnect::because("the session's nonces are used up"))?;
    debug_assert_eq!(HEADROOM - PREFIX, TRANSFORM_HEADER_LENGTH, "room for exactly a transform header");
    sealing
        .encryption
        .encrypt(&mut whole[PREFIX..], session.session_id.0, nonce)
        .map_err(|_| Disconnect::because("a response cannot be encrypted"))?;
    Ok(Frame::new(vec![(whole, PREFIX)]))
}
