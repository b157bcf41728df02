//! The `ringway` command: reads the command line, calls the library, and ends with the exit code of the contract:
//! 0 a clean stop, 1 a failure at run time (or a request that gets nowhere, for `explain`), 2 bad configuration or usage.

mod cli;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use cli::{CheckArgs, Cli, Command, ExplainArgs, Output, ProxyArgs, ReadingArgs, RunArgs};
use ringway::explain::{self, Question};
use ringway::istio::{self, problem::Problem};
use ringway::plan::{self, Overrides, Plan, ProxySettings};
use ringway::{control, demo};

/// A failure at run time.
const FAILED: u8 = 1;
/// `explain`: the request gets nowhere.
const NOT_ROUTED: u8 = 1;
/// Bad configuration or usage, as clap's own errors end.
const BAD_CONFIGURATION: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logging();
    match cli.command {
        Command::Run(args) => run(&args),
        Command::Check(args) => check(&args),
        Command::Explain(args) => explain(args),
        Command::Demo(args) => demo(&args),
    }
}

/// Logs of the control side go to stderr; `RUST_LOG` chooses what.
fn start_logging() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr)
        .init();
}

/// Reads and compiles a configuration, and prints every problem.
fn load(paths: &[PathBuf], stdin: &mut dyn Read, reading: &ReadingArgs, overrides: &Overrides) -> (Plan, Vec<Problem>) {
    let (world, mut problems) = istio::read(paths, stdin, istio::Options { permissive: reading.permissive });
    let (plan, more) = plan::compile(&world, ProxySettings::resolve(&world.proxy, overrides));
    problems.extend(more);
    for problem in &problems {
        match reading.output {
            Output::Text => eprintln!("{problem}"),
            Output::Json => eprintln!("{}", problem.to_json()),
        }
    }
    (plan, problems)
}

fn run(args: &RunArgs) -> ExitCode {
    let (plan, problems) = load(&args.config, &mut std::io::stdin().lock(), &args.reading, &args.proxy.overrides());
    if problems.iter().any(Problem::is_error) {
        return ExitCode::from(BAD_CONFIGURATION);
    }
    serve(&plan, |_| {})
}

fn check(args: &CheckArgs) -> ExitCode {
    let (_, problems) = load(&args.paths, &mut std::io::stdin().lock(), &args.reading, &args.proxy.overrides());
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    if args.reading.output == Output::Text {
        println!("{errors} errors, {} warnings", problems.len() - errors);
    }
    if errors > 0 { ExitCode::from(BAD_CONFIGURATION) } else { ExitCode::SUCCESS }
}

fn explain(args: ExplainArgs) -> ExitCode {
    let (plan, problems) = load(&args.config, &mut std::io::stdin().lock(), &args.reading, &args.proxy.overrides());
    if problems.iter().any(Problem::is_error) {
        return ExitCode::from(BAD_CONFIGURATION);
    }
    let question = Question { method: args.method, url: args.url, headers: args.headers, gateway: args.gateway };
    let answer = match explain::explain(&plan, &question) {
        Ok(answer) => answer,
        Err(error) => {
            eprintln!("ringway: {error}");
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    let text = match args.reading.output {
        Output::Text => answer.to_string(),
        Output::Json => answer.to_json() + "\n",
    };
    // Nobody reads a closed stdout; the exit code says the most important part.
    let _ = std::io::stdout().write_all(text.as_bytes());
    if answer.verdict.is_routed() { ExitCode::SUCCESS } else { ExitCode::from(NOT_ROUTED) }
}

fn demo(args: &ProxyArgs) -> ExitCode {
    let mut overrides = args.overrides();
    demo::avoid_taken_ports(&mut overrides);
    let (mut plan, problems) =
        load(&[PathBuf::from("-")], &mut demo::CONFIGURATION.as_bytes(), &ReadingArgs::default(), &overrides);
    if problems.iter().any(Problem::is_error) {
        return ExitCode::from(BAD_CONFIGURATION);
    }
    let origins = match demo::start_origins() {
        Ok(origins) => origins,
        Err(error) => {
            eprintln!("ringway: cannot start the demo's origins: {error}");
            return ExitCode::from(FAILED);
        }
    };
    origins.redirect(&mut plan);
    serve(&plan, |running| {
        if let Some(listener) = running.addresses().first() {
            // Nobody reads a closed stdout; that is no reason to stop.
            let _ = writeln!(std::io::stdout(), "{}", demo::what_to_type(listener.port(), running.admin_address()));
        }
    })
}

/// Serves a plan until a signal; `ready` is called once every worker accepts.
fn serve(plan: &Plan, ready: impl FnOnce(&control::Running)) -> ExitCode {
    let running = match control::start(plan) {
        Ok(running) => running,
        Err(error) => {
            eprintln!("ringway: {error}");
            return ExitCode::from(FAILED);
        }
    };
    if let Err(error) = control::forward_signals(running.events()) {
        eprintln!("ringway: cannot install signal handlers: {error}");
        return ExitCode::from(FAILED);
    }
    ready(&running);
    match running.serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringway: {error}");
            ExitCode::from(FAILED)
        }
    }
}
