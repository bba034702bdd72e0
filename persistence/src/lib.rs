//! The typed door to the replicated records: propose, read, watch, node leases, barriers.
