//! The access log that is open, from control's side: its writer thread and the form of its lines.

use std::path::Path;
use std::sync::Arc;

use super::StartError;
use crate::observe::access_log::{AccessLog, FormatError};
use crate::observe::stats::Registry;
use crate::observe::writer::{LogSink, LogWriter};
use crate::plan::{AccessLogEncoding, ProxySettings};

/// The access log in use.
pub(super) struct OpenLog {
    pub(super) writer: LogWriter,
    pub(super) format: Arc<AccessLog>,
}

impl OpenLog {
    /// Opens the configured log, with a sink for each worker; `None` without a configured log.
    ///
    /// # Errors
    /// When its file cannot be opened, or its format is wrong.
    pub(super) fn open(
        settings: &ProxySettings,
        registry: &Registry,
    ) -> Result<(Option<Self>, Vec<LogSink>), StartError> {
        let Some(path) = &settings.access_log_file else { return Ok((None, Vec::new())) };
        let format = format(settings)?;
        let (writer, sinks) = LogWriter::start(Path::new(path), registry)
            .map_err(|error| StartError::AccessLog { path: path.clone(), error })?;
        Ok((Some(Self { writer, format }), sinks))
    }
}

/// The form of the lines of the access log.
pub(super) fn format(settings: &ProxySettings) -> Result<Arc<AccessLog>, FormatError> {
    let format = settings.access_log_format.as_deref().unwrap_or_default();
    Ok(Arc::new(match settings.access_log_encoding {
        AccessLogEncoding::Text => AccessLog::of_mesh_config(format)?,
        AccessLogEncoding::Json => AccessLog::json_of_mesh_config(format)?,
    }))
}
