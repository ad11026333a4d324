//! [`ViewServer`]: a view with its threads. This is the edge: here are the threads and the clock.
//!
//! One thread consumes and applies; while a commit is on its way to the disk the next records gather at the source. One
//! thread answers readers. They share the store, and the first tells the second how far it is.

#![expect(clippy::disallowed_methods, reason = "the edge: here are the threads")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use engine_env::clock::Monotonic;
use engine_env::{Arrival, CompletionQueue, Home, Net, NetError, Peer, Port, PortStats, Wait, Waker};
use kv_engine::{CloseError, KvConfig, KvStats, KvStore, OpenError, Storage};

use super::applier::{Applier, ApplierError, Skipped, resolve, stored_key};
use super::core::{Output, ViewCore, ViewCoreConfig};
use super::message::{Reply, Request};
use super::position::Position;
use super::source::{Source, SourceError};

/// Settings of a [`ViewServer`].
#[derive(Debug, Clone, PartialEq)]
pub struct ViewConfig {
    /// The topic to follow, all partitions of it.
    pub topic: String,
    /// How many partitions it has.
    pub partitions: u32,
    /// The store's settings. Default: the store's own.
    pub storage: KvConfig,
    /// The readers' settings.
    pub readers: ViewCoreConfig,
    /// A commit is made when this many bytes have gathered, or when no more is there; far below
    /// `storage.segment_bytes`. Default: 512 KiB.
    pub commit_bytes: usize,
}

impl ViewConfig {
    /// The defaults for a topic.
    #[must_use]
    pub fn of(topic: &str, partitions: u32) -> Self {
        Self {
            topic: topic.to_owned(),
            partitions,
            storage: KvConfig::default(),
            readers: ViewCoreConfig::default(),
            commit_bytes: 512 << 10,
        }
    }
}

/// Why a view can't be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ViewStartError {
    /// The store can't be opened.
    #[error("the view's store can't be opened: {0}")]
    Open(#[from] OpenError),
    /// The positions in it can't be used.
    #[error(transparent)]
    Positions(#[from] ApplierError),
    /// The source refuses.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The network refuses.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The operating system refuses a thread.
    #[error("the operating system refused a thread for the view ({why}); raise the limit on processes")]
    Thread {
        /// What it says.
        why: String,
    },
}

/// Why a view wasn't stopped cleanly. What it had applied is as safe as its store's durability says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ViewStopError {
    /// It had stopped applying before.
    #[error("the view had stopped applying: {why}")]
    Stopped {
        /// Why.
        why: String,
    },
    /// The store can't be closed.
    #[error("the view's store can't be closed: {0}")]
    Close(#[from] CloseError),
}

/// What a view has and did since it was started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ViewStats {
    /// How far each partition is applied, by number.
    pub positions: Vec<Position>,
    /// Records applied.
    pub records: u64,
    /// Records applied again after a crash, and refused by the store.
    pub repeated: u64,
    /// Records that can't be applied.
    pub skipped: Skipped,
    /// Commits.
    pub commits: u64,
    /// Reads answered with a value or with none.
    pub reads: u64,
    /// What was sent: to readers, and by the source.
    pub sent: PortStats,
    /// Why it applies no more, if it doesn't. Reads go on.
    pub stopped: Option<String>,
    /// The store's figures.
    pub storage: KvStats,
}

/// What both threads share with the owner.
#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    applying: Mutex<Applying>,
    reads: AtomicU64,
    replies: AtomicU64,
    reply_bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct Applying {
    positions: Vec<Position>,
    records: u64,
    repeated: u64,
    skipped: Skipped,
    commits: u64,
    source_sent: PortStats,
    stopped: Option<String>,
}

