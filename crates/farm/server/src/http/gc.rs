//! What is kept, and what goes.

use axum::Json;
use axum::extract::{Path, Query, State};
use futures_util::FutureExt as _;
use kiln_farm_api::retention::{Retention, Swept};
use kiln_farm_api::{Build, BuildId, Name, Problem, Project, Role};
use serde::Deserialize;
use utoipa::IntoParams;

use super::builds::seen;
use super::caller::Person;
use crate::error::{Error, Result};
use crate::farm::Farm;

/// Says which builds a project keeps.
#[utoipa::path(put, path = "/projects/{project}/retention", tag = "retention", params(("project" = Name, Path)), request_body = Retention,
    responses((status = 200, body = Project), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn set(
    State(farm): State<Farm>,
    person: Person,
    Path(project): Path<Name>,
    Json(rules): Json<Retention>,
) -> Result<Json<Project>> {
    person.may(&farm, &project, Role::Owner).await?;
    farm.set_retention(project.clone(), rules, person.name()).await?;
    let found = farm.db.projects().await?.into_iter().find(|one| one.name == project);
    Ok(Json(found.ok_or_else(|| Error::missing("project", project))?))
}

/// Lets a build stay whatever its project's rules say.
#[utoipa::path(post, path = "/builds/{build}/pin", tag = "retention", params(("build" = BuildId, Path)),
    responses((status = 200, body = Build), (status = 404, body = Problem)))]
pub async fn pin(State(farm): State<Farm>, person: Person, Path(id): Path<BuildId>) -> Result<Json<Build>> {
    pinned(&farm, &person, id, true).await
}

/// Lets a build go when its project's rules say so.
#[utoipa::path(post, path = "/builds/{build}/unpin", tag = "retention", params(("build" = BuildId, Path)),
    responses((status = 200, body = Build), (status = 404, body = Problem)))]
pub async fn unpin(State(farm): State<Farm>, person: Person, Path(id): Path<BuildId>) -> Result<Json<Build>> {
    pinned(&farm, &person, id, false).await
}

async fn pinned(farm: &Farm, person: &Person, id: BuildId, pinned: bool) -> Result<Json<Build>> {
    seen(farm, person, id, Role::Builder).await?;
    farm.pin(id, pinned, person.name()).await?;
    Ok(Json(farm.db.build(id, farm.now()).await?))
}

#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct How {
    /// Only to say what would go.
    pub dry_run: bool,
}

/// Removes builds that no rule keeps, and blobs that nobody needs.
#[utoipa::path(post, path = "/gc", tag = "retention", params(How),
    responses((status = 200, body = Swept), (status = 403, body = Problem), (status = 409, body = Problem)))]
pub async fn gc(State(farm): State<Farm>, person: Person, Query(how): Query<How>) -> Result<Json<Swept>> {
    person.administers()?;
    // It goes on to its end also when nobody waits for it any more.
    let by = person.name().to_owned();
    let job = tokio::spawn(async move {
        if !how.dry_run {
            let now = farm.now();
            farm.db.write(move |tx| async move { tx.note(now, &by, "gc", "").await }.boxed()).await?;
        }
        crate::gc::gc(&farm, how.dry_run).await
    });
    Ok(Json(job.await.map_err(|error| Error::failed("gc", error))??))
}
