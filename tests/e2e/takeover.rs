//! Processes that take over from others, sockets that a service manager opens, and what it is told.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use nix::unistd::{User, geteuid};
use tempfile::TempDir;
use tidegate_http::Body;

use crate::client::Client;
use crate::server::{PATIENCE, Server, command, piped, refused, send_signal};

/// The process that took over, which is killed when dropped.
pub(crate) struct Successor(u32);

impl Successor {
    /// Waits for the line about it.
    pub(crate) fn of(server: &Server) -> Self {
        let line = server.line("SIGUSR2: starting process ");
        let mut words = line.split_whitespace().rev();
        Self(words.nth(3).unwrap().parse().unwrap())
    }

    pub(crate) fn signal(&self, name: &str) {
        send_signal(self.0, name);
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        // It may have ended by itself.
        let kill = Command::new("kill")
            .args(["-KILL", &self.0.to_string()])
            .output();
        drop(kill);
    }
}

/// Writes a configuration file and returns its path.
fn configuration(dir: &TempDir, text: &str) -> String {
    let file = dir.path().join("tidegate.toml");
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn a_new_process_takes_over() {
    let dir = tempfile::tempdir().unwrap();
    let file = configuration(&dir, "route = ['/old=status', '/echo=echo']\nworkers = 2\n");
    let pid_file = dir.path().join("pid");
    let pid = || {
        fs::read_to_string(&pid_file)
            .unwrap()
            .trim()
            .parse::<u32>()
            .unwrap()
    };
    let server = Server::start(&["--config", &file, "--pid-file", pid_file.to_str().unwrap()]);
    assert_eq!(pid(), server.id());
    let mut client = Client::h2c(server.h2c);
    let echo = client.send("POST", "/echo", &[], Body::Stream);
    client.write(echo, "abc", false);
    client.wait_until(|client| client.so_far(echo).text() == "abc");

    // The new process reads the file as it is now. It has more workers than there are sockets.
    configuration(&dir, "route = ['/new=status']\nworkers = 3\n");
    server.signal("USR2");
    let successor = Successor::of(&server);
    server.wait_for(&format!("SIGUSR2: process {} serves", successor.0));
    assert_eq!(pid(), successor.0);
    // Until then the workers of the old one accept connections too.
    server.wait_for_lines("shutting down: ", 2);
    for _ in 0..20 {
        assert_eq!(Client::tls(server.tls).get("/new").status(), 200);
        assert_eq!(Client::h2c(server.h2c).get("/new").status(), 200);
    }
    // The old one tells its clients, and finishes their requests.
    client.wait_until(|client| client.going_away);
    client.write(echo, "def", true);
    assert_eq!(client.response(echo).text(), "abcdef");
    client.closed();
    server.wait_for("all connections are closed");

    // The new one can be replaced as well. It has fewer workers than there are sockets.
    configuration(&dir, "route = ['/newest=status']\nworkers = 1\n");
    successor.signal("USR2");
    server.wait_for_lines("SIGUSR2: starting process ", 2);
    server.wait_for_lines(" serves; finishing", 2);
    server.wait_for_lines("all connections are closed", 2);
    let newest = Successor(pid());
    for _ in 0..20 {
        assert_eq!(Client::h2c(server.h2c).get("/newest").status(), 200);
    }
    newest.signal("TERM");
    let (status, ..) = server.ended();
    assert_eq!(status.code(), Some(0));
    assert!(!pid_file.exists());
}

#[test]
fn a_new_process_that_cannot_serve_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = configuration(&dir, "route = ['/=status']\n");
    let program = dir.path().join("tidegate");
    symlink(env!("CARGO_BIN_EXE_tidegate"), &program).unwrap();
    let mut command = Command::new(&program);
    command.args(["--config", &file]);
    let pid_file = dir.path().join("pid");
    command.args(["--pid-file", pid_file.to_str().unwrap()]);
    let ports = ["--listen", "127.0.0.1:0", "--listen-h2c", "127.0.0.1:0"];
    let server = Server::run(piped(command, &ports));
    let pid = format!("{}\n", server.id());
    let mut client = Client::h2c(server.h2c);
    let why = "SIGUSR2: this process goes on, because the new one can't serve: ";
    for (count, (text, says)) in [
        ("rout = 1\n", "tidegate.toml, line 1: "),
        ("route = ['/=/nonexistent']\n", "/nonexistent"),
        (
            "listen-h2c = ['127.0.0.1:1']\nuser = 'nobody-of-this-name'\n",
            "nobody-of-this-name",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        configuration(&dir, text);
        server.signal("USR2");
        server.wait_for_lines(why, count + 1);
        assert!(
            server.line(why).contains(why) && server.log().contains(says),
            "{text}"
        );
        assert_eq!(fs::read_to_string(&pid_file).unwrap(), pid, "{text}");
        assert_eq!(client.get("/").status(), 200);
        assert_eq!(Client::h2c(server.h2c).get("/").status(), 200);
    }
    fs::remove_file(&program).unwrap();
    fs::write(&program, "#!/bin/sh\nexit 3\n").unwrap();
    server.signal("USR2");
    server.wait_for("this process goes on, because no other can be started");
    let executable = Command::new("chmod")
        .arg("+x")
        .arg(&program)
        .status()
        .unwrap();
    assert!(executable.success());
    server.signal("USR2");
    server.wait_for("the new process ended with exit status: 3 before it served");
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(Client::h2c(server.h2c).get("/").status(), 200);
    // It still ends as any other.
    server.signal("TERM");
    client.closed();
    assert_eq!(server.ended().0.code(), Some(0));
}

#[test]
fn a_signal_ends_both_processes_during_an_upgrade() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("tidegate");
    symlink(env!("CARGO_BIN_EXE_tidegate"), &program).unwrap();
    let ports = ["--listen", "none", "--listen-h2c", "127.0.0.1:0"];
    let server = Server::run(piped(Command::new(&program), &ports));
    // A new process that never gets as far as to serve.
    let ended = dir.path().join("ended");
    let sleeps = dir.path().join("script");
    let script = format!(
        "#!/bin/sh\ntrap 'echo TERM >>{0}; exit' TERM\necho begun >>{0}\nwhile :; do sleep 0.01; done\n",
        ended.display()
    );
    fs::write(&sleeps, script).unwrap();
    let executable = Command::new("chmod").arg("+x").arg(&sleeps).status();
    assert!(executable.unwrap().success());
    fs::rename(&sleeps, &program).unwrap();
    server.signal("USR2");
    let successor = Successor::of(&server);
    let told = || fs::read_to_string(&ended).unwrap_or_default();
    while told() != "begun\n" {
        std::thread::yield_now();
    }
    server.signal("TERM");
    assert_eq!(server.ended().0.code(), Some(0));
    while told() != "begun\nTERM\n" {
        std::thread::yield_now();
    }
    drop(successor);
}

