//! The `ringway` command: reads the command line, calls the library, and ends with the exit code of the contract:
//! 0 a clean stop, 1 a failure at run time (or a request that gets nowhere, for `explain`), 2 bad configuration or usage.

mod cli;

use std::borrow::Cow;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use cli::{CheckArgs, Cli, Command, ExplainArgs, Output, ProxyArgs, ReadingArgs, RunArgs};
use ringway::base::count::counted;
use ringway::control::{self, ConfigSource, Digest};
use ringway::demo::Demo;
use ringway::explain::{self, Question};
use ringway::istio;
use ringway::istio::problem::{Problem, Severity};
use ringway::istio::remarks::{self, Gather};
use ringway::plan::{Overrides, Plan};

/// A failure at run time.
const FAILED: u8 = 1;
/// `explain`: the request gets nowhere.
const NOT_ROUTED: u8 = 1;
/// Bad configuration or usage, as clap's own errors end.
const BAD_CONFIGURATION: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    control::logging::start();
    match cli.command {
        Command::Run(args) => run(&args),
        Command::Check(args) => check(&args),
        Command::Explain(args) => explain(args),
        Command::Demo(args) => demo(&args),
    }
}

/// The configuration that the command line names.
fn source(paths: &[PathBuf], reading: &ReadingArgs, overrides: Overrides) -> ConfigSource {
    let tell: fn(&[&Problem]) = match reading.output {
        Output::Text => |problems| {
            let served: Vec<Problem> = problems.iter().map(|problem| problem.when_served()).collect();
            print(&remarks::lines(&served, Gather::Warnings));
        },
        Output::Json => |problems| say(problems.iter().map(|problem| problem.when_served().to_json())),
    };
    let options = istio::Options { permissive: reading.permissive };
    ConfigSource { paths: paths.to_vec(), options, overrides, tell }
}

