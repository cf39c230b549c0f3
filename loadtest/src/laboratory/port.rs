//! Ports on 127.0.0.1 that nobody listens on, each held for one part until its value is dropped.
//!
//! The kernel's own answer to "any free port" lies in the range it uses for outgoing connections, so a part that is
//! stopped could find its port gone when it starts again. These ports lie below that range.
//!
//! That nobody listens on a port says little while many parts start at once: two may choose the same one, and the first
//! that listens then passes for the other, which is about to end. So each is locked, for all laboratories of this user.

use super::error::{Error, Result};
use rand::Rng as _;
use std::fs::{DirBuilder, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

const FIRST: u16 = 18_000;
const LAST: u16 = 31_999;
const TRIES: u32 = 200;

/// No other laboratory gets this port while this is there.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// Locked. The empty file stays: whoever removed it could take the lock of one who has just opened it.
    _lock: File,
}

impl Port {
    pub fn number(&self) -> u16 {
        self.number
    }
}

/// A port nobody listened on a moment ago. Programs that are none of a laboratory's may still take it: whoever uses it
/// must be ready to choose again.
/// # Errors
/// When no port of many tried was free, or the locks cannot be kept.
pub fn free() -> Result<Port> {
    for _ in 0..TRIES {
        let number = rand::rng().random_range(FIRST..=LAST);
        if let Some(port) = take(number)? {
            return Ok(port);
        }
    }
    Err(Error::io("choosing a port")(std::io::Error::from(std::io::ErrorKind::AddrInUse)))
}

/// This port, unless somebody holds it or listens on it.
fn take(number: u16) -> Result<Option<Port>> {
    let user = rustix::process::getuid().as_raw();
    let directory: PathBuf = std::env::temp_dir().join(format!("countersign-ports-{user}"));
    DirBuilder::new().mode(0o700).recursive(true).create(&directory).map_err(Error::path("making", &directory))?;
    let path = directory.join(number.to_string());
    let lock = File::options().create(true).append(true).open(&path).map_err(Error::path("opening", &path))?;
    let is_free = lock.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok();
    Ok(is_free.then_some(Port { number, _lock: lock }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_one_parts_until_it_is_dropped() {
        let held = free().unwrap();
        let number = held.number();
        assert!(take(number).unwrap().is_none(), "two parts would be told apart by nothing");
        drop(held);
        assert_eq!(take(number).unwrap().map(|port| port.number()), Some(number));
    }

    #[test]
    fn a_port_somebody_listens_on_is_not_taken() {
        let number = free().unwrap().number();
        let _stranger = TcpListener::bind((Ipv4Addr::LOCALHOST, number)).unwrap();
        assert!(take(number).unwrap().is_none());
    }
}
