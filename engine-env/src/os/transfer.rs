//! [`transfer`]: all bytes, however many calls it takes. The kernel may move a part (a full disk, a limit, a signal), and a
//! signal may come before anything was moved.

use rustix::io::Errno;

/// How a transfer ended that didn't move everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// A call moved nothing: the end of the file, for a read.
    Nothing,
    /// A call failed.
    Failed(Errno),
}

/// Calls `attempt` with the number of bytes moved so far until all `len` are, and gives how many were. An interrupted call
/// is made again.
pub(super) fn transfer(
    len: usize,
    mut attempt: impl FnMut(usize) -> Result<usize, Errno>,
) -> Result<(), (usize, Ended)> {
    let mut moved = 0;
    while moved < len {
        match attempt(moved) {
            Ok(0) => return Err((moved, Ended::Nothing)),
            Ok(n) => moved += n,
            Err(Errno::INTR) => {}
            Err(error) => return Err((moved, Ended::Failed(error))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The kernel does what it likes; what it says it moved is asked for no second time, and nothing is left out.
        #[test]
        fn parts_and_interruptions_add_up(
            len in 0usize..5_000,
            calls in prop::collection::vec(prop_oneof![
                4 => (1usize..2_000).prop_map(Ok),
                3 => Just(Err(Errno::INTR)),
                1 => Just(Ok(0)),
                1 => Just(Err(Errno::NOSPC)),
            ], 0..20),
        ) {
            let (mut expected, mut ended) = (0, None);
            for call in &calls {
                match call {
                    _ if expected == len || ended.is_some() => break,
                    Ok(0) => ended = Some(Ended::Nothing),
                    Ok(n) => expected = len.min(expected + n),
                    Err(Errno::INTR) => {}
                    Err(error) => ended = Some(Ended::Failed(*error)),
                }
            }
            let mut script = calls.into_iter();
            let mut asked = 0;
            let result = transfer(len, |moved| {
                assert!(moved >= asked, "it never goes back");
                asked = moved;
                // When the script is over, everything goes at once.
                script.next().unwrap_or(Ok(usize::MAX)).map(|n| n.min(len - moved))
            });
            match ended {
                Some(ended) => prop_assert_eq!(result, Err((expected, ended))),
                None => prop_assert_eq!(result, Ok(())),
            }
        }
    }
}
