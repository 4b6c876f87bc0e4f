//! Who has an account: invited, and let go.

use axum::Form;
use axum::extract::{Path, Query, State};
use axum::response::Redirect;
use kiln_farm_api::{Name, TokenId, User, routes};
use maud::{Markup, html};
use serde::Deserialize;

use super::account::{Elsewhere, listed, logins};
use super::farm::name;
use super::layout::page;
use super::words::moment;
use super::{NoPage, Page, Visitor};
use crate::db::access::Sought;
use crate::error::Error;
use crate::farm::Farm;
use crate::http::access::unlinked;
use crate::http::caller::Person;

pub async fn show(State(farm): State<Farm>, Visitor(person): Visitor) -> Page {
    person.administers()?;
    Ok(page("People", &person, body(&farm, &person, html! {}).await?))
}

async fn body(farm: &Farm, person: &Person, told: Markup) -> Result<Markup, NoPage> {
    let users = farm.db.users().await?;
    Ok(html! {
        h1 { "People" }
        p { a href="/audit" { "Who did what" } }
        (told)
        table {
            thead { tr { th { "Name" } th { "May" } th { "Since" } th {} } }
            tbody { @for user in &users { (row(user, user.name == person.0.name)) } }
        }
        form method="post" action="/people" {
            label { "A new account's name " input name="name" required pattern="[a-z0-9][a-z0-9._\\-]{0,62}"; }
            label { input name="admin" type="checkbox" value="yes"; " administers" }
            button { "Invite" }
        }
    })
}

fn row(user: &User, own: bool) -> Markup {
    html! {
        tr {
            td { a href={ "/people/" (user.name) } { (user.name) } }
            td { @if user.admin { "everything" } @else { "what projects let them" } }
            td { (moment(user.created)) }
            td.actions {
                form method="post" action={ "/people/" (user.name) "/invite" } { button { "New link" } }
                @if !own { form method="post" action={ "/people/" (user.name) "/remove" } { button { "Remove" } } }
            }
        }
    }
}

#[derive(Debug, Deserialize)]
pub struct New {
    name: String,
    #[serde(default)]
    admin: Option<String>,
}

pub async fn make(State(farm): State<Farm>, Visitor(person): Visitor, Form(new): Form<New>) -> Page {
    person.administers()?;
    let user = farm.make_user(name(&new.name)?, None, new.admin.is_some(), person.name()).await?;
    invited(&farm, &person, &user.name).await
}

pub async fn invite(State(farm): State<Farm>, Visitor(person): Visitor, Path(user): Path<Name>) -> Page {
    person.administers()?;
    invited(&farm, &person, &user).await
}

async fn invited(farm: &Farm, person: &Person, user: &Name) -> Page {
    let invitation = farm.invite(user, person.name(), Some(person.id())).await?;
    let told = html! {
        div.told role="status" {
            p { "This link logs " strong { (user) } " in once, until " (moment(invitation.expires)) ":" }
            pre { (invitation.link) }
        }
    };
    Ok(page("People", person, body(farm, person, told).await?))
}

pub async fn remove(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Path(user): Path<Name>,
) -> Result<Redirect, NoPage> {
    person.administers()?;
    farm.drop_user(user, &person.0.name).await?;
    Ok(Redirect::to("/people"))
}

/// One account: its tokens and its logins elsewhere.
pub async fn one(State(farm): State<Farm>, Visitor(person): Visitor, Path(user): Path<Name>) -> Page {
    person.administers()?;
    let (user, _) = farm.db.user_named(user.as_str()).await?.ok_or_else(|| Error::missing("user", &user))?;
    let (tokens, at) = (farm.db.tokens(Some(user.id)).await?, format!("/people/{}", user.name));
    let identities = farm.db.identities(Some(user.id)).await?;
    let body = html! {
        h1 { (user.name) }
        p { a href={ "/audit?who=" (user.name) } { "What was done" } }
        (logins(&identities, &at))
        h2 { "Tokens" }
        @if tokens.is_empty() { p { "None." } }
        (listed(&tokens, &at))
    };
    Ok(page(user.name.as_str(), &person, body))
}

pub async fn drop_token(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Path((user, id)): Path<(Name, TokenId)>,
) -> Result<Redirect, NoPage> {
    person.administers()?;
    let (found, _) = farm.db.user_named(user.as_str()).await?.ok_or_else(|| Error::missing("user", &user))?;
    farm.drop_token(id, Some(found.id), person.name()).await?;
    Ok(Redirect::to(&format!("/people/{user}")))
}

pub async fn unlink(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Path(user): Path<Name>,
    Form(elsewhere): Form<Elsewhere>,
) -> Result<Redirect, NoPage> {
    unlinked(&farm, &person, elsewhere.of(user.clone())).await?;
    Ok(Redirect::to(&format!("/people/{user}")))
}

/// How much of the audit log a page shows.
const LINES: u32 = 100;

/// Who did what, the newest first.
pub async fn audit(State(farm): State<Farm>, Visitor(person): Visitor, Query(sought): Query<Sought>) -> Page {
    person.administers()?;
    let sought = Sought { limit: LINES, ..sought };
    let lines = farm.db.audit(&sought).await?;
    let earlier = lines.last().filter(|_| lines.len() as u32 == LINES).map(|last| {
        let said = [("who", sought.who.clone()), ("what", sought.what.clone()), ("before", last.id.to_string())];
        routes::asking("/audit".to_owned(), said.iter().filter(|(_, value)| !value.is_empty()))
    });
    let body = html! {
        h1 { "Who did what" }
        form.filter method="get" action="/audit" role="search" {
            label { "Who " input name="who" value=(sought.who); }
            label { "What " input name="what" value=(sought.what) placeholder="log in"; }
            button { "Find" }
        }
        table {
            thead { tr { th { "When" } th { "Who" } th { "What" } th { "Of what" } } }
            tbody { @for line in &lines { tr {
                td { (moment(line.at)) } td { (line.who) } td { (line.what) } td { (line.subject) }
            } } }
        }
        @if lines.is_empty() { p { "Nothing is like that." } }
        @if let Some(earlier) = earlier { p { a href=(earlier) { "Earlier" } } }
    };
    Ok(page("Who did what", &person, body))
}
