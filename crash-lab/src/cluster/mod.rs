//! Whole clusters of either engine in one simulated world: machines with disks, clients with histories, a network that
//! loses, delays, doubles and reorders, and troubles on top: partitions, pauses, slow machines, power cuts, lost disks,
//! clocks that jump. One thread, virtual time, everything from one seed.
//!
//! | room | what is there |
//! | --- | --- |
//! | [`process`] | what the world moves: a server's process on its machine, a client |
//! | [`world`] | the queue of events: messages, timers, the disks' completions, upkeep, returns |
//! | [`trouble`] | what goes wrong, and for how long |
//! | [`kv`] | the store: its nodes, its clients, the judge by registers, the scenarios |
//! | [`log`] | the log: its brokers, its clients, the judge by offsets, the scenarios |
//! | [`timed`] | clusters whose steps cost the time of a hardware profile |
//!
//! The judges know what clients attempted and were told, and share no code with the engines.

pub(crate) mod kv;
pub(crate) mod log;
mod process;
pub mod timed;
mod trouble;
mod world;
