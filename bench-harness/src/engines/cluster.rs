//! What every adapter of a cluster has: settings of the network, and members that can be killed and returned during a
//! run.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine_env::{Backend, NetProfile, OsHome, Peer};

use super::io::{io_backend, io_setting};
use super::outage::{Moments, Outage, OutageWatch};
use crate::engine::{EngineError, EngineStats, Place, Setting};
use crate::report::record::NodeLoad;

/// The driver's own port, its subscriber's, and that of whoever asks a node that came back what it has.
pub(super) const DRIVER: Peer = Peer(1000);
pub(super) const SUBSCRIBER: Peer = Peer(1001);
pub(super) const SURVEYOR: Peer = Peer(1002);

/// How often a member that came back is asked whether it has all that it missed.
const ASK_EVERY: Duration = Duration::from_millis(10);

/// Between which the messages pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// Queues between threads.
    Local,
    /// Sockets.
    Tcp,
}

impl FromStr for Transport {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "local" => Ok(Self::Local),
            "tcp" => Ok(Self::Tcp),
            _ => Err(()),
        }
    }
}

/// A setting that is on or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Switch(pub(super) bool);

impl FromStr for Switch {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "on" => Ok(Self(true)),
            "off" => Ok(Self(false)),
            _ => Err(()),
        }
    }
}

/// Settings of every cluster.
#[derive(Debug, Clone)]
pub(super) struct ClusterPlan {
    pub(super) nodes: u16,
    pub(super) profile: NetProfile,
    pub(super) transport: Transport,
    pub(super) outage: Option<Outage>,
    backend: Backend,
    dir: PathBuf,
}

const TRANSPORTS: &str = "local or tcp";
const PROFILES: &str = "loopback, lan or wan";
const OUTAGES: &str = "START_MS:LENGTH_MS:NODE with a node that there is, or none";
const NODES: &str = "a number of nodes, 1 to 64";

impl ClusterPlan {
    /// The settings that [`ClusterPlan::of`] reads.
    pub(super) fn settings() -> Vec<Setting> {
        vec![
            io_setting(),
            Setting {
                name: "nodes",
                default: "3".to_owned(),
                meaning: "nodes, each with threads and a folder of its own",
            },
            Setting {
                name: "transport",
                default: "local".to_owned(),
                meaning: "how messages travel: local (queues between threads) or tcp (sockets on this machine); encoded either way",
            },
            Setting {
                name: "net",
                default: "loopback".to_owned(),
                meaning: "delay added to each message, one way: loopback (none), lan (250 us), wan (30 ms)",
            },
            Setting {
                name: "outage",
                default: "none".to_owned(),
                meaning: "kill a node and start it again, START_MS:LENGTH_MS:NODE, counted from the measured phase's begin",
            },
        ]
    }

    pub(super) fn of(place: &Place) -> Result<Self, EngineError> {
        let nodes = bounded(place, "nodes", 3, 1..=64, NODES)?;
        let outage = match place.settings.get("outage").map(String::as_str) {
            None | Some("none") => None,
            Some(_) => Some(place.setting("outage", NO_OUTAGE, OUTAGES)?),
        };
        if outage.is_some_and(|outage| outage.member >= nodes) {
            return Err(EngineError::BadSetting {
                name: "outage",
                got: place.settings["outage"].clone(),
                expects: OUTAGES,
            });
        }
        Ok(Self {
            nodes,
            profile: place.setting("net", NetProfile::Loopback, PROFILES)?,
            transport: place.setting("transport", Transport::Local, TRANSPORTS)?,
            outage,
            backend: io_backend(place)?,
            dir: place.dir.clone(),
        })
    }

    /// The folders of the members.
    pub(super) fn homes(&self) -> Homes {
        Homes { backend: self.backend, dir: self.dir.clone() }
    }

    /// Who listens, in a network of sockets.
    pub(super) fn peers(&self) -> Vec<Peer> {
        (0..self.nodes).map(|node| Peer(u32::from(node))).collect()
    }
}

const NO_OUTAGE: Outage = Outage { after: Duration::ZERO, length: Duration::ZERO, member: 0 };

/// The setting `name` within bounds.
pub(super) fn bounded(
    place: &Place,
    name: &'static str,
    default: u16,
    allowed: std::ops::RangeInclusive<u16>,
    expects: &'static str,
) -> Result<u16, EngineError> {
    let value = place.setting(name, default, expects)?;
    if allowed.contains(&value) {
        Ok(value)
    } else {
        Err(EngineError::BadSetting { name, got: value.to_string(), expects })
    }
}

/// Opens a member's folder: `node-0` below the engine's.
#[derive(Debug, Clone)]
pub(super) struct Homes {
    backend: Backend,
    dir: PathBuf,
}

impl Homes {
    pub(super) fn open(&self, role: &str, number: u16) -> Result<OsHome, EngineError> {
        make(&self.dir)?;
        let dir = self.dir.join(format!("{role}-{number}"));
        OsHome::open(&dir, self.backend).map_err(EngineError::engine)
    }
}

fn make(dir: &Path) -> Result<(), EngineError> {
    std::fs::create_dir_all(dir).map_err(|error| EngineError::engine(format!("{}: {error}", dir.display())))
}

/// A node or broker.
pub(super) trait Member: Send + 'static {
    /// What it has counted since it was started.
    fn counted(&self) -> EngineStats;

    /// Ends it as a killed process ends.
    fn kill(self);

    /// Ends it cleanly.
    ///
    /// # Errors
    /// Something acknowledged may not be on disk.
    fn stop(self) -> Result<(), EngineError>;
}

