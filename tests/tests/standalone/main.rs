//! What a user sees of `headgate standalone`: one module a theme, one test a promise.

mod bad_input;
mod command_line;
mod contract;
mod edits;
mod envoy;
mod exchange;
mod failover;
mod harness;
mod lifecycle;
mod pools;
mod rate_limit;
mod routes;
mod shared_limits;
mod troubles;
mod waiting_room;
