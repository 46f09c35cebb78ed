//! Whose request it is that proxies hand on, by x-forwarded-for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::domain::flaw::{Flaw, quoted};

/// The client's address. Each proxy adds the address that it was called from at the right, so what
/// the outermost of `hops` trusted ones added is the entry that is `hops` from the right; what stands
/// left of it anybody may have written, and is not read. With 0 hops, it is the peer itself, which
/// has no address where it came over a Unix socket.
///
/// `forwarded_for` holds the values of the header in their order, each of which may be a list. Empty
/// entries count. An entry may have a port (`192.0.2.7:80`, `[2001:db8::7]:80`).
///
/// An error, which is a refusal and never a guess, where there are fewer entries than hops, or the
/// entry is no address.
pub fn client(
    peer: Option<IpAddr>,
    forwarded_for: &[&str],
    hops: usize,
) -> Result<Option<IpAddr>, Flaw> {
    let Some(before) = hops.checked_sub(1) else {
        return Ok(peer.map(|peer| peer.to_canonical()));
    };
    let values = forwarded_for.iter().rev();
    let mut entries = values.flat_map(|value| value.rsplit(','));
    let entry = entries.nth(before).ok_or_else(|| {
        let has = forwarded_for
            .iter()
            .flat_map(|value| value.split(','))
            .count();
        Flaw::new(format!(
            "x-forwarded-for has {has} entries, fewer than the {hops} trusted hops"
        ))
    })?;
    address(entry.trim_matches([' ', '\t'])).map(Some)
}

fn address(entry: &str) -> Result<IpAddr, Flaw> {
    let bracketed = || entry.strip_prefix('[')?.split_once(']');
    let found = match bracketed() {
        Some((address, port)) if port.is_empty() || is_port(port) => {
            address.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
        }
        Some(_) => None,
        None => entry.parse::<IpAddr>().ok().or_else(|| {
            let (address, port) = entry.split_at(entry.find(':')?);
            let address = address.parse::<Ipv4Addr>().ok()?;
            is_port(port).then_some(IpAddr::V4(address))
        }),
    };
    found.map(|address| address.to_canonical()).ok_or_else(|| {
        let why = "an entry of x-forwarded-for must be an address, perhaps with a port; got";
        Flaw::new(format!("{why} {}", quoted(entry)))
    })
}

/// Whether it is a colon and a port.
fn is_port(text: &str) -> bool {
    let digits = text.strip_prefix(':').filter(|digits| digits.len() <= 5);
    digits.is_some_and(|digits| {
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn the_client_is_so_many_trusted_hops_from_the_right() {
        let forwarded = ["6.6.6.6, 192.0.2.1", "10.0.0.1,10.0.0.2"];
        for (hops, expected) in [
            (0, "10.0.0.9"),
            (1, "10.0.0.2"),
            (2, "10.0.0.1"),
            (3, "192.0.2.1"),
            (4, "6.6.6.6"),
        ] {
            assert_eq!(
                client(ip("10.0.0.9"), &forwarded, hops),
                Ok(ip(expected)),
                "{hops}"
            );
        }
        let few = client(ip("10.0.0.9"), &forwarded, 5)
            .unwrap_err()
            .to_string();
        assert!(few.contains("4 entries, fewer than the 5"), "{few}");
        assert!(client(None, &[], 1).is_err());
        assert_eq!(client(None, &forwarded, 0), Ok(None));
    }

    #[test]
    fn entries_are_addresses_in_every_usual_form() {
        for (entry, expected) in [
            ("192.0.2.7", "192.0.2.7"),
            (" 192.0.2.7:8080\t", "192.0.2.7"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:db8::7]:443", "2001:db8::7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
        ] {
            assert_eq!(client(None, &[entry], 1), Ok(ip(expected)), "{entry}");
        }
        for wrong in [
            "",
            "unknown",
            "_hidden",
            "192.0.2.7:",
            "192.0.2.7:x",
            "192.0.2.7:123456",
            "[::1",
            "[::1]x",
            "[192.0.2.7]",
            "192.0.2.0/24",
            "fe80::1%eth0",
            "192.0.2.07",
            "1.2.3.4;",
            "example.org",
        ] {
            assert!(
                client(ip("10.0.0.9"), &["192.0.2.1", wrong], 1).is_err(),
                "{wrong}"
            );
        }
        // An empty entry is not skipped: what is left of it is not to be believed.
        assert!(client(None, &["192.0.2.1,"], 1).is_err());
    }

    proptest! {
        #[test]
        fn rubbish_never_panics(values in proptest::collection::vec(".{0,60}", 0..4), hops in 0usize..5) {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let _ = client(None, &values, hops);
        }

        /// Whatever stands left of what trusted proxies added, makes no difference.
        #[test]
        fn nobody_can_write_what_is_believed(
            written in proptest::collection::vec("[ -~]{0,40}", 0..3),
            added in proptest::collection::vec(any::<IpAddr>(), 1..5),
        ) {
            let added_text: Vec<String> = added.iter().map(IpAddr::to_string).collect();
            let hops = added.len();
            let appended = added_text.join(", ");
            let mut values: Vec<&str> = written.iter().map(String::as_str).collect();
            values.push(&appended);
            prop_assert_eq!(client(None, &values, hops), Ok(Some(added[0].to_canonical())));
            let joined = values.join(",");
            prop_assert_eq!(client(None, &[&joined], hops), Ok(Some(added[0].to_canonical())));
        }
    }
}
