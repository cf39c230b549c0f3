//! Style and structure as tests: what a reviewer would say every time, said once. Each rule is a function over text,
//! tried on a sample that breaks it, and then on the repository.

mod alerts;
mod documentation;
mod events;
mod figures;
pub mod files;
mod generated;
mod imports;
mod lengths;
mod names;
mod promql;
mod words;
