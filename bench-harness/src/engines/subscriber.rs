//! [`Subscriber`]: somebody on a thread of its own who follows an engine's changes, and tells when which write became
//! visible.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use engine_env::{CompletionQueue, PortStats, Wait, Waker};

use crate::engine::{EngineStats, Visible};

/// A client that is told of changes. What "visible" means is its engine's.
pub(super) trait Follow: Send + 'static {
    /// Waits for something new, or to be woken, and adds the writes that became visible, stamped the moment they were there.
    ///
    /// # Errors
    /// It sees less from now on, and why.
    fn follow(&mut self, seen: &mut Vec<Visible>) -> Result<(), String>;

    /// Ends a wait, from any thread.
    fn waker(&self) -> Waker;

    /// What it has sent.
    fn sent(&self) -> PortStats;
}

#[derive(Default)]
struct Shared {
    seen: CompletionQueue<Visible>,
    messages: AtomicU64,
    message_bytes: AtomicU64,
    stop: AtomicBool,
    /// Why it sees no more.
    failed: Mutex<Option<String>>,
}

/// A running subscriber. Dropping it ends its thread.
pub(super) struct Subscriber {
    shared: Arc<Shared>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Subscriber {
    /// Gives the client a thread.
    pub(super) fn start(client: impl Follow) -> Self {
        let (shared, waker) = (Arc::new(Shared::default()), client.waker());
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("subscriber".to_owned())
            .spawn(move || follow(client, &of_thread))
            .expect("the operating system refused a thread");
        Self { shared, waker, thread: Some(thread) }
    }

    /// What it has seen since the last call.
    pub(super) fn visible(&self, out: &mut Vec<Visible>) {
        self.shared.seen.drain(Wait::No, out);
    }

    /// What it has sent.
    pub(super) fn counted(&self) -> EngineStats {
        EngineStats {
            messages: self.shared.messages.load(Ordering::Relaxed),
            message_bytes: self.shared.message_bytes.load(Ordering::Relaxed),
            ..EngineStats::default()
        }
    }

    /// Why it sees no more, if it doesn't.
    pub(super) fn failed(&self) -> Option<String> {
        self.shared.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by the panic hook.
            let _ = thread.join();
        }
    }
}

fn follow(mut client: impl Follow, shared: &Shared) {
    let mut seen = Vec::new();
    while !shared.stop.load(Ordering::Acquire) {
        if let Err(why) = client.follow(&mut seen) {
            shared.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        }
        shared.seen.push_all(seen.drain(..));
        let sent = client.sent();
        shared.messages.store(sent.messages, Ordering::Relaxed);
        shared.message_bytes.store(sent.bytes, Ordering::Relaxed);
    }
}
