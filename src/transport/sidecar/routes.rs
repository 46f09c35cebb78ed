//! What a held request demands, by the routes of the configuration.

pub use crate::domain::route::{Demand, Routes};
