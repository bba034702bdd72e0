//! Faults on real clusters, workloads, checkers: a client that behaves as a Windows client does.
