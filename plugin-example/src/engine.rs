//! `notebook`: a sorted map in memory, as an example of an engine. It keeps nothing on disk.
use bench_harness::engine::{Answer, Engine, EngineError, EngineRegistry, Place, Session, Submit, Token};
use std::collections::BTreeMap;
use workloads::{Access, Op};

struct Notebook;

impl Engine for Notebook {
    fn name(&self) -> &str {
        "notebook"
    }
    fn about(&self) -> &str {
        "a sorted map in memory, answering on the driver's thread; keeps nothing on disk"
    }
    fn open(&self, _place: &Place) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(Pages::default()))
    }
}

#[derive(Default)]
struct Pages(BTreeMap<Vec<u8>, Vec<u8>>);

impl Session for Pages {
    fn submit(&mut self, _token: Token, op: &Op) -> Submit {
        let (key, value) = (op.key.to_vec(), op.value.as_ref().map(|v| v.as_bytes().to_vec()));
        Submit::Answered(Ok(match (op.access(), value) {
            (Access::Read, _) => Answer::Value(self.0.get(&key).cloned()),
            (Access::Delete, _) => Answer::Deleted(self.0.remove(&key).is_some()),
            (Access::Write, Some(value)) => (self.0.insert(key, value), Answer::Written).1,
            _ => return Submit::Unsupported,
        }))
    }
}

/// Adds the engine to those that can be named.
pub fn register(registry: &mut EngineRegistry) {
    registry.add(Box::new(Notebook));
}
