//! A private PostgreSQL that lives as long as a test: own folder, own port, nothing of the system's.
//!
//! For tests, benches and examples, which include this file. It needs the server's programs and
//! nothing else: no network, no rights, no system user of its own. A folder in the temporary
//! directory holds everything and goes away with the [`Cluster`]; should the test be killed, a small
//! shell that waits for its end stops the server and removes the folder.
//!
//! `initdb` takes most of the time, so its result is kept beside the test's program and copied.
#![allow(dead_code)] // Each user of this file needs another part of it.

#[path = "sql.rs"]
mod sql;

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, Permissions};
use std::hash::{Hash as _, Hasher as _};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, process, thread};

/// Far more than a start or a stop takes; a stop after much work writes a checkpoint.
const PATIENCE: Duration = Duration::from_secs(60);

/// What waits for the end of the test's process, whose end closes its input. A line says that there
/// is nothing left to do. The server is given time to end by itself before it is killed.
const WATCHDOG: &str = r#"
read -r done_already && exit 0
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ]; then
  kill -s QUIT "$pid" 2>/dev/null
  tries=0
  while kill -s 0 "$pid" 2>/dev/null && [ $tries -lt 50 ]; do sleep 0.1; tries=$((tries + 1)); done
  kill -s KILL "$pid" 2>/dev/null
fi
rm -rf "$1"
"#;

/// How a cluster is made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    sync: bool,
    password: Option<String>,
    settings: Vec<(String, String)>,
    file_blocks: Option<u64>,
    programs: Option<PathBuf>,
}

impl Options {
    /// Whether commits are synced. Off by default: what survives a killed server survives without.
    pub(crate) fn sync(mut self, sync: bool) -> Self {
        self.sync = sync;
        self
    }

    /// Asks for this password over TCP (SCRAM). Without one everybody on this machine is let in.
    pub(crate) fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// A setting of the server, as in `postgresql.conf`.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// No file may grow beyond this many blocks of 512 bytes (`ulimit -f`): a disk that is full,
    /// without one.
    pub(crate) fn file_blocks(mut self, blocks: u64) -> Self {
        self.file_blocks = Some(blocks);
        self
    }

    /// The folder of the server's programs, in place of the newest that there is.
    pub(crate) fn programs(mut self, folder: &Path) -> Self {
        self.programs = Some(folder.to_owned());
        self
    }
}

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Open transactions are rolled back, and all is written (SIGINT).
    Fast,
    /// At once; the next start recovers (SIGQUIT).
    Immediate,
}

/// A running (or stopped) server with its own folder.
#[derive(Debug)]
pub(crate) struct Cluster {
    options: Options,
    programs: PathBuf,
    folder: PathBuf,
    user: Option<(u32, u32)>,
    port: u16,
    server: Option<Child>,
    watchdog: Child,
}

/// Whether the programs of a server are on this machine.
pub(crate) fn available() -> bool {
    !installed().is_empty()
}

/// The folders with the programs of a server, oldest version first. `PGBIN` names one; else all in
/// the place where Debian puts them; else what is on the `PATH`.
pub(crate) fn installed() -> Vec<PathBuf> {
    let complete = |folder: &PathBuf| {
        ["initdb", "postgres"].iter().all(|program| folder.join(program).is_file())
    };
    if let Some(folder) = env::var_os("PGBIN") {
        return Some(PathBuf::from(folder)).filter(complete).into_iter().collect();
    }
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .map(|(version, path): (u32, PathBuf)| (version, path.join("bin")))
        .filter(|(_, folder)| complete(folder))
        .collect();
    found.sort();
    if found.is_empty() {
        let path = env::var_os("PATH").unwrap_or_default();
        let folder = env::split_paths(&path).find(complete);
        return folder.into_iter().collect();
    }
    found.into_iter().map(|(_, folder)| folder).collect()
}

impl Cluster {
    /// A server of the newest version that there is, started.
    pub(crate) fn start() -> Self {
        Self::with(Options::default())
    }

    /// A server of this binary, started by its first user and shared by all tests in it. (Under
    /// nextest each test is a process and has its own.)
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A server with options, started.
    ///
    /// # Panics
    /// When the programs are missing or do not start.
    pub(crate) fn with(options: Options) -> Self {
        let newest = options.programs.clone().or_else(|| installed().pop());
        let programs = newest.expect(
            "PostgreSQL's programs are missing: tests/run installs them, or PGBIN names their folder",
        );
        let folder = new_folder();
        // Root may not run the server; whoever owns a new file is who we are.
        let user = match fs::metadata(&folder).expect("the folder").uid() {
            0 => Some(lesser_user()),
            _ => None,
        };
        let watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog"])
            .arg(&folder)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("sh");
        let mut cluster = Self { options, programs, folder, user, port: 0, server: None, watchdog };
        cluster.make();
        cluster.launch();
        if let Some(password) = cluster.options.password.clone() {
            let password = password.replace('\'', "''");
            cluster.sql("postgres", &format!("ALTER ROLE postgres PASSWORD '{password}'"));
        }
        cluster
    }

