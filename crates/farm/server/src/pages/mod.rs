//! Web pages: what the API says, for people. They work without script; with it they are live.

mod account;
mod build;
mod builds;
mod content;
mod farm;
mod hooks;
mod layout;
mod oidc;
mod people;
mod project;
mod repeats;
mod schedules;
mod secrets;
mod session;
mod sources;
mod submit;
mod words;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::db::access::By;
use crate::error::Error;
use crate::farm::Farm;
use crate::http::caller::Person;

/// Returns the pages.
pub fn router() -> Router<Farm> {
    Router::new()
        .route("/", get(builds::list))
        .route("/builds/{build}", get(build::show))
        .route("/builds/{build}/summary", get(build::summary))
        .route("/builds/{build}/cancel", post(build::cancel))
        .route("/builds/{build}/retry", post(build::retry))
        .route("/builds/{build}/pin", post(build::pin))
        .route("/builds/{build}/unpin", post(build::unpin))
        .route("/builds/{build}/packages/{name}", get(content::packages))
        .route("/builds/{build}/contents/{name}", get(content::contents))
        .route("/builds/{build}/console/{name}", get(content::console))
        .route("/submit", get(submit::form).post(submit::submit))
        .route("/queue", get(farm::queue))
        .route("/nodes", get(farm::nodes).post(farm::enrol))
        .route("/nodes/{node}/revoke", post(farm::revoke))
        .route("/nodes/{node}/forget", post(farm::forget))
        .route("/projects", get(farm::projects).post(farm::make_project))
        .route("/projects/{project}", get(project::show).post(project::change))
        .route("/projects/{project}/members", post(project::join))
        .route("/projects/{project}/members/{user}/leave", post(project::leave))
        .route("/projects/{project}/retention", post(project::keep))
        .route("/projects/{project}/secrets", post(secrets::set))
        .route("/projects/{project}/secrets/{name}/drop", post(secrets::forget))
        .route("/projects/{project}/schedules", post(repeats::make))
        .route("/projects/{project}/schedules/{schedule}/enable", post(repeats::enable))
        .route("/projects/{project}/schedules/{schedule}/drop", post(repeats::forget))
        .route("/projects/{project}/hooks", get(hooks::show).post(hooks::make))
        .route("/projects/{project}/hooks/{hook}/drop", post(hooks::forget))
        .route("/projects/{project}/hooks/{hook}/deliveries/{delivery}/again", post(hooks::again))
        .route("/people", get(people::show).post(people::make))
        .route("/people/{user}", get(people::one))
        .route("/people/{user}/tokens/{token}/drop", post(people::drop_token))
        .route("/people/{user}/unlink", post(people::unlink))
        .route("/audit", get(people::audit))
        .route("/people/{user}/invite", post(people::invite))
        .route("/people/{user}/remove", post(people::remove))
        .route("/projects/{project}/sources", get(sources::show).post(sources::make))
        .route("/projects/{project}/sources/{source}/drop", post(sources::forget))
        .route("/projects/{project}/sources/{source}/build", post(sources::build))
        .route("/projects/{project}/sources/{source}/schedules", post(schedules::make))
        .route("/projects/{project}/sources/{source}/schedules/{schedule}/enable", post(schedules::enable))
        .route("/projects/{project}/sources/{source}/schedules/{schedule}/drop", post(schedules::forget))
        .route("/account", get(account::show))
        .route("/account/password", post(account::password))
        .route("/account/tokens", post(account::make_token))
        .route("/account/tokens/{token}/drop", post(account::drop_token))
        .route("/account/unlink", post(account::unlink))
        .route("/account/oidc", post(oidc::link))
        .route("/login/oidc", get(oidc::leave))
        .route("/login/oidc/back", get(oidc::back))
        .route("/login", get(session::form).post(session::login))
        .route("/welcome/{secret}", get(session::welcome).post(session::accept))
        .route("/logout", post(session::logout))
        .route("/assets/kiln.css", get(|| asset("text/css; charset=utf-8", include_str!("../../assets/kiln.css"))))
        .route("/assets/kiln.js", get(|| asset("text/javascript; charset=utf-8", include_str!("../../assets/kiln.js"))))
        .fallback(layout::nowhere)
}

async fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], text)
}

/// Why there is no page: told on one, and to strangers by the way to the door.
pub struct NoPage(Error);

impl<E: Into<Error>> From<E> for NoPage {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for NoPage {
    fn into_response(self) -> Response {
        let later = self.0.later();
        let problem = self.0.problem();
        if problem.status == StatusCode::UNAUTHORIZED.as_u16() {
            return axum::response::Redirect::to("/login").into_response();
        }
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, layout::problem(&problem)).into_response();
        later.into_iter().for_each(|later| drop(response.headers_mut().insert(header::RETRY_AFTER, later)));
        response
    }
}

/// A person who looks at pages; a stranger is led to the door.
pub struct Visitor(pub Person);

impl FromRequestParts<Farm> for Visitor {
    type Rejection = NoPage;

    async fn from_request_parts(parts: &mut Parts, farm: &Farm) -> Result<Self, NoPage> {
        let person = Person::from_request_parts(parts, farm).await?;
        if person.0.by != By::Session && !matches!(parts.method, Method::GET | Method::HEAD) {
            return Err(Error::forbidden("pages are changed by who is logged in; programs ask `/api/v1`").into());
        }
        Ok(Self(person))
    }
}

type Page = Result<maud::Markup, NoPage>;
