//! The server service as MS-SRVS declares it, as far as it is served here.

use super::SRVSVC;
use super::use_declaration::{
    ConnectionEnumAnswer, ConnectionEnumRequest, FileCloseRequest, FileEnumAnswer, FileEnumRequest, FileInfoAnswer, FileInfoRequest,
    SessionDelRequest, SessionEnumAnswer, SessionEnumRequest, StatusAnswer,
};
use crate::ndr::Counted;

crate::ndr_structures! {
    /// SHARE_INFO_0.
    // MS-SRVS 2.2.4.22
    pub struct ShareInfo0 {
        /// The share's name.
        pub name: Option<String>,
    }

    /// SHARE_INFO_1.
    // MS-SRVS 2.2.4.23
    pub struct ShareInfo1 {
        /// The share's name.
        pub name: Option<String>,
        /// Its type.
        pub share_type: u32,
        /// Its remark.
        pub remark: Option<String>,
    }

    /// SHARE_INFO_2.
    // MS-SRVS 2.2.4.24
    pub struct ShareInfo2 {
        /// The share's name.
        pub name: Option<String>,
        /// Its type.
        pub share_type: u32,
        /// Its remark.
        pub remark: Option<String>,
        /// Not used.
        pub permissions: u32,
        /// How many may use it.
        pub max_uses: u32,
        /// How many do.
        pub current_uses: u32,
        /// Its path.
        pub path: Option<String>,
        /// Not used.
        pub password: Option<String>,
    }

    /// SHARE_INFO_501.
    // MS-SRVS 2.2.4.25
    pub struct ShareInfo501 {
        /// The share's name.
        pub name: Option<String>,
        /// Its type.
        pub share_type: u32,
        /// Its remark.
        pub remark: Option<String>,
        /// Its flags.
        pub flags: u32,
    }

    /// SHARE_INFO_502_I.
    // MS-SRVS 2.2.4.26
    pub struct ShareInfo502 {
        /// All of level 2.
        pub share: ShareInfo2,
        /// Bytes of the security descriptor.
        pub descriptor_bytes: u32,
        /// The self-relative security descriptor.
        pub descriptor: Option<Vec<u8>>,
    }

    /// SHARE_INFO_503_I.
    // MS-SRVS 2.2.4.27
    pub struct ShareInfo503 {
        /// All of level 2.
        pub share: ShareInfo2,
        /// The server's name to which the share is bound; `*` for any.
        pub server_name: Option<String>,
        /// Bytes of the security descriptor.
        pub descriptor_bytes: u32,
        /// The self-relative security descriptor.
        pub descriptor: Option<Vec<u8>>,
    }

    /// SHARE_INFO_1005.
    // MS-SRVS 2.2.4.29
    pub struct ShareInfo1005 {
        /// The share's flags.
        pub flags: u32,
    }

    /// SHARE_ENUM_STRUCT: what NetrShareEnum takes and gives back.
    // MS-SRVS 2.2.4.38
    pub struct ShareEnum {
        /// The level.
        pub level: u32,
        /// The container of that level.
        pub shares: ShareList,
    }

    /// SERVER_INFO_100.
    // MS-SRVS 2.2.4.40
    pub struct ServerInfo100 {
        /// Kind of platform.
        pub platform: u32,
        /// The server's name.
        pub name: Option<String>,
    }

    /// SERVER_INFO_101.
    // MS-SRVS 2.2.4.41
    pub struct ServerInfo101 {
        /// Kind of platform.
        pub platform: u32,
        /// The server's name.
        pub name: Option<String>,
        /// Major version.
        pub version_major: u32,
        /// Minor version.
        pub version_minor: u32,
        /// What kind of server it is.
        pub server_type: u32,
        /// What its administrator wrote about it.
        pub comment: Option<String>,
    }

    /// SERVER_INFO_102.
    // MS-SRVS 2.2.4.42
    pub struct ServerInfo102 {
        /// All of level 101.
        pub server: ServerInfo101,
        /// How many users may log on.
        pub users: u32,
        /// Minutes after which an idle session is closed.
        pub disconnect_min: u32,
        /// Whether it hides from lists.
        pub hidden: u32,
        /// Seconds between announcements.
        pub announce_s: u32,
        /// Milliseconds by which they vary.
        pub announce_delta_ms: u32,
        /// Licences.
        pub licences: u32,
        /// The path of users' directories.
        pub user_path: Option<String>,
    }

    /// TIME_OF_DAY_INFO.
    // MS-SRVS 2.2.4.105
    pub struct TimeOfDay {
        /// Seconds since 1970.
        pub elapsed_s: u32,
        /// Milliseconds since an arbitrary moment.
        pub milliseconds: u32,
        /// Hour of the day.
        pub hours: u32,
        /// Minute of the hour.
        pub minutes: u32,
        /// Second of the minute.
        pub seconds: u32,
        /// Hundredths of the second.
        pub hundredths: u32,
        /// Minutes west of Greenwich.
        pub timezone_min: u32,
        /// Length of a clock tick in units of 0.1 ms.
        pub tick: u32,
        /// Day of the month.
        pub day: u32,
        /// Month.
        pub month: u32,
        /// Year.
        pub year: u32,
        /// Day of the week, Sunday is 0.
        pub weekday: u32,
    }
}

