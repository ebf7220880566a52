//! Documents that become jobs, or are refused: one statement with key, record, document, log and events.

use super::{
    Inner,
    db::{Param, is_doubled, meaning},
    known::{End, Known, count, id_of, number_of, parsed, parsed_if, place_name, small},
    step::columns,
};
use crate::{
    domain::joblog::{Message, Status},
    domain::{InterfaceName, JobName, Kind, Place, Reference},
    store::document::Document,
    store::{
        Came, DocumentWriter, Key, Keyed, NewJob, NewName, Receipt, Result, Sealed, StoreError,
        Stored,
        events::{EventKind, EventLine},
    },
};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use deadpool_postgres::GenericClient;

/// Of a document, in bytes. Larger ones are to be kept beside the database.
pub(super) const DOCUMENT_BYTES_MAX: usize = 64 << 20;
/// How often another id is tried when one was given out by another process.
pub(super) const TRIES_MAX: u32 = 8;

const ACCEPT: &str = "
with g as (select $1::int8 as id, $2::text as name, $3::text as place, $4::text as interface, $5::text as submitter,
    $6::text as dialect, $7::text as asked_as, $8::int2 as priority, $9::text as worker, $10::int4 as retries,
    $11::text as params, $12::text as order_key, $13::text as reference_as_sent, $14::text as came,
    $15::boolean as is_upload, $16::int8 as parent, $17::int8 as parent_fence, $18::int8 as now_ms,
    $19::int8 as bytes, $20::text as sha256, $21::text as key, $22::text as log, $23::text as reason,
    $24::int2 as turn, $25::text as turn_worker, $30::text as addressee, $31::text as dropped_on),
keyed as (insert into idempotency_key (key, job, id, is_schedule, interface, sha256, bytes, refused)
  select g.key, g.name, g.id, false, g.interface, g.sha256, g.bytes, g.place = 'refused' from g
  where g.key is not null on conflict (key) do nothing returning key),
won as (select g.* from g where g.key is null or exists (select from keyed)),
recorded as (insert into record (id, name, interface, submitter, dialect, asked_as, priority, worker, retries, params,
    order_key, reference_as_sent, came, is_upload, is_refused, parent, parent_fence, received_ms, bytes, sha256,
    dropped_on)
  select id, name, interface, submitter, dialect, asked_as, priority, worker, retries, params, order_key,
    reference_as_sent, came, is_upload, place = 'refused', parent, parent_fence, now_ms, bytes, sha256, dropped_on
  from won),
kept as (insert into document (id, body) select id, $26::bytea from won),
waits as (insert into job (id, name, place, interface, addressee, for_user, priority, worker, submitter, order_key,
    attempts, fence, works)
  select id, name, place, interface, addressee, addressee is not null, turn, turn_worker, submitter, order_key, 0, 1, false from won
  where place = 'queue'),
ends as (insert into ended (id, place, state, interface, attempts, fence)
  select id, place, 'failed', interface, 0, 1 from won where place = 'refused'),
counted as (insert into ended_count (place, interface, jobs)
  select place, coalesce(interface, ''), 1 from won where place = 'refused'),
logged as (insert into log (id, text, finished_ms, attempts, reason)
  select id, log, now_ms, 0, reason from won where log is not null),
reported as (insert into event (id, receiver, at_ms, event)
  select e.id, e.receiver, won.now_ms, e.event
  from won, unnest($27::text[], $28::text[], $29::text[]) as e(id, receiver, event)
  on conflict (id, receiver) do nothing)
select id from won";

const FIND_KEY: &str = "select job, interface, sha256, bytes, refused, is_schedule from idempotency_key where key = $1";

/// A document on its way in.
pub(super) struct Part {
    name: NewName,
    bytes: BytesMut,
}

impl Part {
    pub(super) fn new(name: NewName) -> Self {
        let bytes = BytesMut::new();
        Self { name, bytes }
    }
}

#[async_trait]
impl DocumentWriter for Part {
    async fn append(&mut self, bytes: Bytes) -> Result<()> {
        if self.bytes.len() + bytes.len() > DOCUMENT_BYTES_MAX {
            let text = format!("a document of more than {DOCUMENT_BYTES_MAX} bytes");
            return Err(StoreError::Refused(text));
        }
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    async fn seal(self: Box<Self>) -> Result<Sealed> {
        let Self { name, bytes } = *self;
        Ok(Sealed::new(Box::new(Document::new(name, bytes.freeze()))))
    }
}

/// What is to become a job.
pub(super) struct New<'n> {
    pub(super) document: &'n Document,
    pub(super) job: NewJob,
    /// A queue, or among the refused.
    pub(super) place: Place,
    pub(super) interface: Option<&'n InterfaceName>,
    pub(super) key: Option<&'n Key>,
    /// What is wrong with it, if it is refused.
    pub(super) findings: Vec<Message>,
    /// By the processor of that job, under that fence.
    pub(super) parent: Option<(i64, i64)>,
    /// Under this name, from the directories of that node.
    pub(super) dropped: Option<(&'n JobName, &'n str)>,
}

/// The job that something is to become, with all that is said of it.
pub(super) struct Made {
    pub(super) known: Known,
    log: Option<(String, Option<String>)>,
    pub(super) events: Vec<EventLine>,
}

impl Made {
    pub(super) fn stored(&self) -> Stored {
        Stored {
            job: self.known.name.clone(),
            bytes: self.known.bytes,
            sha256: self.known.sha256.clone(),
            received_ms: self.known.received_ms,
        }
    }
}

