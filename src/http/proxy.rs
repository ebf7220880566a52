//! For whom a connection is, where a trusted proxy says so before anything else (PROXY protocol).

use crate::peer::{HeaderError, Step, step};
use std::{io, net::SocketAddr, time::Duration};
use tokio::{io::AsyncReadExt, net::TcpStream, time};

/// Why the client is not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyError {
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error("the PROXY header did not arrive: {0}")]
    Io(#[from] io::Error),
    #[error("the PROXY header did not arrive in time")]
    TimedOut,
}

/// Reads the header, and not a byte of what comes after it. `None`: the proxy speaks for itself.
pub(super) async fn client(
    tcp: &mut TcpStream,
    deadline: Duration,
) -> Result<Option<SocketAddr>, ProxyError> {
    let header = async {
        let mut begun = Vec::new();
        loop {
            match step(&begun)? {
                Step::Done(client) => return Ok(client),
                Step::More(n_bytes) => {
                    let from = begun.len();
                    begun.resize(from + n_bytes, 0);
                    tcp.read_exact(&mut begun[from..]).await?;
                }
            }
        }
    };
    let header = time::timeout(deadline, header).await;
    header.unwrap_or(Err(ProxyError::TimedOut))
}
