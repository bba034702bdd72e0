//! Timers of the server (MS-SMB2 3.3.2, 3.3.6). Timeouts of opens and breaks are commands of the records' scavenger, not here.

pub mod unauthenticated;