impl Shared {
    fn applying(&self) -> std::sync::MutexGuard<'_, Applying> {
        self.applying.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

/// A running view. Dropping it is like a killed process.
#[derive(Debug)]
pub struct ViewServer<H: Home> {
    store: Option<Arc<KvStore<H>>>,
    shared: Arc<Shared>,
    threads: Vec<(Waker, JoinHandle<()>)>,
}

impl<H: Home> ViewServer<H> {
    /// Opens the store in `home`, joins the network as `me`, and follows `source` from the stored positions on: in an
    /// empty folder from offset 0.
    ///
    /// # Errors
    /// The store, its positions, the source, the network or the operating system refuses.
    pub fn start<N: Net, S: Source>(
        home: H,
        net: &N,
        me: Peer,
        mut source: S,
        config: &ViewConfig,
    ) -> Result<Self, ViewStartError> {
        let (store, _) = KvStore::open(home, config.storage.clone())?;
        let store = Arc::new(store);
        let applier = Applier::open(&config.topic, config.partitions, |key| store.get(key))?;
        source.begin(&applier.wanted().collect::<Vec<_>>())?;
        let port = net.join(me)?;
        let shared = Arc::new(Shared::default());
        shared.applying().positions = applier.positions().map(|(_, position)| position).collect();
        let (stop_applying, stop_reading) = (source.waker(), port.waker());
        let moved = Arc::new(CompletionQueue::with_waker(stop_reading.clone()));
        let reader = Reader {
            core: ViewCore::new(applier.positions(), config.readers),
            port,
            store: Arc::clone(&store),
            shared: Arc::clone(&shared),
            moved: Arc::clone(&moved),
        };
        let consumer = Follower {
            applier,
            source,
            store: Arc::clone(&store),
            shared: Arc::clone(&shared),
            moved,
            commit_bytes: config.commit_bytes,
        };
        let mut server = Self { store: Some(store), shared, threads: Vec::new() };
        server.spawn("view-apply", stop_applying, move || consumer.run())?;
        server.spawn("view-read", stop_reading, move || reader.run())?;
        Ok(server)
    }

    fn spawn(
        &mut self,
        name: &str,
        waker: Waker,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<(), ViewStartError> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
        let thread = thread.map_err(|error| ViewStartError::Thread { why: error.to_string() })?;
        self.threads.push((waker, thread));
        Ok(())
    }

    /// Its figures.
    #[must_use]
    pub fn stats(&self) -> ViewStats {
        let applying = self.shared.applying();
        ViewStats {
            positions: applying.positions.clone(),
            records: applying.records,
            repeated: applying.repeated,
            skipped: applying.skipped,
            commits: applying.commits,
            reads: self.shared.reads.load(Ordering::Relaxed),
            sent: PortStats {
                messages: self.shared.replies.load(Ordering::Relaxed) + applying.source_sent.messages,
                bytes: self.shared.reply_bytes.load(Ordering::Relaxed) + applying.source_sent.bytes,
            },
            stopped: applying.stopped.clone(),
            storage: self.store.as_ref().map_or_else(KvStats::default, |store| store.stats()),
        }
    }

    /// Calls `each` with every key of the view and its value, in no particular order.
    pub fn for_each(&self, mut each: impl FnMut(&[u8], &[u8])) {
        let Some(store) = &self.store else { return };
        store.for_each(|key, versions| {
            if let Some(key) = super::applier::key_of(key)
                && let Ok(versions) = versions
                && let Some(one) = resolve(versions)
            {
                each(key, &one.value);
            }
        });
    }

    /// Ends the threads and closes the store.
    ///
    /// # Errors
    /// It had stopped applying before, or the store can't be closed.
    pub fn stop(mut self) -> Result<ViewStats, ViewStopError> {
        self.end_threads();
        let stats = self.stats();
        let store = self.store.take().and_then(Arc::into_inner).expect("the threads held the other handles");
        store.close()?;
        match &stats.stopped {
            Some(why) => Err(ViewStopError::Stopped { why: why.clone() }),
            None => Ok(stats),
        }
    }

    /// Ends it as a killed process ends: nothing is closed.
    pub fn kill(self) {
        drop(self);
    }

