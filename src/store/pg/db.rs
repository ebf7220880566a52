//! Connections, their limits, and what an error of the database means to a caller.
//!
//! A statement is prepared once for each connection. One that surely did nothing, since another was in its way, is
//! tried again. One whose answer does not come may have been done.

use super::tls::Connector;
use crate::store::{Result, StoreError};
use deadpool_postgres::{
    Client, GenericClient, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime,
};
use std::{
    error::Error as _,
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tokio_postgres::{
    Config, NoTls, Row,
    config::{Host, SslMode},
    error::SqlState,
    types::ToSql,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A peer that is gone is noticed although nothing is being sent.
const PEER_TIMEOUT: Duration = Duration::from_secs(10);
/// For a connection.
const WAIT_TIMEOUT: Duration = Duration::from_secs(5);
/// The server's own limits. They are shorter than ours, so that it is the server that says what became of a statement.
const SERVER_LIMITS: &str = "-c statement_timeout=10s -c lock_timeout=5s \
                             -c idle_in_transaction_session_timeout=10s -c default_transaction_isolation=read\\ committed";
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Of a statement that was in another's way.
const TRIES_MAX: u32 = 8;

pub(super) type Param<'p> = &'p (dyn ToSql + Sync);

/// How a database is reached. Prints nothing of it, since a password is part of it.
#[derive(Clone)]
pub struct Url {
    config: Config,
    tls: Option<rustls::ClientConfig>,
}

impl Url {
    /// `postgres://USER:PASSWORD@HOST/DATABASE` or `host=… user=…`. A server of the network is spoken to by TLS alone,
    /// with the trust that `tls` makes.
    ///
    /// # Errors
    /// What is wrong with it, in words that repeat nothing of it.
    pub fn new(
        text: &[u8],
        tls: impl FnOnce() -> Result<rustls::ClientConfig, String>,
    ) -> Result<Self, String> {
        const FORM: &str =
            "it is no URL of PostgreSQL: write postgres://USER:PASSWORD@HOST/DATABASE";
        let text = std::str::from_utf8(text).map_err(|_| FORM)?;
        let mut config: Config = text.parse().map_err(|_| FORM)?;
        let of_network = |host: &Host| matches!(host, Host::Tcp(_));
        let is_remote = config.get_hosts().iter().any(of_network);
        let hosts = config.get_hosts();
        if hosts.is_empty() || (is_remote && !hosts.iter().all(of_network)) {
            return Err(
                "it must name hosts, either of the network or directories of sockets".into(),
            );
        }
        if config.get_options().is_none() {
            config.options(SERVER_LIMITS);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("spoolgate");
        }
        config
            .tcp_user_timeout(PEER_TIMEOUT)
            .keepalives_idle(PEER_TIMEOUT);
        let mode = match is_remote {
            true => SslMode::Require,
            false => SslMode::Disable,
        };
        config.ssl_mode(mode);
        let tls = is_remote.then(tls).transpose()?;
        Ok(Self { config, tls })
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Url(…)")
    }
}

/// A database, by so many connections at most.
pub(super) struct Db {
    pool: Pool,
    statements: AtomicU64,
}

impl Db {
    pub(super) fn new(url: Url, connections_max: usize) -> Result<Self> {
        let Url { config, tls } = url;
        let manager = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = match tls {
            Some(tls) => Manager::from_config(config, Connector::new(tls), manager),
            None => Manager::from_config(config, NoTls, manager),
        };
        let pool = Pool::builder(manager)
            .max_size(connections_max)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(WAIT_TIMEOUT))
            .create_timeout(Some(WAIT_TIMEOUT))
            .build();
        Ok(Self {
            pool: pool.map_err(|error| StoreError::Refused(error.to_string()))?,
            statements: AtomicU64::new(0),
        })
    }

    pub(super) async fn client(&self) -> Result<Client> {
        self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => meaning(&error),
            PoolError::Timeout(_) => {
                let text = "the database gave no connection in time";
                StoreError::Unavailable(text.into())
            }
            PoolError::Closed | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
                StoreError::Unavailable(error.to_string())
            }
        })
    }

    /// A statement that is a transaction of its own.
    pub(super) async fn rows(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>> {
        let mut tries = 0;
        loop {
            let client = self.client().await?;
            match self.answer(client, sql, params).await {
                Err(Failed::Lost(_)) if tries < TRIES_MAX => tries += 1,
                Err(failed) => return Err(failed.meaning()),
                Ok(rows) => return Ok(rows),
            }
            // Whoever lost steps aside, by a little and ever more.
            tokio::time::sleep(Duration::from_millis(2 << tries)).await;
        }
    }

    /// The row that a statement gives, if it gives one.
    pub(super) async fn row(&self, sql: &str, params: &[Param<'_>]) -> Result<Option<Row>> {
        Ok(self.rows(sql, params).await?.into_iter().next())
    }

    /// Does a statement do anything? It gives a row for what it does.
    pub(super) async fn does(&self, sql: &str, params: &[Param<'_>]) -> Result<bool> {
        Ok(self.row(sql, params).await?.is_some())
    }

    async fn answer(
        &self,
        client: Client,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, Failed> {
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.on(&client, sql, params)).await;
        match answer {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => {
                if error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION) {
                    // It is no primary any more: the next connection finds the one that is.
                    drop(Client::take(client));
                }
                Err(Failed::of(error))
            }
            Err(_) => {
                // It may still run. Nobody else is to wait behind it.
                drop(Client::take(client));
                Err(Failed::Silent)
            }
        }
    }

    /// A statement of a transaction, or on a connection that one has for oneself.
    pub(super) async fn on(
        &self,
        client: &impl GenericClient,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        let statement = client.prepare_cached(sql).await?;
        client.query(&statement, params).await
    }

    /// How many statements there have been.
    #[cfg(test)]
    pub(super) fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }
}

