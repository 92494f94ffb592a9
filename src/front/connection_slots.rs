//! The connections that a node accepts, shared out among the addresses that clients connect from.

use super::client_address::{ClientAddress, Shares};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Slots for connections. One address gets at most half of them, or as many as the operator says, so that it cannot keep all others
/// out.
pub struct ConnectionSlots {
    free: Arc<Semaphore>,
    shares: Arc<Mutex<Shares>>,
    max_of_one: u32,
    /// Whether this holds for programs on this machine, too. Unless the operator says so it does not: they can do worse, and one of
    /// them may be a proxy.
    includes_this_machine: bool,
}

/// Why there is no slot for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSlot {
    /// Every slot is taken.
    AllTaken,
    /// The client's address has its share.
    ShareTaken,
}

/// A connection's slot; free again when this is dropped.
pub struct ConnectionSlot {
    _permit: OwnedSemaphorePermit,
    share: Option<(Arc<Mutex<Shares>>, ClientAddress)>,
}

impl ConnectionSlots {
    /// `all` slots, of which one address gets `max_of_one`, or half.
    pub fn new(all: usize, max_of_one: Option<u32>) -> Self {
        let half = || u32::try_from(all.div_ceil(2)).unwrap_or(u32::MAX);
        Self {
            free: Arc::new(Semaphore::new(all)),
            shares: Arc::default(),
            max_of_one: max_of_one.unwrap_or_else(half),
            includes_this_machine: max_of_one.is_some(),
        }
    }

    /// How many one address gets.
    pub fn max_of_one(&self) -> u32 {
        self.max_of_one
    }

    /// A slot for a connection from this address. A proxy has the connections of many clients.
    ///
    /// # Errors
    /// [`NoSlot`].
    pub fn take(&self, address: IpAddr, is_proxy: bool) -> Result<ConnectionSlot, NoSlot> {
        let permit = self.free.clone().try_acquire_owned().map_err(|_| NoSlot::AllTaken)?;
        if is_proxy || (address.to_canonical().is_loopback() && !self.includes_this_machine) {
            return Ok(ConnectionSlot { _permit: permit, share: None });
        }
        let client = ClientAddress::new(address);
        if !self.shares.lock().expect("no panic while held").take_up_to(client, self.max_of_one) {
            return Err(NoSlot::ShareTaken);
        }
        Ok(ConnectionSlot { _permit: permit, share: Some((self.shares.clone(), client)) })
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        if let Some((shares, client)) = self.share.take() {
            shares.lock().expect("no panic while held").give_back(client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_gets_half_of_the_slots() {
        let slots = ConnectionSlots::new(10, None);
        let take = |address: &str| slots.take(address.parse().unwrap(), false);
        let taken = |address: &str| (0..20).map_while(|_| take(address).ok()).collect::<Vec<_>>();
        let first = taken("10.0.0.1");
        assert_eq!((first.len(), take("::ffff:10.0.0.1").err()), (5, Some(NoSlot::ShareTaken)));
        let others = taken("2001:db8::1");
        assert_eq!((others.len(), take("2001:db8::2").err()), (5, Some(NoSlot::AllTaken)));
        drop((first, others));
        for here in ["127.0.0.1", "::1", "::ffff:127.0.0.2"] {
            assert_eq!(taken(here).len(), 10, "{here}");
        }
        assert_eq!(taken("10.0.0.1").len(), 5, "all were given back");
        assert_eq!(ConnectionSlots::new(1, None).take("10.0.0.1".parse().unwrap(), false).err(), None);
    }

    #[test]
    fn an_address_gets_as_many_as_the_operator_says() {
        let slots = ConnectionSlots::new(10, Some(2));
        for (address, is_proxy, wanted) in
            [("10.0.0.1", false, 2), ("127.0.0.1", false, 2), ("10.0.0.2", true, 10)]
        {
            let address = address.parse().unwrap();
            let taken = (0..20).map_while(|_| slots.take(address, is_proxy).ok()).collect::<Vec<_>>();
            assert_eq!(taken.len(), wanted, "{address}");
        }
    }
}
