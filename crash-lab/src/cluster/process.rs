//! [`Process`]: a server as the world moves it; [`Client`]: likewise; [`Machine`]: what a server runs on.

use engine_env::rng::Rng;
use engine_env::sim::SimHome;
use engine_env::{Arrival, Peer};

/// A server's process, from its start to its end. It is moved by single steps and never waits. Times are nanoseconds since
/// the world began.
pub(super) trait Process: Sized {
    /// What every process of the cluster is started with.
    type Config;

    /// How many folders it has, each a disk of its own that fails at the same time as the others.
    fn folders(config: &Self::Config) -> usize;

    /// Recovers what the folders hold, and serves as number `me`.
    fn start(config: &Self::Config, me: u16, folders: &[SimHome], now_ns: u64) -> Result<Self, String>;

    /// Takes what came over the network.
    fn handle(&mut self, now_ns: u64, arrival: Arrival);

    /// When [`Process::handle_timeout`] wants to be called.
    fn poll_timeout(&self) -> Option<u64>;

    /// Time has passed.
    fn handle_timeout(&mut self, now_ns: u64);

    /// The next message to send.
    fn poll_output(&mut self) -> Option<(Peer, Vec<u8>)>;

    /// Submits the commits that can begin, each of which moves bytes; whether any is in flight now.
    fn commit(&mut self) -> bool;

    /// Some of what is in flight completes. Nothing is told if the power went meanwhile.
    fn complete(&mut self, folders: &[SimHome], now_ns: u64);

    /// The oldest commit of one folder completes, on a machine whose disks [complete in order](SimHome::complete_in_order).
    fn complete_oldest(&mut self, folder: usize, now_ns: u64);

    /// A piece of upkeep.
    fn upkeep(&mut self, now_ns: u64);

    /// Whether its disk has failed it, so that it takes no writes until it is started again.
    fn has_stopped(&self) -> bool;
}

/// A client, which is never down.
pub(super) trait Client {
    /// What all clients know together, and judge by.
    type Ledger;

    /// Begins an operation of the generator's choice, if it wants one more.
    fn begin(&mut self, now_ns: u64, rng: &mut Rng, ledger: &mut Self::Ledger, said: &mut Vec<String>);

    /// Takes what came over the network.
    fn handle(&mut self, now_ns: u64, arrival: Arrival);

    /// When [`Client::handle_timeout`] wants to be called.
    fn poll_timeout(&mut self) -> Option<u64>;

    /// Time has passed.
    fn handle_timeout(&mut self, now_ns: u64);

    /// Takes and judges what has ended, and adds to `said` what it was. An error is what no fault excuses.
    fn take_outcomes(
        &mut self,
        now_ns: u64,
        ledger: &mut Self::Ledger,
        said: &mut Vec<String>,
    ) -> Result<(), String>;

    /// The next message to send.
    fn poll_output(&mut self) -> Option<(Peer, Vec<u8>)>;

    /// Its wall clock is set.
    fn jump_clock(&mut self, by_ms: i64);

    /// Whether it waits for nothing, and takes nobody for dead.
    fn is_idle(&self) -> bool;
}

/// What a process does.
#[derive(Debug)]
pub(super) enum State<P> {
    /// There is none.
    Off,
    Running(P),
    /// It is stopped, and what reaches it waits.
    Paused(P, Vec<Arrival>),
}

/// A machine and its process.
#[derive(Debug)]
pub(super) struct Machine<P> {
    pub(super) peer: Peer,
    pub(super) folders: Vec<SimHome>,
    /// How many lines of each folder's trace were taken over.
    pub(super) lines: Vec<usize>,
    pub(super) state: State<P>,
    /// Its disk takes so many times as long.
    pub(super) slowness: u64,
    /// When something that is in flight completes.
    pub(super) commit_due_ns: Option<u64>,
    pub(super) upkeep_due_ns: u64,
    /// Timers aren't looked at before, so that time passes whatever they ask for.
    pub(super) timer_floor_ns: u64,
    /// When it comes back or goes on.
    pub(super) back_at_ns: Option<u64>,
    /// Syncs and writes of its disk fail now and then.
    pub(super) is_failing: bool,
    /// When it is as fast and as sound as ever again.
    pub(super) sound_at_ns: Option<u64>,
}

impl<P> Machine<P> {
    pub(super) fn new(number: u16, folders: Vec<SimHome>) -> Self {
        Self {
            peer: Peer(number.into()),
            lines: vec![0; folders.len()],
            folders,
            state: State::Off,
            slowness: 1,
            commit_due_ns: None,
            upkeep_due_ns: 0,
            timer_floor_ns: 0,
            back_at_ns: None,
            is_failing: false,
            sound_at_ns: None,
        }
    }

    pub(super) fn is_powered(&self) -> bool {
        self.folders.iter().all(SimHome::is_powered)
    }

    /// Its process, if it has one and that isn't stopped.
    pub(super) fn running(&self) -> Option<&P> {
        match &self.state {
            State::Running(process) => Some(process),
            State::Off | State::Paused(..) => None,
        }
    }
}
