//! A simulated machine with a disk whose power fails on purpose, and a simulated network between such machines.
//!
//! [`SimNet`] is the network. [`SimHome`] is the machine: it hands out disks as any [`Home`](crate::Home) does, and it is the control panel for
//! crashes, faults and damage. Everything it decides comes from one seed; the same seed and the same calls give the
//! same trace.
//!
//! A test of every crash point of a program:
//!
//! ```
//! use engine_env::rng::Seed;
//! use engine_env::sim::{Crash, SimHome};
//! use engine_env::{Disk, DiskError, Home, Op, OpenHow, WriteSync};
//!
//! // Acknowledges (returns `Ok`) only what is durable.
//! fn program(home: &SimHome) -> Result<(), DiskError> {
//!     let mut disk = home.disk()?;
//!     let (file, _) = disk.open("a", OpenHow::CreateNew)?;
//!     disk.run(Op::Write { file, at: 0, buf: b"hello".to_vec(), sync: WriteSync::Data })?;
//!     disk.run(Op::SyncDir { dir: String::new() })?;
//!     Ok(())
//! }
//!
//! let whole = SimHome::new(Seed(1));
//! program(&whole).unwrap();
//! for step in 0..whole.steps() {
//!     let home = SimHome::new(Seed(1));
//!     home.crash_at_step(step);
//!     assert!(program(&home).is_err(), "the power went before the end");
//!     home.reboot(Crash::PowerCut(Seed(step)));
//!     // The file is absent, empty, torn or whole: nobody was told anything yet.
//!     let mut disk = home.disk().unwrap();
//!     let _ = disk.open("a", OpenHow::OpenOrCreate).unwrap();
//! }
//! whole.reboot(Crash::LoseUnsynced);
//! assert_eq!(whole.seen_bytes("a").unwrap(), b"hello");
//! ```
//!
//! The machine has no time of its own. [`SimHome::meter`] tells what operations moved, a [`HardwareProfile`] what that costs;
//! whoever drives the machines makes time of both.
//!
//! What a power cut leaves is described at [`Crash`]; what may fail in between, at [`Fault`].

mod contents;
mod dice;
mod disk;
mod execute;
mod faults;
mod hardware;
mod meter;
mod names;
mod net;
mod trace;
mod world;

pub use disk::{SimDisk, SimFile, SimHome};
pub use faults::{Crash, CrashCounts, Fault, FaultCounts, FaultRates};
pub use hardware::{HardwareProfile, Parameter, Quantity};
pub use meter::Transfer;
pub use net::{Link, LinkFaults, SimNet, SimPort, SimPorts};
