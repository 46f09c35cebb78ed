//! Networks a token may be used from, in CIDR notation (RFC 4632, RFC 4291).

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

use super::flaw::{Flaw, quoted};

/// Prefix length of `::ffff:0:0/96`, where IPv4 addresses are mapped into IPv6.
const MAPPED_PREFIX: u8 = 96;

/// One network; a mapped IPv4 network is held as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// Parses `10.0.0.0/8`, `2001:db8::/32` or a bare address, which is a network of one.
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let net = match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => text.parse::<IpNet>().map_err(|_| {
                Flaw::new(format!(
                    "must be an IPv4 or IPv6 network such as 10.0.0.0/8; got {}",
                    quoted(text)
                ))
            })?,
        };
        if net.addr() != net.network() {
            let meant = net.trunc();
            return Err(Flaw::new(format!(
                "{} has host bits set; write {meant}",
                quoted(text)
            )));
        }
        Ok(Self(unmapped(net)))
    }

    /// Whether `address`, given as [`client_address`] reads it, lies in the network.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Reads a client's address; an IPv4 address mapped into IPv6 is IPv4.
pub fn client_address(text: &str) -> Result<IpAddr, Flaw> {
    text.parse::<IpAddr>()
        .map(|address| address.to_canonical())
        .map_err(|_| {
            Flaw::new(format!(
                "must be an IPv4 or IPv6 address; got {}",
                quoted(text)
            ))
        })
}

/// The address that stands for everything one subscriber has: an IPv6 /64, or an IPv4 address.
pub fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

fn unmapped(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net };
    let mapped: Ipv6Addr = v6.addr();
    match (
        mapped.to_ipv4_mapped(),
        v6.prefix_len().checked_sub(MAPPED_PREFIX),
    ) {
        (Some(v4), Some(prefix)) => Ipv4Net::new(v4, prefix).map_or(net, IpNet::V4),
        _ => net,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    fn net(text: &str) -> Network {
        Network::parse(text).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        client_address(text).unwrap()
    }

    #[test]
    fn mapped_ipv4_is_ipv4_on_both_sides() {
        assert!(net("10.0.0.0/8").contains(ip("::ffff:10.1.2.3")));
        assert!(net("::ffff:10.0.0.0/104").contains(ip("10.1.2.3")));
        assert!(!net("10.0.0.0/8").contains(ip("::ffff:11.1.2.3")));
    }

    #[test]
    fn the_families_do_not_mix() {
        assert!(!net("0.0.0.0/0").contains(ip("::1")));
        assert!(!net("::/0").contains(ip("10.0.0.1")));
    }

    #[test]
    fn a_bare_address_is_a_network_of_one() {
        assert!(net("192.0.2.7").contains(ip("192.0.2.7")));
        assert!(!net("192.0.2.7").contains(ip("192.0.2.8")));
    }

    #[test]
    fn host_bits_are_refused_with_the_network_meant() {
        let flaw = Network::parse("10.1.2.3/8").unwrap_err().to_string();
        assert!(flaw.contains("10.0.0.0/8"), "{flaw}");
    }

    proptest! {
        #[test]
        fn rubbish_never_panics(text in ".{0,64}") {
            let _ = Network::parse(&text);
            let _ = client_address(&text);
        }

        #[test]
        fn containment_is_equality_of_the_prefix(address: u32, other: u32, prefix in 0u8..=32) {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            let network = Network::parse(&format!("{}/{prefix}", Ipv4Addr::from(address & mask))).unwrap();
            let inside = network.contains(IpAddr::V4(Ipv4Addr::from(other)));
            prop_assert_eq!(inside, address & mask == other & mask);
        }
    }
}
