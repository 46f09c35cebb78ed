//! What is generated of Envoy's protos, of which `proto/envoy` holds the part that is used.

#[allow(clippy::doc_lazy_continuation, unreachable_pub, unused_qualifications)]
mod generated {
    pub mod config {
        pub mod core {
            pub mod v3 {
                tonic::include_proto!("envoy.config.core.v3");
            }
        }
    }
    pub mod data {
        pub mod accesslog {
            pub mod v3 {
                tonic::include_proto!("envoy.data.accesslog.v3");
            }
        }
    }
    pub mod service {
        pub mod accesslog {
            pub mod v3 {
                tonic::include_proto!("envoy.service.accesslog.v3");
            }
        }
    }
}

pub use generated::{config, data, service};
