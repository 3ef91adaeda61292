//! Perigee: a TCP socket in every browser tab, to the hosts an operator allowed.

pub mod config;
pub mod policy;