impl Inner {
    /// Makes it a job. `None`: its key was used before.
    pub(super) async fn accept(&self, new: &New<'_>) -> Result<Option<Stored>> {
        let client = self.db.client().await?;
        let mut tries = 0;
        loop {
            let made = self.make(new);
            match self.accept_on(&client, new, &made).await {
                Ok(true) => {
                    self.accepted(&made);
                    return Ok(Some(made.stored()));
                }
                Ok(false) => return Ok(None),
                Err(error) if is_doubled(&error) && tries < TRIES_MAX => tries += 1,
                Err(error) => return Err(meaning(&error)),
            }
        }
    }

    /// With an id that is the first of its kind, as far as is known here.
    pub(super) fn next_name(&self, reference: Option<Reference>, kind: Kind) -> JobName {
        let id = self.ids.lock().next(self.now_ms());
        JobName::new(id, reference, kind)
    }

    /// Under an id that it is the first to use, unless it has a name.
    pub(super) fn make(&self, new: &New<'_>) -> Made {
        let now_ms = self.now_ms();
        let NewName { kind, reference } = new.document.name.clone();
        let named = new.dropped.map(|(name, _)| name.clone());
        let known = Known {
            name: named.unwrap_or_else(|| self.next_name(reference, kind)),
            place: new.place.clone(),
            interface: new.interface.cloned(),
            addressee: new.place.addressee().cloned(),
            end: (new.place == Place::Refused).then_some(End::Failed),
            new: new.job.clone(),
            received_ms: now_ms,
            bytes: new.document.bytes.len() as u64,
            sha256: new.document.sha256.clone(),
            attempts: 0,
            started_ms: None,
            fence: 1,
            settled: None,
            life: None,
            lives: false,
            works: false,
            notes: Vec::new(),
            variables: None,
            log: None,
        };
        let (mut log, mut events) = (None, Vec::new());
        if new.place == Place::Refused {
            let of = known.log_of(Status::Error, now_ms, new.findings.clone());
            let reason = of.reason().map(str::to_owned);
            events.extend(self.report(EventKind::JobRefused, &known, reason.as_deref(), |e| e));
            log = Some((of.to_xml(), reason));
        }
        Made { known, log, events }
    }

    /// Within a transaction, or by itself. False: its key was used before.
    pub(super) async fn accept_on(
        &self,
        client: &impl GenericClient,
        new: &New<'_>,
        made: &Made,
    ) -> Result<bool, tokio_postgres::Error> {
        let (known, job) = (&made.known, &new.job);
        let turn = job.precedence(&known.name);
        let came = serde_json::to_string(&job.came).unwrap_or_default();
        let (ids, receivers, texts) = columns(&made.events);
        let (log, reason) = made.log.clone().unzip();
        let params: [Param<'_>; 31] = [
            &id_of(&known.name),
            &known.name.to_string(),
            &place_name(&known.place),
            &known.interface.as_ref().map(ToString::to_string),
            &job.submitter,
            &job.dialect,
            &job.asked_as,
            &number_of(job.options.priority),
            &job.options.worker.as_ref().map(ToString::to_string),
            &job.options.retries.map(small),
            &job.options.params,
            &job.order_key,
            &job.reference_as_sent,
            &came,
            &(job.came == Came::Uploaded),
            &new.parent.map(|(id, _)| id),
            &new.parent.map(|(_, fence)| fence),
            &known.received_ms,
            &(known.bytes as i64),
            &known.sha256,
            &new.key.map(Key::as_str),
            &log,
            &reason.flatten(),
            &number_of(turn.priority),
            &turn.worker.map(|worker| worker.to_string()),
            &&new.document.bytes[..],
            &ids,
            &receivers,
            &texts,
            &known.addressee.as_ref().map(ToString::to_string),
            &new.dropped.map(|(_, node)| node),
        ];
        Ok(!self.db.on(client, ACCEPT, &params).await?.is_empty())
    }

    /// It is a job now: hints follow it.
    pub(super) fn accepted(&self, made: &Made) {
        let known = &made.known;
        let (nowhere, to) = (Place::Refused, Some(&known.place));
        self.hints
            .moved(&known.name, &nowhere, to, || known.precedence());
        self.recorded(&made.events);
    }

    /// What comes of a document, with a key or without.
    pub(super) async fn take_in(&self, new: &New<'_>) -> Result<Receipt> {
        loop {
            if let Some(stored) = self.accept(new).await? {
                return Ok(Receipt::New(stored));
            }
            // Only a key is in the way; it may be gone meanwhile.
            if let Some(key) = new.key
                && let Some((earlier, _)) = self.key(key).await?
            {
                return Ok(match earlier.sha256 == new.document.sha256 {
                    true => Receipt::Same(earlier),
                    false => Receipt::Different,
                });
            }
        }
    }

    /// What the first request with a key led to, and whether that is a schedule.
    pub(super) async fn key(&self, key: &Key) -> Result<Option<(Keyed, bool)>> {
        let Some(row) = self.db.row(FIND_KEY, &[&key.as_str()]).await? else {
            return Ok(None);
        };
        let keyed = Keyed {
            job: parsed(row.get(0))?,
            interface: parsed_if(row.get(1))?,
            sha256: row.get(2),
            bytes: count(row.get::<_, i64>(3)),
            refused: row.get(4),
        };
        Ok(Some((keyed, row.get(5))))
    }
}
