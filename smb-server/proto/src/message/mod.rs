//! The messages of MS-SMB2 2.2, one file each.
//!
//! `decode` takes a whole element from its header on, because offsets count from there; `encode` appends the body and assumes that
//! the header occupies the 64 bytes before it.

pub mod cancel;
pub mod close;
pub mod create;
pub mod echo;
pub mod flush;
pub mod lock;
pub mod logoff;
pub mod read;
pub mod tree_disconnect;
pub mod write;

/// Declares a message of four bytes: its structure size and two reserved ones.
macro_rules! empty_message {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct $name;

        impl $name {
            /// Decodes the element `msg`.
            pub fn decode(msg: &[u8]) -> Result<Self, $crate::error::DecodeError> {
                $crate::wire::Reader::body(msg, 4).map(|_| Self)
            }

            /// Appends the body.
            pub fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&[4, 0, 0, 0]);
            }
        }
    };
}
pub(crate) use empty_message;
