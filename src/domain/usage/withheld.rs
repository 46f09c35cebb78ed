//! What usage keeps of a text of a client that may hold a secret: the text without it.

use std::borrow::Cow;

/// Letters and digits in a row from which on a text may hold a secret: those of this service have 71. A
/// SHA-256 in hexadecimal is shorter.
const RUN_MAX: usize = 64;

/// The text, with `*` for whatever in it may be a secret, as in the path of a service that takes tokens
/// there.
pub fn withheld(text: &str) -> Cow<'_, str> {
    let apart = |c: char| !c.is_ascii_alphanumeric();
    if text.len() <= RUN_MAX || text.split(apart).all(|run| run.len() <= RUN_MAX) {
        return Cow::Borrowed(text);
    }
    let mut kept = String::with_capacity(text.len());
    for piece in text.split_inclusive(apart) {
        let run = piece.trim_end_matches(apart);
        match run.len() <= RUN_MAX {
            true => kept.push_str(piece),
            false => {
                kept.push('*');
                kept.push_str(&piece[run.len()..]);
            }
        }
    }
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_a_secret_is_left_out() {
        let secret = format!("ta_{}", "s".repeat(71));
        for (text, kept) in [
            ("", ""),
            ("/orders/7", "/orders/7"),
            (
                &*format!("/blobs/{}", "f".repeat(64)),
                &*format!("/blobs/{}", "f".repeat(64)),
            ),
            (&*format!("/bot{secret}/send"), "/botta_*/send"),
            (&*format!("{secret} é {secret}"), "ta_* é ta_*"),
            (&*"a".repeat(65), "*"),
        ] {
            assert_eq!(withheld(text), kept);
        }
    }
}
