//! The real binary as a process: started on free ports, stopped when dropped, its log read for errors.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{http, place};

/// How a gateway is to be started.
#[derive(Debug, Default, Clone)]
pub struct Setup {
    data: Option<PathBuf>,
    environment: Vec<(String, String)>,
    expected_errors: Vec<String>,
}

impl Setup {
    /// Uses this data directory rather than a new one that goes away with the gateway.
    #[must_use]
    pub fn data(mut self, directory: impl Into<PathBuf>) -> Self {
        self.data = Some(directory.into());
        self
    }

    /// Sets a configuration key by its environment variable: `engine.segment_bytes` is `TIDEGATE__ENGINE__SEGMENT_BYTES`.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        let name = format!("TIDEGATE__{}", key.to_uppercase().replace('.', "__"));
        self.environment.push((name, value.to_owned()));
        self
    }

    /// Has segments of this size, and messages over AMQP that fit in the smallest.
    #[must_use]
    pub fn segments(self, size: &str) -> Self {
        let setup = self.set("engine.segment_bytes", size).set("defaults.queue.max_message_bytes", "1MiB");
        setup.set("listeners.amqp.max_message_bytes", "512KiB")
    }

    /// Lets the log contain errors with this text.
    #[must_use]
    pub fn expect_error(mut self, text: &str) -> Self {
        self.expected_errors.push(text.to_owned());
        self
    }

    /// Starts and waits until it is ready.
    #[must_use]
    pub fn start(self) -> Gateway {
        let mut gateway = self.prepare();
        gateway.spawn();
        gateway.wait_ready();
        gateway
    }

    /// Starts and waits until it is ready or has ended by itself.
    ///
    /// # Errors
    /// What it logged, if it ended.
    pub fn try_start(self) -> Result<Gateway, String> {
        let mut gateway = self.prepare();
        gateway.spawn();
        if gateway.becomes_ready() { Ok(gateway) } else { Err(gateway.log()) }
    }

    /// Starts, and waits until the process has ended by itself: for what must be refused. Returns its status and its log.
    #[must_use]
    pub fn start_refused(self) -> (ExitStatus, String) {
        let mut gateway = self.expect_error("").prepare();
        gateway.spawn();
        let status = gateway.wait_exit(Duration::from_secs(60));
        (status, gateway.log())
    }

    fn prepare(self) -> Gateway {
        let scratch = tempfile::Builder::new().prefix("tidegate-test-").tempdir().expect("a temporary directory");
        Gateway {
            data: self.data.clone().unwrap_or_else(|| scratch.path().join("data")),
            log: scratch.path().join("gateway.log"),
            http: place::free_address(),
            kafka: place::free_address(),
            amqp: place::free_address(),
            grpc: place::free_address(),
            admin: place::free_address(),
            child: None,
            ready_after: Duration::ZERO,
            setup: self,
            _scratch: scratch,
        }
    }
}

/// A running `tidegate serve`. Killed when dropped; the drop panics if the log holds an error nobody expected.
pub struct Gateway {
    /// Its data directory.
    pub data: PathBuf,
    /// HTTP listener.
    pub http: SocketAddr,
    /// Kafka listener.
    pub kafka: SocketAddr,
    /// AMQP listener.
    pub amqp: SocketAddr,
    /// gRPC listener.
    pub grpc: SocketAddr,
    /// Admin listener.
    pub admin: SocketAddr,
    /// From the start of the process to readiness, at the last start.
    pub ready_after: Duration,
    log: PathBuf,
    child: Option<Child>,
    setup: Setup,
    _scratch: TempDir,
}

impl Gateway {
    /// One with a new data directory and default settings.
    #[must_use]
    pub fn start() -> Self {
        Setup::default().start()
    }

    /// `http://ADDRESS` + path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// The Kafka listener as clients want it.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        self.kafka.to_string()
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Everything it has logged, over restarts.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Lets the log contain errors with this text from now on.
    pub fn expect_error(&mut self, text: &str) {
        self.setup.expected_errors.push(text.to_owned());
    }

