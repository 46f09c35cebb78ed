//! The generated part of Envoy's API, its descriptors, and a `Debug` for what carries credentials.

use std::fmt;

#[allow(
    clippy::all,
    unreachable_pub,
    unused_qualifications,
    reason = "generated, and not ours to name"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/envoy_packages.rs"));
}

pub use generated::envoy::*;

use config::core::v3::HeaderValue;
use service::auth::v3::attribute_context::HttpRequest;

/// Every file of Envoy's API that is used and those it imports, with comments.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/envoy.bin"));

/// Which header may be a credential, the configuration knows: so no value is printed.
impl fmt::Debug for HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            key,
            value: _,
            raw_value: _,
        } = self;
        f.debug_struct("HeaderValue")
            .field("key", key)
            .finish_non_exhaustive()
    }
}

/// Its path without the query, where secrets have been seen, and the names of its headers.
impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            method,
            headers,
            path,
            host,
            header_map,
        } = self;
        f.debug_struct("HttpRequest")
            .field("method", method)
            .field("headers", &headers.keys())
            .field("path", &path.split('?').next())
            .field("host", host)
            .field("header_map", header_map)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::core::v3::HeaderMap;

    #[test]
    fn no_held_request_prints_what_its_headers_hold() {
        let request = HttpRequest {
            headers: [("authorization".to_owned(), "Bearer canary".to_owned())].into(),
            path: "/orders?token=canary".to_owned(),
            header_map: Some(HeaderMap {
                headers: vec![HeaderValue {
                    key: "x-api-key".to_owned(),
                    value: "canary".to_owned(),
                    raw_value: b"canary".to_vec(),
                }],
            }),
            ..HttpRequest::default()
        };
        let printed = format!("{request:?}");
        assert!(
            !printed.contains("canary") && !printed.contains("99, 97"),
            "{printed}"
        );
        assert!(
            printed.contains("x-api-key") && printed.contains("/orders"),
            "{printed}"
        );
    }
}
