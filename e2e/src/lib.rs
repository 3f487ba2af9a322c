//! Tests of the whole on a real Kubernetes: the lab it runs in, the scenarios, and the check that runs beside each.

pub mod check;
pub mod lab;
pub mod scenario;
