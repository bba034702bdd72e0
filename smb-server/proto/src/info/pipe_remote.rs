//! FilePipeRemoteInformation, class 25 (MS-FSCC 2.4.39).

use crate::wire::record;

record! {
    /// How a pipe collects data.
    info FilePipeRemoteInformation [16] {
        /// CollectDataTime.
        collect_data_time: u64;
        /// MaximumCollectionCount.
        maximum_collection_count: u32, pad 4;
    }
}
