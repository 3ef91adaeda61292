//! One file for each target. Seeds are in `seeds/NAME`, tokens to mutate with in
//! `dictionaries/NAME.dict`.

pub mod config;
pub mod frame;
pub mod http;
pub mod irc;
pub mod policy;
pub mod proxies;
pub mod session;
pub mod stomp;
pub mod xmpp;
