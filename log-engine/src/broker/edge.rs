//! [`Broker`]: a broker with its threads. One has the port and drives the machine; the log's own two commit and do
//! upkeep. They meet in one place: a commit's end rings the port's waker.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use engine_env::clock::{Monotonic, wall_ms};
use engine_env::{Home, Net, Port, Wait, Waker};

use super::config::BrokerConfig;
use super::machine::Machine;
use super::stats::BrokerStats;
use super::stepped::{StartError, start};
use crate::{BrokerId, ClusterLayout, Log, RecoveryReport};

/// What the broker's thread is told from outside.
enum Order {
    Stats(mpsc::Sender<BrokerStats>),
    /// Take no more batches; end once nobody waits.
    Stop,
    /// End now.
    Kill,
}

/// A running broker: its own folder, its own threads. Dropping it is [`Broker::kill`].
///
/// ```
/// use engine_env::{Backend, Delay, LocalNet, OsHome, Peer, Wait};
/// use log_engine::{Acks, Broker, BrokerConfig, BrokerId, ClusterLayout, LogClient, LogClientConfig, Offset};
/// use log_engine::{Fetches, TopicPartition};
///
/// # let folders: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
/// let net = LocalNet::new(Delay::default());
/// let layout = ClusterLayout::even(3, &[("events", 1)], 3)?;
/// let mut brokers = Vec::new();
/// for (folder, id) in folders.iter().zip(0..) {
///     let home = OsHome::open(folder.path(), Backend::Auto)?;
///     brokers.push(Broker::start(home, &net, BrokerId(id), layout.clone(), BrokerConfig::default())?);
/// }
/// let port = engine_env::Net::join(&net, Peer(1000))?;
/// let mut client = LogClient::new(port, layout, LogClientConfig { acks: Acks::All, ..LogClientConfig::default() });
/// let events = TopicPartition::new("events", 0);
/// client.subscribe(&events, Offset(0));
/// client.produce(7, &events, Some(b"key"), Some(b"value"));
/// let (mut done, mut fetches) = (Vec::new(), Fetches::default());
/// while done.is_empty() || fetches.is_empty() {
///     client.poll(Wait::Forever, &mut done, &mut fetches);
/// }
/// assert_eq!((done[0].token, done[0].copies), (7, 3));
/// assert_eq!(fetches.records().next().unwrap()?.1.value, Some(b"value".as_slice()));
/// for broker in brokers {
///     broker.stop()?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Broker<H: Home> {
    // Dropped in this order: the thread ends before the log does.
    thread: Option<JoinHandle<()>>,
    orders: Arc<Mutex<Vec<Order>>>,
    waker: Waker,
    log: Option<Log<H>>,
    recovered: RecoveryReport,
    id: BrokerId,
}

impl<H: Home> fmt::Debug for Broker<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<H: Home> Broker<H> {
    /// Opens the log in `home`'s folder, recovers it, creates what the layout gives this broker, and joins the network.
    ///
    /// # Errors
    /// A wrong setting, a folder of something else, the disk's or the network's failure.
    pub fn start<N: Net>(
        home: H,
        net: &N,
        me: BrokerId,
        layout: ClusterLayout,
        config: BrokerConfig,
    ) -> Result<Self, StartError> {
        config.check()?;
        let layout = Arc::new(layout);
        let (log, recovered) = Log::open(home.clone(), config.log.clone())?;
        let clock = Monotonic::start();
        let machine = start(log.stepped(), &home, me, layout, config, now_ms(&clock))?;
        // Joined last: whoever is reachable answers.
        let port = net.join(me.peer())?;
        let waker = port.waker();
        log.core().broker.set(waker.clone()).expect("it is set once, here");
        let orders = Arc::new(Mutex::new(Vec::new()));
        let thread = spawn(me, port, machine, clock, Arc::clone(&orders));
        Ok(Self { thread: Some(thread), orders, waker, log: Some(log), recovered, id: me })
    }

    /// Which broker.
    #[must_use]
    pub fn id(&self) -> BrokerId {
        self.id
    }

    /// What recovery found.
    #[must_use]
    pub fn recovered(&self) -> &RecoveryReport {
        &self.recovered
    }

    /// What it holds and did.
    #[must_use]
    pub fn stats(&self) -> BrokerStats {
        let (sender, receiver) = mpsc::channel();
        self.order(Order::Stats(sender));
        // A thread that panicked has nothing to say; its panic was reported.
        let stats: BrokerStats = receiver.recv().unwrap_or_default();
        BrokerStats { log: self.log.as_ref().map(Log::stats).unwrap_or_default(), ..stats }
    }

    fn order(&self, order: Order) {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).push(order);
        self.waker.wake();
    }

    fn end(&mut self, order: Order) {
        self.order(order);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported by the panic hook.
            let _ = thread.join();
        }
    }

    /// Takes no more batches, waits until those that were taken are acknowledged or given up, and closes the log.
    ///
    /// # Errors
    /// The disk's failure, now or before.
    pub fn stop(mut self) -> Result<(), engine_env::DiskError> {
        self.end(Order::Stop);
        self.log.take().map_or(Ok(()), Log::close)
    }

    /// Ends at once: nobody is answered, nothing is closed. The next start recovers.
    pub fn kill(mut self) {
        self.end(Order::Kill);
    }
}

impl<H: Home> Drop for Broker<H> {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.end(Order::Kill);
        }
    }
}

fn now_ms(clock: &Monotonic) -> u64 {
    clock.now_ns() / 1_000_000
}

#[expect(clippy::disallowed_methods, reason = "this is the edge where a broker gets its thread")]
fn spawn<F: engine_env::File, P: Port>(
    me: BrokerId,
    port: P,
    machine: Machine<F>,
    clock: Monotonic,
    orders: Arc<Mutex<Vec<Order>>>,
) -> JoinHandle<()> {
    std::thread::Builder::new()
        .name(format!("broker-{}", me.0))
        .spawn(move || drive(port, machine, &clock, &orders))
        .expect("the operating system refused a thread")
}

/// Rounds: everything that came is taken, then everything that follows from it is sent.
fn drive<F: engine_env::File, P: Port>(
    mut port: P,
    mut machine: Machine<F>,
    clock: &Monotonic,
    orders: &Mutex<Vec<Order>>,
) {
    let mut arrivals = Vec::new();
    let mut is_stopping = false;
    loop {
        while let Some((to, bytes)) = machine.poll_output() {
            port.send(to, bytes);
        }
        if is_stopping && !machine.is_waited_for() {
            port.flush();
            return;
        }
        let wait = match machine.poll_timeout() {
            None => Wait::Forever,
            Some(at) => Wait::AtMost(Duration::from_millis(at.saturating_sub(now_ms(clock)))),
        };
        // It flushes first.
        port.receive(wait, &mut arrivals);
        let now = now_ms(clock);
        for order in std::mem::take(&mut *orders.lock().unwrap_or_else(PoisonError::into_inner)) {
            match order {
                Order::Stats(to) => {
                    let sent = port.stats();
                    let stats = machine.stats();
                    let (messages, message_bytes) = (sent.messages, sent.bytes);
                    // Who asked may have gone.
                    let _ = to.send(BrokerStats { messages, message_bytes, ..stats });
                }
                Order::Stop => {
                    is_stopping = true;
                    machine.close();
                }
                Order::Kill => return,
            }
        }
        machine.handle_storage(now);
        machine.set_wall_ms(wall_ms());
        for arrival in arrivals.drain(..) {
            machine.handle(now, arrival);
        }
        machine.handle_timeout(now);
    }
}
