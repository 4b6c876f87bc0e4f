//! People, projects, tokens, and the audit log.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use kiln_farm_api::access::{ChangedProject, Identity, Invitation, Member};
use kiln_farm_api::{Name, NewProject, NewToken, NewUser, Problem, Project, Role, Scope, Token, TokenId, User, UserId};
use serde::Deserialize;
use utoipa::IntoParams;

use super::caller::Person;
use crate::db::access::{Audited, By, Sought};
use crate::error::{Error, Result};
use crate::farm::Farm;
use crate::secret;

/// Says who asks.
#[utoipa::path(get, path = "/me", tag = "access", responses((status = 200, body = User)))]
pub async fn me(State(farm): State<Farm>, person: Person) -> Result<Json<User>> {
    let known = farm.db.user_named(person.name()).await?;
    Ok(Json(known.ok_or_else(Error::stranger)?.0))
}

/// Lists the projects this person may see.
#[utoipa::path(get, path = "/projects", tag = "access", responses((status = 200, body = Vec<Project>)))]
pub async fn projects(State(farm): State<Farm>, person: Person) -> Result<Json<Vec<Project>>> {
    let mine = person.projects(&farm).await?;
    let all = farm.db.projects().await?;
    let seen = all.into_iter().filter(|project| mine.as_ref().is_none_or(|mine| mine.contains(&project.name)));
    Ok(Json(seen.collect()))
}

/// Makes a project; who makes it owns it.
#[utoipa::path(post, path = "/projects", tag = "access", request_body = NewProject,
    responses((status = 201, body = Project), (status = 403, body = Problem), (status = 409, body = Problem)))]
pub async fn make_project(
    State(farm): State<Farm>,
    person: Person,
    Json(new): Json<NewProject>,
) -> Result<(StatusCode, Json<Project>)> {
    person.administers()?;
    let name = new.name.clone();
    farm.make_project(new, Some(person.id()), person.name()).await?;
    let found = farm.db.projects().await?.into_iter().find(|project| project.name == name);
    Ok((StatusCode::CREATED, Json(found.ok_or_else(|| Error::missing("project", name))?)))
}

/// Gives a user a role in a project.
#[utoipa::path(put, path = "/projects/{project}/members", tag = "access", params(("project" = Name, Path)), request_body = Member,
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn join(
    State(farm): State<Farm>,
    person: Person,
    Path(project): Path<Name>,
    Json(member): Json<Member>,
) -> Result<StatusCode> {
    change_member(&farm, &person, project, &member.user, Some(member.role)).await
}

/// Takes a user's role in a project away.
#[utoipa::path(delete, path = "/projects/{project}/members/{user}", tag = "access",
    params(("project" = Name, Path), ("user" = Name, Path)),
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn leave(
    State(farm): State<Farm>,
    person: Person,
    Path((project, user)): Path<(Name, Name)>,
) -> Result<StatusCode> {
    change_member(&farm, &person, project, &user, None).await
}

/// Gives a user a role in a project, or takes it away, as one of its owners may.
pub async fn change_member(
    farm: &Farm,
    person: &Person,
    project: Name,
    user: &Name,
    role: Option<Role>,
) -> Result<StatusCode> {
    person.may(farm, &project, Role::Owner).await?;
    let (found, _) = farm.db.user_named(user.as_str()).await?.ok_or_else(|| Error::missing("user", user))?;
    farm.join(project, found.id, role, person.name()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the users.
#[utoipa::path(get, path = "/users", tag = "access", responses((status = 200, body = Vec<User>), (status = 403, body = Problem)))]
pub async fn users(State(farm): State<Farm>, person: Person) -> Result<Json<Vec<User>>> {
    person.administers()?;
    Ok(Json(farm.db.users().await?))
}

/// Makes an account.
#[utoipa::path(post, path = "/users", tag = "access", request_body = NewUser,
    responses((status = 201, body = User), (status = 400, body = Problem), (status = 409, body = Problem)))]
pub async fn make_user(
    State(farm): State<Farm>,
    person: Person,
    Json(new): Json<NewUser>,
) -> Result<(StatusCode, Json<User>)> {
    person.administers()?;
    let NewUser { name, password, admin } = new;
    let password = match password {
        Some(password) => Some(hashed(password).await?),
        None => None,
    };
    Ok((StatusCode::CREATED, Json(farm.make_user(name, password, admin, person.name()).await?)))
}

