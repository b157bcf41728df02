//! The process's own log (not the access log): to standard error, with levels that can be changed while it runs.
//!
//! A logger is a module of ringway; other crates log as `other`. `RUST_LOG` chooses the levels at the start (`info`,
//! `warn,ringway::proxy=debug`, …), `/logging` later. There is one log a process, so its filter is global.

use std::fmt::Write as _;
use std::sync::{Mutex, OnceLock, PoisonError};

use anstream::{AutoStream, ColorChoice};
use tracing_subscriber::Registry;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Modules that log; `main` is the command.
const LOGGERS: [&str; 12] =
    ["control", "demo", "explain", "httpd", "io", "istio", "main", "observe", "plan", "proxy", "upstream", "worker"];

/// The logger of all other crates.
const OTHER: &str = "other";

/// The levels, by their names in Envoy; `warn` and `critical` are taken, too.
const LEVELS: [(&str, LevelFilter); 6] = [
    ("trace", LevelFilter::TRACE),
    ("debug", LevelFilter::DEBUG),
    ("info", LevelFilter::INFO),
    ("warning", LevelFilter::WARN),
    ("error", LevelFilter::ERROR),
    ("off", LevelFilter::OFF),
];

static LOG: OnceLock<ProcessLog> = OnceLock::new();

struct ProcessLog {
    filter: reload::Handle<Targets, Registry>,
    levels: Mutex<LogLevels>,
}

/// Begins to log to standard error, at the levels of `RUST_LOG` or at `info`; in colour on a terminal, unless `NO_COLOR`
/// says otherwise. To be called once, by the command.
pub fn start() {
    let levels = std::env::var("RUST_LOG").ok().and_then(|text| LogLevels::parse(&text)).unwrap_or_default();
    let (filter, handle) = reload::Layer::new(levels.filter());
    let format = tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_ansi(AutoStream::choice(&std::io::stderr()) != ColorChoice::Never)
        .with_writer(std::io::stderr);
    if tracing_subscriber::registry().with(filter).with(format).try_init().is_ok() {
        let _ = LOG.set(ProcessLog { filter: handle, levels: Mutex::new(levels) }); // the only one that ever succeeded
    }
}

/// Why levels were not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum LoggingError {
    /// Unknown logger.
    #[error("unknown logger name")]
    Logger,
    /// Unknown level.
    #[error("unknown logger level")]
    Level,
    /// [`start`] was not called: a library that ringway is part of logs in its own way.
    #[error("the log is not ringway's")]
    NotStarted,
}

/// Sets loggers to levels, all or none of them; the name `level` stands for every logger.
///
/// # Errors
/// If a name is not known, or there is no log.
pub(super) fn change(settings: &[(String, String)]) -> Result<(), LoggingError> {
    let log = LOG.get().ok_or(LoggingError::NotStarted)?;
    let mut levels = log.levels.lock().unwrap_or_else(PoisonError::into_inner);
    let changed = levels.with(settings)?;
    log.filter.reload(changed.filter()).map_err(|_| LoggingError::NotStarted)?;
    *levels = changed;
    Ok(())
}

/// Every logger with its level, in Envoy's form.
///
/// # Errors
/// If there is no log.
pub(super) fn show() -> Result<String, LoggingError> {
    let log = LOG.get().ok_or(LoggingError::NotStarted)?;
    Ok(log.levels.lock().unwrap_or_else(PoisonError::into_inner).show())
}

/// Levels by target.
#[derive(Debug, Clone, PartialEq)]
struct LogLevels {
    /// The level of all targets that are not in the list.
    default: LevelFilter,
    /// Targets that begin so have this level; the longest beginning counts.
    targets: Vec<(String, LevelFilter)>,
}

impl Default for LogLevels {
    fn default() -> Self {
        Self { default: LevelFilter::INFO, targets: Vec::new() }
    }
}

impl LogLevels {
    /// The syntax of `RUST_LOG`.
    fn parse(text: &str) -> Option<Self> {
        let targets: Targets = text.parse().ok()?;
        let default = targets.default_level().unwrap_or(LevelFilter::OFF);
        Some(Self { default, targets: targets.iter().map(|(target, level)| (target.to_owned(), level)).collect() })
    }

    fn filter(&self) -> Targets {
        Targets::new().with_default(self.default).with_targets(self.targets.iter().cloned())
    }

    /// The level of a logger.
    fn of(&self, logger: &str) -> LevelFilter {
        let target = target(logger);
        let covering = self.targets.iter().filter(|(start, _)| target.starts_with(start.as_str()));
        covering.max_by_key(|(start, _)| start.len()).map_or(self.default, |(_, level)| *level)
    }

