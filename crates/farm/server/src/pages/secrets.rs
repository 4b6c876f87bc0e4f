//! A project's secrets: set here, shown nowhere.

use axum::Form;
use axum::extract::{Path, State};
use axum::response::Redirect;
use kiln_farm_api::secret::Value;
use kiln_farm_api::{Name, Role, Secret, Variable, ids};
use maud::{Markup, html};
use serde::Deserialize;

use super::words::moment;
use super::{NoPage, Visitor};
use crate::error::Error;
use crate::farm::Farm;

/// The part of the project's page at `at`.
pub fn shown(at: &str, secrets: &[Secret]) -> Markup {
    html! {
        h2 #secrets { "Secrets" }
        p { "What a recipe lets come from environment variables: " code { "[secrets]" } ". A value is shown to nobody once it is set, and goes to \
            the nodes that build with it. Who may build here may put it into an image." }
        @if !secrets.is_empty() {
            table {
                thead { tr { th { "Name" } th { "Set" } th { "By" } th {} } }
                tbody { @for secret in secrets { tr {
                    td { code { (secret.name) } @if secret.unreadable { br; span.failure { "kept with a key this server has not; set it again" } } }
                    td { (moment(secret.changed)) }
                    td { (secret.by) }
                    td { form method="post" action={ (at) "/secrets/" (secret.name) "/drop" } { button { "Remove" } } }
                } } }
            }
        }
        form method="post" action={ (at) "/secrets" } {
            label { "Variable " input name="name" required pattern="[A-Za-z_][A-Za-z0-9_]*" placeholder="WIFI_PSK" autocomplete="off" spellcheck="false"; }
            label { "Value " textarea name="value" rows="1" required autocomplete="off" spellcheck="false" {} }
            button { "Set" }
        }
    }
}

#[derive(Deserialize)]
pub struct Wanted {
    name: String,
    value: Value,
}

pub async fn set(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Path(project): Path<Name>,
    Form(wanted): Form<Wanted>,
) -> Result<Redirect, NoPage> {
    person.may(&farm, &project, Role::Owner).await?;
    let name: Variable =
        wanted.name.trim().parse().map_err(|error: ids::NotAVariable| Error::bad(error.to_string()))?;
    farm.set_secret(project.clone(), name, as_typed(wanted.value), person.name()).await?;
    Ok(Redirect::to(&format!("/projects/{project}#secrets")))
}

/// Returns what was typed, with the line ends of files: browsers send others.
fn as_typed(Value(text): Value) -> Value {
    Value(text.replace("\r\n", "\n"))
}

pub async fn forget(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Path((project, name)): Path<(Name, Variable)>,
) -> Result<Redirect, NoPage> {
    person.may(&farm, &project, Role::Owner).await?;
    farm.drop_secret(project.clone(), name, person.name()).await?;
    Ok(Redirect::to(&format!("/projects/{project}#secrets")))
}
