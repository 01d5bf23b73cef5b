//! Real servers, on free ports of this machine, ended by their number.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use headgate_snapshot::StateUrl;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::{interval, timeout};

use super::super::connect::Address;

/// How long anything may take to come about.
const LIMIT: Duration = Duration::from_secs(20);

/// What a user needs to be the one of a proxy; `docs/shared-state.md` says the same.
const RIGHTS: &str =
    "~hg:* +eval +evalsha +time +hmget +hset +pexpire +set +get +zadd +zremrangebyscore +zcard +hello +select +ping";

/// Servers that live as long as this does.
pub(super) struct Server {
    url: String,
    password_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    arguments: Vec<String>,
    pub(super) port: u16,
    children: Vec<Child>,
    dir: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended already; then there is nothing to do.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits for something, at most [`LIMIT`].
pub(super) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        let mut ticks = interval(Duration::from_millis(20));
        while !holds().await {
            ticks.tick().await;
        }
    };
    assert!(timeout(LIMIT, wait).await.is_ok(), "{what} did not come about");
}

async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

fn spawn(arguments: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("redis-server is missing: tools/setup installs it")
}

impl Server {
    /// One server that keeps nothing on disk.
    pub(super) async fn start(more: &[&str]) -> Self {
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port().await);
        let arguments = arguments(port, &dir, more);
        let mut server = Self {
            url: format!("redis://127.0.0.1:{port}"),
            password_file: None,
            ca_file: None,
            arguments,
            port,
            children: Vec::new(),
            dir,
        };
        server.begin().await;
        server
    }

    /// Starts the first server (again), on its port.
    pub(super) async fn begin(&mut self) {
        self.children.push(spawn(&self.arguments));
        let server = &*self;
        eventually("an answer of the server", async || server.command(&["PING"]).trim() == "PONG").await;
    }

    /// Kills the server as a crash does.
    pub(super) fn kill(&mut self) {
        for mut child in self.children.drain(..) {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Two servers with half of the slots each.
    pub(super) async fn start_cluster() -> Self {
        let mut first = Self::start_member().await;
        let mut second = Self::start_member().await;
        first.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "8191"]);
        second.command(&["CLUSTER", "ADDSLOTSRANGE", "8192", "16383"]);
        let bus = second.arguments[second.arguments.len() - 1].clone();
        first.command(&["CLUSTER", "MEET", "127.0.0.1", &second.port.to_string(), &bus]);
        let is_whole = async |server: &Self| {
            let info = server.command(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:2")
        };
        eventually("a whole cluster", async || is_whole(&first).await && is_whole(&second).await).await;
        first.url = format!("redis-cluster://127.0.0.1:{},127.0.0.1:{}", first.port, second.port);
        first.children.append(&mut second.children);
        first
    }

    async fn start_member() -> Self {
        let bus = free_port().await.to_string();
        Self::start(&["--cluster-enabled", "yes", "--cluster-port", &bus]).await
    }

    /// A server, and a Sentinel that watches it under the name `limits`.
    pub(super) async fn start_with_sentinel() -> Self {
        let mut server = Self::start(&[]).await;
        let port = free_port().await;
        let file = server.dir.path().join("sentinel.conf");
        let text = format!("port {port}\nbind 127.0.0.1\nsentinel monitor limits 127.0.0.1 {} 1\n", server.port);
        std::fs::write(&file, text).unwrap();
        server.children.push(spawn(&[file.to_string_lossy().into_owned(), "--sentinel".to_owned()]));
        let known = async || cli(port, &["SENTINEL", "get-master-addr-by-name", "limits"]).contains("127.0.0.1");
        eventually("a Sentinel that knows the server", known).await;
        server.url = format!("redis-sentinel://127.0.0.1:{port}/limits");
        server
    }

    /// A server with TLS, and a user with a password and no more rights than needed.
    pub(super) async fn start_with_tls() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let port = free_port().await.to_string();
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
        std::fs::write(path("password"), "secret of the store\n").unwrap();
        std::fs::write(
            path("users.acl"),
            format!("user headgate on #{PASSWORD_HASH} {RIGHTS}\nuser default on nopass ~* +@all\n"),
        )
        .unwrap();
        let (cert, key) = (path("cert.pem"), path("key.pem"));
        let users = path("users.acl").to_string_lossy().into_owned();
        let more =
            ["--tls-port", &port, "--tls-cert-file", &cert.to_string_lossy(), "--tls-key-file"].map(str::to_owned);
        let mut more: Vec<String> = more.into();
        more.extend([key.to_string_lossy().into_owned(), "--tls-auth-clients".to_owned(), "no".to_owned()]);
        more.extend(["--aclfile".to_owned(), users]);
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let mut server = Self::start(&more).await;
        server.url = format!("rediss://headgate@localhost:{port}");
        server.password_file = Some(path("password"));
        server.ca_file = Some(cert);
        // What the files are in lives as long as the server.
        server.dir = dir;
        server
    }

    /// Where a proxy finds it.
    pub(super) fn address(&self) -> Address {
        let StateUrl::Redis(url) = self.url.parse().unwrap() else { panic!("{}", self.url) };
        Address { url, password_file: self.password_file.clone(), ca_file: self.ca_file.clone() }
    }

    /// What the server answers.
    pub(super) fn command(&self, words: &[&str]) -> String {
        cli(self.port, words)
    }
}

/// The SHA-256 of the password, as lists of users have it.
const PASSWORD_HASH: &str = "1e2880262d8ed3a095a2f3dbe8084c8321ec018586ac91d194129255aa19fba6";

fn cli(port: u16, words: &[&str]) -> String {
    let output = Command::new("redis-cli").args(["-p", &port.to_string()]).args(words).output();
    let output = output.expect("redis-cli is missing: tools/setup installs it");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn arguments(port: u16, dir: &TempDir, more: &[&str]) -> Vec<String> {
    let dir = dir.path().to_string_lossy().into_owned();
    let port = port.to_string();
    let fixed = ["--bind", "127.0.0.1", "--port", &port, "--dir", &dir, "--save", "", "--appendonly", "no"];
    fixed.iter().chain(more).map(|argument| (*argument).to_owned()).collect()
}
