//! Posting to a URL, once: nothing is tried again here, no redirect is followed, and no one
//! logs in. For processors and events, so its types know no HTTP library.
//!
//! A file is streamed. A caller that learns that nothing was sent may post it again without a second
//! thought; otherwise the receiver may have acted on it.

use super::{
    connect::{ClientError, Endpoint, UrlParts, split_url},
    request::{Ask, Client, Payload, Response},
    retry,
    trust::Trust,
};
use crate::domain::spaced;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header::CONTENT_TYPE};
use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

/// Where jobs are posted to.
pub struct Receiver {
    endpoint: Endpoint,
    target: String,
}

/// What is posted.
pub struct Posting {
    pub body: Body,
    /// Names in lower case. A control character in a value is replaced.
    pub headers: Vec<(&'static str, String)>,
}

/// What is sent of it as the body.
pub enum Body {
    File {
        path: PathBuf,
        /// Exactly this many of the file's bytes.
        bytes: u64,
    },
    Memory(Bytes),
}

/// What the receiver said.
#[derive(Debug, PartialEq, Eq)]
pub struct Answered {
    pub status: u16,
    /// `Retry-After`, in seconds; its form with a date counts as absent: clocks differ.
    pub retry_after: Option<Duration>,
    /// Empty if it does not say.
    pub content_type: String,
    pub body: Vec<u8>,
    /// There was more than that.
    pub is_cut: bool,
}

/// Why there is no answer, or not the whole of it.
#[derive(Debug, PartialEq, Eq)]
pub struct PostError {
    pub reason: String,
    /// The receiver may have got the job.
    pub was_sent: bool,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receiver({})", self.endpoint.authority())
    }
}

impl Receiver {
    /// What is wrong with a URL, if anything. Nothing is looked up.
    ///
    /// # Errors
    /// When the URL cannot be posted to; the text says why.
    pub fn check(url: &str) -> Result<(), &'static str> {
        split_url(url).map(drop)
    }

    /// Reads the certificates; nothing is connected yet.
    ///
    /// # Errors
    /// When the URL cannot be used, or the certificates cannot be read.
    pub fn new(url: &str, trust: &Trust) -> Result<Self, PostError> {
        let parts = split_url(url).map_err(|reason| PostError {
            reason: format!("the URL is not usable: {reason}"),
            was_sent: false,
        })?;
        let endpoint = Endpoint::anonymous(&parts, trust).map_err(unsent)?;
        let UrlParts { target, .. } = parts;
        Ok(Self { endpoint, target })
    }

    /// Posts over a connection of its own. Of the answer's body `bytes_max` are kept at most. How
    /// long the receiver may take is the caller's to say, by dropping this.
    ///
    /// # Errors
    /// When there is no connection or no complete answer. [`PostError::was_sent`] says whether the
    /// receiver may have got it.
    pub async fn post(&self, posting: &Posting, bytes_max: usize) -> Result<Answered, PostError> {
        let ask = Ask {
            headers: headers(&posting.headers),
            method: Method::POST,
            payload: match &posting.body {
                Body::File { path, bytes } => Payload::File {
                    path: path.clone(),
                    bytes: *bytes,
                    progress: Arc::new(|_| {}),
                },
                Body::Memory(bytes) => Payload::Memory(bytes.clone()),
            },
            target: self.target.clone(),
        };
        let mut client = Client::new(&self.endpoint);
        let fresh = client.connect().await.map_err(unsent)?;
        let response = client.send_over(fresh, &ask).await.map_err(unanswered)?;
        answered(response, bytes_max).await.map_err(unanswered)
    }
}

