//! The replicated records, their commands and their invariants; pure.
