//! The rules of tokens: pure values and judgements, without I/O, clocks or wire formats.

pub mod address;
pub mod alphabet;
pub mod caller;
pub mod endpoint;
pub mod flaw;
mod hash;
pub mod limit;
pub mod name;
pub mod page;
pub mod peer_name;
pub mod pepper;
pub mod permission;
pub mod policy;
pub mod profile;
pub mod retention;
pub mod rotation;
pub mod scope;
pub mod secret;
pub mod spending;
pub mod time;
pub mod token;
pub mod token_id;
pub mod update;
pub mod verdict;
