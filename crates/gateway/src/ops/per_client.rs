//! How much one client may have of something.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Counts per client, where a client is an IPv4 address or an IPv6 /64 (one household's).
#[derive(Debug, Default, Clone)]
pub(crate) struct PerClient(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A share that counts while it lives.
#[derive(Debug)]
pub(crate) struct Share {
    counts: PerClient,
    key: IpAddr,
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
            key,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

fn key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
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