/// Makes a link that logs a user in once, within a day.
#[utoipa::path(post, path = "/users/{user}/invitation", tag = "access", params(("user" = Name, Path)),
    responses((status = 201, body = Invitation), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn invite(
    State(farm): State<Farm>,
    person: Person,
    Path(user): Path<Name>,
) -> Result<(StatusCode, Json<Invitation>)> {
    person.administers()?;
    person.may_open_doors()?;
    Ok((StatusCode::CREATED, Json(farm.invite(&user, person.name(), Some(person.id())).await?)))
}

/// Removes an account with its tokens, sessions and places in projects; what it submitted stays.
#[utoipa::path(delete, path = "/users/{user}", tag = "access", params(("user" = Name, Path)),
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn drop_user(State(farm): State<Farm>, person: Person, Path(user): Path<Name>) -> Result<StatusCode> {
    person.administers()?;
    farm.drop_user(user, &person.0.name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Hashes a password where it holds up nobody.
pub async fn hashed(password: String) -> Result<String> {
    let hashed = tokio::task::spawn_blocking(move || secret::hash(&password)).await;
    hashed.map_err(|error| Error::failed("hash a password", error))?
}

/// Whose is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Whose {
    /// A user's, which administrators may ask for; else one's own.
    user: Option<Name>,
}

impl Whose {
    async fn id(&self, farm: &Farm, person: &Person) -> Result<UserId> {
        let Some(name) = self.user.as_ref().filter(|name| **name != person.0.name) else { return Ok(person.id()) };
        person.administers()?;
        let (user, _) = farm.db.user_named(name.as_str()).await?.ok_or_else(|| Error::missing("user", name))?;
        Ok(user.id)
    }
}

/// Lists tokens, without their secrets.
#[utoipa::path(get, path = "/tokens", tag = "access", params(Whose),
    responses((status = 200, body = Vec<Token>), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn tokens(State(farm): State<Farm>, person: Person, Query(whose): Query<Whose>) -> Result<Json<Vec<Token>>> {
    Ok(Json(farm.db.tokens(Some(whose.id(&farm, &person).await?)).await?))
}

/// Lists by whom at providers of logins an account is opened.
#[utoipa::path(get, path = "/identities", tag = "access", params(Whose),
    responses((status = 200, body = Vec<Identity>), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn identities(
    State(farm): State<Farm>,
    person: Person,
    Query(whose): Query<Whose>,
) -> Result<Json<Vec<Identity>>> {
    Ok(Json(farm.db.identities(Some(whose.id(&farm, &person).await?)).await?))
}

/// Lets somebody at a provider open an account no more; its sessions end.
#[utoipa::path(delete, path = "/identities", tag = "access", request_body = Identity,
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn unlink(State(farm): State<Farm>, person: Person, Json(identity): Json<Identity>) -> Result<StatusCode> {
    unlinked(&farm, &person, identity).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Does so for who owns the account, and for administrators.
pub async fn unlinked(farm: &Farm, person: &Person, identity: Identity) -> Result<()> {
    person.may_open_doors()?;
    if identity.user != person.0.name {
        person.administers()?;
    }
    farm.unlink(identity, person.name()).await
}

/// Changes a project: who sees it, and its share of the farm.
#[utoipa::path(put, path = "/projects/{project}", tag = "access", params(("project" = Name, Path)), request_body = ChangedProject,
    responses((status = 204), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn change_project(
    State(farm): State<Farm>,
    person: Person,
    Path(project): Path<Name>,
    Json(change): Json<ChangedProject>,
) -> Result<StatusCode> {
    changed(&farm, &person, project, change).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Does so for its owners; its share is for administrators.
pub async fn changed(farm: &Farm, person: &Person, project: Name, change: ChangedProject) -> Result<()> {
    person.may(farm, &project, Role::Owner).await?;
    if change.weight.is_some() {
        person.administers()?;
    }
    farm.change_project(project, change, person.name()).await
}

/// Makes a token; its secret is in the answer and nowhere else.
#[utoipa::path(post, path = "/tokens", tag = "access", request_body = NewToken,
    responses((status = 201, body = Token), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub async fn make_token(
    State(farm): State<Farm>,
    person: Person,
    Json(new): Json<NewToken>,
) -> Result<(StatusCode, Json<Token>)> {
    Ok((StatusCode::CREATED, Json(token_for(&farm, &person, new).await?)))
}

/// Makes a token that allows no more than what its maker may.
pub async fn token_for(farm: &Farm, person: &Person, new: NewToken) -> Result<Token> {
    person.may_open_doors()?;
    let has = person.0.scopes.iter().max().copied().unwrap_or(Scope::Read);
    if let Some(more) = new.scopes.iter().find(|scope| **scope > has) {
        return Err(Error::forbidden(format!("who asks has no scope `{}` to give away", more.name())));
    }
    let odd = new.name.is_empty() || new.name.chars().count() > 100 || new.name.contains(char::is_control);
    if new.scopes.is_empty() || odd {
        let why = "a token has a name of 1 to 100 characters, none of them a control character, and at least one scope";
        return Err(Error::bad(why));
    }
    let lasts = match person.0.by {
        // Not longer than the one that makes it.
        By::Token { expires: Some(expires) } => {
            let left = expires.saturating_sub(farm.now()).max(0) as u64 / 1000;
            Some(new.lasts.map_or(left, |lasts| lasts.min(left)))
        }
        By::Token { expires: None } | By::Session => new.lasts,
    };
    farm.make_token(person.id(), &person.0.name, new.name, new.scopes, lasts).await
}

/// Takes a token back.
#[utoipa::path(delete, path = "/tokens/{token}", tag = "access", params(("token" = TokenId, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
pub async fn drop_token(State(farm): State<Farm>, person: Person, Path(id): Path<TokenId>) -> Result<StatusCode> {
    person.may_open_doors()?;
    let owner = if person.is_admin() { None } else { Some(person.id()) };
    farm.drop_token(id, owner, person.name()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Shows who did what, the newest first.
#[utoipa::path(get, path = "/audit", tag = "access", params(Sought),
    responses((status = 200, body = Vec<Audited>), (status = 403, body = Problem)))]
pub async fn audit(
    State(farm): State<Farm>,
    person: Person,
    Query(sought): Query<Sought>,
) -> Result<Json<Vec<Audited>>> {
    person.administers()?;
    let limit = sought.limit.clamp(1, 500);
    Ok(Json(farm.db.audit(&Sought { limit, ..sought }).await?))
}
