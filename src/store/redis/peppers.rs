//! The check values of peppers, kept in the marker, so that whoever reads one has read the other.

use redis::{Cmd, Value, cmd};

use super::error::read;
use super::keys::Keys;
use super::scripts::{Call, KEEP_PEPPERS};
use crate::domain::pepper::PepperCheck;
use crate::store::{StoreError, peppers};

/// What the marker's fields of peppers begin with; the id follows.
const FIELD: &str = "pepper:";

/// The peppers in use.
#[derive(Clone, Debug, Default)]
pub(super) struct Peppers(Vec<PepperCheck>);

/// What a verified Redis does not keep of the peppers in use, and why it could not be written.
///
/// Reading needs nothing of it. No token is made under such a pepper until a later verification
/// could write its check value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unkept {
    pub(super) ids: Vec<u32>,
    pub(super) why: StoreError,
}

impl Unkept {
    /// An error if a token under pepper `id` must not be made.
    pub(super) fn refuse(&self, id: u32) -> Result<(), StoreError> {
        if !self.ids.contains(&id) {
            return Ok(());
        }
        let why = &self.why;
        Err(StoreError::ReadOnly(format!(
            "nothing is written under pepper {id} before its check value is, and that failed: {why}"
        )))
    }
}

impl Peppers {
    pub(super) fn new(checks: Vec<PepperCheck>) -> Self {
        Self(checks)
    }

    /// The one for new digests.
    pub(super) fn present(&self) -> Option<u32> {
        self.0.first().map(|check| check.id)
    }

    /// Asks for the check values behind what `read` asks of the marker.
    pub(super) fn ask(&self, mut read: Cmd) -> Cmd {
        self.0.iter().for_each(|check| {
            read.arg(field(check.id));
        });
        read
    }

    /// What writes those that are not there yet, and answers the marker.
    pub(super) fn keep(&self, keys: &Keys) -> Call {
        let call = KEEP_PEPPERS.call([keys.marker()]);
        let keep = |call: Call, check: &PepperCheck| call.arg(field(check.id)).arg(check.value);
        self.0.iter().fold(call, keep)
    }

    /// The peppers that the store was used with and that are not in use, by the marker's fields.
    pub(super) fn missing(&self, fields: Value) -> Result<Vec<u32>, StoreError> {
        let fields: Vec<Vec<u8>> = read(fields)?;
        let kept = fields.iter().filter_map(|field| {
            let id = std::str::from_utf8(field).ok()?.strip_prefix(FIELD)?;
            id.parse().ok()
        });
        Ok(peppers::missing(&self.0, kept))
    }

    /// Judges the check values that a marker holds; answers the ids of those that it does not.
    pub(super) fn judge(&self, kept: &[Option<Vec<u8>>]) -> Result<Vec<u32>, StoreError> {
        let unkept = peppers::unkept(&self.0, kept)?;
        Ok(unkept.into_iter().map(|check| check.id).collect())
    }
}

/// Asks for the fields of the marker, for [`Peppers::missing`].
pub(super) fn ask_kept(keys: &Keys) -> Cmd {
    let mut command = cmd("HKEYS");
    command.arg(keys.marker());
    command
}

fn field(id: u32) -> String {
    format!("{FIELD}{id}")
}