    /// The port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the Unix socket; the server's data is in `data` beneath it.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of the server's programs.
    pub(crate) fn programs(&self) -> &Path {
        &self.programs
    }

    /// The process id of the server, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Child::id)
    }

    /// What the server has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// The URL of a database, for the superuser `postgres`.
    pub(crate) fn url(&self, database: &str) -> String {
        let password = self.options.password.as_deref();
        let password = password.map(|password| format!(":{password}")).unwrap_or_default();
        format!("postgresql://postgres{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes a database and returns its URL.
    pub(crate) fn create_database(&self, name: &str) -> String {
        self.sql("postgres", &format!("CREATE DATABASE \"{name}\""));
        self.url(name)
    }

    /// Makes a database with a name of its own and returns its URL.
    pub(crate) fn new_database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        self.create_database(&format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// Runs statements as the superuser, through the socket, and returns the rows of them all as
    /// text, a null as an empty one.
    ///
    /// # Panics
    /// With the server's message, when a statement fails.
    pub(crate) fn sql(&self, database: &str, statements: &str) -> Vec<Vec<String>> {
        self.try_sql(database, statements).unwrap_or_else(|error| panic!("{statements}: {error}"))
    }

    /// As [`sql`](Self::sql); an error is the server's message.
    pub(crate) fn try_sql(&self, database: &str, statements: &str) -> io::Result<Vec<Vec<String>>> {
        let socket = self.folder.join(format!(".s.PGSQL.{}", self.port));
        sql::run(&socket, "postgres", database, statements)
    }

    /// Writes a file that the server may read and nobody else, a key for TLS say, and returns its
    /// path.
    pub(crate) fn file(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, contents).expect("a file");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("permissions");
        self.give(&path);
        path
    }

    /// Changes a setting; it holds from the next start on.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.options.settings.push((name.to_owned(), value.to_owned()));
    }

    /// Changes the limit of [`Options::file_blocks`]; it holds from the next start on.
    pub(crate) fn set_file_blocks(&mut self, blocks: Option<u64>) {
        self.options.file_blocks = blocks;
    }

    /// Stops the server and waits for its end.
    pub(crate) fn stop(&mut self, how: Stop) {
        let Some(mut server) = self.server.take() else { return };
        signal(server.id(), if how == Stop::Fast { "INT" } else { "QUIT" });
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if matches!(server.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
        let _ = server.kill();
        let _ = server.wait();
    }

    /// Starts the server again, on the same port.
    pub(crate) fn launch(&mut self) {
        assert!(self.server.is_none(), "it runs already");
        let began = Instant::now();
        let keep = self.port != 0;
        loop {
            if !keep {
                self.port = free_port();
            }
            match self.try_launch() {
                Ok(()) => return,
                // Somebody else may have got the port in between.
                Err(_) if self.log().contains("could not bind") && began.elapsed() < PATIENCE => {
                    let _ = fs::remove_file(self.folder.join("log"));
                    thread::sleep(Duration::from_millis(20));
                }
                Err(error) => panic!("PostgreSQL does not start: {error}\n{}", self.log()),
            }
        }
    }

    /// Stops the server and starts it again.
    pub(crate) fn restart(&mut self, how: Stop) {
        self.stop(how);
        self.launch();
    }

    /// Starts the server and waits until it answers.
    fn try_launch(&mut self) -> io::Result<()> {
        let log = fs::File::options().create(true).append(true).open(self.folder.join("log"))?;
        let sync = if self.options.sync { "on" } else { "off" };
        let mut settings = vec![
            ("listen_addresses".to_owned(), "127.0.0.1".to_owned()),
            ("port".to_owned(), self.port.to_string()),
            ("unix_socket_directories".to_owned(), self.folder.display().to_string()),
            ("fsync".to_owned(), sync.to_owned()),
        ];
        settings.extend(self.options.settings.clone());
        let limit = match self.options.file_blocks {
            Some(blocks) => format!("ulimit -S -f {blocks}; exec \"$@\""),
            None => "exec \"$@\"".to_owned(),
        };
        let mut command = self.command(Path::new("sh"));
        command.args(["-c", &limit, "sh"]).arg(self.programs.join("postgres"));
        command.arg("-D").arg(self.folder.join("data"));
        for (name, value) in settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command.stderr(log).process_group(0);
        let mut server = command.spawn()?;
        let began = Instant::now();
        loop {
            if let Some(status) = server.try_wait()? {
                return Err(io::Error::other(format!("it ended with {status}")));
            }
            let answer = self.try_sql("postgres", "SELECT 1");
            match answer {
                Ok(_) => break,
                Err(error) if began.elapsed() > PATIENCE => {
                    let _ = server.kill();
                    let _ = server.wait();
                    return Err(error);
                }
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
        self.server = Some(server);
        Ok(())
    }

    /// Makes the data folder: copies the one that was kept, or runs `initdb` and keeps the result.
    fn make(&self) {
        let data = self.folder.join("data");
        let kept = self.kept();
        self.give(&self.folder);
        if kept.as_ref().is_none_or(|kept| self.copy(kept, &data, true).is_err()) {
            let _ = fs::remove_dir_all(&data);
            self.init(&data);
            if let Some(kept) = kept {
                // Whoever comes first keeps his; half a copy is never seen under the name.
                let half = kept.with_extension(process::id().to_string());
                if self.copy(&data, &half, false).is_err() || fs::rename(&half, &kept).is_err() {
                    let _ = fs::remove_dir_all(&half);
                }
            }
        }
        let tcp = if self.options.password.is_some() { "scram-sha-256" } else { "trust" };
        let rules = format!("local all all trust\nhost all all 127.0.0.1/32 {tcp}\n");
        fs::write(data.join("pg_hba.conf"), rules).expect("pg_hba.conf");
    }

    fn init(&self, data: &Path) {
        let output = self
            .command(&self.programs.join("initdb"))
            .args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "-N", "-D"])
            .arg(data)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .expect("initdb");
        assert!(
            output.status.success(),
            "initdb failed: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Where the result of `initdb` is kept: in the build folder, by program and user.
    fn kept(&self) -> Option<PathBuf> {
        let program = fs::metadata(self.programs.join("postgres")).ok()?;
        let mut hasher = DefaultHasher::new();
        (&self.programs, program.len(), program.mtime(), self.user.is_some()).hash(&mut hasher);
        let exe = env::current_exe().ok()?;
        let build = exe.ancestors().find(|folder| folder.join(".fingerprint").is_dir())?;
        Some(build.join(format!("postgres-{:016x}", hasher.finish())))
    }

    /// Copies a data folder; `served`, to the user of the server.
    fn copy(&self, from: &Path, to: &Path, served: bool) -> io::Result<()> {
        fs::create_dir(to)?;
        fs::set_permissions(to, Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let (source, target) = (entry.path(), to.join(entry.file_name()));
            if entry.file_type()?.is_dir() {
                self.copy(&source, &target, served)?;
            } else {
                fs::copy(&source, &target)?;
                if served {
                    self.give(&target);
                }
            }
        }
        if served {
            self.give(to);
        }
        Ok(())
    }

    /// Gives a file to the user of the server.
    fn give(&self, path: &Path) {
        if let Some((user, group)) = self.user {
            chown(path, Some(user), Some(group)).expect("chown");
        }
    }

    /// A command as the user of the server, with an environment that says nothing.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("LC_ALL", "C.UTF-8").env("PATH", "/usr/bin:/bin");
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop(Stop::Immediate);
        if fs::remove_dir_all(&self.folder).is_ok()
            && let Some(input) = &mut self.watchdog.stdin
        {
            let _ = input.write_all(b"done\n");
        }
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

/// A new folder that only its owner may enter, with a name short enough for a socket.
fn new_folder() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let temporary = env::temp_dir();
    let root = fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    let short = temporary.as_os_str().len() <= 60;
    let temporary = if short && !root { temporary } else { PathBuf::from("/tmp") };
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = temporary.join(format!("tidings-pg-{}-{number}", process::id()));
        match fs::create_dir(&folder) {
            Ok(()) => {
                fs::set_permissions(&folder, Permissions::from_mode(0o700)).expect("permissions");
                return folder;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => panic!("{}: {error}", folder.display()),
        }
    }
}

/// Whom root runs the server as: `postgres` where there is one, else `nobody`.
fn lesser_user() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let ids = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line.split(':').skip(2).map(str::parse);
        Some((ids.next()?.ok()?, ids.next()?.ok()?))
    };
    ids("postgres").or_else(|| ids("nobody")).expect("a user other than root")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

/// Sends a signal by its name; the standard library can only kill.
fn signal(pid: u32, name: &str) {
    let script = format!("kill -s {name} {pid}");
    let _ = Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status();
}