    /// Kills it without warning (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Stops it where it is (SIGSTOP), and waits until none of its threads runs.
    pub fn freeze(&self) {
        self.signal("STOP");
        let tasks = format!("/proc/{}/task", self.pid());
        let runs = |task: std::io::Result<fs::DirEntry>| {
            let stat = fs::read_to_string(task.expect("a thread").path().join("stat")).unwrap_or_default();
            stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['R', 'S']))
        };
        while fs::read_dir(&tasks).expect("the process is there").any(runs) {
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// Asks it to stop (SIGTERM) and waits for it.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait_exit(Duration::from_secs(60))
    }

    /// Starts it again on the same directory and ports.
    pub fn restart(&mut self) {
        self.kill();
        self.spawn();
        self.wait_ready();
    }

    /// As [`Gateway::restart`], with another setting from now on.
    pub fn restart_with(&mut self, key: &str, value: &str) {
        self.setup = std::mem::take(&mut self.setup).set(key, value);
        self.restart();
    }

    /// Whether the process is still there.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().ok().flatten().is_none())
    }

    /// Resident memory in bytes.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the process is there");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
    }

    /// Waits for the process to end by itself.
    pub fn wait_exit(&mut self, at_most: Duration) -> ExitStatus {
        let deadline = Instant::now() + at_most;
        loop {
            let child = self.child.as_mut().expect("it runs");
            if let Some(status) = child.try_wait().expect("wait") {
                self.child = None;
                return status;
            }
            assert!(Instant::now() < deadline, "the gateway did not end; its log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn spawn(&mut self) {
        let log = File::options().create(true).append(true).open(&self.log).expect("the log");
        // setpriv: should the test be killed, the kernel kills the gateway too.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(place::binary()).arg("serve");
        command.arg("--data-dir").arg(&self.data);
        let listeners = [
            ("--http", self.http),
            ("--kafka", self.kafka),
            ("--amqp", self.amqp),
            ("--grpc", self.grpc),
            ("--admin", self.admin),
        ];
        for (flag, address) in listeners {
            command.arg(flag).arg(address.to_string());
        }
        command.envs(self.setup.environment.iter().cloned());
        command.stdin(std::process::Stdio::null());
        command.stdout(log.try_clone().expect("the log")).stderr(log);
        self.child = Some(command.spawn().expect("setpriv (util-linux) starts the gateway"));
    }

    /// Waits until it says it is ready.
    pub fn wait_ready(&mut self) {
        assert!(self.becomes_ready(), "the gateway ended while starting; its log:\n{}", self.log());
    }

    /// Waits for readiness; false when the process ended instead.
    fn becomes_ready(&mut self) -> bool {
        let start = Instant::now();
        while !http::get(self.admin, "/readyz").is_ok_and(|answer| answer.status == 200) {
            if !self.is_running() {
                return false;
            }
            assert!(start.elapsed() < Duration::from_secs(120), "never ready; its log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
        self.ready_after = start.elapsed();
        true
    }

    fn unexpected_errors(&self) -> Vec<String> {
        let expected = |line: &str| self.setup.expected_errors.iter().any(|text| line.contains(text.as_str()));
        let bad = |line: &&str| line.contains(" ERROR ") || line.contains("panicked at");
        self.log().lines().filter(bad).filter(|line| !expected(line)).map(str::to_owned).collect()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the gateway's log ends:\n{}", last_lines(&self.log(), 40));
            return;
        }
        let errors = self.unexpected_errors();
        assert!(errors.is_empty(), "errors in the gateway's log:\n{}", errors.join("\n"));
    }
}

/// Sends a signal to a process.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().expect("kill");
    assert!(status.success() && status.signal().is_none(), "kill -{name} {pid}: {status}");
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Copies a directory of plain files and directories.
pub fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("create");
    for entry in fs::read_dir(from).expect("read").map(|entry| entry.expect("entry")) {
        let target = to.join(entry.file_name());
        if entry.file_type().expect("type").is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copy");
        }
    }
}
