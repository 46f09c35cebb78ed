//! Peers that are believed what they say of others: by their network, or because they are on this machine.

use std::net::IpAddr;

use super::address::Network;
use super::flaw::{Flaw, quoted};

/// How a configuration says that whoever reaches a Unix socket is one of them.
const UNIX: &str = "unix";

/// Peers, as a configuration names them; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    networks: Vec<Network>,
    unix: bool,
}

impl Peers {
    /// Most entries that name them.
    pub const COUNT_MAX: usize = 256;

    /// Reads networks such as `10.0.0.0/8`, single addresses, and `unix`. An error says which entry,
    /// unless it is about their number.
    pub fn parse(texts: &[impl AsRef<str>]) -> Result<Self, (Option<usize>, Flaw)> {
        if texts.len() > Self::COUNT_MAX {
            let (count, most) = (texts.len(), Self::COUNT_MAX);
            let flaw = Flaw::new(format!("has {count} entries; at most {most} are allowed"));
            return Err((None, flaw));
        }
        let mut peers = Self::default();
        for (at, text) in texts.iter().map(AsRef::as_ref).enumerate() {
            if text == UNIX {
                peers.unix = true;
                continue;
            }
            let network = Network::parse(text).map_err(|_| {
                let why = "must be \"unix\", an address, or a network such as 10.0.0.0/8 without \
                           host bits; got";
                (Some(at), Flaw::new(format!("{why} {}", quoted(text))))
            })?;
            peers.networks.push(network);
        }
        Ok(peers)
    }

    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }

    /// Whether one of them is at `address`; who comes over a Unix socket has none.
    pub fn include(&self, address: Option<IpAddr>) -> bool {
        match address.map(|address| address.to_canonical()) {
            None => self.unix,
            Some(address) => self.networks.iter().any(|one| one.contains(address)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn peers(texts: &[&str]) -> Peers {
        Peers::parse(texts).unwrap()
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn nobody_is_one_who_is_not_named() {
        assert!(Peers::default().is_empty());
        assert!(!Peers::default().include(None));
        assert!(!Peers::default().include(ip("127.0.0.1")));
        assert!(!peers(&["127.0.0.0/8"]).include(None));
        assert!(!peers(&["unix"]).include(ip("127.0.0.1")));
    }

    #[test]
    fn networks_addresses_and_sockets_are_named() {
        let all = peers(&["10.0.0.0/8", "2001:db8::7", "unix"]);
        for one in ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::7"] {
            assert!(all.include(ip(one)), "{one}");
        }
        assert!(all.include(None));
        for other in ["11.1.2.3", "2001:db8::8"] {
            assert!(!all.include(ip(other)), "{other}");
        }
    }

    #[test]
    fn an_error_names_the_entry() {
        for wrong in ["", "Unix", "10.0.0.1/8", "gateway"] {
            let (at, flaw) = Peers::parse(&["10.0.0.0/8", wrong]).unwrap_err();
            assert_eq!(at, Some(1));
            assert!(flaw.to_string().contains(&format!("{wrong:?}")), "{flaw}");
        }
        let many = vec!["unix"; Peers::COUNT_MAX + 1];
        assert_eq!(Peers::parse(&many).unwrap_err().0, None);
    }

    proptest! {
        #[test]
        fn rubbish_never_panics(texts in proptest::collection::vec(".{0,40}", 0..4)) {
            let _ = Peers::parse(&texts);
        }
    }
}
