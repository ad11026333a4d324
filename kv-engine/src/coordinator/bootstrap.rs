//! [`Bootstrap`]: asks nodes for the ring, one by one, when one of them has refused a key. The first is the one that
//! refused: it probably knows more.

use std::collections::VecDeque;

use crate::message::RequestId;
use crate::ring::NodeId;

/// Ids of its requests have this in their lower half, where those of operations have a slot.
const SLOT: u64 = u32::MAX as u64;

#[derive(Debug, Default)]
pub(super) struct Bootstrap {
    untried: VecDeque<NodeId>,
    asked: Option<(NodeId, u64)>,
    turn: u32,
}

impl Bootstrap {
    /// Begins with `first`, then the other nodes.
    pub(super) fn start(&mut self, nodes: &[NodeId], first: NodeId) {
        self.untried.clear();
        self.untried.push_back(first);
        self.untried.extend(nodes.iter().filter(|node| **node != first));
    }

    /// The next node to be asked, under this id, until `until_ns`. `None`: nobody is left, and it is over.
    pub(super) fn ask_next(&mut self, until_ns: u64) -> Option<(NodeId, RequestId)> {
        self.asked = None;
        let node = self.untried.pop_front()?;
        self.turn = self.turn.wrapping_add(1);
        self.asked = Some((node, until_ns));
        Some((node, self.id()))
    }

    /// The ring is known: nobody else is asked.
    pub(super) fn finish(&mut self) {
        self.untried.clear();
    }

    pub(super) fn asks(&self, node: NodeId) -> bool {
        self.asked.is_some_and(|(asked, _)| asked == node)
    }

    pub(super) fn is_waiting_for(&self, node: NodeId, id: RequestId) -> bool {
        self.asks(node) && id == self.id()
    }

    /// When the node that was asked is given up.
    pub(super) fn poll_timeout(&self) -> Option<u64> {
        self.asked.map(|(_, until_ns)| until_ns)
    }

    fn id(&self) -> RequestId {
        RequestId(u64::from(self.turn) << 32 | SLOT)
    }
}