/// Is it that a row of that key is there already?
pub(super) fn is_doubled(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::UNIQUE_VIOLATION)
}

/// Why a statement gave no answer.
enum Failed {
    /// Another was in its way, and nothing of it is there.
    Lost(tokio_postgres::Error),
    Other(tokio_postgres::Error),
    Silent,
}

impl Failed {
    fn of(error: tokio_postgres::Error) -> Self {
        let in_the_way = [
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
        ];
        match error.code().is_some_and(|code| in_the_way.contains(code)) {
            true => Self::Lost(error),
            false => Self::Other(error),
        }
    }

    fn meaning(&self) -> StoreError {
        match self {
            Self::Lost(error) | Self::Other(error) => meaning(error),
            Self::Silent => StoreError::Unavailable("the database does not answer in time".into()),
        }
    }
}

/// What an error means to a caller.
pub(super) fn meaning(error: &tokio_postgres::Error) -> StoreError {
    let Some(of_server) = error.as_db_error() else {
        // The connection was not there, or ended, perhaps in the middle of a commit.
        let cause = error.source().map(|cause| format!(": {cause}"));
        let text = format!(
            "the database cannot be reached: {error}{}",
            cause.unwrap_or_default()
        );
        return StoreError::Unavailable(text);
    };
    let code = of_server.code();
    let text = format!(
        "the database says: {} ({})",
        of_server.message(),
        code.code()
    );
    match &code.code()[..2] {
        _ if *code == SqlState::DISK_FULL => StoreError::Full(text),
        // The data, a rule that they break, the statement or its right: the same will never succeed.
        "22" | "23" | "42" => StoreError::Refused(text),
        // It finds its own files damaged.
        "XX" if matches!(code.code(), "XX001" | "XX002") => StoreError::Unhealthy(text),
        _ => StoreError::Unavailable(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_tls() -> Result<rustls::ClientConfig, String> {
        Err("no trust".into())
    }

    #[test]
    fn a_url_is_never_repeated() {
        for text in [
            "postgres://ada:s3cret@db/x?unknown=s3cret",
            "host=db s3cret",
            "s3cret",
            "host=db,/run/postgresql user=s3cret",
            "postgres://ada:s3cret@db/x",
        ] {
            let wrong = Url::new(text.as_bytes(), no_tls).unwrap_err();
            assert!(!wrong.contains("s3cret"), "{wrong}");
        }
        let local = Url::new(b"host=/run/postgresql user=s3cret", no_tls).unwrap();
        assert_eq!(format!("{local:?}"), "Url(…)");
    }

    #[test]
    fn only_a_socket_is_spoken_to_without_tls() {
        let mode = |text: &str| {
            let url = Url::new(text.as_bytes(), no_tls);
            url.map(|url| url.config.get_ssl_mode())
        };
        for text in ["host=/run/pg", "host=/run/pg sslmode=require"] {
            assert_eq!(mode(text), Ok(SslMode::Disable));
        }
        // Whatever it asks for.
        for text in ["host=db", "host=db sslmode=disable", "postgres://db,db2/x"] {
            assert_eq!(mode(text), Err("no trust".into()), "{text}");
        }
        assert!(mode("dbname=x").unwrap_err().contains("must name hosts"));
    }
}