    fn end_threads(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        for (waker, _) in &self.threads {
            waker.wake();
        }
        for (_, thread) in self.threads.drain(..) {
            // A panic there was reported by the panic hook; a second one here would only hide it.
            let _ = thread.join();
        }
    }
}

impl<H: Home> Drop for ViewServer<H> {
    fn drop(&mut self) {
        self.end_threads();
    }
}

type Moved = CompletionQueue<(u32, Position)>;

/// The thread that applies.
struct Follower<H: Home, S> {
    applier: Applier,
    source: S,
    store: Arc<KvStore<H>>,
    shared: Arc<Shared>,
    moved: Arc<Moved>,
    commit_bytes: usize,
}

impl<H: Home, S: Source> Follower<H, S> {
    fn run(mut self) {
        while !self.shared.is_stopped() {
            if let Err(why) = self.step() {
                self.shared.applying().stopped = Some(why);
                return;
            }
        }
    }

    fn step(&mut self) -> Result<(), String> {
        let Self { applier, source, store, shared, moved, commit_bytes } = self;
        let mut result = Ok(());
        let polled = source.poll(Wait::Forever, |partition, change| {
            if result.is_ok() {
                result = applier.take(partition, change).map_err(|error| error.to_string());
                if result.is_ok() && applier.gathered_bytes() >= *commit_bytes {
                    result = commit(applier, store, shared, moved);
                }
            }
        });
        // What came before the source failed is applied all the same.
        result.and_then(|()| commit(applier, store, shared, moved))?;
        shared.applying().source_sent = source.sent();
        polled.map_err(|error| error.to_string())
    }
}

fn commit<H: Home>(
    applier: &mut Applier,
    store: &KvStore<H>,
    shared: &Shared,
    moved: &Moved,
) -> Result<(), String> {
    let Some(batch) = applier.batch() else { return Ok(()) };
    let answers = store.write_batch(&batch).map_err(|error| format!("the view's store failed: {error}"))?;
    let applied = applier.applied(answers).map_err(|error| error.to_string())?;
    let mut applying = shared.applying();
    for &(partition, position) in &applied.moved {
        applying.positions[partition as usize] = position;
    }
    applying.records += applied.records;
    applying.repeated += applied.repeated;
    applying.skipped = applier.skipped();
    applying.commits += 1;
    drop(applying);
    moved.push_all(applied.moved);
    Ok(())
}

/// The thread that answers.
struct Reader<H: Home, P> {
    core: ViewCore,
    port: P,
    store: Arc<KvStore<H>>,
    shared: Arc<Shared>,
    moved: Arc<Moved>,
}

impl<H: Home, P: Port> Reader<H, P> {
    fn run(mut self) {
        let clock = Monotonic::start();
        let (mut arrivals, mut moved) = (Vec::new(), Vec::new());
        while !self.shared.is_stopped() {
            let wait = match self.core.next_deadline_ns() {
                None => Wait::Forever,
                Some(at) => Wait::AtMost(Duration::from_nanos(at.saturating_sub(clock.now_ns()))),
            };
            self.port.receive(wait, &mut arrivals);
            self.moved.drain(Wait::No, &mut moved);
            for (partition, position) in moved.drain(..) {
                self.core.moved(partition, position.next);
            }
            let now_ns = clock.now_ns();
            for arrival in arrivals.drain(..) {
                match arrival {
                    Arrival::Unreachable { peer } => self.core.gone(peer),
                    // Bytes that are no request come from no reader of ours: there is nobody to tell.
                    Arrival::Message { from, bytes } => {
                        if let Ok(request) = Request::decode(&bytes) {
                            self.core.request(now_ns, from, request);
                        }
                    }
                }
            }
            self.core.expire(now_ns);
            while let Some(output) = self.core.poll_output() {
                let (to, reply) = match output {
                    Output::Send { to, reply } => (to, reply),
                    Output::Read { to, id, key } => (to, self.read(id, &key)),
                };
                self.port.send(to, reply.encode());
            }
            let sent = self.port.stats();
            self.shared.replies.store(sent.messages, Ordering::Relaxed);
            self.shared.reply_bytes.store(sent.bytes, Ordering::Relaxed);
        }
    }

    fn read(&self, id: u64, key: &[u8]) -> Reply {
        match self.store.get(&stored_key(key)) {
            Ok(versions) => {
                self.shared.reads.fetch_add(1, Ordering::Relaxed);
                Reply::Value { id, value: resolve(versions).map(|one| one.value) }
            }
            Err(error) => Reply::Failed { id, why: error.to_string() },
        }
    }
}
