//! The Holdfast program: daemon, demo cluster, operator's commands, admin HTTP.