#[test]
fn a_reload_during_an_upgrade_reaches_the_new_process() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("tidegate");
    let binary = env!("CARGO_BIN_EXE_tidegate");
    symlink(binary, &program).unwrap();
    let ports = ["--listen", "none", "--listen-h2c", "127.0.0.1:0"];
    let server = Server::run(piped(Command::new(&program), &ports));
    // A new process that serves once there is this file.
    let go = dir.path().join("go");
    let waits = dir.path().join("script");
    let wait = format!("while [ ! -e {} ]; do sleep 0.01; done", go.display());
    fs::write(&waits, format!("#!/bin/sh\n{wait}\nexec {binary} \"$@\"\n")).unwrap();
    let executable = Command::new("chmod").arg("+x").arg(&waits).status();
    assert!(executable.unwrap().success());
    fs::rename(&waits, &program).unwrap();
    server.signal("USR2");
    let successor = Successor::of(&server);
    server.signal("HUP");
    server.wait_for_lines("SIGHUP: reloaded ", 1);
    fs::write(&go, "").unwrap();
    server.wait_for(" serves; finishing");
    server.wait_for_lines("SIGHUP: reloaded ", 2);
    successor.signal("TERM");
    assert_eq!(server.ended().0.code(), Some(0));
}

/// Returns a command that starts the binary with a socket as its third descriptor, as a service
/// manager does.
fn activated(socket: &TcpListener, flags: &[&str]) -> Command {
    let mut command = Command::new("sh");
    let script = "LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES=web exec \"$0\" \"$@\" 3<&0 </dev/null";
    command.args(["-c", script, env!("CARGO_BIN_EXE_tidegate")]);
    let mut command = piped(command, flags);
    command.stdin(Stdio::from(OwnedFd::from(socket.try_clone().unwrap())));
    command
}

