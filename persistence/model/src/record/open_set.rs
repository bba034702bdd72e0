//! A set of opens: of a file, of a lease. Mostly one, which then costs no memory of its own.

use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::OpenId;

/// Opens, ascending by id. Stored as a sequence.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct OpenSet(Members);

#[derive(Clone, PartialEq, Eq, Default)]
enum Members {
    #[default]
    None,
    One(OpenId),
    /// Two or more.
    #[expect(clippy::box_collection, reason = "a second word here would cost every set that holds one open")]
    Many(Box<Vec<OpenId>>),
}

impl OpenSet {
    /// All of them.
    #[must_use]
    pub fn as_slice(&self) -> &[OpenId] {
        match &self.0 {
            Members::None => &[],
            Members::One(id) => std::slice::from_ref(id),
            Members::Many(ids) => ids,
        }
    }

    /// All of them, one after the other.
    pub fn iter(&self) -> std::slice::Iter<'_, OpenId> {
        self.as_slice().iter()
    }

    /// The lowest.
    #[must_use]
    pub fn first(&self) -> Option<OpenId> {
        self.as_slice().first().copied()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// None at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// Tells whether it holds this open.
    #[must_use]
    pub fn contains(&self, id: &OpenId) -> bool {
        self.as_slice().binary_search(id).is_ok()
    }

    /// Tells whether the open is new in it.
    pub(crate) fn insert(&mut self, id: OpenId) -> bool {
        match &mut self.0 {
            Members::None => self.0 = Members::One(id),
            Members::One(one) if *one == id => return false,
            Members::One(one) => self.0 = Members::Many(Box::new(vec![id.min(*one), id.max(*one)])),
            Members::Many(ids) => match ids.binary_search(&id) {
                Ok(_) => return false,
                Err(at) => ids.insert(at, id),
            },
        }
        true
    }

    /// Tells whether the open was in it.
    pub(crate) fn remove(&mut self, id: &OpenId) -> bool {
        match &mut self.0 {
            Members::One(one) if one == id => self.0 = Members::None,
            Members::None | Members::One(_) => return false,
            Members::Many(ids) => match ids.binary_search(id) {
                Ok(at) => {
                    ids.remove(at);
                    if let [last] = ids[..] {
                        self.0 = Members::One(last);
                    }
                }
                Err(_) => return false,
            },
        }
        true
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
        match self.0 {
            Members::None => Vec::new().into_iter(),
            Members::One(id) => vec![id].into_iter(),
            Members::Many(ids) => ids.into_iter(),
        }
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

    #[test]
    fn one_open_costs_two_words() {
        assert_eq!(size_of::<OpenSet>(), 16);
    }
}
