//! What a decision is made of, without waiting: the question, the verdict, route, key and purpose.
//! Nothing here performs I/O or knows the time. Called by `wire`, `decide` and `pipeline`.

pub mod actor;
pub mod advice;
pub mod combine;
pub mod compare;
pub mod decided;
pub mod key;
pub mod limited;
pub mod privacy;
pub mod purpose;
pub mod request;
pub mod resource;
pub mod route;
pub mod signs;
pub mod verdict;
