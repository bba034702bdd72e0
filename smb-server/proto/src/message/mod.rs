//! The messages of MS-SMB2 2.2, one file each.
//!
//! `decode` takes a whole element from its header on, because offsets count from there; `encode` appends the body and assumes that
//! the header occupies the 64 bytes before it.

pub mod buffer_response;
pub mod cancel;
pub mod change_notify;
pub mod close;
pub mod create;
pub mod echo;
pub mod error_response;
pub mod flush;
pub mod ioctl;
pub mod lock;
pub mod logoff;
pub mod negotiate;
pub mod oplock_break;
pub mod query_directory;
pub mod query_info;
pub mod read;
pub mod session_setup;
pub mod set_info;
pub mod tree_connect;
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
