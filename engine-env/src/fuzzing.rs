//! Decoders for the fuzzer: each takes any bytes, and says whether they were what it reads.

pub use crate::net::fuzz_frames as frames;