fn headers(all: &[(&'static str, String)]) -> HeaderMap {
    let each = all.iter().filter_map(|(name, value)| {
        let line: String = spaced(value).collect();
        let value = HeaderValue::from_bytes(line.as_bytes()).ok()?;
        Some((HeaderName::from_static(name), value))
    });
    each.collect()
}

async fn answered(mut response: Response, bytes_max: usize) -> Result<Answered, ClientError> {
    let mut answered = Answered {
        status: response.status.as_u16(),
        retry_after: retry::asked(&response.headers),
        content_type: response
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_ascii_lowercase(),
        body: Vec::new(),
        is_cut: false,
    };
    while let Some(piece) = response.piece().await? {
        let room = bytes_max - answered.body.len();
        if piece.len() > room {
            answered.body.extend_from_slice(&piece[..room]);
            answered.is_cut = true;
            break;
        }
        answered.body.extend_from_slice(&piece);
    }
    Ok(answered)
}

fn unsent(error: ClientError) -> PostError {
    PostError {
        reason: in_words(error),
        was_sent: false,
    }
}

fn unanswered(error: ClientError) -> PostError {
    PostError {
        reason: in_words(error),
        was_sent: true,
    }
}

fn in_words(error: ClientError) -> String {
    if let ClientError::Certificate { host, reason } = error {
        // Named in a configuration, not on a command line.
        return format!(
            "the certificate of {host} is not trusted ({reason}); name the issuer's as cacert"
        );
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::stub::{Asked, Say, Stub};

    async fn posted(stub: &Stub, body: &[u8], bytes_max: usize) -> Result<Answered, PostError> {
        let posting = Posting {
            body: Body::File {
                path: stub.file("job", body),
                bytes: body.len() as u64,
            },
            headers: vec![("x-who", "ol\u{7}ga ü".into())],
        };
        let url = format!("{}/hook?a=1", stub.url());
        let receiver = Receiver::new(&url, &stub.trust())?;
        receiver.post(&posting, bytes_max).await
    }

    #[tokio::test]
    async fn a_file_is_posted_once_and_answered() {
        let stub = Stub::start(|_, _| {
            let headers = "content-type: Application/JSON\r\nretry-after: 7\r\n";
            Say::whole("429 Too Many Requests", headers, "{\"a\": 1}")
        })
        .await;
        let answered = posted(&stub, b"<a/>", 100).await;
        let expected = Answered {
            status: 429,
            retry_after: Some(Duration::from_secs(7)),
            content_type: "application/json".into(),
            body: b"{\"a\": 1}".to_vec(),
            is_cut: false,
        };
        assert_eq!(answered, Ok(expected));
        let asked = stub.asked();
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].line(), "POST /hook?a=1");
        assert_eq!(asked[0].body, b"<a/>");
        assert_eq!(asked[0].header("x-who"), Some("ol ga ü"));
        assert_eq!(asked[0].header("authorization"), None);
        let posting = Posting {
            body: Body::Memory(Bytes::from_static(b"{}")),
            headers: Vec::new(),
        };
        let receiver = Receiver::new(&stub.url(), &stub.trust()).unwrap();
        receiver.post(&posting, 100).await.unwrap();
        assert_eq!(stub.asked()[1].body, b"{}");
    }

    #[tokio::test]
    async fn a_large_answer_is_cut() {
        let stub = Stub::start(|_, _| Say::whole("200 OK", "", "12345")).await;
        for (bytes_max, is_cut) in [(4, true), (5, false)] {
            let answered = posted(&stub, b"", bytes_max).await.unwrap();
            assert_eq!((answered.body.len(), answered.is_cut), (bytes_max, is_cut));
        }
    }

    #[tokio::test]
    async fn it_is_known_whether_anything_was_sent() {
        let say = |n: usize, _: &Asked| match n {
            0 => Say::nothing(),
            _ => Say::whole("200 OK", "", "12345").cut(2),
        };
        let stub = Stub::start(say).await;
        for n in 1..=2 {
            let error = posted(&stub, b"x", 100).await.unwrap_err();
            assert!(error.was_sent, "{error:?}");
            assert_eq!(stub.connections(), n, "it is not sent again");
        }
        let posting = Posting {
            body: Body::Memory(Bytes::from_static(b"x")),
            headers: Vec::new(),
        };
        // No one trusts the stub's certificate.
        let url = stub.url();
        let untrusting = Receiver::new(&url, &Trust::File(stub.other_ca())).unwrap();
        let error = untrusting.post(&posting, 9).await.unwrap_err();
        assert!(
            !error.was_sent && error.reason.contains("as cacert"),
            "{error:?}"
        );
        let nobody = Receiver::new("http://127.0.0.1:1", &Trust::System).unwrap();
        let error = nobody.post(&posting, 9).await.unwrap_err();
        assert!(
            !error.was_sent && error.reason.contains("refuses"),
            "{error:?}"
        );
    }
}
