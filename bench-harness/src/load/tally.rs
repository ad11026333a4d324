//! [`Tally`]: what happened to the operations of a phase, kind by kind.

use workloads::OpKind;

use super::sightings::SightingTally;

/// Examples kept of each kind of trouble.
pub(super) const EXAMPLES_MAX: usize = 5;

/// What happened to the operations of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClassTally {
    /// Answered without an error.
    pub answered: u64,
    /// Failed, or never answered.
    pub errors: u64,
    /// The engine has no such operation.
    pub unsupported: u64,
    /// Answered with something that no allowed order explains.
    pub wrong: u64,
}

/// What happened to the operations of a phase.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    classes: [ClassTally; OpKind::ALL.len()],
    /// Answers compared with what is allowed.
    pub verified: u64,
    /// The first wrong answers, in words.
    pub wrong_examples: Vec<String>,
    /// The first errors, in words.
    pub error_examples: Vec<String>,
    /// Bytes of keys and values in acknowledged writes.
    pub user_bytes_written: u64,
    /// Bytes of the values that reads and scans returned.
    pub user_bytes_read: u64,
    /// What the engine's subscriber saw; zeros where there is none.
    pub sightings: SightingTally,
}

impl Tally {
    /// The operations of one kind.
    #[must_use]
    pub fn class(&self, kind: OpKind) -> ClassTally {
        self.classes[kind.index()]
    }

    /// All kinds together.
    #[must_use]
    pub fn all(&self) -> ClassTally {
        self.classes.iter().fold(ClassTally::default(), |sum, c| ClassTally {
            answered: sum.answered + c.answered,
            errors: sum.errors + c.errors,
            unsupported: sum.unsupported + c.unsupported,
            wrong: sum.wrong + c.wrong,
        })
    }

    pub(super) fn of(&mut self, kind: OpKind) -> &mut ClassTally {
        &mut self.classes[kind.index()]
    }

    /// Adds wrong answers and errors of a phase that isn't measured: they count all the same.
    pub(crate) fn add_troubles_of(&mut self, other: &Self) {
        for (mine, theirs) in self.classes.iter_mut().zip(&other.classes) {
            mine.wrong += theirs.wrong;
            mine.errors += theirs.errors;
        }
        self.verified += other.verified;
        self.sightings.add_troubles_of(&other.sightings);
        let room = |examples: &Vec<String>| EXAMPLES_MAX.saturating_sub(examples.len());
        let (wrong, errors) = (room(&self.wrong_examples), room(&self.error_examples));
        self.wrong_examples.extend(other.wrong_examples.iter().take(wrong).cloned());
        self.error_examples.extend(other.error_examples.iter().take(errors).cloned());
    }
}
