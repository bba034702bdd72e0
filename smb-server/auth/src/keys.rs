//! The keys of a session and of its channels, by dialect.
//!
//! Says which key comes from what. Knows nothing of when a key is used (signing, sealing, session state).

use smb_types::Dialect;

use crate::Role;
use crate::kdf::derive;
use crate::preauth::PreauthHash;
use crate::sealing::{CipherId, SealingKey};
use crate::secret::{Secret, SessionKey};
use crate::signing::{SigningAlgorithm, SigningKey};

/// A cipher key as long as its cipher wants it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CipherKey {
    /// For the AES-128 ciphers.
    Aes128(Secret<16>),
    /// For the AES-256 ciphers.
    Aes256(Secret<32>),
}

impl CipherKey {
    /// The key bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        match self {
            Self::Aes128(k) => k.expose(),
            Self::Aes256(k) => k.expose(),
        }
    }
}

/// The cipher keys of one session: shared by all its channels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CipherKeys {
    /// The cipher they are for.
    pub cipher: CipherId,
    /// The client encrypts, the server decrypts.
    pub client_to_server: CipherKey,
    /// The server encrypts, the client decrypts.
    pub server_to_client: CipherKey,
}

impl CipherKeys {
    /// Prepares the key `role` encrypts with.
    #[must_use]
    pub fn encryption(&self, role: Role) -> SealingKey {
        match role {
            Role::Client => SealingKey::new(self.cipher, &self.client_to_server),
            Role::Server => SealingKey::new(self.cipher, &self.server_to_client),
        }
    }

    /// Prepares the key `role` decrypts with.
    #[must_use]
    pub fn decryption(&self, role: Role) -> SealingKey {
        match role {
            Role::Client => self.encryption(Role::Server),
            Role::Server => self.encryption(Role::Client),
        }
    }
}

/// The keys a session gets when its first logon succeeds. Re-authentication and binding leave them alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionKeys {
    /// Session.SigningKey: what messages are signed with, under `SigningAlgorithm::of`.
    pub signing: Secret<16>,
    /// Session.ApplicationKey: for protocols above SMB (named-pipe RPC).
    pub application: Secret<16>,
    /// Cipher keys; None below 3.0 and where no cipher was negotiated.
    pub cipher: Option<CipherKeys>,
}

impl SessionKeys {
    /// Derives all keys of a session. `preauth` is the session's hash before its final response; only 3.1.1 looks at it.
    // MS-SMB2 3.3.5.5.3
    // deviation: with an AES-256 cipher the signing and application keys stay at 128 bits, as clients other than Linux's have it.
    #[must_use]
    pub fn derive(dialect: Dialect, session_key: &SessionKey, preauth: &PreauthHash, cipher: Option<CipherId>) -> Self {
        let key = session_key.first_16();
        let application = match dialect {
            Dialect::Smb202 | Dialect::Smb210 => key,
            Dialect::Smb300 | Dialect::Smb302 => derive(&key, b"SMB2APP\0", b"SmbRpc\0"),
            Dialect::Smb311 => derive(&key, b"SMBAppKey\0", preauth.value()),
        };
        Self {
            signing: channel_signing_key(dialect, session_key, preauth),
            application: Secret::new(application),
            cipher: cipher.filter(|_| dialect.is_3x()).map(|c| cipher_keys(dialect, session_key, preauth, c)),
        }
    }

    /// Prepares Session.SigningKey.
    #[must_use]
    pub fn signing_key(&self, algorithm: SigningAlgorithm) -> SigningKey {
        SigningKey::new(algorithm, &self.signing)
    }
}

/// Derives Channel.SigningKey from the key of the *binding's* logon and the binding's own hash. The first channel's equals Session.SigningKey.
// MS-SMB2 3.3.5.5.3
#[must_use]
pub fn channel_signing_key(dialect: Dialect, session_key: &SessionKey, preauth: &PreauthHash) -> Secret<16> {
    let key = session_key.first_16();
    Secret::new(match dialect {
        Dialect::Smb202 | Dialect::Smb210 => key,
        Dialect::Smb300 | Dialect::Smb302 => derive(&key, b"SMB2AESCMAC\0", b"SmbSign\0"),
        Dialect::Smb311 => derive(&key, b"SMBSigningKey\0", preauth.value()),
    })
}

fn cipher_keys(dialect: Dialect, session_key: &SessionKey, preauth: &PreauthHash, cipher: CipherId) -> CipherKeys {
    // The blank in "ServerIn " is part of the label's context.
    let [c2s, s2c]: [(&[u8], &[u8]); 2] = if dialect == Dialect::Smb311 {
        [(b"SMBC2SCipherKey\0", preauth.value()), (b"SMBS2CCipherKey\0", preauth.value())]
    } else {
        [(b"SMB2AESCCM\0", b"ServerIn \0"), (b"SMB2AESCCM\0", b"ServerOut\0")]
    };
    let key = |(label, context): (&[u8], &[u8])| {
        if cipher.key_length() == 32 {
            let from = session_key.full();
            // A short exported key is padded as Session.SessionKey is.
            let short = session_key.first_16();
            CipherKey::Aes256(Secret::new(derive(if from.len() < 16 { &short } else { from }, label, context)))
        } else {
            CipherKey::Aes128(Secret::new(derive(&session_key.first_16(), label, context)))
        }
    };
    CipherKeys { cipher, client_to_server: key(c2s), server_to_client: key(s2c) }
}
