//! The peers that the configuration believes what they say of others.

pub use crate::domain::peers::Peers;
