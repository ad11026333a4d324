//! [`Pending`]: an operation on its way from its due time to its answer, whole or taken apart.

use workloads::{IncrementHandle, Op, OpKind, ReadHandle, WriteHandle};

/// What the model was told about it.
#[derive(Debug)]
pub(super) enum Begun {
    Read(ReadHandle),
    Write(WriteHandle),
    Increment(IncrementHandle),
    Scan,
}

/// An operation that is due.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) op: Op,
    pub(super) due_ns: u64,
    /// Not held back by anything: its lateness is the driver's.
    pub(super) straight: bool,
    /// The part that the engine is asked for, where it isn't `op` as a whole. Few have one, and all are moved about:
    /// hence the box.
    pub(super) part: Option<Box<Part>>,
}

/// A read-modify-write, taken apart for an engine that doesn't have it.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) op: Op,
    /// When its read was handed over; `None` before that.
    pub(super) start_ns: Option<u64>,
}

impl Pending {
    /// What the engine is asked for.
    pub(super) fn asked(&self) -> &Op {
        self.part.as_ref().map_or(&self.op, |part| &part.op)
    }

    pub(super) fn take_apart(&mut self) {
        let op = Op::without_value(OpKind::Get, self.op.key_index, self.op.key.clone());
        self.part = Some(Box::new(Part { op, start_ns: None }));
    }
}

/// Whether nothing else may be in flight on the operation's key. Increments are asked for because they overlap.
pub(super) fn is_exclusive(op: &Op) -> bool {
    op.access().changes() && op.kind != OpKind::IncrementProfile
}

/// One that the engine has.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) pending: Pending,
    pub(super) begun: Begun,
    pub(super) start_ns: u64,
}
