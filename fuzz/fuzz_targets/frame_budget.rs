//! Bytes of strangers against the bound on HTTP/2 frames: it never panics, it does not depend on how
//! the bytes are cut into reads, and it lets no more through than it says.

#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use token_authority::transport::connections::budget::{BURST, FrameBudget, Sent};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fuzz_target!(|input: (u8, u16, Vec<u8>)| {
    let (cut, wait, bytes) = input;
    let begun = Instant::now();
    let later = begun + Duration::from_millis(wait.into());
    let (mut whole, mut pieces) = (FrameBudget::new(begun), FrameBudget::new(begun));
    for budget in [&mut whole, &mut pieces] {
        assert_eq!(budget.read(PREFACE, begun), Ok(Sent::default()));
    }
    let mut in_pieces = Ok(Sent::default());
    for piece in bytes.chunks(usize::from(cut) + 1) {
        in_pieces = in_pieces.and_then(|all: Sent| Ok(all + pieces.read(piece, later)?));
    }
    assert_eq!(whole.read(&bytes, later), in_pieces);
    assert_eq!(whole.left(), pieces.left());
    assert!(whole.left() <= BURST);

    let ping = [0, 0, 0, 6, 0, 0, 0, 0, 0];
    let mut flooded = FrameBudget::new(begun);
    assert_eq!(flooded.read(PREFACE, begun), Ok(Sent::default()));
    let flood = ping.repeat(BURST as usize + 1);
    assert!(flooded.read(&flood, begun).is_err(), "a flood is a flood");
});