    fn with(&self, settings: &[(String, String)]) -> Result<Self, LoggingError> {
        let mut changed = self.clone();
        for (logger, level) in settings {
            let name = match level.as_str() {
                "warn" => "warning",
                "critical" => "error",
                other => other,
            };
            let level = LEVELS.iter().find(|(known, _)| *known == name).ok_or(LoggingError::Level)?.1;
            match logger.as_str() {
                "level" => changed = Self { default: level, targets: Vec::new() },
                OTHER => {
                    // ringway's own loggers keep the level that they had from the default.
                    let kept = LOGGERS.map(|logger| (target(logger), changed.of(logger)));
                    changed.targets.retain(|(start, _)| start.starts_with("ringway"));
                    for (target, level) in kept {
                        changed.set(target, level);
                    }
                    changed.default = level;
                }
                name if LOGGERS.contains(&name) => {
                    let target = target(name);
                    changed.targets.retain(|(start, _)| *start == target || !start.starts_with(&format!("{target}::")));
                    changed.set(target, level);
                }
                _ => return Err(LoggingError::Logger),
            }
        }
        Ok(changed)
    }

    fn set(&mut self, target: String, level: LevelFilter) {
        match self.targets.iter_mut().find(|(start, _)| *start == target) {
            Some((_, old)) => *old = level,
            None => self.targets.push((target, level)),
        }
    }

    fn show(&self) -> String {
        let mut text = "active loggers:\n".to_owned();
        let name = |level: LevelFilter| LEVELS.iter().find(|(_, each)| *each == level).map_or("off", |(name, _)| name);
        for logger in LOGGERS {
            let _ = writeln!(text, "  {logger}: {}", name(self.of(logger))); // a String takes every write
        }
        let _ = writeln!(text, "  {OTHER}: {}", name(self.default));
        text
    }
}

/// The target of a logger: its module's path.
fn target(logger: &str) -> String {
    match logger {
        "main" => "ringway".to_owned(),
        module => format!("ringway::{module}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(settings: &[(&str, &str)]) -> Result<LogLevels, LoggingError> {
        let settings: Vec<_> = settings.iter().map(|(name, level)| ((*name).to_owned(), (*level).to_owned())).collect();
        LogLevels::default().with(&settings)
    }

    #[test]
    fn every_logger_has_a_level() {
        let text = LogLevels::default().show();
        assert_eq!(text.lines().next(), Some("active loggers:"));
        assert_eq!(text.lines().filter(|line| line.ends_with(": info")).count(), LOGGERS.len() + 1);
    }

    #[test]
    fn one_logger_or_all_of_them() {
        let changed = levels(&[("proxy", "debug"), ("other", "off")]).unwrap();
        assert_eq!(changed.of("proxy"), LevelFilter::DEBUG);
        assert_eq!((changed.of("control"), changed.default), (LevelFilter::INFO, LevelFilter::OFF));
        let changed = levels(&[("proxy", "debug"), ("level", "critical")]).unwrap();
        assert_eq!((changed.of("proxy"), changed.default), (LevelFilter::ERROR, LevelFilter::ERROR));
        assert!(changed.show().contains("  proxy: error\n"));
    }

    #[test]
    fn what_is_not_known_changes_nothing() {
        assert_eq!(levels(&[("proxy", "debug"), ("nope", "info")]), Err(LoggingError::Logger));
        assert_eq!(levels(&[("proxy", "loud")]), Err(LoggingError::Level));
    }

    #[test]
    fn the_environment_is_understood() {
        let levels = LogLevels::parse("warn,ringway::proxy=debug,ringway::proxy::core=trace,quiet=off").unwrap();
        assert_eq!(levels.of("control"), LevelFilter::WARN);
        assert_eq!(levels.of("proxy"), LevelFilter::DEBUG);
        assert!(levels.filter().would_enable("ringway::proxy::core", &tracing::Level::TRACE));
        assert!(!levels.filter().would_enable("quiet::driver", &tracing::Level::ERROR));
        // A logger that is set anew is set with all that is below it.
        let set = levels.with(&[("proxy".to_owned(), "error".to_owned())]).unwrap();
        assert!(!set.filter().would_enable("ringway::proxy::core", &tracing::Level::WARN));
        assert_eq!(LogLevels::parse("=="), None);
    }

    /// A module that is not in the list could not be set alone.
    #[test]
    fn loggers_are_the_modules() {
        let mut logging = Vec::new();
        let mut folders = vec![std::path::PathBuf::from("src")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if std::fs::read_to_string(&path).unwrap().contains("tracing::") {
                    let module = path.components().nth(1).unwrap().as_os_str().to_string_lossy().into_owned();
                    logging.push(module.trim_end_matches(".rs").to_owned());
                }
            }
        }
        assert!(logging.contains(&"control".to_owned()));
        for module in logging {
            assert!(LOGGERS.contains(&module.as_str()), "{module} logs");
        }
    }
}
