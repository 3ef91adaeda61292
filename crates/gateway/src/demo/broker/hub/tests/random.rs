//! Random clients that do random things, and what has to hold whatever they do.

use std::collections::BTreeSet;

use super::*;

#[derive(Clone, Debug)]
enum Act {
    Connect(u8),
    Send(u8, u8, bool),
    Subscribe(u8, u8, u8),
    Unsubscribe(u8, u8),
    Acknowledge(u8, bool, bool),
    Begin(u8),
    Commit(u8),
    Abort(u8),
    Gone(u8),
    Written(u8),
    Noise(u8, Vec<u8>),
}

fn act() -> impl Strategy<Value = Act> {
    let client = 0..4u8;
    prop_oneof![
        2 => client.clone().prop_map(Act::Connect),
        8 => (client.clone(), 0..4u8, any::<bool>()).prop_map(|(c, d, t)| Act::Send(c, d, t)),
        6 => (client.clone(), 0..4u8, 0..3u8).prop_map(|(c, d, a)| Act::Subscribe(c, d, a)),
        2 => (client.clone(), 0..4u8).prop_map(|(c, d)| Act::Unsubscribe(c, d)),
        8 => (client.clone(), any::<bool>(), any::<bool>()).prop_map(|(c, n, t)| Act::Acknowledge(c, n, t)),
        2 => client.clone().prop_map(Act::Begin),
        2 => client.clone().prop_map(Act::Commit),
        1 => client.clone().prop_map(Act::Abort),
        1 => client.clone().prop_map(Act::Gone),
        6 => client.clone().prop_map(Act::Written),
        1 => (client, proptest::collection::vec(any::<u8>(), 0..40)).prop_map(|(c, b)| Act::Noise(c, b)),
    ]
}

const DESTINATIONS: [&str; 4] = ["/queue/a", "/queue/b", "/topic/a", "/topic/b"];
const MODES: [&str; 3] = ["auto", "client", "client-individual"];

/// What the clients know.
struct World {
    hub: Hub,
    now: Instant,
    ids: [Option<ClientId>; 4],
    /// What was sent to a client and not written yet.
    unsent: HashMap<ClientId, usize>,
    /// The acks of deliveries it has not used.
    acks: HashMap<ClientId, Vec<String>>,
    open: BTreeSet<ClientId>,
    /// Bodies of queues that were accepted, and those that came to a client without having come before.
    sent: u64,
}

impl World {
    fn bytes(&mut self, client: u8, bytes: &[u8]) {
        if let Some(id) = self.ids[usize::from(client)] {
            self.hub.handle_bytes(self.now, id, bytes);
        }
    }

