//! The command line: what a user may type, and which exit code it ends with.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use ringway::plan::{Cpus, Driver, Overrides, ServerHeader, is_host_suffix};

/// An edge and sidecar proxy on io_uring that reads Istio's networking YAML and enforces it itself.
#[derive(Debug, Parser)]
#[command(name = "ringway", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve what the YAML says, until SIGTERM or Ctrl-C (graceful drain).
    Run(RunArgs),
    /// Read and validate everything, print every problem, start nothing. Exit code 2 if there are errors.
    Check(CheckArgs),
    /// Say which listener, host, rule and destination a request would meet, and why no other. Exit code 1 if none.
    Explain(ExplainArgs),
    /// Start two httpbin-like origins and the proxy before them, and say what to type.
    Demo(ProxyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// A file, a directory (read recursively: *.yaml, *.yml, *.json) or - (standard input). Repeatable.
    #[arg(short, long = "config", value_name = "PATH", required = true)]
    pub(crate) config: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
    #[command(flatten)]
    pub(crate) proxy: ProxyArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Files, directories (read recursively: *.yaml, *.yml, *.json) or - (standard input).
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
    #[command(flatten)]
    pub(crate) proxy: ProxyArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// A file, a directory (read recursively: *.yaml, *.yml, *.json) or - (standard input). Repeatable.
    #[arg(short, long = "config", value_name = "PATH", required = true)]
    pub(crate) config: Vec<PathBuf>,
    /// The Gateway (NAME or NAMESPACE/NAME) whose listener is meant, or mesh; else the URL's port says it.
    #[arg(long, value_name = "NAME")]
    pub(crate) gateway: Option<String>,
    /// The client's address, which a Gateway's listener writes into x-forwarded-for.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub(crate) from: IpAddr,
    /// A header of the request. Repeatable.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// Ask the running proxy, at its admin address, which endpoints there are now and how healthy they are, and say so if
    /// it serves another configuration.
    #[arg(long)]
    pub(crate) live: bool,
    /// The request's method.
    #[arg(value_name = "METHOD")]
    pub(crate) method: String,
    /// The request's URL, as for curl. Its port is a Gateway's or the one bound for it, or a service's at the mesh.
    #[arg(value_name = "URL")]
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
    #[command(flatten)]
    pub(crate) proxy: ProxyArgs,
}