crate::ndr_unions! {
    /// SHARE_ENUM_UNION: a container for each level of a list.
    // MS-SRVS 2.2.3.5
    pub enum ShareList(default: true) {
        /// Names.
        0 => Level0(Option<Counted<ShareInfo0>>),
        /// Names, types, remarks.
        1 => Level1(Option<Counted<ShareInfo1>>),
        /// Paths and uses besides.
        2 => Level2(Option<Counted<ShareInfo2>>),
        /// Names, types, remarks, flags.
        501 => Level501(Option<Counted<ShareInfo501>>),
        /// Security descriptors besides.
        502 => Level502(Option<Counted<ShareInfo502>>),
        /// Server names besides.
        503 => Level503(Option<Counted<ShareInfo503>>),
    }

    /// SHARE_INFO: one share at each level.
    // MS-SRVS 2.2.3.6
    pub enum ShareDetail(default: true) {
        /// See [`ShareInfo0`].
        0 => Level0(Option<ShareInfo0>),
        /// See [`ShareInfo1`].
        1 => Level1(Option<ShareInfo1>),
        /// See [`ShareInfo2`].
        2 => Level2(Option<ShareInfo2>),
        /// See [`ShareInfo501`].
        501 => Level501(Option<ShareInfo501>),
        /// See [`ShareInfo502`].
        502 => Level502(Option<ShareInfo502>),
        /// See [`ShareInfo503`].
        503 => Level503(Option<ShareInfo503>),
        /// Only for changing a share; never told.
        1004 => Level1004(Option<u32>),
        /// See [`ShareInfo1005`].
        1005 => Level1005(Option<ShareInfo1005>),
        /// Only for changing a share; never told.
        1006 => Level1006(Option<u32>),
        /// Only for changing a share; never told.
        1501 => Level1501(Option<u32>),
    }

    /// SERVER_INFO: the server at each level.
    // MS-SRVS 2.2.3.7
    pub enum ServerDetail(default: true) {
        /// See [`ServerInfo100`].
        100 => Level100(Option<ServerInfo100>),
        /// See [`ServerInfo101`].
        101 => Level101(Option<ServerInfo101>),
        /// See [`ServerInfo102`].
        102 => Level102(Option<ServerInfo102>),
        /// Not told.
        103 => Level103(Option<u32>),
        /// Not told.
        502 => Level502(Option<u32>),
        /// Not told.
        503 => Level503(Option<u32>),
        /// Not told.
        599 => Level599(Option<u32>),
    }
}

