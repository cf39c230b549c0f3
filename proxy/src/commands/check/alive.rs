//! `check --alive`: whether a running Countersign answers `/livez`, for a container's health check. Asks nothing about what
//! it depends on, and reads no configuration: a file that was spoiled since the start must not make a process look dead
//! that goes on deciding by the one before. Called by `check`.

use std::io::Write;
use std::time::Duration;

use crate::commands::Exit;
use crate::commands::door::{self, Door};

/// Less than what a health check is given.
const PATIENCE: Duration = Duration::from_secs(2);

/// Found where nobody answers, or who answers is not alive: an engine takes 1 for unhealthy, and keeps 2 for itself.
pub(super) fn ask(url: &str, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let Some(host) = door::host(url) else {
        eprintln!("countersign: `{url}` is not `http://host:port`");
        return Ok(Exit::Usage);
    };
    Ok(match livez(host) {
        Ok(()) => {
            writeln!(out, "`{host}` is alive")?;
            Exit::Fine
        }
        Err(why) => {
            writeln!(out, "{why:#}")?;
            Exit::Found
        }
    })
}

fn livez(host: &str) -> anyhow::Result<()> {
    let addresses = door::addresses(host)?;
    let (status, _) = Door { addresses, host: host.to_owned(), token: None, patience: PATIENCE }.get("/livez")?;
    anyhow::ensure!(status == 200, "`{host}` answered with status {status}: is it the admin listener?");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::net::TcpListener;

    fn check(url: &str) -> (Exit, String) {
        let mut out = Vec::new();
        (ask(url, &mut out).unwrap(), String::from_utf8(out).unwrap())
    }

    /// Who answers one request with this, and what it was asked.
    fn answering(answer: &'static str) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                asked.extend(byte);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(asked).unwrap()
        });
        (url, asked)
    }

    #[test]
    fn only_200_is_alive() {
        for (answer, exit, said) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n", Exit::Fine, "is alive"),
            ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", Exit::Found, "status 404"),
            ("SSH-2.0-door\r\n", Exit::Found, "does not answer in HTTP"),
        ] {
            let (url, asked) = answering(answer);
            let (got, words) = check(&url);
            assert_eq!(got, exit, "{words}");
            assert!(words.contains(said), "{words}");
            let asked = asked.join().unwrap();
            assert!(asked.starts_with("GET /livez HTTP/1.1\r\nHost: 127.0.0.1:"), "{asked}");
        }
    }

    #[test]
    fn nobody_is_not_alive() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (exit, words) = check(&format!("http://{free}"));
        assert_eq!(exit, Exit::Found);
        assert!(words.starts_with(&format!("cannot reach `{free}`")), "{words}");
        assert_eq!(check("127.0.0.1:9281").0, Exit::Usage);
    }
}
