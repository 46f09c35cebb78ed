//! The use cases.

pub mod error;
