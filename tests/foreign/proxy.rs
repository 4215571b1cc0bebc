//! Proxies in front of a broker, each as its package sets it up, and nothing said of streams.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;
use testkit::Signal;
use testkit::deadline::wait_until;
use testkit::process::succeed;
use testkit::program::Program;
use testkit::sockets::free_address;

use testkit::tools::command;

/// Which proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Nginx,
    /// The same with the four lines that its manual has for WebSocket.
    NginxForWebSocket,
    HaProxy,
    Caddy,
}

impl Kind {
    pub(crate) const fn program(self) -> &'static str {
        match self {
            Self::Nginx | Self::NginxForWebSocket => "nginx",
            Self::HaProxy => "haproxy",
            Self::Caddy => "caddy",
        }
    }

    /// What its configuration is that passes everything from one address on to another.
    fn configuration(self, home: &str, front: SocketAddr, back: SocketAddr) -> String {
        match self {
            // Where files are; and one server, which says `proxy_pass` and no more.
            Self::Nginx | Self::NginxForWebSocket => format!(
                "daemon off;\nuser root;\npid {home}/pid;\nerror_log {home}/log;\nevents {{}}\nhttp {{\n\
                 access_log off;\n\
                 client_body_temp_path {home}/body;\nproxy_temp_path {home}/proxy;\n\
                 fastcgi_temp_path {home}/fastcgi;\nscgi_temp_path {home}/scgi;\nuwsgi_temp_path {home}/uwsgi;\n\
                 server {{ listen {front}; location / {{ proxy_pass http://{back}; {} }} }}\n}}\n",
                self.location()
            ),
            // The defaults of Debian's file.
            Self::HaProxy => format!(
                "defaults\n mode http\n timeout connect 5000\n timeout client 50000\n timeout server 50000\n\
                 frontend front\n bind {front}\n default_backend back\nbackend back\n server broker {back}\n"
            ),
            Self::Caddy => format!(
                "{{\n admin unix/{home}/admin\n}}\n\
                 http://127.0.0.1:{} {{\n reverse_proxy {back}\n}}\n",
                front.port()
            ),
        }
    }

    /// What nginx is told of a location, beside where it leads.
    const fn location(self) -> &'static str {
        match self {
            Self::NginxForWebSocket => {
                "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; \
                 proxy_set_header Connection upgrade; proxy_set_header Host $http_host;"
            }
            _ => "",
        }
    }

    fn command(self, home: &str, file: &str) -> Command {
        let mut command = command(self.program());
        // Where Caddy keeps what it keeps.
        command.env("HOME", home);
        for variable in ["XDG_DATA_HOME", "XDG_CONFIG_HOME"] {
            command.env(variable, home);
        }
        match self {
            Self::Nginx | Self::NginxForWebSocket => {
                command.args(["-p", home, "-e", &format!("{home}/log"), "-c", file])
            }
            // A master, which can be told to read its file again.
            Self::HaProxy => command.args(["-W", "-f", file]),
            Self::Caddy => command.args(["run", "--adapter", "caddyfile", "--config", file]),
        };
        command
    }
}

/// A running proxy.
#[derive(Debug)]
pub(crate) struct Proxy {
    kind: Kind,
    program: Program,
    front: SocketAddr,
    file: PathBuf,
    home: TempDir,
}

impl Proxy {
    /// Starts one in front of `back`.
    pub(crate) fn start(kind: Kind, back: SocketAddr) -> Self {
        let home = TempDir::with_prefix("oyez-proxy-").expect("a directory for temporary files");
        let (file, front) = (home.path().join("proxy.conf"), free_address());
        let path = home.path().to_str().expect("a plain name");
        fs::write(&file, kind.configuration(path, front, back)).expect("it is writable");
        let program = Self::launch(kind, &home, &file);
        let proxy = Self {
            kind,
            program,
            front,
            file,
            home,
        };
        proxy.await_ready();
        proxy
    }

    fn launch(kind: Kind, home: &TempDir, file: &std::path::Path) -> Program {
        let home = home.path().to_str().expect("a plain name");
        let file = file.to_str().expect("a plain name");
        Program::start(&mut kind.command(home, file))
    }

    fn await_ready(&self) {
        wait_until("the proxy to listen", || {
            TcpStream::connect(self.front).is_ok()
        });
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.front
    }

    /// Lets it read its configuration again, which is another one by a comment.
    pub(crate) fn reload(&self) {
        let text = fs::read_to_string(&self.file).expect("it was written");
        fs::write(&self.file, format!("# Again.\n{text}")).expect("it is writable");
        match self.kind {
            Kind::Nginx | Kind::NginxForWebSocket => self.program.signal(Signal::HangUp),
            Kind::HaProxy => self.program.signal(Signal::User2),
            Kind::Caddy => {
                let admin = format!("unix/{}/admin", self.home.path().display());
                let mut reload = command("caddy");
                reload.args(["reload", "--adapter", "caddyfile", "--address", &admin]);
                succeed(reload.arg("--config").arg(&self.file));
            }
        }
    }

    /// Ends it.
    pub(crate) fn stop(&mut self) {
        self.program.stop();
    }

    /// Starts it again.
    pub(crate) fn start_again(&mut self) {
        self.program = Self::launch(self.kind, &self.home, &self.file);
        self.await_ready();
    }
}
