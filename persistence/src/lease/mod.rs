//! The right to serve: [`table`] is the side that gives it, [`holder`] the side that has it.

pub(crate) mod holder;
pub(crate) mod table;
