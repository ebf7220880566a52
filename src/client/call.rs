//! One call and its whole answer, for answers that fit in memory.

use super::{
    connect::{ClientError, Endpoint},
    request::{Ask, Client, Payload, target},
};
use http::{HeaderMap, Method, StatusCode};
use std::{path::Path, sync::Arc};

/// What the server answered.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

/// Answers beyond that are cut.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Calls a dStore method once, with no retries. `document`: the body of an upload.
///
/// # Errors
/// When the document cannot be read, or no complete answer arrives. An answer that refuses is not
/// an error.
pub async fn call(
    endpoint: &Endpoint,
    path: &str,
    parameters: &[(&str, Option<&str>)],
    document: Option<&Path>,
) -> Result<Answer, ClientError> {
    let mut ask = Ask::get(target(path, parameters));
    if let Some(document) = document {
        ask.method = Method::POST;
        let meta = std::fs::metadata(document).map_err(|source| ClientError::File {
            path: document.to_owned(),
            source,
        })?;
        ask.payload = Payload::File {
            path: document.to_owned(),
            bytes: meta.len(),
            progress: Arc::new(|_| {}),
        };
    }
    let response = Client::new(endpoint).request(&ask).await?;
    Ok(Answer {
        status: response.status,
        headers: response.headers.clone(),
        text: response.text(ANSWER_BYTES_MAX).await?,
    })
}
