//! Who uses a server, as MS-SRVS declares it: connections, files, sessions.

use crate::ndr::Counted;

crate::ndr_structures! {
    /// CONNECTION_INFO_0.
    // MS-SRVS 2.2.4.1
    pub struct ConnectionInfo0 {
        /// Its number.
        pub id: u32,
    }

    /// CONNECTION_INFO_1.
    // MS-SRVS 2.2.4.2
    pub struct ConnectionInfo1 {
        /// Its number.
        pub id: u32,
        /// The type of its share.
        pub share_type: u32,
        /// Files open through it.
        pub opens: u32,
        /// Users of it.
        pub users: u32,
        /// Seconds since it was made.
        pub age_s: u32,
        /// Who made it.
        pub user: Option<String>,
        /// The share, or the client: whichever was not asked for.
        pub net_name: Option<String>,
    }

    /// CONNECT_ENUM_STRUCT.
    // MS-SRVS 2.2.4.5
    pub struct ConnectionEnum {
        /// The level.
        pub level: u32,
        /// The container of that level.
        pub connections: ConnectionList,
    }

    /// FILE_INFO_2.
    // MS-SRVS 2.2.4.6
    pub struct FileInfo2 {
        /// The number that NetrFileClose takes.
        pub id: u32,
    }

    /// FILE_INFO_3.
    // MS-SRVS 2.2.4.7
    pub struct FileInfo3 {
        /// The number that NetrFileClose takes.
        pub id: u32,
        /// What was granted: 1 read, 2 write, 4 create.
        pub permissions: u32,
        /// Byte-range locks.
        pub locks: u32,
        /// The path.
        pub path: Option<String>,
        /// Who has it open.
        pub user: Option<String>,
    }

    /// FILE_ENUM_STRUCT.
    // MS-SRVS 2.2.4.10
    pub struct FileEnum {
        /// The level.
        pub level: u32,
        /// The container of that level.
        pub files: FileList,
    }

    /// SESSION_INFO_0.
    // MS-SRVS 2.2.4.11
    pub struct SessionInfo0 {
        /// The client.
        pub client: Option<String>,
    }

    /// SESSION_INFO_1.
    // MS-SRVS 2.2.4.12
    pub struct SessionInfo1 {
        /// The client.
        pub client: Option<String>,
        /// The user.
        pub user: Option<String>,
        /// Files open.
        pub opens: u32,
        /// Seconds since the logon.
        pub age_s: u32,
        /// Seconds since anything was asked.
        pub idle_s: u32,
        /// 1 guest, 2 without encryption of the password.
        pub user_flags: u32,
    }

    /// SESSION_INFO_2.
    // MS-SRVS 2.2.4.13
    pub struct SessionInfo2 {
        /// All of level 1.
        pub session: SessionInfo1,
        /// The client's type.
        pub client_type: Option<String>,
    }

    /// SESSION_INFO_502.
    // MS-SRVS 2.2.4.15
    pub struct SessionInfo502 {
        /// All of level 1.
        pub session: SessionInfo1,
        /// The client's type.
        pub client_type: Option<String>,
        /// The transport.
        pub transport: Option<String>,
    }

    /// SESSION_INFO_10.
    // MS-SRVS 2.2.4.14
    pub struct SessionInfo10 {
        /// The client.
        pub client: Option<String>,
        /// The user.
        pub user: Option<String>,
        /// Seconds since the logon.
        pub age_s: u32,
        /// Seconds since anything was asked.
        pub idle_s: u32,
    }

    /// SESSION_ENUM_STRUCT.
    // MS-SRVS 2.2.4.21
    pub struct SessionEnum {
        /// The level.
        pub level: u32,
        /// The container of that level.
        pub sessions: SessionList,
    }
}

crate::ndr_unions! {
    /// CONNECT_ENUM_UNION.
    // MS-SRVS 2.2.3.1
    pub enum ConnectionList(default: true) {
        /// Numbers.
        0 => Level0(Option<Counted<ConnectionInfo0>>),
        /// All that is known.
        1 => Level1(Option<Counted<ConnectionInfo1>>),
    }

    /// FILE_ENUM_UNION.
    // MS-SRVS 2.2.3.2
    pub enum FileList(default: true) {
        /// Numbers.
        2 => Level2(Option<Counted<FileInfo2>>),
        /// All that is known.
        3 => Level3(Option<Counted<FileInfo3>>),
    }

    /// FILE_INFO: one file.
    // MS-SRVS 2.2.3.3
    pub enum FileDetail(default: true) {
        /// Its number.
        2 => Level2(Option<FileInfo2>),
        /// All that is known.
        3 => Level3(Option<FileInfo3>),
    }

    /// SESSION_ENUM_UNION.
    // MS-SRVS 2.2.3.4
    pub enum SessionList(default: true) {
        /// Clients.
        0 => Level0(Option<Counted<SessionInfo0>>),
        /// Users, opens and times besides.
        1 => Level1(Option<Counted<SessionInfo1>>),
        /// Types besides.
        2 => Level2(Option<Counted<SessionInfo2>>),
        /// Clients, users and times.
        10 => Level10(Option<Counted<SessionInfo10>>),
        /// Everything.
        502 => Level502(Option<Counted<SessionInfo502>>),
    }
}

