//! nginx as it would be set up for the same work: the same certificate, TLS 1.3 only, an access
//! log as we have one, uploads by DAV PUT into one directory, temporary files on the same disk.

use crate::{children::Kept, process, scratch, server::Site, tools};
use anyhow::ensure;
use rustix::process::Signal;
use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

pub(crate) struct Nginx {
    pub(crate) address: SocketAddr,
    dir: PathBuf,
    child: Kept,
}

impl Nginx {
    pub(crate) fn start(site: &Site) -> anyhow::Result<Self> {
        let dir = scratch::dir("nginx")?;
        for name in ["files", "files/put", "bodies"] {
            fs::create_dir(dir.join(name))?;
        }
        // nginx cannot choose a free port by itself.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        fs::write(dir.join("nginx.conf"), configuration(address, &dir, site))?;
        let errors = fs::File::create(dir.join("stderr.log"))?;
        let child = Kept::spawn(
            tools::NGINX
                .command()
                .arg("-p")
                .arg(&dir)
                .arg("-c")
                .arg(dir.join("nginx.conf"))
                .arg("-e")
                .arg(dir.join("error.log"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(errors),
        )?;
        let mut nginx = Self {
            address,
            dir,
            child,
        };
        nginx.wait()?;
        Ok(nginx)
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            let log = fs::read_to_string(self.dir.join("stderr.log")).unwrap_or_default();
            ensure!(self.child.is_running(), "nginx does not start: {log}");
            ensure!(begun.elapsed() < Duration::from_secs(10), "nginx: {log}");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    /// Where `/name` is; `/put` is an empty directory at first.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join("files").join(name)
    }

    /// Processor time of the master and its workers.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let mut sum = process::cpu_seconds(self.child.pid())?;
        for worker in process::children(self.child.pid()) {
            sum += process::cpu_seconds(worker)?;
        }
        Ok(sum)
    }

    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        self.child.end(Signal::TERM)?;
        scratch::abandon(&self.dir);
        Ok(())
    }
}

fn configuration(address: SocketAddr, dir: &std::path::Path, site: &Site) -> String {
    // Started by root, workers would become another user, who may not write here.
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    let (dir, certificate, key) = (dir.display(), site.certificate(), site.key());
    let (certificate, key) = (certificate.display(), key.display());
    format!(
        r#"
{user}
daemon off;
worker_processes 2;
pid {dir}/nginx.pid;
error_log {dir}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log {dir}/access.log;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    keepalive_timeout 75s;
    client_max_body_size 0;
    client_body_temp_path {dir}/bodies;
    proxy_temp_path {dir}/t1; fastcgi_temp_path {dir}/t2;
    uwsgi_temp_path {dir}/t3; scgi_temp_path {dir}/t4;
    server {{
        listen {address} ssl;
        ssl_protocols TLSv1.3;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        root {dir}/files;
        default_type application/xml;
        dav_methods PUT;
        create_full_put_path on;
    }}
}}
"#
    )
}
