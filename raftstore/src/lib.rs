//! Replicates any deterministic state machine over Raft; knows nothing of SMB.
