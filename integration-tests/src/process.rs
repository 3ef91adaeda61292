//! Gateways in processes of their own: their memory, their descriptors, their log, their signals.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{gateway::Configuration, wait::until};

/// A running `perigee serve`.
#[derive(Debug)]
pub struct Process {
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    _folder: TempDir,
}

impl Process {
    /// Starts the binary and waits until it is ready.
    pub async fn start(configuration: &Configuration) -> Self {
        Self::launch(configuration, |binary| Command::new(binary)).await
    }

    /// The same with at most so many open files.
    pub async fn with_open_files(configuration: &Configuration, files: u32) -> Self {
        Self::launch(configuration, |binary| {
            let mut command = Command::new("sh");
            command
                .arg("-c")
                .arg(format!("ulimit -n {files}; exec \"$0\" \"$@\""))
                .arg(binary);
            command
        })
        .await
    }

    async fn launch(configuration: &Configuration, command: impl FnOnce(&Path) -> Command) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("perigee.toml");
        fs::write(&file, configuration.text()).expect("a file in it");
        let mut child = command(&binary())
            .arg("serve")
            .arg("--config")
            .arg(&file)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let sink = Arc::clone(&log);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                sink.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        });
        let mut process = Self {
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            child,
            log,
            _folder: folder,
        };
        let ready = process
            .until_logged("ready", |line| line["message"] == "ready")
            .await;
        let address = ready["address"]
            .as_str()
            .and_then(|address| address.parse().ok());
        process.address = address.expect("the ready line has the address");
        process
    }

    /// Every line of the log so far, as it was written.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Every line of the log so far.
    ///
    /// # Panics
    ///
    /// When a line is not JSON.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        let parse = |line: &String| match serde_json::from_str(line) {
            Ok(event) => event,
            Err(error) => panic!("a log line is not JSON: {error}: {line}"),
        };
        self.log().iter().map(parse).collect()
    }

    /// Waits for a line.
    pub async fn until_logged(&self, what: &str, mut is: impl FnMut(&Value) -> bool) -> Value {
        until(what, || self.events().into_iter().find(|event| is(event))).await
    }

    /// Anonymous resident memory in bytes: heap and stacks, not code and not page cache.
    ///
    /// # Panics
    ///
    /// When the process is gone.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .expect("the process lives");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"))
            .expect("Linux tells RssAnon");
        let kib: u64 = line
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .expect("a number of kB");
        kib * 1024
    }

    /// Number of open descriptors.
    ///
    /// # Panics
    ///
    /// When the process is gone.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .expect("the process lives")
            .count()
    }

    /// Sends a signal by its name.
    ///
    /// # Panics
    ///
    /// When the process is gone.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .arg("-s")
            .arg(name)
            .arg(self.child.id().to_string())
            .status();
        assert!(
            sent.is_ok_and(|status| status.success()),
            "the process takes {name}"
        );
    }

    /// Waits for its end.
    pub async fn exited(&mut self) -> ExitStatus {
        until("the end of the process", || {
            self.child.try_wait().expect("it is our child")
        })
        .await
    }

    /// Whether it still runs.
    ///
    /// # Panics
    ///
    /// When the system does not know our child.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
        if thread::panicking() {
            let log = self.log();
            #[expect(clippy::print_stdout, reason = "shown with the failure of a test")]
            for line in &log[log.len().saturating_sub(20)..] {
                println!("gateway: {line}");
            }
        }
    }
}

/// `PERIGEE_BIN`, or what cargo built beside this test.
fn binary() -> PathBuf {
    if let Some(binary) = env::var_os("PERIGEE_BIN") {
        return binary.into();
    }
    let test = env::current_exe().expect("this test has a path");
    // target/PROFILE/deps/TEST
    let binary = test
        .ancestors()
        .nth(2)
        .expect("tests are in target/PROFILE/deps")
        .join("perigee");
    assert!(
        binary.is_file(),
        "{} is missing; run `cargo build -p perigee-gateway --bin perigee` or set PERIGEE_BIN",
        binary.display()
    );
    binary
}
