//! What proxies ask that hold a request: rules that ext_authz and forward-auth share.

pub mod forwarded;
pub mod peers;
pub mod routes;
pub mod xfcc;
