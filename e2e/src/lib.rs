//! Tests of the whole on a real Kubernetes: the lab it runs in, and the check that runs beside every scenario.

pub mod check;
pub mod lab;
