//! Where the configuration comes from, so that it can be read again.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::start::log_format;
use super::watch::Snapshot;
use crate::istio::world::World;
use crate::istio::{self, problem::Problem};
use crate::plan::{self, Overrides, Plan, ProxySettings};

/// What the command line says of the configuration.
#[derive(Debug, Clone)]
pub struct Source {
    /// Files, folders, and `-` for standard input.
    pub paths: Vec<PathBuf>,
    /// How strictly they are read.
    pub options: istio::Options,
    /// What goes before the Proxy document.
    pub overrides: Overrides,
    /// Prints problems that keep nothing from being served, or errors.
    pub tell: fn(&[&Problem]),
}

/// A configuration that was read and compiled.
#[derive(Debug)]
pub struct Loaded {
    /// What to serve, unless there is an error among the problems.
    pub plan: Plan,
    /// All that is wrong with it.
    pub problems: Vec<Problem>,
    /// How the files were when they were read.
    pub snapshot: Snapshot,
}

impl Loaded {
    /// Whether the plan must not be served.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(Problem::is_error)
    }
}

impl Source {
    /// Reads and compiles.
    #[must_use]
    pub fn load(&self, stdin: &mut dyn Read) -> Loaded {
        self.load_with_world(stdin).0
    }

    /// [`Source::load`], and what was compiled.
    #[must_use]
    pub fn load_with_world(&self, stdin: &mut dyn Read) -> (Loaded, World) {
        // Taken first: what is written while the files are read differs from it, and is read once more.
        let mut snapshot = Snapshot::take(&self.paths, &[]);
        let (world, mut problems) = istio::read(&self.paths, stdin, self.options);
        snapshot.add(&world.credential_files);
        let (plan, more) = plan::compile(&world, ProxySettings::resolve(&world.proxy, &self.overrides));
        problems.extend(more.into_iter().filter(|problem| !world.is_consequence(problem)));
        if let Err(error) = log_format(&plan.proxy) {
            problems.push(world.proxy.source.error("spec.meshConfig.accessLogFormat", error.to_string(), ""));
        }
        if problems.iter().any(is_unread) {
            // What seems to be missing may be written where nothing could be read.
            problems
                .retain(|problem| problem.is_error() || problem.file != world.proxy.source.file || problem.line > 0);
        }
        (Loaded { plan, problems, snapshot }, world)
    }

    /// Tells every problem.
    pub fn tell_all(&self, problems: &[Problem]) {
        (self.tell)(&problems.iter().collect::<Vec<_>>());
    }

    /// Whether it can be read only once.
    #[must_use]
    pub(super) fn reads_stdin(&self) -> bool {
        self.paths.iter().any(|path| path == Path::new("-"))
    }
}

/// Whether the problem is that a file, or a document, could not be read at all.
fn is_unread(problem: &Problem) -> bool {
    problem.is_error() && problem.resource.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_log_format_is_found_before_anything_starts() {
        let source = Source {
            paths: vec![PathBuf::from("-")],
            options: istio::Options::default(),
            overrides: Overrides::default(),
            tell: |_| {},
        };
        let load = |mesh_config: &str| {
            let yaml = format!(
                "apiVersion: ringway.dev/v1\nkind: Proxy\nmetadata: {{name: p}}\nspec:\n  meshConfig:\n    {mesh_config}\n"
            );
            source.load(&mut yaml.as_bytes())
        };
        let wrong = load("accessLogFormat: '%TRACE_ID%'");
        assert!(wrong.has_errors());
        assert!(
            wrong.problems.iter().any(|problem| problem.to_string()
                == "<stdin>:6: Proxy/default/p: spec.meshConfig.accessLogFormat: error: `%TRACE_ID%` is an operator of Envoy's \
                    that is not enforced"),
            "{:#?}",
            wrong.problems
        );
        assert!(load("{accessLogFormat: '%PROTOCOL%', accessLogEncoding: JSON}").has_errors());
        assert!(!load("{accessLogFormat: '{\"a\": \"%PROTOCOL%\"}', accessLogEncoding: JSON}").has_errors());
    }
}
