//! What sessions leave behind in memory once they are over: nothing.
//!
//! Every byte that is allocated in this process counts, the gateway's and its clients' alike, and
//! none that an allocator keeps for later.

use std::{sync::Arc, time::Duration};

use peak_alloc::PeakAlloc;
use perigee_integration_tests::{
    load::Load, random::seed_from_environment, wait::until_at_most, webtransport::WebTransport,
};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

const SESSIONS: usize = 48;
/// Waves after the first one.
const WAVES: usize = 1;
/// What a session may leave behind, on average: nothing. Tables keep the size that they once had, so
/// that not every byte is worth a failure.
const TOLERATED: usize = 64 * WAVES * SESSIONS;
/// TLS remembers so many sessions, for clients that come back, and forgets the oldest.
const TLS_SESSIONS: usize = 256;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_leave_no_byte_behind() {
    let load = Load::new(SESSIONS as u64, seed_from_environment(1)).await;
    let gateway = load.configuration().start();
    for _ in 0..TLS_SESSIONS {
        WebTransport::dial(gateway.webtransport)
            .await
            .expect("the gateway speaks WebTransport");
    }
    let loaded = Arc::new(load.on(gateway.address).await);
    let wave = async || {
        if let Err(wrong) = loaded.wave(Duration::ZERO).await {
            panic!("{wrong}");
        }
        gateway.until_empty().await;
    };
    wave().await;
    let before = ALLOCATED.current_usage();
    for _ in 0..WAVES {
        wave().await;
    }
    // A task that has ended is counted no more before its memory is free.
    until_at_most(before + TOLERATED, || ALLOCATED.current_usage()).await;
}
