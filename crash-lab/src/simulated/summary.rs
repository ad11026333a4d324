//! [`Summary`]: what happened in simulations that broke nothing. Sums don't depend on the order of adding.

use std::collections::BTreeMap;
use std::fmt;

use engine_env::marks::Marks;
use engine_env::sim::{CrashCounts, Fault, FaultCounts};

/// A class of faults, as the documentation names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FaultClass {
    /// F1: an unsynced sector that a power cut left as a mix of old and new.
    TornSector,
    /// F2, F3: an unsynced sector that a power cut lost, whatever became of later ones and of other files.
    LostSector,
    /// F4: a write failed.
    WriteError,
    /// F5: a sync failed; the pages are clean and wrong.
    SyncError,
    /// F6: a write found the disk full.
    NoSpace,
    /// F7: a read failed.
    ReadError,
    /// F9: a change of a name was lost with the power.
    NameLost,
    /// F10: creating, renaming or removing a name, or the sync of a directory, failed.
    NameError,
    /// F11: a change of length was lost or kept without its data.
    LengthLost,
    /// F12: one bit flipped.
    BitFlip,
    /// F13: bytes of another place, or of an earlier time.
    Misdirected,
    /// F14: the power failed during a recovery.
    RecoveryCut,
    /// F16: a client's clock jumped.
    ClockJump,
    /// F17: parts of the network didn't hear each other.
    Network,
    /// F17: a machine was stopped or slow for a while.
    Pause,
    /// F18: a disk was lost with everything on it.
    DiskLost,
}

impl FaultClass {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::TornSector,
        Self::LostSector,
        Self::WriteError,
        Self::SyncError,
        Self::NoSpace,
        Self::ReadError,
        Self::NameLost,
        Self::NameError,
        Self::LengthLost,
        Self::BitFlip,
        Self::Misdirected,
        Self::RecoveryCut,
        Self::ClockJump,
        Self::Network,
        Self::Pause,
        Self::DiskLost,
    ];
}

impl fmt::Display for FaultClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TornSector => "F1 sectors torn",
            Self::LostSector => "F2 F3 sectors lost",
            Self::WriteError => "F4 writes failed",
            Self::SyncError => "F5 syncs failed",
            Self::NoSpace => "F6 writes without space",
            Self::ReadError => "F7 reads failed",
            Self::NameLost => "F9 names lost",
            Self::NameError => "F10 name changes failed",
            Self::LengthLost => "F11 lengths lost",
            Self::BitFlip => "F12 bits flipped",
            Self::Misdirected => "F13 bytes misdirected",
            Self::RecoveryCut => "F14 recoveries cut short",
            Self::ClockJump => "F16 clocks set",
            Self::Network => "F17 partitions",
            Self::Pause => "F17 machines paused",
            Self::DiskLost => "F18 disks lost",
        })
    }
}

/// What happened in one simulation, or in many.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Hash of everything that happened: the machine's trace, the tokens, the dumps.
    pub trace_hash: u64,
    /// From one opening to the next crash.
    pub lives: u64,
    /// Operations attempted.
    pub attempted: u64,
    /// Operations acknowledged.
    pub acknowledged: u64,
    /// Operations that failed or were refused because of a fault.
    pub failures: u64,
    /// Lines of damage that the engine reported.
    pub damage: u64,
    /// What became of unsynced sectors and names.
    pub crashes: CrashCounts,
    /// How often each class of faults struck.
    pub faults: BTreeMap<FaultClass, u64>,
    /// What clusters went through, by name: stale reads where they are allowed, for example.
    pub observed: BTreeMap<&'static str, u64>,
    /// Rare paths that were reached, if the build counts them ([`engine_env::marks::ENABLED`]).
    pub marks: Marks,
}

impl Summary {
    pub(crate) fn count(&mut self, class: FaultClass, times: u64) {
        if times > 0 {
            *self.faults.entry(class).or_default() += times;
        }
    }

    /// How often faults of this class struck.
    #[must_use]
    pub fn faults_of(&self, class: FaultClass) -> u64 {
        self.faults.get(&class).copied().unwrap_or(0)
    }

    pub(crate) fn observe(&mut self, observed: impl IntoIterator<Item = (&'static str, u64)>) {
        for (name, times) in observed {
            *self.observed.entry(name).or_default() += times;
        }
    }

    /// How often something was observed.
    #[must_use]
    pub fn observed(&self, name: &str) -> u64 {
        self.observed.get(name).copied().unwrap_or(0)
    }

    /// Takes over what the machine counted.
    pub(crate) fn add_faults(&mut self, faults: &FaultCounts) {
        let CrashCounts { sectors_lost, sectors_torn, lengths_lost, names_lost, .. } = self.crashes;
        self.count(FaultClass::TornSector, sectors_torn);
        self.count(FaultClass::LostSector, sectors_lost);
        self.count(FaultClass::LengthLost, lengths_lost);
        self.count(FaultClass::NameLost, names_lost);
        for (fault, times) in faults {
            let class = match fault {
                Fault::WriteError => FaultClass::WriteError,
                Fault::SyncError => FaultClass::SyncError,
                Fault::NoSpace => FaultClass::NoSpace,
                Fault::ReadError => FaultClass::ReadError,
                _ => FaultClass::NameError,
            };
            self.count(class, *times);
        }
    }
}

impl std::ops::AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        let Self {
            trace_hash,
            lives,
            attempted,
            acknowledged,
            failures,
            damage,
            crashes,
            faults,
            observed,
            marks,
        } = other;
        self.trace_hash = self.trace_hash.wrapping_add(trace_hash);
        self.lives += lives;
        self.attempted += attempted;
        self.acknowledged += acknowledged;
        self.failures += failures;
        self.damage += damage;
        self.crashes.crashes += crashes.crashes;
        self.crashes.sectors_lost += crashes.sectors_lost;
        self.crashes.sectors_kept += crashes.sectors_kept;
        self.crashes.sectors_torn += crashes.sectors_torn;
        self.crashes.lengths_lost += crashes.lengths_lost;
        self.crashes.names_lost += crashes.names_lost;
        self.crashes.names_kept += crashes.names_kept;
        for (class, times) in faults {
            self.count(class, times);
        }
        self.observe(observed);
        for (name, times) in marks {
            *self.marks.entry(name).or_default() += times;
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "trace hash               {:016x}", self.trace_hash)?;
        writeln!(f, "lives                    {}", self.lives)?;
        writeln!(f, "crashes                  {}", self.crashes.crashes)?;
        writeln!(f, "operations attempted     {}", self.attempted)?;
        writeln!(f, "operations acknowledged  {}", self.acknowledged)?;
        writeln!(f, "operations refused       {}", self.failures)?;
        writeln!(f, "damage reported          {}", self.damage)?;
        for class in FaultClass::ALL {
            writeln!(f, "{:<24} {}", class.to_string(), self.faults_of(class))?;
        }
        for (name, times) in &self.observed {
            writeln!(f, "{name:<24} {times}")?;
        }
        for (name, times) in &self.marks {
            writeln!(f, "rare path: {name}: {times}")?;
        }
        Ok(())
    }
}
