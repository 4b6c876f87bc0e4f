//! Why a request is refused, or why the server cannot answer it.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use kiln_farm_api::Problem;

/// A refusal, which its asker is told, or a failure of the server, which its operator is told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}", .0.title)]
    Refused(Problem),
    /// Not now, but in so many seconds.
    #[error("{}", .problem.title)]
    Busy { problem: Problem, seconds: u64 },
    #[error("{doing}")]
    Failed { doing: String, source: Box<dyn std::error::Error + Send + Sync> },
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Refuses with a status and one line.
    pub fn refused(status: StatusCode, title: impl Into<String>) -> Self {
        let title = title.into();
        Self::Refused(Problem { status: status.as_u16(), title, hint: None, diagnostics: vec![] })
    }

    pub fn bad(title: impl Into<String>) -> Self {
        Self::refused(StatusCode::BAD_REQUEST, title)
    }

    pub fn missing(what: &str, name: impl std::fmt::Display) -> Self {
        Self::refused(StatusCode::NOT_FOUND, format!("there is no {what} `{name}`"))
    }

    pub fn conflict(title: impl Into<String>) -> Self {
        Self::refused(StatusCode::CONFLICT, title)
    }

    pub fn forbidden(title: impl Into<String>) -> Self {
        Self::refused(StatusCode::FORBIDDEN, title)
    }

    /// Refuses who is to ask again in so many seconds.
    pub fn busy(seconds: u64, title: impl Into<String>) -> Self {
        let (status, title) = (StatusCode::TOO_MANY_REQUESTS.as_u16(), title.into());
        Self::Busy { problem: Problem { status, title, hint: None, diagnostics: vec![] }, seconds }
    }

    pub fn stranger() -> Self {
        let fault = Self::refused(StatusCode::UNAUTHORIZED, "who asks is not known here");
        fault.hint("send `Authorization: Bearer TOKEN` with a token that is neither expired nor revoked, or log in")
    }

    /// Adds the way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Self::Refused(problem) | Self::Busy { problem, .. } = &mut self {
            problem.hint = Some(hint.into());
        }
        self
    }

    pub fn failed(doing: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failed { doing: doing.into(), source: source.into() }
    }

    /// Returns when it is to be asked again, in seconds.
    pub fn later(&self) -> Option<HeaderValue> {
        if let Self::Busy { seconds, .. } = self { Some(HeaderValue::from(*seconds)) } else { None }
    }

    /// Returns what the asker is told.
    pub fn problem(self) -> Problem {
        match self {
            Self::Refused(problem) | Self::Busy { problem, .. } => problem,
            Self::Failed { .. } => {
                tracing::error!("{}", chain(&self));
                let title = "the server could not do it; its log says why".to_owned();
                Problem { status: 500, title, hint: None, diagnostics: vec![] }
            }
        }
    }
}

/// Returns an error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::failed("ask the database", error)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let later = self.later();
        let problem = self.problem();
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(problem)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        later.into_iter().for_each(|later| drop(response.headers_mut().insert(header::RETRY_AFTER, later)));
        response
    }
}
