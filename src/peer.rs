//! Where a client comes from, also behind proxies: which addresses are one, which are trusted to speak
//! for others, and what those say (PROXY protocol, `Forwarded`, `X-Forwarded-For`).
//!
//! Pure. Everything that is parsed here may have been written by anyone: what is not understood names
//! no one, and what someone other than a trusted proxy says is for the caller never to ask about.

mod forwarded;
mod network;
#[cfg(test)]
mod properties;
mod proxy_protocol;

pub use forwarded::{Contradiction, client};
pub use network::{Network, NetworkError, Networks, host_of};
pub use proxy_protocol::{HEADER_BYTES_MAX, HeaderError, Step, step};
