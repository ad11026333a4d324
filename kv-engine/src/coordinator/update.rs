//! [`Update`]: a read-modify-write.

use std::fmt;

use crate::version::Versioned;

/// What a client makes of a key's value. It may be asked several times: somebody else may write meanwhile.
pub trait Update: Send {
    /// The new value. `None`: the key has none.
    fn update(&mut self, current: Option<&Versioned>) -> Vec<u8>;

    /// The update failed, or was given up as obsolete too often: nothing more is to come. For undoing what was done
    /// elsewhere; a write that failed may still be there.
    fn roll_back(&mut self) {}
}

impl<F: FnMut(Option<&Versioned>) -> Vec<u8> + Send> Update for F {
    fn update(&mut self, current: Option<&Versioned>) -> Vec<u8> {
        self(current)
    }
}

/// An update in an operation.
pub(super) struct Action(pub(super) Box<dyn Update>);

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Action")
    }
}
