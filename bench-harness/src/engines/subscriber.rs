//! [`Subscriber`]: a consumer of the topic on a thread of its own, who tells when it saw which write.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use engine_env::{CompletionQueue, Port, Wait, Waker};
use log_engine::{Fetches, LogClient, Offset, TopicPartition};
use workloads::Fingerprint;

use crate::engine::{EngineStats, Visible, monotonic_ns};

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
    /// Follows all these partitions from their beginning.
    pub(super) fn start<P: Port>(mut client: LogClient<P>, partitions: &[TopicPartition]) -> Self {
        for partition in partitions {
            client.subscribe(partition, Offset(0));
        }
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

fn follow<P: Port>(mut client: LogClient<P>, shared: &Shared) {
    let (mut done, mut fetches) = (Vec::new(), Fetches::default());
    while !shared.stop.load(Ordering::Acquire) {
        client.poll(Wait::Forever, &mut done, &mut fetches);
        let at_ns = monotonic_ns();
        let failed = |why: String| {
            shared.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        };
        shared.seen.push_all(fetches.records().filter_map(|record| match record {
            Ok((_, record)) => record.value.map(|value| Visible { write: Fingerprint::of(value), at_ns }),
            Err(error) => {
                failed(error.to_string());
                None
            }
        }));
        if let Some(ended) = fetches.ended().first() {
            failed(ended.to_string());
        }
        fetches.clear();
        let sent = client.stats();
        shared.messages.store(sent.messages, Ordering::Relaxed);
        shared.message_bytes.store(sent.bytes, Ordering::Relaxed);
    }
}
