//! Sources of projects, and what forges say of them.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use kiln_farm_api::source::{NewPush, NewSource, Push, Source, Told};
use kiln_farm_api::{Name, Problem, Role, SourceId};

use super::caller::Person;
use crate::decide::push::{Verdict, judge};
use crate::error::{Error, Result};
use crate::farm::Farm;
use crate::seals::Whose;

/// How many pushes are shown.
pub const SHOWN: u32 = 100;

/// Lists a project's sources.
#[utoipa::path(get, path = "/projects/{project}/sources", tag = "sources", params(("project" = Name, Path)),
    responses((status = 200, body = Vec<Source>), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn list(State(farm): State<Farm>, person: Person, Path(project): Path<Name>) -> Result<Json<Vec<Source>>> {
    person.may(&farm, &project, Role::Owner).await?;
    Ok(Json(farm.db.sources(&project).await?))
}

/// Makes a source; its secret is in the answer and nowhere else.
#[utoipa::path(post, path = "/projects/{project}/sources", tag = "sources", params(("project" = Name, Path)), request_body = NewSource,
    responses((status = 201, body = Source), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub async fn make(
    State(farm): State<Farm>,
    person: Person,
    Path(project): Path<Name>,
    Json(new): Json<NewSource>,
) -> Result<(StatusCode, Json<Source>)> {
    person.may(&farm, &project, Role::Owner).await?;
    let source = farm.make_source(project, new, person.id(), &person.0.name).await?;
    Ok((StatusCode::CREATED, Json(source)))
}

/// Removes a source with what it was told; its builds stay.
#[utoipa::path(delete, path = "/projects/{project}/sources/{source}", tag = "sources",
    params(("project" = Name, Path), ("source" = SourceId, Path)),
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn forget(
    State(farm): State<Farm>,
    person: Person,
    Path((project, source)): Path<(Name, SourceId)>,
) -> Result<StatusCode> {
    person.may(&farm, &project, Role::Owner).await?;
    farm.drop_source(project, source, person.name()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Shows what a source was told last, the newest first.
#[utoipa::path(get, path = "/projects/{project}/sources/{source}/pushes", tag = "sources",
    params(("project" = Name, Path), ("source" = SourceId, Path)),
    responses((status = 200, body = Vec<Push>), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn pushes(
    State(farm): State<Farm>,
    person: Person,
    Path((project, source)): Path<(Name, SourceId)>,
) -> Result<Json<Vec<Push>>> {
    person.may(&farm, &project, Role::Viewer).await?;
    let kept = farm.db.source_of(&project, source).await?;
    Ok(Json(farm.db.pushes(kept.source.id, SHOWN).await?))
}

/// Builds all of a source's recipes as they are on a branch.
#[utoipa::path(post, path = "/projects/{project}/sources/{source}/pushes", tag = "sources",
    params(("project" = Name, Path), ("source" = SourceId, Path)), request_body = NewPush,
    responses((status = 202, body = Told), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn build(
    State(farm): State<Farm>,
    person: Person,
    Path((project, source)): Path<(Name, SourceId)>,
    Json(NewPush { branch }): Json<NewPush>,
) -> Result<(StatusCode, Json<Told>)> {
    person.may(&farm, &project, Role::Builder).await?;
    let kept = farm.db.source_of(&project, source).await?;
    Ok((StatusCode::ACCEPTED, Json(farm.build_source(kept.source.id, branch, person.name()).await?)))
}

/// Takes the word of a forge that something was pushed: in the format of GitHub, GitLab, or Gitea and Forgejo, signed with the
/// source's secret.
#[utoipa::path(post, path = "/projects/{project}/sources/{source}/push", tag = "sources",
    params(("project" = Name, Path), ("source" = SourceId, Path)),
    request_body(content = Object, content_type = "application/json"),
    responses((status = 202, body = Told), (status = 200, body = Told, description = "nothing is to be built"),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn push(
    State(farm): State<Farm>,
    Path((project, source)): Path<(Name, SourceId)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<Told>)> {
    let kept = farm.db.source_of(&project, source).await?;
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let secret = Whose::Source(source).open(&farm.vault, &kept.secret)?;
    match judge(header, &body, &secret, &kept.source.branches) {
        Verdict::Refuse => {
            let why = Error::refused(StatusCode::UNAUTHORIZED, "this is not signed with the source's secret");
            Err(why.hint("give the forge the secret that was shown when the source was made"))
        }
        Verdict::Garbled(why) => Err(Error::bad(why)),
        Verdict::Ignore(why) => Ok((StatusCode::OK, Json(Told { push: None, ignored: Some(why) }))),
        Verdict::Build { branch, commit, base } => {
            let push = farm.pushed(source, branch, commit, base).await?;
            Ok((StatusCode::ACCEPTED, Json(Told { push: Some(push), ignored: None })))
        }
    }
}
