//! A set of opens: of a file, of a lease. Mostly one.

use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::OpenId;
use crate::record::Few;

/// Opens, ascending by id. Stored as a sequence.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct OpenSet(Few<OpenId>);

impl OpenSet {
    /// All of them, one after the other.
    pub fn iter(&self) -> std::slice::Iter<'_, OpenId> {
        self.0.iter()
    }

    /// The lowest.
    #[must_use]
    pub fn first(&self) -> Option<OpenId> {
        self.0.first().copied()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// None at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells whether it holds this open.
    #[must_use]
    pub fn contains(&self, id: &OpenId) -> bool {
        self.0.binary_search(id).is_ok()
    }

    /// Tells whether the open is new in it.
    pub(crate) fn insert(&mut self, id: OpenId) -> bool {
        self.0.binary_search(&id).map_err(|at| self.0.insert(at, id)).is_err()
    }

    /// Tells whether the open was in it.
    pub(crate) fn remove(&mut self, id: &OpenId) -> bool {
        self.0.binary_search(id).map(|at| self.0.remove(at)).is_ok()
    }
}

impl<'a> IntoIterator for &'a OpenSet {
    type Item = &'a OpenId;
    type IntoIter = std::slice::Iter<'a, OpenId>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for OpenSet {
    type Item = OpenId;
    type IntoIter = std::vec::IntoIter<OpenId>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_vec().into_iter()
    }
}

impl FromIterator<OpenId> for OpenSet {
    fn from_iter<I: IntoIterator<Item = OpenId>>(ids: I) -> Self {
        let mut set = Self::default();
        ids.into_iter().for_each(|id| {
            set.insert(id);
        });
        set
    }
}

impl fmt::Debug for OpenSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self).finish()
    }
}

impl Serialize for OpenSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self)
    }
}

impl<'de> Deserialize<'de> for OpenSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Ids;
        impl<'de> Visitor<'de> for Ids {
            type Value = OpenSet;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("opens, ascending")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<OpenSet, A::Error> {
                let (mut set, mut last) = (OpenSet::default(), None);
                while let Some(id) = seq.next_element::<OpenId>()? {
                    if last.is_some_and(|last| last >= id) {
                        return Err(A::Error::custom("an open is not in its place"));
                    }
                    set.insert(id);
                    last = Some(id);
                }
                Ok(set)
            }
        }
        deserializer.deserialize_seq(Ids)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn as_an_ordered_set(steps in prop::collection::vec((any::<bool>(), 0..6u64), 0..40)) {
            let (mut set, mut naive) = (OpenSet::default(), BTreeSet::new());
            for (add, id) in steps {
                let id = OpenId(id);
                if add {
                    prop_assert_eq!(set.insert(id), naive.insert(id));
                } else {
                    prop_assert_eq!(set.remove(&id), naive.remove(&id));
                }
                prop_assert!(set.iter().eq(naive.iter()) && set.len() == naive.len() && set.first() == naive.first().copied());
                prop_assert_eq!(set.contains(&id), naive.contains(&id));
                prop_assert_eq!(&naive.iter().copied().collect::<OpenSet>(), &set, "one form for the same members");
            }
        }
    }
}
