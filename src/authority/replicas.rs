//! The servers of a store that answer from memory, as its registry tells.

use crate::domain::coherence::ReplicaId;

use super::Authority;
use super::access::Right;
use super::act;
use super::error::Error;

/// A server that answers from memory, or did until a moment ago.
#[derive(Clone, Debug)]
pub struct Attending {
    pub id: ReplicaId,
    /// Whether it is this one.
    pub own: bool,
    /// The number of the last change that it said it knows; changes are counted from the registry's
    /// beginning.
    pub applied: u64,
}

impl Authority {
    /// All of them. They are of no namespace, and no secret: whoever may have an overview of any may know.
    pub async fn replicas(&self, _: &Right<act::Overview>) -> Result<Vec<Attending>, Error> {
        let attendance = self.store.attendance().await?;
        let own = self.coherence.replica_id();
        let members = attendance.members.into_iter();
        let attending = members.map(|(id, member)| Attending {
            id,
            own: id == own,
            applied: member.applied,
        });
        Ok(attending.collect())
    }
}
