//! A list that mostly has one element, or none, which then costs no memory of its own.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A short list. Stored as a sequence.
#[derive(Clone)]
pub struct Few<T>(Members<T>);

#[derive(Clone)]
enum Members<T> {
    None,
    One(T),
    /// Two or more.
    #[expect(clippy::box_collection, reason = "a second word here would cost every list of one small element")]
    Many(Box<Vec<T>>),
}

impl<T> Few<T> {
    /// All of them.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        match &self.0 {
            Members::None => &[],
            Members::One(one) => std::slice::from_ref(one),
            Members::Many(many) => many,
        }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        match &mut self.0 {
            Members::None => &mut [],
            Members::One(one) => std::slice::from_mut(one),
            Members::Many(many) => many,
        }
    }

    /// The list as a vector, e.g. to change it and make it a short list again.
    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        match self.0 {
            Members::None => Vec::new(),
            Members::One(one) => vec![one],
            Members::Many(many) => *many,
        }
    }

    pub(crate) fn insert(&mut self, at: usize, new: T) {
        if let Members::Many(many) = &mut self.0 {
            many.insert(at, new);
            return;
        }
        let mut all = std::mem::take(self).into_vec();
        all.insert(at, new);
        *self = all.into();
    }

    pub(crate) fn remove(&mut self, at: usize) {
        if let Members::Many(many) = &mut self.0
            && many.len() > 2
        {
            many.remove(at);
            return;
        }
        let mut all = std::mem::take(self).into_vec();
        all.remove(at);
        *self = all.into();
    }

    pub(crate) fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        let mut all = std::mem::take(self).into_vec();
        all.retain(keep);
        *self = all.into();
    }
}

// Not derived, which would ask the same of the element.
impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(Members::None)
    }
}

impl<T> From<Vec<T>> for Few<T> {
    fn from(mut all: Vec<T>) -> Self {
        Self(match all.len() {
            0 => Members::None,
            1 => all.pop().map_or(Members::None, Members::One),
            _ => Members::Many(Box::new(all)),
        })
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.as_slice()
    }
}

impl<'a, T> IntoIterator for &'a Few<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.as_slice().iter()
    }
}

impl<T: PartialEq> PartialEq for Few<T> {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl<T: Eq> Eq for Few<T> {}

impl<T: fmt::Debug> fmt::Debug for Few<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}

impl<T: Serialize> Serialize for Few<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::OpenId;
    use crate::record::{ByteRangeLock, Lease};

    proptest! {
        #[test]
        fn as_a_vector(steps in prop::collection::vec((0..4u8, any::<prop::sample::Index>(), any::<u64>()), 0..40)) {
            let (mut few, mut naive) = (Few::default(), Vec::new());
            for (what, at, n) in steps {
                match what {
                    0 | 1 => {
                        let at = at.index(naive.len() + 1);
                        few.insert(at, n);
                        naive.insert(at, n);
                    }
                    2 if !naive.is_empty() => {
                        let at = at.index(naive.len());
                        few.remove(at);
                        naive.remove(at);
                    }
                    2 => {}
                    _ => {
                        few.retain(|x| x % 3 != n % 3);
                        naive.retain(|x| x % 3 != n % 3);
                    }
                }
                prop_assert_eq!(few.as_slice(), &naive[..]);
                prop_assert_eq!(Few::from(naive.clone()).into_vec(), naive.clone());
                let one = matches!(few.0, Members::One(_));
                prop_assert_eq!(one, naive.len() == 1, "one element is always kept in place");
            }
        }
    }

    #[test]
    fn one_element_costs_little_more_than_itself() {
        assert_eq!(size_of::<Few<OpenId>>(), 16);
        assert_eq!(size_of::<Few<(u8, u8)>>(), 16);
        assert_eq!(size_of::<Few<ByteRangeLock>>(), size_of::<ByteRangeLock>());
        assert_eq!(size_of::<Few<Lease>>(), size_of::<Lease>());
    }
}