crate::ndr_parameters! {
    /// NetrConnectionEnum, in.
    // MS-SRVS 3.1.4.1
    pub struct ConnectionEnumRequest {
        /// The server that is asked; not looked at.
        pub server_name: Option<String>,
        /// A share, or a client with two backslashes before it.
        pub qualifier: Option<String>,
        /// The level, with an empty container.
        pub list: ConnectionEnum,
        /// Bytes that the answer should have at most; `u32::MAX` for all.
        pub preferred_bytes_max: u32,
        /// Where to go on.
        pub resume: Option<u32>,
    }

    /// NetrConnectionEnum, out.
    pub struct ConnectionEnumAnswer {
        /// The connections.
        pub list: ConnectionEnum,
        /// How many there are from here on.
        pub total: u32,
        /// Where to go on, if the client asked for that.
        pub resume: Option<u32>,
        /// A Win32 code.
        pub status: u32,
    }

    /// NetrFileEnum, in.
    // MS-SRVS 3.1.4.2
    pub struct FileEnumRequest {
        /// The server that is asked; not looked at.
        pub server_name: Option<String>,
        /// Only paths that begin so.
        pub base_path: Option<String>,
        /// Only this user's.
        pub user: Option<String>,
        /// The level, with an empty container.
        pub list: FileEnum,
        /// Bytes that the answer should have at most; `u32::MAX` for all.
        pub preferred_bytes_max: u32,
        /// Where to go on.
        pub resume: Option<u32>,
    }

    /// NetrFileEnum, out.
    pub struct FileEnumAnswer {
        /// The files.
        pub list: FileEnum,
        /// How many there are from here on.
        pub total: u32,
        /// Where to go on, if the client asked for that.
        pub resume: Option<u32>,
        /// A Win32 code.
        pub status: u32,
    }

    /// NetrFileGetInfo, in.
    // MS-SRVS 3.1.4.3
    pub struct FileInfoRequest {
        /// The server that is asked; not looked at.
        pub server_name: Option<String>,
        /// The file's number.
        pub id: u32,
        /// The level.
        pub level: u32,
    }

    /// NetrFileGetInfo, out.
    pub struct FileInfoAnswer {
        /// The file.
        pub file: FileDetail,
        /// A Win32 code.
        pub status: u32,
    }

    /// NetrFileClose, in.
    // MS-SRVS 3.1.4.4
    pub struct FileCloseRequest {
        /// The server that is asked; not looked at.
        pub server_name: Option<String>,
        /// The file's number.
        pub id: u32,
    }

    /// NetrSessionEnum, in.
    // MS-SRVS 3.1.4.5
    pub struct SessionEnumRequest {
        /// The server that is asked; not looked at.
        pub server_name: Option<String>,
        /// Only this client's, with two backslashes before it.
        pub client: Option<String>,
        /// Only this user's.
        pub user: Option<String>,
        /// The level, with an empty container.
        pub list: SessionEnum,
        /// Bytes that the answer should have at most; `u32::MAX` for all.
        pub preferred_bytes_max: u32,
        /// Where to go on.
        pub resume: Option<u32>,
    }

    /// NetrSessionEnum, out.
    pub struct SessionEnumAnswer {
        /// The sessions.
        pub list: SessionEnum,
        /// How many there are from here on.
        pub total: u32,
        /// Where to go on, if the client asked for that.
        pub resume: Option<u32>,
        /// A Win32 code.
        pub status: u32,
    }

    /// NetrSessionDel, in.
    // MS-SRVS 3.1.4.6
    pub struct SessionDelRequest {
        /// The server that is asked; not looked at.
        pub server_name: Option<String>,
        /// Only this client's, with two backslashes before it.
        pub client: Option<String>,
        /// Only this user's.
        pub user: Option<String>,
    }

    /// NetrFileClose and NetrSessionDel, out.
    pub struct StatusAnswer {
        /// A Win32 code.
        pub status: u32,
    }
}
