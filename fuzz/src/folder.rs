//! Several files in one input, and a simulated folder that holds them.

use engine_env::sim::SimHome;
use engine_env::{Disk, Home, Op, OpenHow, WriteSync};

/// Splits an input into `N` files: before each but the last stands its length, two bytes, little-endian. Whatever a length
/// says, the bytes end with the input.
pub(crate) fn split<const N: usize>(mut input: &[u8]) -> [&[u8]; N] {
    let mut parts = [&input[..0]; N];
    for (n, part) in parts.iter_mut().enumerate() {
        let len = match input.split_first_chunk::<2>() {
            Some((len, rest)) if n + 1 < N => {
                input = rest;
                usize::from(u16::from_le_bytes(*len))
            }
            _ => input.len(),
        };
        (*part, input) = input.split_at(len.min(input.len()));
    }
    parts
}

/// One input of several files, for a seed.
///
/// # Panics
/// A file but the last is longer than a length can say.
#[must_use]
pub fn join(files: &[&[u8]]) -> Vec<u8> {
    let mut input = Vec::new();
    for (n, file) in (1..).zip(files) {
        if n < files.len() {
            input.extend(u16::try_from(file.len()).expect("a small file").to_le_bytes());
        }
        input.extend_from_slice(file);
    }
    input
}

/// Puts files into a folder, in place of those that are there. One without bytes is left out.
pub(crate) fn put(home: &SimHome, files: &[(&str, &[u8])]) {
    let mut disk = home.disk().expect("the machine runs");
    for &(path, bytes) in files.iter().filter(|(_, bytes)| !bytes.is_empty()) {
        let (file, _) = disk.open(path, OpenHow::OpenOrCreate).expect("the folder is there");
        disk.run(Op::Truncate { file: file.clone(), len: 0 }).expect("nothing fails");
        disk.run(Op::Write { file, at: 0, buf: bytes.to_vec(), sync: WriteSync::Data })
            .expect("nothing fails");
    }
}
