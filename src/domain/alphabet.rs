//! Base62, the alphabet of ids, secrets and page tokens: a double click selects all of it.

/// Digits in ascending order of value: `0-9`, `A-Z`, `a-z`.
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Whether every character is a base62 digit.
pub fn is_base62(text: &str) -> bool {
    // No way out in between: so the compiler looks at many bytes at once.
    let sound = |sound: bool, byte: u8| sound & byte.is_ascii_alphanumeric();
    text.bytes().fold(true, sound)
}

/// Exactly `N` base62 digits; `None` of any other text.
pub fn digits<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes().try_into().ok();
    digits.filter(|_| is_base62(text))
}

/// The text of some digits.
pub fn text(digits: &[u8]) -> &str {
    // Base62 digits are ASCII.
    std::str::from_utf8(digits).unwrap_or_default()
}

/// The digit for one random byte, or `None` for the 8 values that would favour some digits.
///
/// Rejecting them keeps each digit equally likely.
pub fn fair_digit(byte: u8) -> Option<char> {
    (byte < 248).then(|| char::from(DIGITS[usize::from(byte % 62)]))
}

/// Writes the low `width` digits of `value`, most significant first.
pub fn encode(mut value: u128, width: usize) -> String {
    let mut digits = vec![DIGITS[0]; width];
    for digit in digits.iter_mut().rev() {
        // Remainders of 62 fit a usize.
        *digit = DIGITS[(value % 62) as usize];
        value /= 62;
    }
    digits.into_iter().map(char::from).collect()
}

/// The low `N` digits of `value`, as [`encode`] writes them.
pub fn digits_of<const N: usize>(mut value: u64) -> [u8; N] {
    let mut digits = [DIGITS[0]; N];
    for digit in digits.iter_mut().rev() {
        // Remainders of 62 fit a usize.
        *digit = DIGITS[(value % 62) as usize];
        value /= 62;
    }
    digits
}

/// Reads what [`encode`] wrote; `None` on a foreign character or a value beyond 128 bits.
pub fn decode(text: &str) -> Option<u128> {
    text.bytes().try_fold(0u128, |value, byte| {
        let digit = DIGITS.binary_search(&byte).ok()?;
        value.checked_mul(62)?.checked_add(digit as u128)
    })
}

/// The same of few digits, soon: `None` also where there are more than 10, which may be too many for
/// 64 bits.
pub fn number(text: &str) -> Option<u64> {
    if text.len() > 10 {
        return None;
    }
    text.bytes().try_fold(0, |value: u64, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'A'..=b'Z' => byte - b'A' + 10,
            b'a'..=b'z' => byte - b'a' + 36,
            _ => return None,
        };
        Some(value * 62 + u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_digit_is_equally_likely() {
        let mut counts = std::collections::BTreeMap::new();
        for byte in 0..=u8::MAX {
            if let Some(digit) = fair_digit(byte) {
                *counts.entry(digit).or_insert(0) += 1;
            }
        }
        assert_eq!(counts.len(), 62);
        assert!(counts.values().all(|count| *count == 4));
    }

    proptest! {
        #[test]
        fn digits_are_those_of_the_text(value: u64) {
            prop_assert_eq!(text(&digits_of::<9>(value)).to_owned(), encode(u128::from(value), 9));
        }

        #[test]
        fn what_is_encoded_decodes_to_itself(value: u128) {
            prop_assert_eq!(decode(&encode(value, 22)), Some(value));
        }

        #[test]
        fn decoding_never_panics(text: String) {
            let _ = decode(&text);
        }
    }
}
