//! Perigee's gateway: everything that touches a socket, a clock or a file.

pub mod demo;
