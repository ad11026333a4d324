//! The bytes on a connection (`docs/formats/net-frame.md`): [`Hello`], frames, and their [`Decoder`].
//!
//! Invariants:
//! * Any bytes give messages or a [`FrameError`], never a panic.
//! * Memory is taken for what has arrived. A length is checked before anything follows from it.

use super::super::{MESSAGE_BYTES_MAX, Peer};

const MAGIC: [u8; 6] = *b"wb-net";
const VERSION: u16 = 1;
const PEER_AT: usize = MAGIC.len() + 2;
const INCARNATION_AT: usize = PEER_AT + 4;
const CLOCK_AT: usize = INCARNATION_AT + 8;
pub(super) const HELLO_LEN: usize = CLOCK_AT + 16;
const SENT_AT: usize = 4;
pub(super) const HEADER_LEN: usize = SENT_AT + 8;

const _: () = assert!(HELLO_LEN == 36 && HEADER_LEN == 12);
const _: () = assert!(MESSAGE_BYTES_MAX <= u32::MAX as usize);

/// Room for a long message is taken in steps of this.
const STEP: usize = 1 << 20;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) peer: Peer,
    /// Differs each time that a port is opened.
    pub(super) incarnation: u64,
    /// Which clock stamps the frames; zeros: none that could be compared.
    pub(super) clock: [u8; 16],
}

impl Hello {
    pub(super) fn encode(&self) -> [u8; HELLO_LEN] {
        let mut bytes = [0; HELLO_LEN];
        bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
        bytes[MAGIC.len()..PEER_AT].copy_from_slice(&VERSION.to_le_bytes());
        bytes[PEER_AT..INCARNATION_AT].copy_from_slice(&self.peer.0.to_le_bytes());
        bytes[INCARNATION_AT..CLOCK_AT].copy_from_slice(&self.incarnation.to_le_bytes());
        bytes[CLOCK_AT..].copy_from_slice(&self.clock);
        bytes
    }

    fn decode(bytes: &[u8; HELLO_LEN]) -> Result<Self, FrameError> {
        if bytes[..MAGIC.len()] != MAGIC {
            return Err(FrameError::Magic);
        }
        let version = u16::from_le_bytes([bytes[6], bytes[7]]);
        if version != VERSION {
            return Err(FrameError::Version { version });
        }
        Ok(Self {
            peer: Peer(u32::from_le_bytes(part(bytes, PEER_AT))),
            incarnation: u64::from_le_bytes(part(bytes, INCARNATION_AT)),
            clock: part(bytes, CLOCK_AT),
        })
    }
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the layout's constants lie inside of it")
}

/// The header of a message that isn't stamped yet.
pub(super) fn header(len: usize) -> [u8; HEADER_LEN] {
    let mut bytes = [0; HEADER_LEN];
    let len = u32::try_from(len).expect("a message was checked against MESSAGE_BYTES_MAX");
    bytes[..SENT_AT].copy_from_slice(&len.to_le_bytes());
    bytes
}

/// Writes the time of sending into the header at the start of `frame`.
pub(super) fn stamp(frame: &mut [u8], sent_ns: u64) {
    frame[SENT_AT..HEADER_LEN].copy_from_slice(&sent_ns.to_le_bytes());
}

/// Why a connection's bytes make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("the other side doesn't speak this protocol: its first bytes aren't `wb-net`")]
    Magic,
    #[error("the other side speaks version {version} of the protocol, this one version {VERSION}")]
    Version { version: u16 },
    #[error("a message of {len} bytes is announced; {MESSAGE_BYTES_MAX} is the most")]
    TooLong { len: u32 },
}

/// What a connection says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Hello(Hello),
    Message { sent_ns: u64, bytes: Vec<u8> },
}

/// Puts together what arrives in pieces.
#[derive(Debug)]
pub(super) struct Decoder {
    /// The head that is being gathered: a hello or a header.
    head: [u8; HELLO_LEN],
    head_len: usize,
    greeted: bool,
    message: Option<Partial>,
}

#[derive(Debug)]
struct Partial {
    sent_ns: u64,
    len: usize,
    bytes: Vec<u8>,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self { head: [0; HELLO_LEN], head_len: 0, greeted: false, message: None }
    }

    /// Takes the next bytes and tells what is complete. After an error the connection is of no use.
    pub(super) fn feed(&mut self, mut input: &[u8], mut say: impl FnMut(Said)) -> Result<(), FrameError> {
        loop {
            if let Some(partial) = &mut self.message {
                let n = (partial.len - partial.bytes.len()).min(input.len()).min(STEP);
                if partial.bytes.len() + n > partial.bytes.capacity() {
                    // Doubles with what has arrived, up to the length.
                    let room = (partial.len - partial.bytes.len()).min(STEP.max(partial.bytes.len()));
                    partial.bytes.reserve_exact(room);
                }
                partial.bytes.extend_from_slice(&input[..n]);
                input = &input[n..];
                if partial.bytes.len() == partial.len {
                    let Partial { sent_ns, bytes, .. } = self.message.take().expect("it is being filled");
                    say(Said::Message { sent_ns, bytes });
                } else if input.is_empty() {
                    return Ok(());
                }
                continue;
            }
            let want = if self.greeted { HEADER_LEN } else { HELLO_LEN };
            let n = (want - self.head_len).min(input.len());
            self.head[self.head_len..self.head_len + n].copy_from_slice(&input[..n]);
            self.head_len += n;
            input = &input[n..];
            if self.head_len < want {
                return Ok(());
            }
            self.head_len = 0;
            if self.greeted {
                let len = u32::from_le_bytes(part(&self.head, 0));
                let sent_ns = u64::from_le_bytes(part(&self.head, SENT_AT));
                if len as usize > MESSAGE_BYTES_MAX {
                    return Err(FrameError::TooLong { len });
                }
                self.message = Some(Partial { sent_ns, len: len as usize, bytes: Vec::new() });
            } else {
                say(Said::Hello(Hello::decode(&self.head)?));
                self.greeted = true;
            }
        }
    }
}

