//! Nobody who writes x-forwarded-for before trusted proxies do chooses the client's address.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use token_authority::transport::sidecar::forwarded;

const CLIENT: &str = "192.0.2.7";

fuzz_target!(|written: Vec<&str>| {
    let _ = forwarded::client(None, &written, 1);
    let client: IpAddr = CLIENT.parse().expect("an address");
    let added = format!("{CLIENT}, 10.0.0.1");
    let mut values = written.clone();
    values.push(&added);
    assert_eq!(forwarded::client(None, &values, 2), Ok(Some(client)));
    let joined = values.join(",");
    assert_eq!(forwarded::client(None, &[&joined], 2), Ok(Some(client)));
});