    fn take(&mut self) {
        while let Some(output) = self.hub.poll_output() {
            match output {
                Output::Send { to, bytes } => {
                    assert!(self.open.contains(&to), "nothing behind a close");
                    *self.unsent.entry(to).or_default() += bytes.len();
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    self.acks
                        .entry(to)
                        .or_default()
                        .extend(values(&text, "ack"));
                }
                Output::Close { client } => {
                    assert!(self.open.remove(&client), "closed twice");
                    for id in &mut self.ids {
                        if *id == Some(client) {
                            *id = None;
                        }
                    }
                }
            }
        }
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Connect(client) => {
                let slot = usize::from(*client);
                if self.ids[slot].is_none() {
                    let id = self.hub.connect(self.now).expect("room");
                    self.open.insert(id);
                    self.ids[slot] = Some(id);
                }
                self.bytes(*client, b"CONNECT\naccept-version:1.2\n\n\0");
            }
            Act::Send(client, to, in_transaction) => {
                self.sent += 1;
                let to = DESTINATIONS[usize::from(*to)];
                let header = if *in_transaction {
                    "transaction:t\n"
                } else {
                    ""
                };
                let frame = format!("SEND\ndestination:{to}\n{header}\n{:0>300}\0", self.sent);
                self.bytes(*client, frame.as_bytes());
            }
            Act::Subscribe(client, to, mode) => {
                let frame = subscribe(DESTINATIONS[usize::from(*to)], MODES[usize::from(*mode)]);
                self.bytes(*client, frame.as_bytes());
            }
            Act::Unsubscribe(client, to) => {
                let to = DESTINATIONS[usize::from(*to)];
                self.bytes(*client, format!("UNSUBSCRIBE\nid:{to}\n\n\0").as_bytes());
            }
            Act::Acknowledge(client, refuse, in_transaction) => {
                let acks = self.ids[usize::from(*client)].and_then(|id| self.acks.get_mut(&id));
                let Some(ack) = acks.and_then(Vec::pop) else {
                    return;
                };
                let command = if *refuse { "NACK" } else { "ACK" };
                let header = if *in_transaction {
                    "transaction:t\n"
                } else {
                    ""
                };
                let frame = format!("{command}\nid:{ack}\n{header}\n\0");
                self.bytes(*client, frame.as_bytes());
            }
            Act::Begin(client) => self.bytes(*client, b"BEGIN\ntransaction:t\n\n\0"),
            Act::Commit(client) => self.bytes(*client, b"COMMIT\ntransaction:t\n\n\0"),
            Act::Abort(client) => self.bytes(*client, b"ABORT\ntransaction:t\n\n\0"),
            Act::Gone(client) => {
                if let Some(id) = self.ids[usize::from(*client)] {
                    self.hub.handle_disconnect(self.now, id);
                }
            }
            Act::Written(client) => {
                let Some(id) = self.ids[usize::from(*client)] else {
                    return;
                };
                let len = self.unsent.remove(&id).unwrap_or_default();
                self.hub.handle_written(self.now, id, len);
            }
            Act::Noise(client, bytes) => self.bytes(*client, bytes),
        }
    }

    fn check(&self) {
        let hub = &self.hub;
        let mut held = 0;
        let mut unacknowledged: HashMap<&str, usize> = HashMap::new();
        for (id, client) in &hub.clients {
            held += client.unsent + client.decoder.buffered();
            held += client.transactions.values().map(|t| t.bytes).sum::<usize>();
            let mut backlog = 0;
            for (key, subscription) in &client.subscriptions {
                backlog += subscription.backlog.iter().map(|m| m.size).sum::<usize>();
                for waiting in subscription.unacknowledged.values() {
                    held += waiting.message.size;
                    *unacknowledged.entry(&subscription.destination).or_default() +=
                        waiting.message.size;
                }
                let at = &hub.destinations[&subscription.destination];
                assert!(at.subscribers.contains(&(*id, key.clone())));
            }
            assert_eq!(client.backlog, backlog);
            held += backlog;
            assert!(client.unacknowledged() <= hub.settings.unacknowledged);
        }
        for (name, at) in &hub.destinations {
            let waiting: usize = at.waiting.iter().map(|w| w.message.size).sum();
            held += waiting;
            if name.starts_with("/queue/") {
                let out = unacknowledged
                    .get(name.as_str())
                    .copied()
                    .unwrap_or_default();
                assert_eq!(at.bytes, waiting + out, "{name}");
                assert!(at.bytes <= hub.settings.queue_bytes);
            }
            assert!(!at.subscribers.is_empty() || at.bytes > 0, "{name} is idle");
        }
        assert_eq!(hub.held, held);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_byte_is_counted_and_none_is_left(acts in proptest::collection::vec(act(), 0..120)) {
        let now = now();
        let settings = Settings {
            outbox_bytes: 1500,
            backlog_bytes: 4000,
            queue_bytes: 6000,
            held_bytes: 40_000,
            unacknowledged: 3,
            max_nacks: 2,
            ..Settings::default()
        };
        let mut world = World {
            hub: Hub::new(settings, now),
            now,
            ids: [None; 4],
            unsent: HashMap::new(),
            acks: HashMap::new(),
            open: BTreeSet::new(),
            sent: 0,
        };
        for client in 0..4 {
            world.act(&Act::Connect(client));
        }
        for act in &acts {
            world.act(act);
            world.take();
            world.check();
        }
        for id in world.open.clone() {
            world.hub.handle_disconnect(now, id);
        }
        world.take();
        world.check();
        // A last client consumes what is left in the queues.
        let id = world.hub.connect(now).expect("room");
        world.hub.handle_bytes(now, id, b"CONNECT\naccept-version:1.2\n\n\0");
        for name in world.hub.destinations.keys().cloned().collect::<Vec<_>>() {
            let frame = subscribe(&name, "auto");
            world.hub.handle_bytes(now, id, frame.as_bytes());
        }
        while let Some(output) = world.hub.poll_output() {
            if let Output::Send { to, bytes } = output {
                world.hub.handle_written(now, to, bytes.len());
            }
        }
        world.hub.handle_disconnect(now, id);
        prop_assert_eq!(world.hub.held, 0);
        prop_assert!(world.hub.destinations.is_empty());
    }

    /// However the bytes are cut, the same comes back.
    #[test]
    fn cuts_do_not_matter(at in proptest::collection::vec(0..600usize, 0..8)) {
        let script = [
            "CONNECT\naccept-version:1.2\n\n\0\n".to_owned(),
            subscribe("/queue/q", "client"),
            send("/queue/q", &"y".repeat(300)),
            "SEND\ndestination:/queue/q\ncontent-length:3\nreceipt:1\n\n\0\0\0\0".to_owned(),
            "NACK\nid:2\nreceipt:2\n\n\0ACK\nid:99\nreceipt:3\n\n\0".to_owned(),
        ].concat();
        let run = |cuts: &[usize]| {
            let mut table = Table::new(Settings::default());
            let id = table.enter('a');
            let mut from = 0;
            for &cut in cuts.iter().chain([&script.len()]) {
                let cut = cut.clamp(from, script.len());
                table.hub.handle_bytes(table.now, id, &script.as_bytes()[from..cut]);
                from = cut;
            }
            table.pass();
            table.read.remove(&id)
        };
        let mut cuts = at;
        cuts.sort_unstable();
        prop_assert_eq!(run(&cuts), run(&[]));
    }
}
