//! Who is measured: the floor, the gateway and the rivals, each with the least configuration that
//! does the work, in a process of its own that ends with the run.

mod configuration;

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use self::configuration::{haproxy, lighttpd, nchan, nginx, perigee, prosody};
use crate::{Result, wire::Kind};

/// How long a server may take until it accepts connections.
const START: Duration = Duration::from_secs(60);
/// How often another port is tried: somebody else may have taken one before its server did.
const ATTEMPTS: usize = 3;

/// A program that relays, or the lack of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Program {
    /// The backend itself.
    Direct,
    FloorTcp,
    FloorWebSocket,
    Haproxy,
    Nginx,
    Lighttpd,
    Websocat,
    NodeWs,
    Websockify,
    WispJs,
    SockJs,
    Nchan,
    /// With BOSH of its own.
    ProsodyBosh,
    /// With TCP only.
    Prosody,
    Perigee,
}

impl Program {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "backend alone",
            Self::FloorTcp => "floor, TCP",
            Self::FloorWebSocket => "floor, WebSocket",
            Self::Haproxy => "HAProxy, TCP",
            Self::Nginx => "nginx stream, TCP",
            Self::Lighttpd => "lighttpd mod_wstunnel",
            Self::Websocat => "websocat",
            Self::NodeWs => "node ws bridge",
            Self::Websockify => "websockify",
            Self::WispJs => "wisp-js",
            Self::SockJs => "sockjs-node to TCP",
            Self::Nchan => "nchan, no TCP",
            Self::ProsodyBosh => "prosody mod_bosh",
            Self::Prosody => "prosody alone, TCP",
            Self::Perigee => "Perigee",
        }
    }

    /// It runs in node.
    pub(crate) fn is_of_node(self) -> bool {
        matches!(self, Self::NodeWs | Self::WispJs | Self::SockJs)
    }

    /// A process for each connection.
    pub(crate) fn forks(self) -> bool {
        self == Self::Websockify
    }
}

/// Where programs are.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    /// The gateway.
    pub(crate) gateway: PathBuf,
    /// The repository.
    pub(crate) root: PathBuf,
}

impl Paths {
    fn rivals(&self) -> PathBuf {
        self.root.join("crates/bench/rivals")
    }

    fn websocat(&self) -> PathBuf {
        self.root.join("target/rivals/bin/websocat")
    }
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    child: Child,
    /// From its start until it accepted a connection.
    pub(crate) started: Duration,
    folder: tempfile::TempDir,
}

impl Server {
    /// Starts a backend.
    pub(crate) fn backend() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["backend", "--listen", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("it is piped")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        Ok(Self {
            address: line.trim().parse()?,
            child,
            started: Duration::ZERO,
            folder,
        })
    }

    /// Starts a program that relays to `backend`.
    pub(crate) fn start(program: Program, backend: SocketAddr, paths: &Paths) -> Result<Self> {
        Self::launch(program, backend, paths, &[])
    }

    /// The same below another program, such as valgrind.
    pub(crate) fn launch(
        program: Program,
        backend: SocketAddr,
        paths: &Paths,
        below: &[String],
    ) -> Result<Self> {
        let mut started = Self::attempt(program, backend, paths, below);
        for _ in 1..ATTEMPTS {
            if started.is_ok() {
                break;
            }
            started = Self::attempt(program, backend, paths, below);
        }
        started
    }

    fn attempt(
        program: Program,
        backend: SocketAddr,
        paths: &Paths,
        below: &[String],
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let address = free_address()?;
        let line = command_line(program, address, backend, paths, folder.path())?;
        let line = [below, &line].concat();
        Self::spawn(program.name(), &line, address, folder, |_| {
            TcpStream::connect(address).is_ok()
        })
    }

    /// Starts one gateway of several at an address.
    pub(crate) fn gateway_at(
        address: SocketAddr,
        backend: SocketAddr,
        paths: &Paths,
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("perigee.toml");
        fs::write(&path, perigee(address, backend, true))?;
        let line = gateway(paths, &path.display().to_string());
        // Somebody else would accept a connection.
        Self::spawn("Perigee", &line, address, folder, |process| {
            listens(process, address.port()).unwrap_or(false)
        })
    }

    fn spawn(
        name: &str,
        line: &[String],
        address: SocketAddr,
        folder: tempfile::TempDir,
        is_ready: impl Fn(u32) -> bool,
    ) -> Result<Self> {
        let (command, arguments) = line.split_first().ok_or("there is nothing to start")?;
        let log = fs::File::create(folder.path().join("log"))?;
        let begin = Instant::now();
        let mut child = Command::new(command)
            .args(arguments)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| {
                format!(
                    "{command} does not start: {error}; `scripts/need bench` installs what is missing"
                )
            })?;
        let started = loop {
            if is_ready(child.id()) {
                break begin.elapsed();
            }
            let exited = child.try_wait()?;
            if exited.is_some() || begin.elapsed() > START {
                _ = child.kill();
                _ = child.wait();
                let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
                return Err(format!("{name} does not accept connections: {log}").into());
            }
            thread::sleep(Duration::from_millis(1));
        };
        Ok(Self {
            address,
            child,
            started,
            folder,
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Asks it to stop and waits until it has, which takes it no longer than its clients do.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.ask_to_stop()?;
        let deadline = Instant::now() + START;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                return Err("a server does not stop".into());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn ask_to_stop(&self) -> Result<()> {
        let id = i32::try_from(self.child.id())?;
        if let Some(process) = rustix::process::Pid::from_raw(id) {
            rustix::process::kill_process(process, rustix::process::Signal::TERM)?;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // In order first: websockify's children end with it only then.
            _ = self.ask_to_stop();
            let deadline = Instant::now() + Duration::from_millis(500);
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(5));
            }
            _ = self.child.kill();
            _ = self.child.wait();
        }
    }
}

