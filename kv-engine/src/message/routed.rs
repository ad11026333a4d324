//! By which ring a request was routed: where bit 0x40 of its kind is set, the ring's version follows the header.

use super::MessageError;
use super::fields::{HEADER_LEN, Rest};
use super::kind::{DELETE, GET, GET_ALL, GET_VERSIONS, PUT};

pub(super) const ROUTED: u8 = 0x40;

/// Whether requests of this kind go to nodes because of the keys that they hold.
pub(super) fn can_be_routed(kind: u8) -> bool {
    matches!(kind, GET | PUT | DELETE | GET_ALL | GET_VERSIONS)
}

fn is_routed(kind: u8) -> bool {
    kind & ROUTED != 0 && can_be_routed(kind & !ROUTED)
}

/// What a request is, apart from how it was routed.
pub(super) fn skip_ring(kind: u8, rest: &mut Rest<'_>) -> Result<u8, MessageError> {
    if !is_routed(kind) {
        return Ok(kind);
    }
    rest.u64("ring version")?;
    Ok(kind & !ROUTED)
}

/// The version of the ring by which whoever has sent these bytes has chosen whom to ask. `None`: another node has sent them,
/// or they are no such request.
pub(crate) fn routed_by(message: &[u8]) -> Option<u64> {
    let kind = *message.get(1)?;
    let version = message.get(HEADER_LEN..)?.first_chunk()?;
    is_routed(kind).then(|| u64::from_le_bytes(*version))
}
