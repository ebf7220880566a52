//! `spoolgate init`: everything that `serve` needs, in one directory. What exists is kept.

use super::{
    Format, operator,
    output::{self, print_note},
    user::user_name,
};
use crate::{
    assets,
    auth::{Grants, Role, UsersFile, hash_password, random_password},
    config::Config,
    daemon,
    ops::admin::{Administration, UserAct},
};
use anyhow::{Context, anyhow, bail};
use clap::Args;
use std::{fs, io::Write, net::SocketAddr, path::Path, path::PathBuf, process::ExitCode};

/// Makes DIR with spoolgate.toml (five usual interfaces), the spool with schemas and
/// stylesheets, a certificate, and a first user with all rights. Prints one line:
/// `user <name> password <password>`. The password is shown this once only.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Init {
    /// Where; made if it does not exist
    #[arg(default_value = ".")]
    pub(super) dir: PathBuf,
    /// Keep the spool, the users and the certificate there, and only spoolgate.toml in DIR
    #[arg(long, value_name = "DIR")]
    pub(super) state: Option<PathBuf>,
    /// The first user's name
    #[arg(long, default_value = "admin", value_name = "NAME", value_parser = user_name)]
    pub(super) user: String,
    /// Listen here instead of 0.0.0.0:8443 (port 0: any free one)
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(super) listen: Option<SocketAddr>,
    /// The plain listener's address instead of 0.0.0.0:8080
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(super) plain_listen: Option<SocketAddr>,
    /// The ops listener's address instead of 127.0.0.1:9090
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(super) ops_listen: Option<SocketAddr>,
    #[command(flatten)]
    pub(super) format: Format,
}

const EXAMPLES: &str = "\
Usual:           spoolgate init /etc/spoolgate
As a service:    spoolgate init /etc/spoolgate --state /var/lib/spoolgate
For a trial:     spoolgate init d --user me --listen 127.0.0.1:0";

impl Init {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let password = self.make()?;
        let config = self.dir.join("spoolgate.toml");
        let user = &self.user;
        let made = match self.format.json {
            true => serde_json::json!({"config": config, "user": user, "password": password})
                .to_string(),
            false => format!("user {user} password {password}"),
        };
        let again = format!("spoolgate user passwd {user} --config {}", config.display());
        output::password(made, again)?;
        if !self.format.json {
            print_note!("made {}; start it with:", self.dir.display());
            print_note!("  spoolgate serve --config {}", config.display());
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Makes everything and gives the first user's password.
    pub(super) fn make(&self) -> anyhow::Result<String> {
        let path = self.dir.join("spoolgate.toml");
        if path.exists() {
            bail!("{} exists already; init overwrites nothing", path.display());
        }
        fs::create_dir_all(&self.dir)
            .with_context(|| format!("cannot make {}", self.dir.display()))?;
        let text = self.config_text()?;
        let config = Config::parse(&text, &path).map_err(|text| anyhow!(text))?;
        for tenant in &config.tenants {
            daemon::open_spool(tenant)?;
            lay_out(&tenant.root.join("schemas"), assets::SCHEMAS)?;
            lay_out(&tenant.root.join("xslt"), assets::STYLESHEETS)?;
        }
        daemon::make_certificate(&config)?;
        let password = random_password();
        let hash = hash_password(&password)?;
        let mut grants = Grants::default();
        grants.add_role(Role::Operator);
        let tenant = &config.tenants[0];
        let with = Some("--role operator".to_owned());
        let what = Administration::new(UserAct::Add, std::slice::from_ref(&self.user), with);
        operator::recorded(&config, tenant, &what, || {
            let add = |users: &mut UsersFile| users.add(&self.user, &hash, grants);
            Ok(UsersFile::edit(&tenant.users, add)?)
        })?;
        if let Some(state) = &self.state {
            hand_over(state)?;
        }
        // Last, so that an init that was cut off can be run again.
        write_new(&path, text.as_bytes())?;
        Ok(password)
    }

    fn config_text(&self) -> anyhow::Result<String> {
        let mut text = assets::CONFIG.to_owned();
        for (usual, given) in [
            ("\nlisten = \"0.0.0.0:8443\"", self.listen),
            ("\nplain_listen = \"0.0.0.0:8080\"", self.plain_listen),
            ("\nops_listen = \"127.0.0.1:9090\"", self.ops_listen),
        ] {
            if let Some(given) = given {
                let key = usual.split(' ').next().unwrap_or_default();
                text = text.replace(usual, &format!("{key} = \"{given}\""));
            }
        }
        let Some(state) = &self.state else {
            return Ok(text);
        };
        let state = std::path::absolute(state)?;
        let state = state.to_str().filter(|path| !path.contains(['"', '\\']));
        let state = state.context("--state is no path that a configuration can hold")?;
        for usual in ["certs/cert.pem", "certs/key.pem", "spool", "users.toml"] {
            let at = format!(" = \"{usual}\"\n");
            text = text.replace(&at, &format!(" = \"{state}/{usual}\"\n"));
        }
        Ok(text)
    }
}

/// What root makes in a directory of another user is that user's: the service has to read it.
fn hand_over(dir: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::{MetadataExt, lchown};
    let owner = fs::metadata(dir)?;
    if !rustix::process::geteuid().is_root() || owner.uid() == 0 {
        return Ok(());
    }
    for entry in walkdir::WalkDir::new(dir) {
        let entry = entry?;
        let meta = entry.metadata()?;
        // A second name of a file may be one that someone has put there.
        if meta.uid() == 0 && (meta.is_dir() || meta.nlink() == 1) {
            lchown(entry.path(), Some(owner.uid()), Some(owner.gid()))
                .with_context(|| format!("cannot give away {}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// Writes shipped files into a directory, keeping those that are there.
pub(super) fn lay_out(dir: &Path, files: &[assets::File]) -> anyhow::Result<()> {
    for (name, content) in files {
        let path = dir.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)
                .with_context(|| format!("cannot make {}", parent.display()))?;
        }
        if !path.exists() {
            write_new(&path, content)?;
        }
    }
    Ok(())
}

fn write_new(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let written = fs::File::create_new(path).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    written.with_context(|| format!("cannot write {}", path.display()))
}
