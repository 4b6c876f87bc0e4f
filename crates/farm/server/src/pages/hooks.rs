//! A project's webhooks, and what became of their deliveries.

use axum::Form;
use axum::extract::{Path, State};
use axum::response::Redirect;
use kiln_farm_api::hook::{Delivery, DeliveryState, Hook, HookEvent, NewHook};
use kiln_farm_api::{DeliveryId, HookId, Name, Role};
use maud::{Markup, html};
use serde::Deserialize;

use super::layout::page;
use super::words::{moment, state};
use super::{NoPage, Page, Visitor};
use crate::farm::Farm;

/// How many deliveries of each hook are shown.
const SHOWN: u32 = 20;

pub async fn show(State(farm): State<Farm>, Visitor(person): Visitor, Path(project): Path<Name>) -> Page {
    person.may(&farm, &project, Role::Owner).await?;
    Ok(page("Webhooks", &person, body(&farm, &project, html! {}).await?))
}

async fn body(farm: &Farm, project: &Name, told: Markup) -> Result<Markup, NoPage> {
    let mut hooks = vec![];
    for hook in farm.db.hooks(project).await? {
        let deliveries = farm.db.deliveries(project, hook.id, SHOWN).await?;
        hooks.push((hook, deliveries));
    }
    Ok(html! {
        h1 { "Webhooks of " (project) }
        (told)
        @if hooks.is_empty() { p { "Nobody is told of this project's builds." } }
        @for (hook, deliveries) in &hooks { (section(project, hook, deliveries)) }
        h2 { "One more" }
        form method="post" action={ "/projects/" (project) "/hooks" } {
            label { "Address " input name="url" type="url" required placeholder="https://…"; }
            label { input name="tasks" type="checkbox" value="yes"; " The end of every task too" }
            button { "Tell it" }
        }
    })
}

fn section(project: &Name, hook: &Hook, deliveries: &[Delivery]) -> Markup {
    let at = format!("/projects/{project}/hooks/{}", hook.id);
    html! {
        section.hook {
            h2 { code { (hook.url) } }
            p { "Since " (moment(hook.created)) ": " (hook.events.iter().map(|event| event.name()).collect::<Vec<_>>().join(", ")) "." }
            form method="post" action={ (at) "/drop" } { button { "Remove" } }
            @if !deliveries.is_empty() {
                table {
                    thead { tr { th { "Event" } th { "State" } th { "Attempts" } th { "Answer" } th { "Made" } th {} } }
                    tbody { @for delivery in deliveries { (row(&at, delivery)) } }
                }
            }
        }
    }
}

fn row(at: &str, delivery: &Delivery) -> Markup {
    html! {
        tr {
            td { details { summary { (delivery.event.name()) } pre { (delivery.body) } } }
            td { (state(delivery.state.name())) }
            td { (delivery.attempts) }
            td {
                @if let Some(status) = delivery.status { (status) }
                @if let Some(error) = &delivery.error { (error) }
            }
            td { (moment(delivery.created)) }
            td { @if delivery.state != DeliveryState::Waiting {
                form method="post" action={ (at) "/deliveries/" (delivery.id) "/again" } { button { "Once more" } }
            } }
        }
    }
}

#[derive(Debug, Deserialize)]
pub struct Wanted {
    url: String,
    #[serde(default)]
    tasks: String,
}

pub async fn make(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Path(project): Path<Name>,
    Form(wanted): Form<Wanted>,
) -> Page {
    person.may(&farm, &project, Role::Owner).await?;
    let tasks = !wanted.tasks.is_empty();
    let events = HookEvent::ALL.into_iter().filter(|event| *event == HookEvent::BuildEnded || tasks).collect();
    let new = NewHook { url: wanted.url.trim().to_owned(), events, secret: None };
    let hook = farm.make_hook(project.clone(), new, person.name()).await?;
    let told = html! {
        div.told role="status" {
            p { "Bodies are signed with this secret, which is shown once:" }
            pre { (hook.secret.unwrap_or_default()) }
        }
    };
    Ok(page("Webhooks", &person, body(&farm, &project, told).await?))
}

pub async fn forget(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Path((project, hook)): Path<(Name, HookId)>,
) -> Result<Redirect, NoPage> {
    person.may(&farm, &project, Role::Owner).await?;
    farm.drop_hook(project.clone(), hook, person.name()).await?;
    Ok(Redirect::to(&format!("/projects/{project}/hooks")))
}

pub async fn again(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Path((project, hook, delivery)): Path<(Name, HookId, DeliveryId)>,
) -> Result<Redirect, NoPage> {
    person.may(&farm, &project, Role::Owner).await?;
    farm.redeliver(project.clone(), hook, delivery, person.name()).await?;
    Ok(Redirect::to(&format!("/projects/{project}/hooks")))
}
