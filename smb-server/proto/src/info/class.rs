//! The file classes by number (MS-FSCC 2.4).

macro_rules! classes {
    ($($(#[$doc:meta])* $name:ident = $v:literal;)*) => {
        /// A file information class of QUERY_INFO or SET_INFO.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum FileClass { $($(#[$doc])* $name = $v,)* }
        impl FileClass {
            /// Every class, by number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
            /// Decodes the wire value; None when it is unknown (INVALID_INFO_CLASS).
            #[must_use]
            pub const fn from_wire(v: u8) -> Option<Self> {
                match v { $($v => Some(Self::$name),)* _ => None }
            }
            /// The wire value.
            #[must_use]
            pub const fn to_wire(self) -> u8 { self as u8 }
        }
    };
}

classes! {
    /// FileBasicInformation: query, set.
    Basic = 4;
    /// FileStandardInformation: query.
    Standard = 5;
    /// FileInternalInformation: query.
    Internal = 6;
    /// FileEaInformation: query.
    Ea = 7;
    /// FileAccessInformation: query.
    Access = 8;
    /// FileNameInformation: inside others only.
    Name = 9;
    /// FileRenameInformation: set.
    Rename = 10;
    /// FileLinkInformation: set.
    Link = 11;
    /// FileDispositionInformation: set.
    Disposition = 13;
    /// FilePositionInformation: query, set.
    Position = 14;
    /// FileFullEaInformation: query, set.
    FullEa = 15;
    /// FileModeInformation: query, set.
    Mode = 16;
    /// FileAlignmentInformation: query.
    Alignment = 17;
    /// FileAllInformation: query.
    All = 18;
    /// FileAllocationInformation: set.
    Allocation = 19;
    /// FileEndOfFileInformation: set.
    EndOfFile = 20;
    /// FileAlternateNameInformation: query.
    AlternateName = 21;
    /// FileStreamInformation: query.
    Stream = 22;
    /// FilePipeInformation: query, set.
    Pipe = 23;
    /// FilePipeLocalInformation: query.
    PipeLocal = 24;
    /// FilePipeRemoteInformation: query, set.
    PipeRemote = 25;
    /// FileCompressionInformation: query.
    Compression = 28;
    /// FileNetworkOpenInformation: query.
    NetworkOpen = 34;
    /// FileAttributeTagInformation: query.
    AttributeTag = 35;
    /// FileValidDataLengthInformation: set.
    ValidDataLength = 39;
    /// FileShortNameInformation: set.
    ShortName = 40;
    /// FileNormalizedNameInformation: query.
    NormalizedName = 48;
    /// FileIdInformation: query.
    Id = 59;
    /// FileDispositionInformationEx: set.
    DispositionEx = 64;
    /// FileRenameInformationEx: set.
    RenameEx = 65;
}
