//! The HTTP API of one node in this process: every route's answers, every error code.

#[path = "../support/access_table.rs"]
mod access_table;
mod admin_log;
mod admission;
mod cache;
#[path = "../support/certs.rs"]
mod certs;
mod changes;
mod client;
mod compat;
mod conditional;
mod each;
mod errors;
#[path = "../support/jwt.rs"]
mod foreign;
mod get_many;
mod grammar;
mod jwt;
mod keys;
mod live;
mod metadata;
mod old_nodes;
mod previous;
mod range_digest;
mod rate_limits;
mod samples;
mod server;
mod session;
mod session_access;
mod sessions;
mod sliding;
mod slow;
mod smuggling;
mod socket_io;
#[path = "../support/socket_io_page.rs"]
mod socket_io_page;
mod tls;
mod tokens;
mod watch;
