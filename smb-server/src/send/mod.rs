//! What the server sends (MS-SMB2 3.3.4): responses, interim responses, notifications; signed or sealed, then framed.

pub mod breaks;
pub mod frame;
pub mod interim;
pub mod notification;
pub mod response;
pub mod seal;
pub mod telling;
pub mod writer;

pub use frame::Frame;
pub use response::Response;
