//! Who has an account: invited, and let go.

use axum::Form;
use axum::extract::{Path, State};
use axum::response::Redirect;
use kiln_farm_api::{Name, User};
use maud::{Markup, html};
use serde::Deserialize;

use super::farm::name;
use super::layout::page;
use super::words::moment;
use super::{NoPage, Page, Visitor};
use crate::farm::Farm;
use crate::http::caller::Person;

pub async fn show(State(farm): State<Farm>, Visitor(person): Visitor) -> Page {
    person.administers()?;
    Ok(page("People", &person, body(&farm, &person, html! {}).await?))
}

async fn body(farm: &Farm, person: &Person, told: Markup) -> Result<Markup, NoPage> {
    let users = farm.db.users().await?;
    Ok(html! {
        h1 { "People" }
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
            td { (user.name) }
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
    let invitation = farm.invite(user, person.name()).await?;
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
