//! Free ports on 127.0.0.1.
//!
//! The kernel's own answer to "any free port" lies in the range it uses for outgoing connections, so a part that is
//! stopped could find its port gone when it starts again. These ports lie below that range.

use super::error::{Error, Result};
use rand::Rng as _;
use std::net::{Ipv4Addr, TcpListener};

const FIRST: u16 = 18_000;
const LAST: u16 = 31_999;
const TRIES: u32 = 200;

/// A port nobody listened on a moment ago. Whoever uses it must be ready to lose the race and choose again.
/// # Errors
/// When no port of many tried was free.
pub fn free() -> Result<u16> {
    for _ in 0..TRIES {
        let port = rand::rng().random_range(FIRST..=LAST);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(Error::io("choosing a port")(std::io::Error::from(std::io::ErrorKind::AddrInUse)))
}
