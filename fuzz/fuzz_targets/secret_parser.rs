//! Whatever a client presents is read or refused, never a panic, and only one text reads as a secret.
#![no_main]

use libfuzzer_sys::fuzz_target;
use token_authority::domain::pepper::Keyring;
use token_authority::domain::secret::{
    Brand, PRESENTED_BYTES_MAX, Presented, RANDOM_DIGITS, Secret,
};
use token_authority::domain::token::TokenId;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let brands: Vec<Brand> = ["ta", "old_one"]
        .iter()
        .filter_map(|brand| Brand::parse(brand).ok())
        .collect();
    reads_what_it_claims(text, &brands);
    writes_what_it_reads(data, &brands[0]);
});

/// A text that is read holds its id in its place and keeps to the length that the API allows.
fn reads_what_it_claims(text: &str, brands: &[Brand]) {
    let Some(presented) = Presented::read(text, brands) else {
        return;
    };
    assert!(text.len() <= PRESENTED_BYTES_MAX);
    let body = text.rsplit('_').next().unwrap_or_default();
    assert!(body.starts_with(presented.id.as_str()));
}

/// A secret that is put together from any digits is read back as itself.
fn writes_what_it_reads(data: &[u8], brand: &Brand) {
    let digits: String = data
        .iter()
        .filter(|byte| byte.is_ascii_alphanumeric())
        .map(|byte| char::from(*byte))
        .take(TokenId::DIGITS + RANDOM_DIGITS)
        .collect();
    if digits.len() < TokenId::DIGITS + RANDOM_DIGITS {
        return;
    }
    let (id, random) = digits.split_at(TokenId::DIGITS);
    let Ok(id) = TokenId::parse(id) else {
        return;
    };
    let secret = Secret::assemble(brand, &id, random);
    let presented = Presented::read(secret.expose(), std::slice::from_ref(brand));
    let keyring = Keyring::default();
    let digest = keyring.digest(&secret);
    assert!(presented.is_some_and(|presented| keyring.compare(&presented).is(&digest) == Ok(true)));
}
