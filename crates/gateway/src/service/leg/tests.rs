use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use super::*;

/// Passes on what either side says.
struct Through;

impl Service for Through {
    fn client_says(&mut self, bytes: &[u8], _now: Instant, out: &mut Output) -> usize {
        out.send_backend(bytes.to_vec());
        bytes.len()
    }

    fn backend_says(&mut self, bytes: &[u8], _now: Instant, out: &mut Output) {
        out.send_client(Message::Binary(bytes.to_vec().into()));
    }

    fn client_left(&mut self, _now: Instant, _out: &mut Output) {}
}

fn leg() -> (Leg, UnixStream) {
    let (near, far) = UnixStream::pair().expect("two sockets");
    let connection = Connection::Unix(near);
    (
        Leg::new(Box::new(Through), Output::default(), connection),
        far,
    )
}

async fn within_reason<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), what)
        .await
        .expect("somebody was not woken")
}

#[tokio::test]
async fn what_waits_for_a_slow_backend_goes_on_when_there_is_room() {
    // Far more than the sockets and the queue take.
    const LEN: usize = 8 * 1024 * 1024;
    let (mut leg, mut far) = leg();
    let bytes: Vec<u8> = (0..LEN).map(|at| (at % 251).to_le_bytes()[0]).collect();
    let mut rest = &bytes[..];
    let mut had_to_wait = false;
    let say = poll_fn(|cx| {
        loop {
            let taken = leg.offer(&rest[..rest.len().min(10_000)], now());
            rest = &rest[taken..];
            let pumped = leg.pump(true, now(), cx).expect("the backend is there");
            if rest.is_empty() && leg.is_delivered() {
                return Poll::Ready(());
            }
            if taken == 0 && !pumped.any && !pumped.again {
                had_to_wait = true;
                return Poll::Pending;
            }
        }
    });
    let hear = async {
        let mut heard = vec![0; LEN];
        far.read_exact(&mut heard).await.expect("it is open");
        heard
    };
    let ((), heard) = within_reason(async { tokio::join!(say, hear) }).await;
    assert!(heard == bytes, "other bytes");
    assert!(had_to_wait, "the backend took everything at once");
}

#[tokio::test]
async fn a_backend_is_read_again_when_it_woke() {
    let (mut leg, mut far) = leg();
    let nothing = Pumped {
        any: false,
        again: false,
    };
    let pump = async |leg: &mut Leg| {
        poll_fn(|cx| Poll::Ready(leg.pump(true, now(), cx).expect("it is there"))).await
    };
    assert_eq!(pump(&mut leg).await, nothing);
    far.write_all(b"hello").await.expect("it is open");
    assert_eq!(pump(&mut leg).await, nothing, "nobody woke");
    // What its socket would wake with.
    within_reason(poll_fn(|cx| {
        leg.backend_woke();
        let pumped = leg.pump(true, now(), cx).expect("it is there");
        if pumped.any {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }))
    .await;
    assert_eq!(
        leg.next_for_client(),
        Some(Message::Binary("hello".as_bytes().into()))
    );
}

#[tokio::test]
async fn a_backend_is_not_read_while_its_client_takes_nothing() {
    let (mut leg, mut far) = leg();
    let mut said = 0;
    // As much as the sockets take.
    let mut say = |far: &mut UnixStream| {
        while let Ok(len) = far.try_write(&[7; 4096]) {
            said += len;
        }
    };
    within_reason(far.writable()).await.expect("it is open");
    within_reason(poll_fn(|cx| {
        say(&mut far);
        leg.backend_woke();
        _ = leg.pump(true, now(), cx).expect("it is there");
        if leg.waits_for_room() {
            Poll::Ready(())
        } else {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    }))
    .await;
    let held = leg.buffered();
    assert!(
        held >= QUEUE_BYTES as u64 && held < 2 * QUEUE_BYTES as u64,
        "{held}"
    );
    // It goes on by itself when there is room: nothing will wake for what is there already.
    while leg.next_for_client().is_some() {}
    let pumped = poll_fn(|cx| Poll::Ready(leg.pump(true, now(), cx).expect("it is there"))).await;
    assert!(pumped.any);
    far.shutdown().await.expect("it is open");
}
