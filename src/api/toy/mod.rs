//! The smallest dialect, for tests only: it shows what one takes. Its one line outside of this
//! folder is in the list of `src/api.rs`.
//!
//! `POST /toy/<interface>` makes a job of a JSON body and answers with its UUID; `GET /toy/<uuid>`
//! with a word for its state. A fault is its status alone.

use super::{Dialect, Intake, Payload, json};
use crate::{
    domain::parse_uuid,
    service::{
        Command, DocumentFormat, Fault, JobRef, JsonCheck, Reply, State, Submit, Visibility,
    },
};
use http::{Method, Response, StatusCode, request::Parts};

#[derive(Debug)]
pub(super) struct Toy;

impl Dialect for Toy {
    fn name(&self) -> &'static str {
        "toy"
    }

    fn owns(&self, path: &str) -> bool {
        path.starts_with("/toy/")
    }

    fn intake(&self, _head: &Parts) -> Intake {
        Intake::Stream
    }

    fn parse(&self, head: &Parts, _small: &[u8]) -> Result<Command, Fault> {
        let what = head.uri.path().trim_start_matches("/toy/");
        if head.method == Method::POST {
            let interface = what.parse().map_err(|_| Fault::NoSuchPath)?;
            return Ok(Command::Submit(Submit {
                interface: Some(interface),
                dialect: "toy",
                document: DocumentFormat::Json {
                    check: JsonCheck(json::check),
                    empty: None,
                },
                ..Submit::default()
            }));
        }
        Ok(Command::Show {
            job: JobRef::Uuid(parse_uuid(what).ok_or(Fault::NoSuchPath)?),
            visibility: Visibility::Interface,
        })
    }

    fn render(&self, head: &Parts, reply: Reply) -> Response<Payload> {
        let line = if let Reply::Created { view, .. } = reply {
            view.uuid
        } else if let Reply::Shown(view) = reply {
            match view.state {
                State::Waiting => "waits",
                State::Running => "runs",
                State::Cancelled | State::Done | State::Failed => "ended",
            }
            .into()
        } else {
            return self.render_fault(head, &Fault::Internal);
        };
        Response::new(Payload::Bytes(line.into()))
    }

    fn render_fault(&self, _head: &Parts, fault: &Fault) -> Response<Payload> {
        let mut response = Response::new(Payload::Bytes("".into()));
        let found = matches!(fault, Fault::NoSuchPath | Fault::UnknownJob { .. });
        *response.status_mut() = match found {
            true => StatusCode::NOT_FOUND,
            false => StatusCode::BAD_REQUEST,
        };
        response
    }

    fn openapi(&self) -> &'static str {
        "{}"
    }
}
