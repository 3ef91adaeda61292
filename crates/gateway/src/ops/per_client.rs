//! How much one client may have of something.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Counts per client, where a client is an IPv4 address or an IPv6 /64 (one household's).
#[derive(Debug, Default, Clone)]
pub(crate) struct PerClient(Arc<Mutex<HashMap<u128, usize>>>);

/// The /64 of an address; no household is taken for a client of IPv4, which is in the other half.
const HOUSEHOLD: u128 = u128::MAX << 64;

/// A share that counts while it lives.
#[derive(Debug)]
pub(crate) struct Share {
    counts: PerClient,
    /// In bytes, which fit anywhere.
    key: [u8; 16],
}

impl PerClient {
    /// One more for the client, unless it has `max` already.
    pub(crate) fn count_below(&self, client: IpAddr, max: usize) -> Option<Share> {
        let key = key(client);
        let mut counts = self.lock();
        let count = counts.entry(key).or_insert(0);
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Share {
            counts: self.clone(),
            key: key.to_ne_bytes(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u128, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        if let Entry::Occupied(mut count) = counts.entry(u128::from_ne_bytes(self.key)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// The client's address as a number of IPv6, which is quick to hash.
fn key(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits() & HOUSEHOLD,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_household_is_one_client_and_gives_back_what_it_had() {
        let counts = PerClient::default();
        let share = |text: &str| counts.count_below(text.parse().unwrap(), 2);
        let first = share("2001:db8:1:2:3::4");
        let second = share("2001:db8:1:2:ffff::1");
        assert!(first.is_some() && second.is_some());
        assert!(share("2001:db8:1:2::9").is_none());
        assert!(share("2001:db8:1:3::9").is_some());
        drop(first);
        assert!(share("2001:db8:1:2::9").is_some());
        let mapped = (share("192.0.2.1"), share("::ffff:192.0.2.1"));
        assert!(mapped.0.is_some() && mapped.1.is_some() && share("192.0.2.1").is_none());
        drop((second, mapped));
        assert!(counts.lock().is_empty());
    }
}
