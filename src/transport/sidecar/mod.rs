//! What proxies ask that hold a request: rules that ext_authz and forward-auth share.

pub(in crate::transport) mod credential;
pub mod forwarded;
pub(in crate::transport) mod identity;
pub mod limit_headers;
pub mod peers;
pub(in crate::transport) mod question;
pub mod refusal;
pub mod routes;
pub mod terms;
pub mod xfcc;
