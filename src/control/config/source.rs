//! The source that the command line names, and how its documents become a plan.

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::files::{OpenedFiles, Walk};
use super::{ConfigEvent, Loaded, Revision, Watch};
use crate::control::{Digest, Event, access_log};
use crate::istio::world::World;
use crate::istio::{self, problem::Problem};
use crate::plan::{self, Overrides, ProxySettings};

/// The configuration source of the command line.
#[derive(Debug, Clone)]
pub struct ConfigSource {
    /// Files, folders, and `-` for standard input.
    pub paths: Vec<PathBuf>,
    /// How strictly they are read.
    pub options: istio::Options,
    /// Settings of the command line, which override those of the Proxy document.
    pub overrides: Overrides,
    /// Prints problems: the warnings of a served configuration, or errors.
    pub tell: fn(&[&Problem]),
}

impl ConfigSource {
    /// Reads the documents, with their problems.
    pub fn read(&self, stdin: &mut dyn Read) -> (World, Vec<Problem>, Revision) {
        let walk = Walk::through(&self.paths);
        let documents = walk.read(stdin);
        let (mut snapshot, mut opened) = (walk.into_snapshot(), OpenedFiles::default());
        let (world, problems) = istio::read(documents, &mut opened, self.options);
        snapshot.add(&opened);
        (world, problems, Revision(snapshot))
    }

    /// Reads and compiles.
    #[must_use]
    pub fn load(&self, stdin: &mut dyn Read) -> Loaded {
        self.load_with_world(stdin).0
    }

    /// [`ConfigSource::load`], with the compiled world.
    #[must_use]
    pub fn load_with_world(&self, stdin: &mut dyn Read) -> (Loaded, World) {
        let (world, mut problems, revision) = self.read(stdin);
        let (plan, more) = plan::compile(&world, ProxySettings::resolve(&world.proxy, &self.overrides));
        problems.extend(more.into_iter().filter(|problem| !world.is_consequence(problem)));
        if let Err(error) = access_log::format(&plan.proxy) {
            problems.push(world.proxy.source.error("spec.meshConfig.accessLogFormat", error.to_string(), ""));
        }
        if problems.iter().any(is_unread) {
            // A reference that seems missing may be in an unreadable part.
            problems
                .retain(|problem| problem.is_error() || problem.file != world.proxy.source.file || problem.line > 0);
        }
        (Loaded { plan, problems, revision }, world)
    }

    /// Reads and compiles on a thread of its own. The result is a [`ConfigEvent::Loaded`] or a [`ConfigEvent::Failed`].
    ///
    /// # Errors
    /// When the process is out of threads.
    pub(in crate::control) fn load_again(self: &Arc<Self>, events: Sender<Event>) -> std::io::Result<()> {
        let source = self.clone();
        let reading = move || {
            // A panic was printed; it must not leave control waiting.
            let loaded = catch_unwind(AssertUnwindSafe(|| {
                let loaded = source.load(&mut std::io::empty());
                let digest = Digest::of(&loaded.plan);
                (Box::new(loaded), digest)
            }));
            let event = match loaded {
                Ok((loaded, digest)) => ConfigEvent::Loaded(loaded, digest),
                Err(_) => ConfigEvent::Failed("reading it panicked".to_owned()),
            };
            let _ = events.send(Event::Config(event)); // control is gone once the proxy stops
        };
        std::thread::Builder::new().name("reload".to_owned()).spawn(reading).map(drop)
    }

    /// Tells of changes as [`ConfigEvent::Changed`]. The source was last read in the revision `last`.
    ///
    /// # Errors
    /// If the kernel gives no watches at all, or the thread cannot be started.
    pub(in crate::control) fn watch(&self, last: &Revision, events: Sender<Event>) -> notify::Result<Watch> {
        Watch::start(self.paths.clone(), last.0.clone(), events)
    }

    /// Tells every problem.
    pub fn tell_all(&self, problems: &[Problem]) {
        (self.tell)(&problems.iter().collect::<Vec<_>>());
    }

    /// Whether it can be read only once.
    #[must_use]
    pub(in crate::control) fn reads_stdin(&self) -> bool {
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
        let source = ConfigSource {
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
