//! [`Link`]: one connection with what is still to be written and what has been read in part.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::sockopt;

use super::super::{Arrival, Peer};
use super::frame::{Decoder, FrameError, HEADER_LEN, Hello, Said, header, stamp};
use super::socket;

/// What isn't acknowledged for so long breaks the connection, so that it is opened anew when the network works again:
/// by then the kernel of a connection that waited retries every two minutes only. The figure is assumed.
const UNACKNOWLEDGED_MS_MAX: u32 = 15_000;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the other side closed the connection")]
    Closed,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// How far a connection is.
#[derive(Debug)]
pub(super) enum Phase {
    /// Nothing has been flushed yet.
    Planned,
    /// The kernel is at it.
    Dialling(TcpStream),
    /// Both sides may write.
    Open(TcpStream),
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) phase: Phase,
    /// Whom it leads to: known from the start if this side dialled, from the hello if the other one did.
    pub(super) peer: Option<Peer>,
    /// From the other side's hello.
    pub(super) hello: Option<Hello>,
    /// Whether it is listed for the next flush.
    pub(super) is_unflushed: bool,
    /// Whether the port is told when more can be written.
    pub(super) watches_writes: bool,
    outbox: Outbox,
    decoder: Decoder,
}

/// Frames that the socket hasn't taken, in one buffer.
#[derive(Debug, Default)]
struct Outbox {
    bytes: Vec<u8>,
    written: usize,
    /// Where the frames begin that have no time of sending yet.
    unstamped: Vec<usize>,
}

/// Reads of a link that is given up. Socket buffers end sooner; a sender that never stops doesn't keep this port.
const RESTS_MAX: usize = 1024;

/// A buffer that grew beyond this is given back when it is empty.
const KEPT_BYTES: usize = 1 << 20;

impl Link {
    pub(super) fn planned(to: Peer, hello: &Hello) -> Self {
        Self::new(Phase::Planned, Some(to), hello)
    }

    pub(super) fn accepted(stream: TcpStream, hello: &Hello) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        tune(&stream)?;
        Ok(Self::new(Phase::Open(stream), None, hello))
    }

    fn new(phase: Phase, peer: Option<Peer>, hello: &Hello) -> Self {
        let outbox = Outbox { bytes: hello.encode().to_vec(), ..Outbox::default() };
        Self {
            phase,
            peer,
            hello: None,
            is_unflushed: false,
            watches_writes: false,
            outbox,
            decoder: Decoder::new(),
        }
    }

    pub(super) fn stream(&self) -> Option<&TcpStream> {
        match &self.phase {
            Phase::Planned => None,
            Phase::Dialling(stream) | Phase::Open(stream) => Some(stream),
        }
    }

    pub(super) fn push(&mut self, message: &[u8]) {
        let outbox = &mut self.outbox;
        outbox.unstamped.push(outbox.bytes.len());
        outbox.bytes.extend_from_slice(&header(message.len()));
        outbox.bytes.extend_from_slice(message);
    }

    /// Bytes that the socket hasn't taken.
    pub(super) fn unsent(&self) -> usize {
        self.outbox.bytes.len() - self.outbox.written
    }

    /// Gives what is queued the time of its sending; `None` leaves it without.
    pub(super) fn stamp(&mut self, sent_ns: Option<u64>) {
        for at in self.outbox.unstamped.drain(..) {
            if let Some(sent_ns) = sent_ns {
                stamp(&mut self.outbox.bytes[at..at + HEADER_LEN], sent_ns);
            }
        }
    }

    /// Starts to connect.
    pub(super) fn dial(&mut self, address: SocketAddr) -> Result<(), Broken> {
        let socket = socket(address)?;
        let is_done = match rustix::net::connect(&socket, &address) {
            Ok(()) => true,
            // Interrupted: the kernel goes on by itself.
            Err(Errno::INPROGRESS | Errno::INTR) => false,
            Err(e) => return Err(Broken::Io(e.into())),
        };
        let stream = TcpStream::from(socket);
        tune(&stream)?;
        if is_done {
            self.phase = Phase::Open(stream);
            return Ok(());
        }
        // On the loopback device the answer is there already, and the first flush need not wait for another turn.
        let is_settled = {
            let mut fds = [PollFd::new(&stream, PollFlags::OUT)];
            matches!(rustix::event::poll(&mut fds, Some(&Timespec::default())), Ok(1))
        };
        self.phase = Phase::Dialling(stream);
        if is_settled { self.dialled() } else { Ok(()) }
    }

    /// The kernel has finished connecting, well or badly.
    pub(super) fn dialled(&mut self) -> Result<(), Broken> {
        match std::mem::replace(&mut self.phase, Phase::Planned) {
            Phase::Dialling(stream) => {
                sockopt::socket_error(&stream).map_err(io::Error::from)?.map_err(io::Error::from)?;
                self.phase = Phase::Open(stream);
            }
            other => self.phase = other,
        }
        Ok(())
    }

    /// Writes what the socket takes.
    pub(super) fn write(&mut self) -> Result<(), Broken> {
        let Phase::Open(stream) = &mut self.phase else { return Ok(()) };
        let outbox = &mut self.outbox;
        while outbox.written < outbox.bytes.len() {
            match stream.write(&outbox.bytes[outbox.written..]) {
                Ok(0) => return Err(Broken::Closed),
                Ok(n) => outbox.written += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(Broken::Io(e)),
            }
        }
        if outbox.written == outbox.bytes.len() {
            outbox.bytes.clear();
            outbox.bytes.shrink_to(KEPT_BYTES);
            outbox.written = 0;
        } else if outbox.written > outbox.bytes.len() / 2 {
            // Moves less than was written since the last time, so each byte is moved once at most.
            outbox.bytes.drain(..outbox.written);
            for at in &mut outbox.unstamped {
                *at -= outbox.written;
            }
            outbox.written = 0;
        }
        Ok(())
    }

    /// Reads what is there, up to `rounds` times `scratch`, and adds what is complete to `out` with its time of sending
    /// as stamped. Messages that come after a failure are lost; those before it are in `out`.
    pub(super) fn read(
        &mut self,
        scratch: &mut [u8],
        rounds: usize,
        out: &mut Vec<(u64, Vec<u8>)>,
    ) -> Result<(), Broken> {
        let Phase::Open(stream) = &mut self.phase else { return Ok(()) };
        for _ in 0..rounds {
            let n = match stream.read(scratch) {
                Ok(0) => return Err(Broken::Closed),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(Broken::Io(e)),
            };
            let hello = &mut self.hello;
            let fed = self.decoder.feed(&scratch[..n], |said| match said {
                Said::Hello(other) => *hello = Some(other),
                Said::Message { sent_ns, bytes } => out.push((sent_ns, bytes)),
            });
            if let Err(e) = fed {
                // Nothing that follows can be understood, so nobody reads it.
                self.phase = Phase::Planned;
                return Err(e.into());
            }
            if n < scratch.len() {
                break;
            }
        }
        Ok(())
    }

    /// The messages of a link that is given up: what has arrived already was sent before.
    pub(super) fn read_rest(&mut self, scratch: &mut [u8], out: &mut Vec<(u64, Vec<u8>)>) {
        // The end or a failure: either way there is no more.
        let _ = self.read(scratch, RESTS_MAX, out);
    }
}

pub(super) fn arrival(from: Peer, bytes: Vec<u8>) -> Arrival {
    Arrival::Message { from, bytes }
}

/// Small messages go at once: a whole flush is one write, so there is nothing for the kernel to gather.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    Ok(sockopt::set_tcp_user_timeout(stream, UNACKNOWLEDGED_MS_MAX)?)
}
