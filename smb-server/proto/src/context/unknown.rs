//! A context we do not know: kept as it came, so that it can be logged, ignored or sent.

/// Name and data of a context this crate does not interpret.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UnknownContext {
    /// Its name: four ASCII bytes or a GUID, usually.
    pub name: Vec<u8>,
    /// Its data.
    pub data: Vec<u8>,
}
