//! [`Memory`]: a hash map. It keeps nothing, so what it costs is what the harness itself costs: the floor below
//! which no number of this harness means anything.

use std::collections::HashMap;

use workloads::{Access, Op};

use crate::engine::{Answer, Capabilities, Engine, EngineError, Place, Session, Submit, Token};

/// The floor.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory;

impl Engine for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn about(&self) -> &'static str {
        "A hash map on the driver's own thread; keeps nothing. Shows what the harness costs: a number near this \
         one measures the harness, not the engine."
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { reads: true, deletes: true, durable: false }
    }

    fn open(&self, _place: &Place) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(MemorySession { values: HashMap::new() }))
    }
}

struct MemorySession {
    values: HashMap<Box<[u8]>, Vec<u8>>,
}

impl Session for MemorySession {
    fn submit(&mut self, _token: Token, op: &Op) -> Submit {
        let key: &[u8] = &op.key;
        Submit::Answered(Ok(match op.kind.access() {
            Access::Read => Answer::Value(self.values.get(key).cloned()),
            Access::Delete => Answer::Deleted(self.values.remove(key).is_some()),
            Access::Modify | Access::Scan => return Submit::Unsupported,
            Access::Write => {
                let Some(value) = &op.value else { return Submit::Unsupported };
                match self.values.get_mut(key) {
                    Some(slot) => {
                        slot.clear();
                        slot.extend_from_slice(value.as_bytes());
                    }
                    None => {
                        self.values.insert(key.into(), value.as_bytes().to_vec());
                    }
                }
                Answer::Written
            }
        }))
    }
}
