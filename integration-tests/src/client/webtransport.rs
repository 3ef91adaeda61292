//! WebTransport: one stream carries both directions. Where the gateway speaks it, it says over HTTP.

use std::net::SocketAddr;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use perigee_session::{Link, Uplink};

use super::{Refusal, State, downlink::next_message};
use crate::{ORIGIN, http::Error, webtransport::WebTransport};

pub(super) async fn run(state: &State, epoch: u64) -> Result<(), Error> {
    let sid = state.lock().sid();
    let path = format!("/perigee/v1/{sid}/wt");
    let address = offered(state).await?;
    let connecting = WebTransport::connect(address, &path, Some(ORIGIN));
    let mut webtransport = state.patiently(connecting).await?;
    let began = state.change(|inner, now| {
        let newest = inner.epoch == epoch && inner.ended.is_none();
        if newest {
            let n = inner.session.attach(Link::Open, Uplink::Fresh, now);
            inner.diary.note(format_args!("attachment {n}"));
        }
        newest
    });
    if !began {
        return Ok(());
    }
    let WebTransport { send, recv, .. } = &mut webtransport;
    let up = async {
        let mut repeated: Option<Bytes> = None;
        while let Some(message) = next_message(state, epoch).await {
            // HELLO is never repeated: each attachment has one.
            if let Some(old) = repeated.filter(|_| state.lock().chance(|faults| faults.duplicate)) {
                send.write_all(&old).await?;
            }
            repeated = (message.first() != Some(&0x10)).then(|| message.clone());
            send.write_all(&message).await?;
        }
        // Another transport took over; the gateway ends this one.
        std::future::pending::<Result<(), Error>>().await
    };
    let down = async {
        let mut cut = Vec::new();
        loop {
            state.until_reading().await;
            let Some(chunk) = recv.read_chunk(usize::MAX, true).await? else {
                return Ok(());
            };
            cut.extend_from_slice(&chunk.bytes);
            let mut rest = &cut[..];
            state.change(|inner, now| inner.brought(epoch, &mut rest, now));
            cut = rest.to_vec();
        }
    };
    let ended: Result<(), Error> = tokio::select! { ended = up => ended, ended = down => ended };
    if let Some(code) = webtransport.closed().await {
        state.change(|inner, _| inner.refused(epoch, Refusal::Close(code)));
    }
    ended
}

async fn offered(state: &State) -> Result<SocketAddr, Error> {
    if let Some(address) = state.webtransport.get() {
        return Ok(*address);
    }
    let path = "/perigee/v1/webtransport";
    let offer = state.http1.fetch(Method::GET, path, &[], Vec::new());
    let offer = state.patiently(offer).await?;
    if offer.status != StatusCode::OK {
        return Err("the gateway has no WebTransport".into());
    }
    let offer: serde_json::Value = serde_json::from_slice(&offer.body)?;
    let port = offer["port"].as_u64().map(u16::try_from).transpose()?;
    Ok(SocketAddr::new(
        state.address.ip(),
        port.unwrap_or(state.address.port()),
    ))
}
