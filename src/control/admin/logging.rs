//! `/logging`: the levels of the process's own log.

use super::State;
use crate::control::logging::{self, LoggingError};
use crate::http::head::Method;
use crate::httpd::{Plus, Request, Response};

const USAGE: &str = "usage: /logging?<name>=<level> (change single level)\n\
                     usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)\n\
                     usage: /logging?level=<level> (change all levels)\n\
                     levels: trace debug info warning error critical off \n";

pub(super) fn logging(request: &Request, _: &State) -> Result<Response, Response> {
    if request.method == Method::Post {
        let settings = settings(request).and_then(|settings| match settings.as_slice() {
            [] => Ok(()),
            some => logging::change(some),
        });
        settings.map_err(refusal)?;
    }
    logging::show().map(|text| Response::text(200, text)).map_err(refusal)
}

/// Logger and level of each argument.
fn settings(request: &Request) -> Result<Vec<(String, String)>, LoggingError> {
    let mut settings = Vec::new();
    for (name, value) in request.arguments(Plus::Itself) {
        if name == "paths" {
            for pair in value.split(',') {
                let (logger, level) = pair.split_once(':').ok_or(LoggingError::Level)?;
                settings.push((logger.to_owned(), level.to_owned()));
            }
        } else {
            settings.push((name, value));
        }
    }
    Ok(settings)
}

fn refusal(error: LoggingError) -> Response {
    match error {
        LoggingError::NotStarted => Response::text(503, format!("error: {error}\n")),
        LoggingError::Logger | LoggingError::Level => {
            let levels = logging::show().unwrap_or_default();
            Response::text(400, format!("error: {error}\n\n{USAGE}{levels}"))
        }
    }
}
