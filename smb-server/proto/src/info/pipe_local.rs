//! FilePipeLocalInformation, class 24 (MS-FSCC 2.4.38).

use crate::wire::record;

record! {
    /// State of a pipe.
    info FilePipeLocalInformation [40] {
        /// NamedPipeType: 0 bytes, 1 messages.
        named_pipe_type: u32;
        /// NamedPipeConfiguration: 2 is both ways.
        named_pipe_configuration: u32;
        /// MaximumInstances.
        maximum_instances: u32;
        /// CurrentInstances.
        current_instances: u32;
        /// InboundQuota.
        inbound_quota: u32;
        /// ReadDataAvailable.
        read_data_available: u32;
        /// OutboundQuota.
        outbound_quota: u32;
        /// WriteQuotaAvailable.
        write_quota_available: u32;
        /// NamedPipeState: 3 is connected.
        named_pipe_state: u32;
        /// NamedPipeEnd: 0 client, 1 server.
        named_pipe_end: u32;
    }
}
