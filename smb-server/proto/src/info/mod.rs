//! Information classes.
pub mod full_ea;