type Start<M> = Box<dyn Fn(u16) -> Result<M, EngineError> + Send>;

/// Whether the member of that number, which has come back, has all that it missed. Asked until it has; it may keep the
/// members waiting for a tenth of a second.
pub(super) type Survey<M> = Box<dyn FnMut(&[Option<M>], u16) -> bool + Send>;

struct Running<M> {
    /// By number; none while it is away.
    members: Vec<Option<M>>,
    start: Start<M>,
    /// What those had counted that were killed.
    gone: EngineStats,
    /// Why one couldn't be started again.
    failed: Option<EngineError>,
    ended: bool,
}

struct Shared<M> {
    running: Mutex<Running<M>>,
    changed: Condvar,
}

impl<M> Shared<M> {
    fn lock(&self) -> MutexGuard<'_, Running<M>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The members of a cluster. Dropping them kills all.
pub(super) struct Members<M: Member> {
    shared: Arc<Shared<M>>,
    /// Until it is planned for a time.
    outage: Option<(Outage, Survey<M>)>,
    moments: Arc<Moments>,
    thread: Option<JoinHandle<()>>,
}

impl<M: Member> Members<M> {
    /// Starts all of them. `survey` is for whoever is away for a while.
    pub(super) fn start(
        plan: &ClusterPlan,
        start: impl Fn(u16) -> Result<M, EngineError> + Send + 'static,
        survey: impl FnMut(&[Option<M>], u16) -> bool + Send + 'static,
    ) -> Result<Self, EngineError> {
        let members = (0..plan.nodes).map(|number| start(number).map(Some)).collect::<Result<_, _>>()?;
        let (start, gone) = (Box::new(start), EngineStats::default());
        let running = Mutex::new(Running { members, start, gone, failed: None, ended: false });
        let shared = Arc::new(Shared { running, changed: Condvar::new() });
        let survey: Survey<M> = Box::new(survey);
        let outage = plan.outage.map(|outage| (outage, survey));
        Ok(Self { shared, outage, moments: Arc::default(), thread: None })
    }

    /// For the session, where an outage is planned.
    pub(super) fn watch(&self) -> Option<OutageWatch> {
        let (outage, _) = self.outage.as_ref()?;
        Some(OutageWatch::new(Arc::clone(&self.moments), outage.member))
    }

    /// The measured phase begins: a planned outage is counted from here.
    pub(super) fn measured_from_now(&mut self) {
        let Some((outage, mut survey)) = self.outage.take() else { return };
        let (shared, moments) = (Arc::clone(&self.shared), Arc::clone(&self.moments));
        let number = outage.member;
        let thread = std::thread::Builder::new().name("outage".to_owned()).spawn(move || {
            if let Some(member) =
                after(&shared, outage.after, |running| running.members[usize::from(number)].take())
            {
                let counted = member.counted();
                member.kill();
                moments.gone();
                let mut running = shared.lock();
                running.gone = running.gone.plus(&counted);
            }
            let returned = after(&shared, outage.length, |running| {
                moments.back();
                match (running.start)(number) {
                    Ok(member) => running.members[usize::from(number)] = Some(member),
                    Err(error) => running.failed = Some(error),
                }
                running.members[usize::from(number)].is_some().then_some(())
            });
            let Some(()) = returned else { return };
            let mut look = || after(&shared, ASK_EVERY, |running| Some(survey(&running.members, number)));
            loop {
                match look() {
                    None => return,
                    Some(false) => {}
                    Some(true) => return moments.whole(),
                }
            }
        });
        self.thread = Some(thread.expect("the operating system refused a thread"));
    }

    /// All together, those that were killed included.
    pub(super) fn counted(&self) -> EngineStats {
        let running = self.shared.lock();
        running.members.iter().flatten().fold(running.gone, |sum, member| sum.plus(&member.counted()))
    }

    /// What each carried that runs, by its name in `role`.
    pub(super) fn loads(&self, role: &str) -> Vec<NodeLoad> {
        let running = self.shared.lock();
        let all = running
            .members
            .iter()
            .zip(0u16..)
            .filter_map(|(member, number)| Some((member.as_ref()?, number)));
        all.map(|(member, number)| NodeLoad {
            node: format!("{role}-{number}"),
            messages: member.counted().messages,
        })
        .collect()
    }

    fn end(&mut self) -> Vec<M> {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by the panic hook.
            let _ = thread.join();
        }
        self.shared.lock().members.iter_mut().filter_map(Option::take).collect()
    }

    /// Stops all; the first failure is told.
    pub(super) fn stop(mut self) -> Result<(), EngineError> {
        let members = self.end();
        let failed = self.shared.lock().failed.take();
        members.into_iter().map(Member::stop).fold(failed.map_or(Ok(()), Err), |told, one| told.and(one))
    }
}

impl<M: Member> Drop for Members<M> {
    fn drop(&mut self) {
        self.end().into_iter().for_each(Member::kill);
    }
}

/// Runs `then` when the time has passed, unless all ends before.
fn after<M, R>(
    shared: &Shared<M>,
    time: Duration,
    then: impl FnOnce(&mut Running<M>) -> Option<R>,
) -> Option<R> {
    let until = Instant::now() + time;
    let mut running = shared.lock();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if running.ended {
            return None;
        }
        if left.is_zero() {
            return then(&mut running);
        }
        running = shared.changed.wait_timeout(running, left).unwrap_or_else(PoisonError::into_inner).0;
    }
}