/// Prints problems on standard error, in colour where that is wanted.
fn print(problems: &[Cow<'_, Problem>]) {
    let text: String = problems.iter().map(|problem| format!("{}\n", problem.styled())).collect();
    let _ = anstream::stderr().write_all(text.as_bytes()); // as below
}

/// Prints lines on standard error.
fn say(lines: impl IntoIterator<Item = String>) {
    let text: String = lines.into_iter().map(|line| line + "\n").collect();
    // A closed pipe has no reader: the exit code still tells the result.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn run(args: &RunArgs) -> ExitCode {
    let source = source(&args.config, &args.reading, args.proxy.overrides());
    let loaded = source.load(&mut std::io::stdin().lock());
    source.tell_all(&loaded.problems);
    if loaded.has_errors() {
        return ExitCode::from(BAD_CONFIGURATION);
    }
    let plan = loaded.plan.clone();
    serve(&plan, |running| running.reload_from(source, loaded))
}

fn check(args: &CheckArgs) -> ExitCode {
    let source = source(&args.paths, &args.reading, args.proxy.overrides());
    let problems = source.load(&mut std::io::stdin().lock()).problems;
    match args.reading.output {
        Output::Text => print(&remarks::lines(&problems, Gather::Notes)),
        Output::Json => say(problems.iter().map(Problem::to_json)),
    }
    let count = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
    let errors = count(Severity::Error) + count(Severity::Broken);
    let (warnings, notes) = (count(Severity::Warning), count(Severity::Note));
    if args.reading.output == Output::Text {
        let notes = if notes > 0 { format!(", {}", counted(notes, "note")) } else { String::new() };
        let (errors, warnings) = (counted(errors, "error"), counted(warnings, "warning"));
        let _ = writeln!(std::io::stdout(), "{errors}, {warnings}{notes}"); // as above
    }
    if errors > 0 { ExitCode::from(BAD_CONFIGURATION) } else { ExitCode::SUCCESS }
}

fn explain(args: ExplainArgs) -> ExitCode {
    let source = source(&args.config, &args.reading, args.proxy.overrides());
    let (loaded, world) = source.load_with_world(&mut std::io::stdin().lock());
    if loaded.has_errors() {
        source.tell_all(&loaded.problems);
        return ExitCode::from(BAD_CONFIGURATION);
    }
    let question = Question {
        method: args.method,
        url: args.url,
        headers: args.headers,
        gateway: args.gateway,
        from: args.from,
        stands_for_loopback: control::first_outward_address(),
    };
    let mut answer = match explain::explain_world(&world, &loaded.plan, &question) {
        Ok(answer) => answer,
        Err(error) => {
            // Problems do not concern a question without an answer.
            tell_rest(&source, &loaded.problems.iter().collect::<Vec<_>>());
            say([format!("ringway: {error}")]);
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    let concern = explain::Concern::of(&world, &answer);
    let (about, others): (Vec<&Problem>, Vec<&Problem>) =
        loaded.problems.iter().partition(|problem| concern.has(problem));
    (source.tell)(&about);
    tell_rest(&source, &others);
    if args.live {
        let Some(admin) = loaded.plan.proxy.admin else {
            say(["ringway: --live: the proxy has no admin endpoints to be asked".to_owned()]);
            return ExitCode::from(BAD_CONFIGURATION);
        };
        match explain::RunningProxy::ask(admin) {
            Ok(running) => {
                let differs = running.differs_from(&Digest::of(&loaded.plan).version());
                answer.notes.extend(differs.map(|why| format!("--live: {why}")));
                answer.add_live(&running);
            }
            Err(error) => say([format!("ringway: --live: no running proxy answers at {admin}: {error}")]),
        }
    }
    let text = match args.reading.output {
        Output::Text => answer.to_string(),
        Output::Json => answer.to_json() + "\n",
    };
    // A closed stdout has no reader; the exit code tells the most important part.
    let _ = std::io::stdout().write_all(text.as_bytes());
    if answer.verdict.is_routed() { ExitCode::SUCCESS } else { ExitCode::from(NOT_ROUTED) }
}

/// Counts the problems that are not told.
fn tell_rest(source: &ConfigSource, problems: &[&Problem]) {
    if let Some(count) = remarks::elsewhere(problems) {
        (source.tell)(&[&count]);
    }
}

fn demo(args: &ProxyArgs) -> ExitCode {
    let mut overrides = args.overrides();
    let demo = match Demo::start(&mut overrides) {
        Ok(demo) => demo,
        Err(error) => {
            eprintln!("ringway: cannot start the demo's origins: {error}");
            return ExitCode::from(FAILED);
        }
    };
    let source = source(&[PathBuf::from("-")], &ReadingArgs::default(), overrides);
    let loaded = source.load(&mut demo.configuration().as_bytes());
    source.tell_all(&loaded.problems);
    if loaded.has_errors() {
        return ExitCode::from(BAD_CONFIGURATION);
    }
    serve(&loaded.plan, |running| {
        // A closed stdout is not a reason to stop.
        let _ = writeln!(std::io::stdout(), "{}", demo.what_to_type(running.admin_address()));
    })
}

/// Serves a plan until a signal; `ready` is called once every worker accepts.
fn serve(plan: &Plan, ready: impl FnOnce(&mut control::Running)) -> ExitCode {
    let signals = match control::catch_signals() {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("ringway: cannot install signal handlers: {error}");
            return ExitCode::from(FAILED);
        }
    };
    let mut running = match control::start(plan) {
        Ok(running) => running,
        Err(error) => {
            eprintln!("ringway: {error}");
            return ExitCode::from(FAILED);
        }
    };
    if let Err(error) = signals.forward(running.events()) {
        eprintln!("ringway: cannot start a thread for signals: {error}");
        return ExitCode::from(FAILED);
    }
    ready(&mut running);
    running.serve();
    ExitCode::SUCCESS
}
