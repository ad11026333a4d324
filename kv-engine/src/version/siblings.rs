//! [`Siblings`]: the versions of one key that stand beside each other, and what a put or a delete does to them.
//!
//! Invariant: no version descends from another. Order is that of arrival.

use super::{Occurred, VectorClock};

/// Something that was written with a clock.
pub trait Clocked {
    /// The clock.
    fn clock(&self) -> &VectorClock;
}

impl Clocked for VectorClock {
    fn clock(&self) -> &VectorClock {
        self
    }
}

/// The versions of one key. One is the rule, so one needs no allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Siblings<T>(Inner<T>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Inner<T> {
    None,
    One(T),
    Many(Vec<T>),
}

impl<T> Default for Siblings<T> {
    fn default() -> Self {
        Self(Inner::None)
    }
}

impl<T> FromIterator<T> for Siblings<T> {
    fn from_iter<I: IntoIterator<Item = T>>(iter: I) -> Self {
        let mut all: Vec<T> = iter.into_iter().collect();
        Self(match all.len() {
            0 => Inner::None,
            1 => Inner::One(all.pop().expect("the length is 1")),
            _ => Inner::Many(all),
        })
    }
}

impl<T> Siblings<T> {
    /// The versions in order of arrival.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        match &self.0 {
            Inner::None => &[],
            Inner::One(one) => std::slice::from_ref(one),
            Inner::Many(many) => many,
        }
    }

    /// The versions, to be changed in place without their clocks.
    #[must_use]
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        match &mut self.0 {
            Inner::None => &mut [],
            Inner::One(one) => std::slice::from_mut(one),
            Inner::Many(many) => many,
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    fn take(&mut self) -> Vec<T> {
        match std::mem::replace(&mut self.0, Inner::None) {
            Inner::None => Vec::new(),
            Inner::One(one) => vec![one],
            Inner::Many(many) => many,
        }
    }

    /// Removes the versions that `doomed` names, handing each to `removed`.
    pub fn remove_where(&mut self, mut doomed: impl FnMut(&T) -> bool, mut removed: impl FnMut(T)) -> bool {
        if !self.as_slice().iter().any(&mut doomed) {
            return false;
        }
        let (gone, kept): (Vec<_>, Vec<_>) = self.take().into_iter().partition(|one| doomed(one));
        gone.into_iter().for_each(&mut removed);
        *self = kept.into_iter().collect();
        true
    }

    /// Adds a version without asking.
    pub fn push(&mut self, one: T) {
        match &mut self.0 {
            Inner::None => self.0 = Inner::One(one),
            Inner::Many(many) => many.push(one),
            Inner::One(_) => {
                let mut many = self.take();
                many.push(one);
                self.0 = Inner::Many(many);
            }
        }
    }
}

impl<T: Clocked> Siblings<T> {
    /// The version that makes `clock` obsolete: one that descends from it or equals it.
    #[must_use]
    pub fn newer_than(&self, clock: &VectorClock) -> Option<&T> {
        self.as_slice().iter().find(|one| clock.compare(one.clock()) == Occurred::Before)
    }

    /// Whether [`Siblings::delete`] with `version` would remove something.
    #[must_use]
    pub fn has_not_after(&self, version: &VectorClock) -> bool {
        self.as_slice().iter().any(|one| one.clock().compare(version) == Occurred::Before)
    }

    /// Puts a version: those it descends from are replaced (and handed to `replaced`), concurrent ones stay beside.
    ///
    /// # Errors
    /// A stored version descends from it or equals it; it comes back, and nothing changed.
    pub fn put(&mut self, one: T, replaced: impl FnMut(T)) -> Result<(), T> {
        if self.newer_than(one.clock()).is_some() {
            return Err(one);
        }
        // The common put: one version, replaced in place, no allocation.
        if let Inner::One(old) = &mut self.0 {
            if one.clock().compare(old.clock()) == Occurred::After {
                let old = std::mem::replace(old, one);
                let mut replaced = replaced;
                replaced(old);
                return Ok(());
            }
        } else {
            self.remove_where(|old| one.clock().compare(old.clock()) == Occurred::After, replaced);
        }
        self.push(one);
        Ok(())
    }

    /// Removes the versions before or equal to `version`, handing each to `removed`; whether there were any.
    pub fn delete(&mut self, version: &VectorClock, removed: impl FnMut(T)) -> bool {
        self.remove_where(|one| one.clock().compare(version) == Occurred::Before, removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(start: &[&str], put: &str, expected: Result<&[&str], ()>) {
        let mut siblings: Siblings<VectorClock> = start.iter().map(|c| c.parse().expect("a clock")).collect();
        let result = siblings.put(put.parse().expect("a clock"), drop);
        let after: Vec<_> = siblings.as_slice().iter().map(ToString::to_string).collect();
        match expected {
            Ok(clocks) => assert_eq!((result.is_ok(), after.as_slice()), (true, &strings(clocks)[..])),
            Err(()) => assert_eq!((result.is_ok(), after.as_slice()), (false, &strings(start)[..])),
        }
    }

    fn strings(clocks: &[&str]) -> Vec<String> {
        clocks.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn put_keeps_the_contract() {
        check(&[], "-", Ok(&["-"]));
        check(&[], "1:1", Ok(&["1:1"]));
        check(&["1:1"], "1:1", Err(()));
        check(&["1:2"], "1:1", Err(()));
        check(&["1:1"], "1:2", Ok(&["1:2"]));
        check(&["1:1"], "2:1", Ok(&["1:1", "2:1"]));
        check(&["1:1", "2:1"], "1:1,2:1", Ok(&["1:1,2:1"]));
        check(&["1:1", "2:1"], "1:2", Ok(&["2:1", "1:2"]));
        check(&["1:1", "2:1", "3:1"], "2:1", Err(()));
    }

    #[test]
    fn delete_removes_what_is_before_or_equal() {
        let mut siblings: Siblings<VectorClock> =
            ["1:1", "2:2"].iter().map(|c| c.parse().expect("a clock")).collect();
        let mut removed = Vec::new();
        assert!(!siblings.delete(&"2:1".parse().expect("a clock"), |c| removed.push(c.to_string())));
        assert!(siblings.delete(&"1:1,2:1".parse().expect("a clock"), |c| removed.push(c.to_string())));
        assert_eq!(removed, ["1:1"]);
        assert_eq!(siblings.as_slice().len(), 1);
    }
}
