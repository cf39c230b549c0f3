//! What an on-call person sees, against the real tools: dashboards in a Prometheus that scrapes under load, alerts, a decision
//! followed through record, spans and exemplar, and a collector that is away. How spans and metrics are made is tested
//! in `telemetry`.

mod alerts;
mod away;
mod panels;
mod printed;
mod traces;
