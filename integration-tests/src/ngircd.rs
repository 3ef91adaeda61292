//! A real IRC server: ngIRCd, with a configuration of the test's own.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

use crate::wait::until;

/// Where Debian and others put it.
const PROGRAMS: [&str; 3] = [
    "/usr/sbin/ngircd",
    "/usr/local/sbin/ngircd",
    "/usr/bin/ngircd",
];

/// A running server.
#[derive(Debug)]
pub struct Ngircd {
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
    _folder: TempDir,
}

impl Ngircd {
    /// Starts it with these lines in `[Limits]` and `[Options]`, and waits until it listens.
    ///
    /// # Panics
    ///
    /// When it is not installed or does not start.
    pub async fn start(limits: &str, options: &str) -> Self {
        let program = PROGRAMS.into_iter().find(|path| Path::new(path).exists());
        let program = program.expect("ngircd is installed; run scripts/need test");
        let address = TcpListener::bind("127.0.0.1:0")
            .await
            .and_then(|socket| socket.local_addr())
            .expect("a port");
        let folder = tempfile::tempdir().expect("a temporary folder");
        // Started by root it becomes another user.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        let file = folder.path().join("ngircd.conf");
        let text = format!(
            "[Global]\nName = irc.test.local\nInfo = a server to test with\nListen = 127.0.0.1\n\
             Ports = {}\nServerUID = nobody\nServerGID = nogroup\nAdminInfo1 = test\n\
             MotdPhrase = hello\n[Limits]\nMaxConnectionsIP = 0\nMaxPenaltyTime = 0\n{limits}\n\
             [Options]\nDNS = no\nIdent = no\nPAM = no\n{options}\n",
            address.port()
        );
        fs::write(&file, text).expect("a file in it");
        let child = Command::new(program)
            .arg("-n")
            .arg("-f")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let mut server = Self {
            address,
            child,
            _folder: folder,
        };
        until("ngircd listens", || {
            let ended = server.child.try_wait().expect("it is our child");
            assert_eq!(ended, None, "ngircd ended");
            std::net::TcpStream::connect(address).ok()
        })
        .await;
        server
    }

    /// A connection to it without a gateway.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("it listens")
    }
}

impl Drop for Ngircd {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