/// How the YAML is read and its problems are told.
#[derive(Debug, Default, Args)]
pub(crate) struct ReadingArgs {
    /// Turn unknown fields, and fields that are not enforced yet, from errors into warnings.
    #[arg(long)]
    pub(crate) permissive: bool,
    /// How problems are printed.
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// One line each.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Each stands for the field of the same name in the Proxy document, and wins over it.
#[derive(Debug, Args)]
pub(crate) struct ProxyArgs {
    /// Workers: a number of CPUs, or a list such as 0,2,3 (one CPU: "0,").
    #[arg(long, value_name = "N|LIST", value_parser = cpus)]
    pub(crate) cpus: Option<Cpus>,
    /// auto, io_uring or epoll.
    #[arg(long, value_parser = driver)]
    pub(crate) driver: Option<Driver>,
    /// Address of the Gateway listeners.
    #[arg(long, value_name = "IP")]
    pub(crate) bind: Option<IpAddr>,
    /// Bind PORT for Gateway port GATEWAY, as in 80=8080. Repeatable, or a list with commas.
    #[arg(long, value_name = "GATEWAY=PORT", value_delimiter = ',', value_parser = port)]
    pub(crate) ports: Vec<(u16, u16)>,
    /// Address of the admin endpoints, or off.
    #[arg(long, value_name = "IP:PORT|off", value_parser = admin)]
    pub(crate) admin: Option<Admin>,
    /// What `server:` says; passthrough keeps the upstream's.
    #[arg(long, value_name = "NAME|passthrough", value_parser = server_header)]
    pub(crate) server_header: Option<ServerHeader>,
    /// Appended to the Host of mirrored requests; '' for none.
    #[arg(long, value_name = "SUFFIX", value_parser = mirror_host_suffix, allow_hyphen_values = true)]
    pub(crate) mirror_host_suffix: Option<String>,
}

/// `--admin`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Admin(Option<SocketAddr>);

impl ProxyArgs {
    /// The flags as the plan takes them.
    pub(crate) fn overrides(&self) -> Overrides {
        Overrides {
            cpus: self.cpus.clone(),
            driver: self.driver,
            bind: self.bind,
            ports: (!self.ports.is_empty()).then(|| self.ports.iter().copied().collect::<BTreeMap<_, _>>()),
            admin: self.admin.map(|admin| admin.0),
            server_header: self.server_header.clone(),
            mirror_host_suffix: self.mirror_host_suffix.clone(),
        }
    }
}

fn cpus(text: &str) -> Result<Cpus, String> {
    let number = |text: &str| text.trim().parse::<u32>().map_err(|_| format!("{text:?} is not a CPU number"));
    if !text.contains(',') {
        return match number(text)? {
            0 => Err("at least one CPU is needed".to_owned()),
            n => Ok(Cpus::First(n)),
        };
    }
    let mut ids = Vec::new();
    for id in text.split(',').filter(|id| !id.trim().is_empty()) {
        let id = number(id)?;
        if ids.contains(&id) {
            return Err(format!("CPU {id} is listed twice"));
        }
        ids.push(id);
    }
    if ids.is_empty() { Err("at least one CPU is needed".to_owned()) } else { Ok(Cpus::List(ids)) }
}

fn driver(text: &str) -> Result<Driver, String> {
    match text {
        "auto" => Ok(Driver::Auto),
        "io_uring" => Ok(Driver::IoUring),
        "epoll" => Ok(Driver::Epoll),
        _ => Err("expected auto, io_uring or epoll".to_owned()),
    }
}

fn port(text: &str) -> Result<(u16, u16), String> {
    let parsed = text.split_once('=').and_then(|(gateway, port)| Some((gateway.parse().ok()?, port.parse().ok()?)));
    match parsed {
        Some((gateway @ 1.., port)) => Ok((gateway, port)),
        _ => Err("expected GATEWAY=PORT, as in 80=8080".to_owned()),
    }
}

fn server_header(text: &str) -> Result<ServerHeader, String> {
    ServerHeader::of(text).ok_or_else(|| "expected printable ASCII without space at its ends".to_owned())
}

fn mirror_host_suffix(text: &str) -> Result<String, String> {
    if is_host_suffix(text) {
        Ok(text.to_owned())
    } else {
        Err("expected what may stand in a Host, as in -shadow".to_owned())
    }
}

fn admin(text: &str) -> Result<Admin, String> {
    if text == "off" {
        return Ok(Admin(None));
    }
    text.parse()
        .map(|address| Admin(Some(address)))
        .map_err(|_| "expected IP:PORT, as in 127.0.0.1:15000, or off".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn what_stands_in_headers_can_be_sent() {
        assert_eq!(server_header("passthrough"), Ok(ServerHeader::PassThrough));
        assert_eq!(server_header("edge 1"), Ok(ServerHeader::Overwrite("edge 1".to_owned())));
        assert_eq!(mirror_host_suffix(""), Ok(String::new()));
        for text in ["", " edge", "edge\r\nx: y", "d\u{e4}mon"] {
            assert!(server_header(text).is_err(), "{text:?}");
        }
        assert!(mirror_host_suffix("-shadow\r\nx: y").is_err() && mirror_host_suffix(":80").is_err());
    }

    #[test]
    fn cpus_are_a_number_or_a_list() {
        assert_eq!(cpus("2"), Ok(Cpus::First(2)));
        assert_eq!(cpus("0,3"), Ok(Cpus::List(vec![0, 3])));
        assert_eq!(cpus("1,"), Ok(Cpus::List(vec![1])));
        assert!(cpus("0").is_err() && cpus(",").is_err() && cpus("1,1").is_err() && cpus("x").is_err());
    }

    #[test]
    fn ports_name_both_sides() {
        assert_eq!(port("80=8080"), Ok((80, 8080)));
        assert!(port("80").is_err() && port("0=1").is_err() && port("80=99999").is_err());
    }
}
