//! `spoolgate validate --url`: asks a gateway whether it would take a document, once.

use super::connect::{ClientError, Endpoint};
use super::request::{Ask, Client, Payload, Response, target};
use super::retry;
use crate::domain::escaped;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use std::path::Path;
use std::sync::Arc;

const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// What a gateway says of a document.
#[derive(Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It would take it, for this interface.
    Valid { interface: String },
    /// It would refuse it.
    NotValid(Vec<Mistake>),
    /// It does not say, for this reason.
    Unknown(String),
}

/// What is wrong with a document, and where; 0 stands for a place that is not known.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    pub line: u64,
    pub column: u64,
    pub message: String,
}

/// Asks about the document in a file, which the gateway recognises unless the interface is given.
///
/// # Errors
/// When the document cannot be read, or no complete answer arrives.
pub async fn validate(
    endpoint: &Endpoint,
    document: &Path,
    interface: Option<&str>,
) -> Result<Judgement, ClientError> {
    let about = std::fs::metadata(document).map_err(|source| ClientError::File {
        path: document.to_owned(),
        source,
    })?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    let ask = Ask {
        headers,
        method: Method::POST,
        payload: Payload::File {
            path: document.to_owned(),
            bytes: about.len(),
            progress: Arc::new(|_| {}),
        },
        target: target("/xml/validate", &[("Interfacename", interface)]),
    };
    judgement(Client::new(endpoint).request(&ask).await?).await
}

/// Source: the dStore contract, `/xml/validate`.
async fn judgement(response: Response) -> Result<Judgement, ClientError> {
    let status = response.status;
    let asked = retry::asked(&response.headers);
    let text = response.text(ANSWER_BYTES_MAX).await?;
    let first = escaped(text.lines().next().unwrap_or_default());
    if status == StatusCode::OK
        && let Some(interface) = first.strip_prefix("valid: ")
    {
        let interface = interface.to_owned();
        return Ok(Judgement::Valid { interface });
    }
    let mistakes: Vec<Mistake> = text.lines().filter_map(Mistake::parse).collect();
    if status == StatusCode::BAD_REQUEST && !mistakes.is_empty() {
        return Ok(Judgement::NotValid(mistakes));
    }
    let after = asked.map(|asked| format!("; ask again after {} s", asked.as_secs()));
    let after = after.unwrap_or_default();
    let reason = format!("the gateway does not say ({status}): {first}{after}");
    Ok(Judgement::Unknown(reason))
}

impl Mistake {
    /// Reads `line:column: message`.
    fn parse(line: &str) -> Option<Mistake> {
        let (place, message) = line.split_once(": ")?;
        let (line, column) = place.split_once(':')?;
        Some(Mistake {
            line: line.parse().ok()?,
            column: column.parse().ok()?,
            message: escaped(message),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::stub::{Say, Stub};

    #[tokio::test]
    async fn only_a_verdict_is_one() {
        let refused = "the document would be refused\n3:7: /a: x\u{1b}[2J\n0:0: y: z\n";
        let stub = Stub::start(move |n, _| match n {
            0 => Say::whole("200 OK", "", "valid: orders_in\n"),
            1 => Say::whole("400 Bad Request", "", refused),
            2 => Say::whole("400 Bad Request", "", "unknown interface x\n"),
            3 => Say::whole("503 Busy", "retry-after: 5\r\n", "the queue is full\n"),
            4 => Say::whole("503 Busy", "", "1:1: x\n"),
            5 => Say::whole("200 OK", "", "<html>\n"),
            _ => Say::whole("200 OK", "", "valid: orders_in\n").cut(5),
        })
        .await;
        let (endpoint, file) = (stub.endpoint(), stub.file("a.xml", b"<a/>"));
        let ask = || validate(&endpoint, &file, Some("orders_in"));
        let valid = Judgement::Valid {
            interface: "orders_in".into(),
        };
        assert_eq!(ask().await.unwrap(), valid);
        let mistake = |line, column, message: &str| Mistake {
            line,
            column,
            message: message.into(),
        };
        let mistakes = vec![mistake(3, 7, "/a: x\\u{1b}[2J"), mistake(0, 0, "y: z")];
        assert_eq!(ask().await.unwrap(), Judgement::NotValid(mistakes));
        for said in [
            "(400 Bad Request): unknown interface x",
            "(503 Service Unavailable): the queue is full; ask again after 5 s",
            "(503 Service Unavailable): 1:1: x",
            "(200 OK): <html>",
        ] {
            let judgement = ask().await.unwrap();
            let reason = match &judgement {
                Judgement::Unknown(reason) => reason.as_str(),
                Judgement::NotValid(_) | Judgement::Valid { .. } => "",
            };
            assert!(reason.ends_with(said), "{judgement:?}");
        }
        assert!(ask().await.is_err());
        let asked = &stub.asked()[0];
        assert_eq!(asked.line(), "POST /xml/validate?Interfacename=orders_in");
        assert_eq!(asked.body, b"<a/>");
        let other = stub.dir.path().join("none.xml");
        assert!(validate(&endpoint, &other, None).await.is_err());
    }
}