crate::ndr_parameters! {
    /// NetrShareEnum, in.
    // MS-SRVS 3.1.4.8
    pub struct ShareEnumRequest {
        /// The server that is asked; not looked at.
        pub server_name: Option<String>,
        /// The level, with an empty container.
        pub list: ShareEnum,
        /// Bytes that the answer should have at most; `u32::MAX` for all.
        pub preferred_bytes_max: u32,
        /// Where to go on.
        pub resume: Option<u32>,
    }

    /// NetrShareEnum, out.
    pub struct ShareEnumAnswer {
        /// The shares.
        pub list: ShareEnum,
        /// How many there are from here on.
        pub total: u32,
        /// Where to go on, if the client asked for that.
        pub resume: Option<u32>,
        /// A Win32 code.
        pub status: u32,
    }

    /// NetrShareGetInfo, in.
    // MS-SRVS 3.1.4.10
    pub struct ShareInfoRequest {
        /// The server that is asked; not looked at.
        pub server_name: Option<String>,
        /// The share's name.
        pub share_name: String,
        /// The level.
        pub level: u32,
    }

    /// NetrShareGetInfo, out.
    pub struct ShareInfoAnswer {
        /// The share.
        pub share: ShareDetail,
        /// A Win32 code.
        pub status: u32,
    }

    /// NetrShareCheck, in.
    // MS-SRVS 3.1.4.12
    pub struct ShareCheckRequest {
        /// The server that is asked; not looked at.
        pub server_name: Option<String>,
        /// The path of a device.
        pub device: String,
    }

    /// NetrShareCheck, out.
    pub struct ShareCheckAnswer {
        /// The share's type.
        pub share_type: u32,
        /// A Win32 code.
        pub status: u32,
    }

    /// NetrServerGetInfo, in.
    // MS-SRVS 3.1.4.17
    pub struct ServerInfoRequest {
        /// The server that is asked; not looked at.
        pub server_name: Option<String>,
        /// The level.
        pub level: u32,
    }

    /// NetrServerGetInfo, out.
    pub struct ServerInfoAnswer {
        /// The server.
        pub server: ServerDetail,
        /// A Win32 code.
        pub status: u32,
    }

    /// NetrRemoteTOD, in.
    // MS-SRVS 3.1.4.21
    pub struct TimeOfDayRequest {
        /// The server that is asked; not looked at.
        pub server_name: Option<String>,
    }

    /// NetrRemoteTOD, out.
    pub struct TimeOfDayAnswer {
        /// The time.
        pub time: Option<TimeOfDay>,
        /// A Win32 code.
        pub status: u32,
    }
}

crate::interface! {
    syntax: SRVSVC;
    /// What a server service answers.
    server: pub SrvsvcServer;
    /// The server service as an interface.
    stub: pub SrvsvcStub;
    /// Calls of the server service.
    client: pub SrvsvcCalls;
    /// NetrConnectionEnum.
    8 => connection_enum(ConnectionEnumRequest) -> ConnectionEnumAnswer;
    /// NetrFileEnum.
    9 => file_enum(FileEnumRequest) -> FileEnumAnswer;
    /// NetrFileGetInfo.
    10 => file_info(FileInfoRequest) -> FileInfoAnswer;
    /// NetrFileClose.
    11 => file_close(FileCloseRequest) -> StatusAnswer;
    /// NetrSessionEnum.
    12 => session_enum(SessionEnumRequest) -> SessionEnumAnswer;
    /// NetrSessionDel.
    13 => session_del(SessionDelRequest) -> StatusAnswer;
    /// NetrShareEnum.
    15 => share_enum(ShareEnumRequest) -> ShareEnumAnswer;
    /// NetrShareGetInfo.
    16 => share_info(ShareInfoRequest) -> ShareInfoAnswer;
    /// NetrShareCheck.
    20 => share_check(ShareCheckRequest) -> ShareCheckAnswer;
    /// NetrServerGetInfo.
    21 => server_info(ServerInfoRequest) -> ServerInfoAnswer;
    /// NetrRemoteTOD.
    28 => time_of_day(TimeOfDayRequest) -> TimeOfDayAnswer;
    /// NetrShareEnumSticky: only shares that survive a restart, which all do.
    36 => share_enum_sticky(ShareEnumRequest) -> ShareEnumAnswer;
}
