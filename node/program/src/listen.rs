//! The sockets that nodes and the operator listen on: `[::]` takes connections of IPv6 and of IPv4, whichever a cluster has.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rustix::io::Errno;
use rustix::net::sockopt::set_ipv6_v6only;
use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait to be taken, at most.
const BACKLOG: u32 = 1_024;

/// Listens. Where the machine has no IPv6, `[::]` is every address of IPv4. Must be called within a Tokio runtime.
///
/// # Errors
///
/// The system's: most often another process has the port.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    match bind(address) {
        Err(error) if is_every(address) && is_without_ipv6(&error) => {
            bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port()))
        }
        bound => bound,
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if is_every(address) {
        // Otherwise a setting of the machine decides.
        set_ipv6_v6only(&socket, false)?;
    }
    // A port of a process that has just ended is free.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn is_every(address: SocketAddr) -> bool {
    address.is_ipv6() && address.ip().is_unspecified()
}

fn is_without_ipv6(error: &io::Error) -> bool {
    let codes = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL, Errno::PROTONOSUPPORT];
    codes.iter().any(|code| error.raw_os_error() == Some(code.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn every_address_of_ipv6_is_every_address_of_ipv4_too() {
        let listener = listen("[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        if TcpListener::bind("[::1]:0").await.is_ok() {
            TcpStream::connect(format!("[::1]:{port}")).await.unwrap();
        }
    }

    #[test]
    fn only_a_machine_without_ipv6_listens_on_ipv4_instead() {
        for code in [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL] {
            assert!(is_without_ipv6(&code.into()));
        }
        assert!(!is_without_ipv6(&Errno::ADDRINUSE.into()));
        assert!(is_every("[::]:1".parse().unwrap()) && !is_every("0.0.0.0:1".parse().unwrap()));
    }
}
