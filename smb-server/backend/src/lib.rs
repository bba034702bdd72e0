//! The file system under the shares: posix directory, memory, fault injection.
