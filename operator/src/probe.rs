//! Asks one HTTP address and tells whether the answer was good, so that the image can check itself without a shell.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use thiserror::Error;

/// How long one step may take.
const STEP: Duration = Duration::from_secs(5);
/// How long it is tried: a service's address may lag behind its pods.
const LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(500);
/// A status line is no longer.
const ANSWER_MAX: u64 = 1024;

/// Why the answer was not good.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// The address is not of the form `http://HOST:PORT/PATH`.
    #[error("{0:?} must be http://HOST:PORT/PATH")]
    Address(String),
    /// The exchange with this host and port failed: there was no connection, or no whole answer.
    #[error("failed to reach {0}")]
    Unreachable(String, #[source] std::io::Error),
    /// Somebody did, but not with 200.
    #[error("the answer was {0:?}")]
    Refused(String),
}

/// Asks until the answer is 200, within a limit.
pub fn probe(url: &str) -> Result<(), ProbeError> {
    let address = || ProbeError::Address(url.to_owned());
    let (host, path) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).ok_or_else(address)?;
    if !host.contains(':') {
        return Err(address());
    }
    let begin = Instant::now();
    loop {
        match ask(host, path) {
            Err(_) if begin.elapsed() < LIMIT => std::thread::sleep(PAUSE),
            outcome => return outcome,
        }
    }
}

fn ask(host: &str, path: &str) -> Result<(), ProbeError> {
    let answer = exchange(host, path).map_err(|e| ProbeError::Unreachable(host.to_owned(), e))?;
    let status = answer.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) == Some("200") { Ok(()) } else { Err(ProbeError::Refused(status.to_owned())) }
}

fn exchange(host: &str, path: &str) -> std::io::Result<String> {
    let mut failure = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    for address in host.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, STEP) {
            Ok(mut stream) => {
                stream.set_read_timeout(Some(STEP))?;
                stream.set_write_timeout(Some(STEP))?;
                // In one piece: whoever answers the first of several, and closes, breaks the connection.
                let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
                stream.write_all(request.as_bytes())?;
                let mut answer = Vec::new();
                stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
                return Ok(String::from_utf8_lossy(&answer).into_owned());
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answering(status: &'static str) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/readyz", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 1024]).unwrap();
                write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").unwrap();
            }
        });
        url
    }

    #[test]
    fn only_an_answer_of_200_is_good() {
        probe(&answering("200 OK")).unwrap();
        let url = answering("503 Service Unavailable");
        let host = url.strip_prefix("http://").unwrap().split('/').next().unwrap();
        assert!(ask(host, "readyz").unwrap_err().to_string().contains("503"));
    }

    #[test]
    fn what_is_no_plain_address_is_refused_at_once() {
        for url in ["https://a:1/x", "http://a/x", "http://a:1", "a"] {
            assert!(matches!(probe(url), Err(ProbeError::Address(_))), "{url}");
        }
    }
}
