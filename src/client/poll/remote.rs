//! The server as a [`Source`]: the queue's listing and the jobs' bytes over HTTP.
//!
//! A job counts as fetched only when its end was seen (by `Content-Length`, chunked coding or a
//! digest) and every SHA-256 that the server sent with it is that of the bytes. The listing is
//! read line by line and never held whole; a line of any length costs a fixed amount of memory.

use super::super::connect::{ClientError, Endpoint};
use super::super::request::{Ask, Client, Response, target};
use super::round::{Fetched, Source, SourceError};
use crate::domain::{Digests, InterfaceName, JobName, NAME_BYTES_MAX, escaped, extension_of};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, StatusCode};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::io;

const REASON_BYTES_MAX: usize = 1024;

pub(super) struct Remote<'e> {
    endpoint: &'e Endpoint,
    /// Connections over which nothing is asked now: there are as many as there were requests at the same time.
    idle: Mutex<Vec<Client<'e>>>,
    interface: &'e InterfaceName,
    xslt: Option<&'e str>,
}

impl<'e> Remote<'e> {
    pub(super) fn new(
        endpoint: &'e Endpoint,
        interface: &'e InterfaceName,
        xslt: Option<&'e str>,
    ) -> Self {
        Self {
            endpoint,
            idle: Mutex::default(),
            interface,
            xslt,
        }
    }

    fn connection(&self) -> Client<'e> {
        let idle = self.idle.lock().pop();
        idle.unwrap_or_else(|| Client::new(self.endpoint))
    }

    async fn ask(&self, over: &mut Client<'_>, target: String) -> Result<Response, SourceError> {
        let response = over.request(&Ask::get(target)).await?;
        if response.status == StatusCode::OK {
            return Ok(response);
        }
        let status = response.status;
        // The status says enough when the text does not arrive.
        let text = response.text(REASON_BYTES_MAX).await.unwrap_or_default();
        let text = escaped(text.trim());
        let passes = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
        let failed = match status.is_client_error() && !passes.contains(&status) {
            true => SourceError::Refused,
            false => SourceError::Failed,
        };
        Err(failed(match status.as_u16() {
            401 => "user or password is wrong; check --user".into(),
            403 => format!(
                "the user may not do that on {} (403): {text}",
                self.interface
            ),
            _ => format!("the server answers {status}: {text}"),
        }))
    }
}

impl From<ClientError> for SourceError {
    fn from(error: ClientError) -> Self {
        if error.is_unreachable() {
            SourceError::Unreachable(error.to_string())
        } else {
            SourceError::Failed(error.to_string())
        }
    }
}

impl Remote<'_> {
    async fn list_over(
        &self,
        over: &mut Client<'_>,
        each: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(), SourceError> {
        let interface = self.interface.as_str();
        let target = target("/xml/jobqueue", &[("Interfacename", Some(interface))]);
        let mut response = self.ask(over, target).await?;
        if !shows_its_end(&response.headers) {
            return Err(SourceError::Failed(
                "the listing does not show its end".into(),
            ));
        }
        let mut lines = Lines::default();
        while let Some(piece) = response.piece().await? {
            lines.push(&piece, each);
        }
        lines.finish(each);
        Ok(())
    }

    async fn fetch_over(
        &self,
        over: &mut Client<'_>,
        job: &JobName,
        piece: &mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
    ) -> Result<Fetched, SourceError> {
        let (interface, name) = (self.interface.as_str(), job.to_string());
        let parameters = [
            ("Interfacename", Some(interface)),
            ("Jobname", Some(name.as_str())),
            ("xslt", self.xslt),
        ];
        let mut response = self.ask(over, target("/xml/job", &parameters)).await?;
        let (mut hash, mut bytes) = (Sha256::new(), 0);
        while let Some(part) = response.piece().await? {
            hash.update(&part);
            bytes += part.len() as u64;
            piece(&part)?;
        }
        let sha256 = hash.finalize().into();
        let digests = digests(&response.headers);
        if digests.iter().any(|digest| *digest != sha256) {
            let message = "the bytes are not those that the server's digest names";
            return Err(SourceError::Failed(message.into()));
        }
        if digests.is_empty() && !shows_its_end(&response.headers) {
            let message = "the answer shows neither its length nor its end nor a digest";
            return Err(SourceError::Failed(message.into()));
        }
        // As it is in the spool, it is called as its job.
        let extension = self.xslt.and_then(|_| {
            let media_type = response.headers.get(CONTENT_TYPE)?.to_str().ok()?;
            extension_of(media_type)
        });
        Ok(Fetched {
            bytes,
            extension,
            sha256,
        })
    }
}

