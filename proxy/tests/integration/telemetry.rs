//! What Prometheus, a collector and a kubelet see: the text of `/metrics`, exported spans and what is lost where the
//! collector is away, and the admin listener over a socket. Not what is counted when; that is tested where it happens.

mod admin;
mod cardinality;
pub mod collector;
mod metrics;
mod spans;