/// What arrives on a connection, in pieces of the first byte's size: whether all of it is whole messages.
#[cfg(feature = "fuzzing")]
#[must_use]
pub fn fuzz_frames(bytes: &[u8]) -> bool {
    let Some((&piece, bytes)) = bytes.split_first() else { return false };
    let (mut decoder, mut said) = (Decoder::new(), 0);
    for input in bytes.chunks(usize::from(piece).max(1)) {
        let say = |one| match one {
            Said::Hello(_) => said += HELLO_LEN,
            Said::Message { bytes, .. } => said += HEADER_LEN + bytes.len(),
        };
        if decoder.feed(input, say).is_err() {
            return false;
        }
    }
    assert!(said <= bytes.len(), "nothing is said that wasn't sent");
    said == bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HELLO: Hello = Hello { peer: Peer(7), incarnation: 0x0102_0304_0506_0708, clock: [9; 16] };

    fn conversation(messages: &[(u64, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = HELLO.encode().to_vec();
        for (sent_ns, message) in messages {
            let at = bytes.len();
            bytes.extend(header(message.len()));
            stamp(&mut bytes[at..], *sent_ns);
            bytes.extend(message);
        }
        bytes
    }

    /// Feeds `bytes` in pieces of the given sizes.
    fn decode(bytes: &[u8], pieces: &[usize]) -> (Vec<Said>, Result<(), FrameError>) {
        let (mut decoder, mut said) = (Decoder::new(), Vec::new());
        let mut rest = bytes;
        for &piece in pieces.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at(piece.clamp(1, rest.len()));
            rest = later;
            if let Err(e) = decoder.feed(now, |one| said.push(one)) {
                return (said, Err(e));
            }
        }
        (said, Ok(()))
    }

    #[test]
    fn the_layout_doesnt_move() {
        let hello = [
            b'w', b'b', b'-', b'n', b'e', b't', 1, 0, 7, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1, 9, 9, 9, 9, 9, 9,
            9, 9, 9, 9, 9, 9, 9, 9, 9, 9,
        ];
        let frame = [2, 0, 0, 0, 0xE8, 3, 0, 0, 0, 0, 0, 0, b'h', b'i'];
        assert_eq!(conversation(&[(1000, b"hi".to_vec())]), [&hello[..], &frame[..]].concat());
    }

    #[test]
    fn strangers_and_giants_are_refused_before_anything_is_allocated() {
        let mut bytes = conversation(&[]);
        bytes[0] = b'G';
        assert_eq!(decode(&bytes, &[5]).1, Err(FrameError::Magic));
        let mut bytes = conversation(&[]);
        bytes[6] = 2;
        assert_eq!(decode(&bytes, &[5]).1, Err(FrameError::Version { version: 2 }));
        let mut bytes = conversation(&[]);
        bytes.extend((MESSAGE_BYTES_MAX as u32 + 1).to_le_bytes());
        bytes.extend([0; 8]);
        let too_long = FrameError::TooLong { len: MESSAGE_BYTES_MAX as u32 + 1 };
        assert_eq!(decode(&bytes, &[64]), (vec![Said::Hello(HELLO)], Err(too_long)));
    }

    #[test]
    fn a_promised_length_takes_no_memory_until_it_comes() {
        let mut decoder = Decoder::new();
        decoder.feed(&conversation(&[]), |_| {}).expect("a hello");
        decoder.feed(&header(MESSAGE_BYTES_MAX), |_| {}).expect("the longest message");
        decoder.feed(&[1; 100], |_| {}).expect("its start");
        assert!(decoder.message.as_ref().expect("it isn't complete").bytes.capacity() <= STEP);
    }

    proptest! {
        #[test]
        fn what_was_sent_is_said_however_it_is_cut(
            messages in prop::collection::vec((any::<u64>(), prop::collection::vec(any::<u8>(), 0..200)), 0..20),
            pieces in prop::collection::vec(1usize..400, 1..8),
        ) {
            let (said, end) = decode(&conversation(&messages), &pieces);
            prop_assert_eq!(end, Ok(()));
            let expected: Vec<_> = std::iter::once(Said::Hello(HELLO))
                .chain(messages.into_iter().map(|(sent_ns, bytes)| Said::Message { sent_ns, bytes }))
                .collect();
            prop_assert_eq!(said, expected);
        }

        #[test]
        fn any_bytes_give_messages_or_an_error(
            greets in any::<bool>(),
            bytes in prop::collection::vec(any::<u8>(), 0..600),
            short in any::<bool>(),
            pieces in prop::collection::vec(1usize..100, 1..8),
        ) {
            let mut all = if greets { conversation(&[]) } else { Vec::new() };
            all.extend(&bytes);
            // Random lengths are mostly too long; with small ones more of the decoder is reached.
            if short && greets && bytes.len() > 4 {
                all[HELLO_LEN + 1..HELLO_LEN + 4].fill(0);
            }
            let (said, _) = decode(&all, &pieces);
            let total: usize = said.iter().map(|one| match one {
                Said::Hello(_) => HELLO_LEN,
                Said::Message { bytes, .. } => HEADER_LEN + bytes.len(),
            }).sum();
            prop_assert!(total <= all.len(), "nothing is said that wasn't sent");
        }
    }
}
