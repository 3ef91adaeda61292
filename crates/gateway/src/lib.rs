//! The Perigee gateway: everything that touches a socket, a clock or a file.
//!
//! `docs/architecture.md` draws it. A byte's way is transport → session → service → backend, and
//! back the same way; [`Gateway::start`] puts the parts together from a [`config::Config`].

mod aside;
mod assets;
mod backend;
pub mod config;
pub mod demo;
mod dialect;
mod front_door;
#[doc(hidden)]
pub mod fuzzing;
mod gateway;
mod http;
mod http1;
mod listener;
mod net;
mod ops;
pub mod policy;
mod registry;
mod service;
mod session_task;
mod shared;
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub mod simulation;
mod transport;
mod websocket;

pub use gateway::{Gateway, StartError};
pub use ops::stats::Counts;
