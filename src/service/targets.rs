//! Where a caller may send JSON jobs to, and the ids by which such interfaces are known.

use super::{Direction, Fault, Interface, Service, store_fault, unknown_interface};
use crate::{
    auth::{Caller, Right},
    domain::InterfaceName,
};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Bytes of an id.
const ID_BYTES: usize = 12;

/// An interface that a caller may send JSON jobs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub interface: InterfaceName,
    /// 24 hexadecimal digits: its alias of that form, else made from its name. It is as good as the
    /// name wherever an interface is asked for.
    pub id: String,
    /// When its queue was made, in milliseconds of the Unix epoch.
    pub created_ms: i64,
    /// Jobs that it has got since the service started.
    pub n_jobs: u64,
    /// What its configuration says that it asks of a job.
    pub questions: Vec<Map<String, Value>>,
}

/// The id of an interface without an alias that is one.
pub(super) fn made_id(name: &InterfaceName) -> String {
    hex::encode(&Sha256::digest(name.as_str())[..ID_BYTES])
}

fn is_id(text: &str) -> bool {
    text.len() == 2 * ID_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Interface {
    /// Does it take whatever document it is sent, and so JSON?
    pub(super) fn takes_json(&self) -> bool {
        self.direction == Direction::In && self.root.is_none() && self.schema.is_none()
    }
}

impl Service {
    /// The interface that is asked for, or all, if the caller may send JSON jobs there.
    ///
    /// # Errors
    /// [`Fault::UnknownInterface`] when the one asked for takes no JSON jobs of the caller,
    /// [`Fault::Busy`] when the store cannot be read: ask again.
    pub(super) async fn targets(
        &self,
        caller: &Caller,
        chosen: Option<&InterfaceName>,
    ) -> Result<Vec<Target>, Fault> {
        let found = chosen.map(|name| self.resolve(name).ok_or_else(|| unknown_interface(name)));
        let found = found.transpose()?;
        let mut targets = Vec::new();
        for (name, interface) in &self.interfaces {
            if found.is_none_or(|found| found == name)
                && interface.takes_json()
                && caller.may(Right::Upload, name)
            {
                targets.push(self.target(name, interface).await?);
            }
        }
        match chosen {
            Some(name) if targets.is_empty() => Err(unknown_interface(name)),
            Some(_) | None => Ok(targets),
        }
    }

    async fn target(&self, name: &InterfaceName, interface: &Interface) -> Result<Target, Fault> {
        let alias = interface.aliases.iter().find(|alias| is_id(alias));
        let since = self.store.served_since_ms(name).await;
        Ok(Target {
            interface: name.clone(),
            id: alias.cloned().unwrap_or_else(|| made_id(name)),
            created_ms: since.map_err(|e| store_fault(&e))?,
            n_jobs: self.arrivals.lock().get(name).copied().unwrap_or(0),
            questions: interface.questions.clone(),
        })
    }
}
