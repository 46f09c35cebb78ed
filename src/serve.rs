//! The composition root: puts a store, the authority and the transports together.

use crate::config::args::ServeArgs;

/// Why a server did not start, or ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("this build holds no server")]
    Absent,
}

impl ServeError {
    /// What the process answers to its parent.
    pub fn exit_code(&self) -> u8 {
        7
    }
}

/// Serves until the process is told to stop; with `init_store`, marks an empty store first.
pub fn serve(_args: &ServeArgs, _init_store: bool) -> Result<(), ServeError> {
    Err(ServeError::Absent)
}

/// Marks an empty store as this deployment's and answers its identity; idempotent.
pub fn init(_args: &ServeArgs) -> Result<String, ServeError> {
    Err(ServeError::Absent)
}