#[test]
fn sockets_of_a_service_manager_are_used() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    let text = addr.to_string();
    let flags = ["--listen", "none", "--listen-h2c", &text, "--workers", "3"];
    let server = Server::run(activated(&socket, &flags));
    assert_eq!(server.h2c, Some(addr));
    let mut clients: Vec<Client> = (0..20).map(|_| Client::h2c(Some(addr))).collect();
    for client in &mut clients {
        assert_eq!(client.get("/status").status(), 200);
    }
    // The socket is passed on, too.
    server.signal("USR2");
    let successor = Successor::of(&server);
    server.wait_for(" serves; finishing");
    for client in &mut clients {
        client.closed();
    }
    assert_eq!(Client::h2c(Some(addr)).get("/status").status(), 200);
    successor.signal("TERM");
    assert_eq!(server.ended().0.code(), Some(0));

    // One that nobody asked for is an error.
    let flags = ["--listen", "none", "--listen-h2c", "127.0.0.1:0"];
    let output = activated(&socket, &flags).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let expected = format!("LISTEN_FDS passes a socket on {addr} (web), but no --listen");
    assert!(
        output.status.code() == Some(1) && stderr.contains(&expected),
        "{stderr}"
    );
}

#[test]
fn the_service_manager_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let hear = || {
        let mut bytes = [0; 256];
        let count = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    };
    let hear_other = || {
        let mut heard = hear();
        while heard == "WATCHDOG=1\n" {
            heard = hear();
        }
        heard
    };
    let ports = ["--listen", "none", "--listen-h2c", "127.0.0.1:0"];
    let mut command = command(&ports);
    command
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "40000");
    let server = Server::run(command);
    assert_eq!(hear_other(), "READY=1\n");
    for _ in 0..5 {
        assert_eq!(hear(), "WATCHDOG=1\n");
    }
    server.signal("HUP");
    let heard = hear_other();
    assert!(heard.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{heard}");
    assert_eq!(hear_other(), "READY=1\n");
    server.signal("USR2");
    let successor = Successor::of(&server);
    // Either process reports.
    let mut heard = [hear_other(), hear_other()];
    heard.sort();
    assert_eq!(
        heard,
        [
            format!("MAINPID={}\nREADY=1\n", successor.0),
            "READY=1\n".into()
        ]
    );
    server.wait_for("all connections are closed");
    successor.signal("TERM");
    assert_eq!(hear_other(), "STOPPING=1\n");
    assert_eq!(server.ended().0.code(), Some(0));
}

#[test]
fn the_user_changes_once_ports_are_open() {
    let Ok(Some(nobody)) = User::from_name("nobody") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let pid_file = dir.path().join("pid");
    let log = dir.path().join("access.log");
    let files = [&pid_file, &log].map(|path| path.to_str().unwrap());
    let flags = [
        "--user",
        "nobody",
        "--pid-file",
        files[0],
        "--access-log",
        files[1],
    ];
    if !geteuid().is_root() {
        let ports = ["--listen", "none", "--listen-h2c", "127.0.0.1:0"];
        let (status, stderr) = refused(&[&ports[..], &flags].concat());
        assert_eq!(status, 1);
        assert!(
            stderr.contains("--user nobody: only root can become another user"),
            "{stderr}"
        );
        return;
    }
    let server = Server::start(&flags);
    let ids = |name, id: u32| format!("{name}:\t{id}\t{id}\t{id}\t{id}");
    assert_eq!(
        server.proc("status", "Uid:"),
        ids("Uid", nobody.uid.as_raw())
    );
    assert_eq!(
        server.proc("status", "Gid:"),
        ids("Gid", nobody.gid.as_raw())
    );
    assert_eq!(Client::h2c(server.h2c).get("/status").status(), 200);
    let owner = |path| fs::metadata(path).unwrap().uid();
    assert_eq!([owner(&pid_file), owner(&log)], [nobody.uid.as_raw(); 2]);
    server.signal("TERM");
    assert_eq!(server.ended().0.code(), Some(0));
    let (status, stderr) = refused(&["--user", "nobody:no-such-group"]);
    assert_eq!(status, 1);
    assert!(
        stderr.contains("there is no user or group no-such-group"),
        "{stderr}"
    );
}

#[test]
fn processes_share_a_port_where_the_operator_wants_it() {
    let first = Server::start(&["--listen", "none", "--reuse-port"]);
    let addr = first.h2c.unwrap().to_string();
    let flags = ["--listen", "none", "--listen-h2c", &addr];
    let (status, stderr) = refused(&flags);
    assert!(
        status == 1 && stderr.contains("the port is taken"),
        "{stderr}"
    );
    let second = Server::run(command(&[&flags[..], &["--reuse-port"]].concat()));
    // With either alone, it is served.
    first.signal("TERM");
    assert_eq!(first.ended().0.code(), Some(0));
    assert_eq!(Client::h2c(second.h2c).get("/status").status(), 200);
}
