//! Tests of the engine as the adapter uses it.

mod exchanges;
mod explaining;
mod fixtures;
mod limits;
mod plans;
mod probes;
mod routing;
mod simulation;
mod steering;