impl Source for Remote<'_> {
    async fn list(&self, each: &mut (dyn FnMut(&str) + Send)) -> Result<(), SourceError> {
        let mut over = self.connection();
        let listed = self.list_over(&mut over, each).await;
        self.idle.lock().push(over);
        listed
    }

    async fn fetch(
        &self,
        job: &JobName,
        piece: &mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
    ) -> Result<Fetched, SourceError> {
        let mut over = self.connection();
        let fetched = self.fetch_over(&mut over, job, piece).await;
        self.idle.lock().push(over);
        fetched
    }
}

/// Whether an answer that was cut short is noticed: hyper sees to it in both of these cases.
fn shows_its_end(headers: &HeaderMap) -> bool {
    headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING)
}

/// Every SHA-256 in `Content-Digest` and `Repr-Digest` (no coding was asked for, so both are over
/// the bytes as they come). A field that cannot be read matches nothing.
fn digests(headers: &HeaderMap) -> Vec<[u8; 32]> {
    let of = |name| {
        let lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
        Digests::parse(lines).map_or(Some([0; 32]), |digests| digests.sha256)
    };
    let fields = ["content-digest", "repr-digest"];
    fields.into_iter().filter_map(of).collect()
}

/// Splits a stream into lines without holding more than one name.
#[derive(Default)]
struct Lines {
    line: Vec<u8>,
}

impl Lines {
    fn push(&mut self, piece: &[u8], each: &mut (dyn FnMut(&str) + Send)) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            // One byte more than a name may have keeps a long line from passing as a short one.
            let room = (NAME_BYTES_MAX + 2).saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                self.finish(each);
            }
        }
    }

    fn finish(&mut self, each: &mut (dyn FnMut(&str) + Send)) {
        let line = String::from_utf8_lossy(&self.line);
        let line = line.trim_ascii_end();
        if !line.is_empty() {
            each(line);
        }
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::digest_field;

    #[test]
    fn lines_come_whole_from_any_pieces_and_cost_no_more_than_a_name() {
        let long = "x".repeat(5000);
        let text = format!("one\r\ntwo\n\n{long}\nlast");
        for size in [1, 2, 3, 7, 10_000] {
            let mut seen = Vec::new();
            let mut lines = Lines::default();
            for piece in text.as_bytes().chunks(size) {
                lines.push(piece, &mut |line| seen.push(line.to_owned()));
                assert!(lines.line.len() <= NAME_BYTES_MAX + 2);
            }
            lines.finish(&mut |line| seen.push(line.to_owned()));
            assert_eq!(seen.len(), 4);
            assert_eq!([&*seen[0], &*seen[1], &*seen[3]], ["one", "two", "last"]);
            assert!(seen[2].len() > NAME_BYTES_MAX);
        }
    }

    #[test]
    fn digests_are_read_from_both_fields() {
        let mut headers = HeaderMap::new();
        let good: [u8; 32] = Sha256::digest(b"x").into();
        headers.insert("content-digest", "md5=:AAAA:".parse().unwrap());
        assert!(digests(&headers).is_empty());
        let both = format!("md5=:AAAA:, {}", digest_field(&good));
        headers.insert("repr-digest", both.parse().unwrap());
        assert_eq!(digests(&headers), [good]);
        headers.insert("content-digest", "sha-256=nonsense".parse().unwrap());
        assert_eq!(digests(&headers), [[0; 32], good]);
        headers.insert("content-digest", "SHA-256=:AAAA:".parse().unwrap());
        assert_eq!(digests(&headers), [[0; 32], good]);
    }
}
