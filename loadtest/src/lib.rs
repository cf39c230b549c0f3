//! Load generator, stub authorizer and the laboratory of real parts, for Countersign's tests and for its users.

pub mod commands;
pub mod figures;
pub mod laboratory;
pub mod load;
pub mod peers;
pub mod pictures;
pub mod prove;
pub mod question;
pub mod soak;
pub mod stub;
pub mod up;

/// The runtime of a command of this crate.
pub fn runtime(threads: usize) -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(threads.max(1)).enable_all().build()
}
