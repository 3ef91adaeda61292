//! The names of clients, for backends that want to be told.

use std::{net::IpAddr, sync::Arc, time::Duration};

use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

use crate::net;

/// A resolver that does not answer must not keep clients waiting for long.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Questions under way. Each takes a thread for as long as the system tries, and backends' names
/// need threads, too.
const MAX_LOOKUPS: usize = 8;

/// Asks for names, a few at a time.
#[derive(Debug, Clone)]
pub(crate) struct Names(Arc<Semaphore>);

impl Default for Names {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_LOOKUPS)))
    }
}

impl Names {
    /// The name of an address, if the name has this address, too: anybody can give an address of
    /// theirs any name. `None` also when that is not known in time.
    pub(crate) async fn confirmed(&self, address: IpAddr) -> Option<String> {
        let permit = Arc::clone(&self.0).try_acquire_owned().ok()?;
        let asked = async {
            let name = spawn_blocking(move || {
                let name = net::name_of(address);
                drop(permit);
                name
            });
            let name = name.await.ok()?.ok()?;
            let addresses = net::resolve(&name, 0).await.ok()?;
            let leads_back = addresses
                .iter()
                .any(|found| found.ip().to_canonical() == address);
            leads_back.then_some(name)
        };
        timeout(TIMEOUT, asked).await.ok()?
    }
}

#[cfg(all(test, not(feature = "simulation")))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_leads_back_to_its_address() {
        let names = Names::default();
        let loopback = [127, 0, 0, 1].into();
        // What the machine calls itself, or the address where it has no name.
        let name = names
            .confirmed(loopback)
            .await
            .expect("a name or the address");
        let found = net::resolve(&name, 0)
            .await
            .expect("it was resolved before");
        assert!(found.iter().any(|found| found.ip() == loopback), "{name}");
    }

    #[tokio::test]
    async fn who_comes_when_all_are_busy_is_not_kept_waiting() {
        let names = Names::default();
        let all = names.0.acquire_many(8).await.expect("it is not closed");
        assert_eq!(names.confirmed([127, 0, 0, 1].into()).await, None);
        drop(all);
        assert!(names.confirmed([127, 0, 0, 1].into()).await.is_some());
    }
}
