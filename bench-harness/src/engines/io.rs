//! The setting `io` that every engine on a disk has.

use engine_env::Backend;

use crate::engine::{EngineError, Place, Setting};

/// How operations reach the kernel.
pub(super) fn io_setting() -> Setting {
    Setting {
        name: NAME,
        default: "auto".to_owned(),
        meaning: "how operations reach the kernel: uring, blocking, or auto for uring where the machine permits it",
    }
}

const NAME: &str = "io";

/// The backend that `--set io=...` names.
pub(super) fn io_backend(place: &Place) -> Result<Backend, EngineError> {
    match place.settings.get(NAME).map_or("auto", String::as_str) {
        "auto" => Ok(Backend::Auto),
        "uring" => Ok(Backend::Uring),
        "blocking" => Ok(Backend::Blocking),
        other => Err(EngineError::BadSetting {
            name: NAME,
            got: other.to_owned(),
            expects: "auto, uring or blocking",
        }),
    }
}
