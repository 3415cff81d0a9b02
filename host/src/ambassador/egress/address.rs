//! Which addresses a granted name may lead to.
//!
//! Threat: a name in the grant whose owner lets it resolve to this machine, to the node's metadata service or to the API
//! server, and so reaches with the grant's words what the grant never meant. The addresses are checked after the look-up,
//! and the connection is made to the very address that was checked.
//!
//! An address that the grant itself spells out is what its author meant, loopback included; only what is no address of one
//! host, and the API server's own, stay refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where clouds answer with a machine's credentials, beyond what link-local covers: Amazon's and Google's over IPv6,
/// Azure's WireServer, Alibaba's, Oracle's.
const METADATA: [IpAddr; 5] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

/// Says what is wrong with connecting to an address that a name resolved to; `None` when nothing is.
pub(super) fn fault_of_resolved(address: IpAddr) -> Option<&'static str> {
    let address = plain(address);
    match fault_of_granted(address) {
        None if address.is_loopback() => Some("this machine (loopback)"),
        None if is_link_local(address) => Some("a link-local address"),
        None if METADATA.contains(&address) => Some("a metadata service"),
        fault => fault,
    }
}

/// Says what is wrong with connecting to an address that the grant spells out.
pub(super) fn fault_of_granted(address: IpAddr) -> Option<&'static str> {
    match plain(address) {
        IpAddr::V4(address) if address.octets()[0] == 0 => Some("the unspecified address"),
        IpAddr::V4(address) if address.is_broadcast() || address.octets()[0] >= 240 => Some("a reserved address"),
        address if address.is_unspecified() => Some("the unspecified address"),
        address if address.is_multicast() => Some("a multicast address"),
        _ => None,
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// The IPv4 address inside an IPv6 one, where the network unwraps it on the way: mapped (`::ffff:0:0/96`), translated
/// (`::ffff:0:0:0/96`, RFC 2765), compatible (`::/96`), NAT64 (`64:ff9b::/96`, and `64:ff9b:1::/96` of the block that RFC 8215
/// leaves to each network) and 6to4 (`2002::/16`).
pub(super) fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(wide) = address else { return address };
    let segments = wide.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0 | 1, 0, 0, 0, high, low] => v4(high, low),
        // `::` and `::1` are IPv6's own.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn resolved(address: &str) -> Option<&'static str> {
        fault_of_resolved(address.parse().unwrap())
    }

    #[test]
    fn a_name_cannot_lead_to_this_machine_or_its_metadata() {
        for address in [
            "127.0.0.1",
            "127.9.8.7",
            "::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::7f00:1",
            "::ffff:0:7f00:1",
            "2002:7f00:1::",
            "169.254.169.254",
            "169.254.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "fe80::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "::ffff:0.0.0.0",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "240.0.0.1",
        ] {
            assert!(resolved(address).is_some(), "{address}");
        }
    }

    #[test]
    fn it_can_lead_into_the_network() {
        for address in ["10.0.0.7", "192.168.1.1", "8.8.8.8", "2001:db8::1", "fd00::1", "::ffff:10.0.0.7"] {
            assert_eq!(resolved(address), None, "{address}");
        }
    }

    #[test]
    fn a_granted_address_may_be_loopback_and_never_unspecified() {
        for address in ["127.0.0.1", "::1", "169.254.169.254"] {
            assert_eq!(fault_of_granted(address.parse().unwrap()), None, "{address}");
        }
        for address in ["0.0.0.0", "::", "224.0.0.1", "255.255.255.255"] {
            assert!(fault_of_granted(address.parse().unwrap()).is_some(), "{address}");
        }
    }
}