/// Whether a process listens at a port of IPv4, which others may do as well.
fn listens(process: u32, port: u16) -> Result<bool> {
    let mut sockets = Vec::new();
    for line in fs::read_to_string("/proc/net/tcp")?.lines().skip(1) {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next(), fields.nth(1));
        let is_it = local.is_some_and(|local| local.ends_with(&format!(":{port:04X}")));
        if is_it && state == Some("0A") {
            sockets.extend(fields.nth(5).map(|inode| format!("socket:[{inode}]")));
        }
    }
    for file in fs::read_dir(format!("/proc/{process}/fd"))?.flatten() {
        let is_one = |target: PathBuf| sockets.iter().any(|socket| target.as_os_str() == &**socket);
        if fs::read_link(file.path()).is_ok_and(is_one) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A port that nobody listens on.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn command_line(
    program: Program,
    address: SocketAddr,
    backend: SocketAddr,
    paths: &Paths,
    folder: &Path,
) -> Result<Vec<String>> {
    let own = std::env::current_exe()?.display().to_string();
    let (port, to) = (address.port().to_string(), backend.port().to_string());
    let file = |name: &str, text: String| -> Result<String> {
        let path = folder.join(name);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let script = |name: &str| paths.rivals().join(name).display().to_string();
    let (listen, backend_text) = (address.to_string(), backend.to_string());
    let line: Vec<String> = match program {
        Program::Direct => return Err("the backend alone is no program".into()),
        Program::FloorTcp => words(&[&own, "floor", "--listen", &listen, "--to", &backend_text]),
        Program::FloorWebSocket => words(&[
            &own,
            "floor",
            "--websocket",
            "--listen",
            &listen,
            "--to",
            &backend_text,
        ]),
        Program::Haproxy => words(&[
            "haproxy",
            "-db",
            "-f",
            &file("haproxy.cfg", haproxy(address, backend))?,
        ]),
        Program::Nginx => words(&[
            "nginx",
            "-c",
            &file("nginx.conf", nginx(address, backend, folder))?,
        ]),
        Program::Nchan => words(&["nginx", "-c", &file("nginx.conf", nchan(address, folder))?]),
        Program::Lighttpd => words(&[
            "lighttpd",
            "-D",
            "-f",
            &file("lighttpd.conf", lighttpd(address, backend, folder))?,
        ]),
        Program::Websocat => words(&[
            &paths.websocat().display().to_string(),
            "--binary",
            "--exit-on-eof",
            &format!("ws-l:{address}"),
            &format!("tcp:{backend}"),
        ]),
        Program::NodeWs => words(&["node", &script("ws.mjs"), &port, &to]),
        Program::Websockify => words(&["websockify", &listen, &backend_text]),
        Program::WispJs => words(&[
            "node",
            &script("node_modules/@mercuryworkshop/wisp-js/src/bin/server_cli.mjs"),
            "--port",
            &port,
            "--logging",
            "NONE",
            "--options",
            r#"{"allow_loopback_ips":true,"allow_private_ips":true}"#,
        ]),
        Program::SockJs => words(&["node", &script("sockjs.mjs"), &port, &to]),
        Program::ProsodyBosh | Program::Prosody => {
            let with_bosh = program == Program::ProsodyBosh;
            let configuration = prosody(address, with_bosh, folder);
            words(&[
                "prosody",
                "--config",
                &file("prosody.cfg.lua", configuration)?,
                "-F",
            ])
        }
        Program::Perigee => gateway(
            paths,
            &file("perigee.toml", perigee(address, backend, false))?,
        ),
    };
    Ok(line)
}

fn gateway(paths: &Paths, configuration: &str) -> Vec<String> {
    let program = paths.gateway.display().to_string();
    words(&[&program, "serve", "--config", configuration])
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// BOSH of the gateway.
pub(crate) const BOSH: Kind = Kind::Bosh("/xmpp/xmpp");

/// How a client gets through a program to the backend.
pub(crate) fn way(program: Program) -> Kind {
    match program {
        Program::Direct | Program::FloorTcp | Program::Haproxy | Program::Nginx => Kind::Tcp,
        Program::FloorWebSocket | Program::Lighttpd | Program::Websocat | Program::NodeWs => {
            Kind::WebSocket("/", "")
        }
        Program::Websockify => Kind::WebSocket("/", "binary"),
        Program::WispJs => Kind::Wisp,
        Program::SockJs => Kind::SockJsStreaming,
        Program::Nchan => Kind::Nchan,
        Program::ProsodyBosh => Kind::Bosh("/http-bind"),
        Program::Prosody => Kind::Xmpp,
        Program::Perigee => Kind::WebSocket("/ws/bench", "binary"),
    }
}
