//! The address that a client connects from. It is all that is known of a client, so what is scarce is shared out by address:
//! no client takes everything.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// An IPv4 address, or the /56 network of an IPv6 address: whoever has one IPv6 address has a whole network of them, and providers
/// give a customer up to 256 networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddress(IpAddr);

impl ClientAddress {
    /// The client that connects from `address`.
    pub fn new(address: IpAddr) -> Self {
        const NETWORK: u128 = !0 << 72;
        Self(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & NETWORK)),
            address => address,
        })
    }

    /// The address of a client whose connection did not say it.
    pub const UNKNOWN: Self = Self(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How much each client has of something scarce.
#[derive(Debug, Default)]
pub struct Shares(HashMap<ClientAddress, u32>);

impl Shares {
    /// How much of `all` one client gets at most: a quarter is left for others.
    fn max_of_one(all: u32) -> u32 {
        all - all / 4
    }

    /// One more for this client; false if it has its share of `all` already.
    pub fn take(&mut self, client: ClientAddress, all: u32) -> bool {
        self.take_up_to(client, Self::max_of_one(all))
    }

    /// One more for this client; false if it has `max` already.
    pub fn take_up_to(&mut self, client: ClientAddress, max: u32) -> bool {
        let has = self.0.entry(client).or_default();
        let may = *has < max;
        *has += u32::from(may);
        may
    }

    /// One less.
    pub fn give_back(&mut self, client: ClientAddress) {
        if let Some(has) = self.0.get_mut(&client) {
            *has -= 1;
            if *has == 0 {
                self.0.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_three_quarters() {
        let client = |text: &str| ClientAddress::new(text.parse().unwrap());
        let mut shares = Shares::default();
        let taken = (0..8).filter(|_| shares.take(client("10.0.0.1"), 8)).count();
        assert_eq!(taken, 6);
        assert!(shares.take(client("10.0.0.2"), 8) && !shares.take(client("::ffff:10.0.0.1"), 8));
        shares.give_back(client("10.0.0.1"));
        assert!(shares.take(client("10.0.0.1"), 8));
        assert!(Shares::default().take(client("10.0.0.1"), 1));
        assert_eq!(client("2001:db8::1"), client("2001:db8::2:3"));
        assert_eq!(client("2001:db8::1"), client("2001:db8:0:ff::1"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:100::1"));
        (0..6).for_each(|_| shares.give_back(client("10.0.0.1")));
        shares.give_back(client("10.0.0.2"));
        assert!(shares.0.is_empty());
    }
}
