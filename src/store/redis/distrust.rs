//! Why no TLS connection to Redis came about, in words for whoever mends the configuration.

use std::error::Error;
use std::io;
use std::sync::Arc;

use redis::RedisError;

use crate::tls::Mishap;

/// What is to be told of an error of the connection, if it is one of TLS.
pub(super) fn told(error: &RedisError) -> Option<String> {
    // The driver keeps the error that it got behind a pointer that it shares.
    let shared: &Arc<dyn Error + Send + Sync> = error.source()?.downcast_ref()?;
    Mishap::of(shared.downcast_ref::<io::Error>()?).map(words)
}

fn words(mishap: Mishap) -> String {
    match mishap {
        Mishap::NotTls => "it speaks no TLS; redis:// asks for plaintext".to_owned(),
        Mishap::UnknownAuthority => "its certificate comes from no authority that is trusted; \
                                     name its authority in store.redis_ca_file"
            .to_owned(),
        Mishap::OtherNames(names) if names.is_empty() => {
            "its certificate is not for the host in store.url".to_owned()
        }
        Mishap::OtherNames(names) => format!(
            "its certificate is not for the host in store.url, but for {}",
            names.join(", ")
        ),
        Mishap::Ended(when) => format!("its certificate ended at {when}"),
        Mishap::NotYet(when) => format!("its certificate holds only from {when} on"),
        Mishap::Unsound(why) => format!("its certificate cannot be used: {why}"),
        Mishap::CertificateWanted => "it takes clients with a certificate only; name one in \
                                      store.redis_certificate_file and store.redis_key_file"
            .to_owned(),
        Mishap::CertificateRefused(why) => {
            format!("it refuses the certificate in store.redis_certificate_file ({why})")
        }
        Mishap::NothingInCommon(why) => format!("no way to speak TLS with it: {why}"),
        Mishap::Other(why) => format!("TLS failed: {why}"),
    }
}
