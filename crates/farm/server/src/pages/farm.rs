//! The farm: queue, nodes, projects.

use axum::Form;
use axum::extract::{Path, State};
use axum::response::Redirect;
use kiln_farm_api::{Name, NewProject, Node, NodeId, NodeState, Project, Retention, Role, TaskState};
use maud::{Markup, html};
use serde::Deserialize;

use super::layout::page;
use super::words::{moment, size, state};
use super::{NoPage, Page, Visitor};
use crate::error::Error;
use crate::farm::Farm;
use crate::http::caller::Person;

pub async fn queue(State(farm): State<Farm>, Visitor(person): Visitor) -> Page {
    let mine = person.projects(&farm).await?;
    let mut shown = vec![];
    for (at, task) in farm.db.queue().await?.into_iter().enumerate() {
        let project = farm.db.project_of(task.build).await?;
        let seen = mine.as_ref().is_none_or(|mine| mine.contains(&project));
        shown.push((at, project, task, seen));
        if shown.len() == 200 {
            break;
        }
    }
    let body = html! {
        h1 { "Queue" }
        @if shown.is_empty() { p { "Nothing waits." } } @else {
            table {
                thead { tr { th { "Place" } th { "Task" } th { "Project" } th { "Architecture" } } }
                tbody { @for (at, project, task, seen) in &shown {
                    tr {
                        td { (at + 1) }
                        @if *seen {
                            td { a href={ "/builds/" (task.build) } { (task.order.name) } }
                            td { (project) }
                        } @else { td { "somebody else's" } td {} }
                        td { @if let Some(arch) = task.order.arch { (arch.debian()) } }
                    }
                } }
            }
        }
    };
    Ok(page("Queue", &person, body))
}

pub async fn nodes(State(farm): State<Farm>, Visitor(person): Visitor) -> Page {
    Ok(page("Nodes", &person, nodes_body(&farm, &person, html! {}).await?))
}

async fn nodes_body(farm: &Farm, person: &Person, told: Markup) -> Result<Markup, NoPage> {
    let nodes = farm.db.nodes(farm.now()).await?;
    Ok(html! {
        h1 { "Nodes" }
        (told)
        table {
            thead { tr { th { "Node" } th { "State" } th { "Builds" } th { "Architectures" } th { "Can" } th { "Load" } th { "Disk free" } th { "Heard of" } th {} } }
            tbody { @for node in &nodes { (row(node, person.is_admin())) } }
        }
        @if person.is_admin() {
            form method="post" action="/nodes" {
                label { "A new node's name " input name="name" required pattern="[a-z0-9][a-z0-9._\\-]{0,62}"; }
                button { "Let it in" }
            }
        }
    })
}

fn row(node: &Node, admin: bool) -> Markup {
    html! {
        tr {
            td { (node.name) }
            td { (state(node.state.name())) @if let Some(why) = node.resources.as_ref().and_then(|has| has.refusing.as_ref()) { br; (why) } }
            @if let Some(has) = &node.resources {
                td { (node.holding.len()) " of " (has.slots) }
                td { @for (at, arch) in has.architectures.iter().enumerate() { @if at > 0 { ", " } (arch.debian()) } }
                td { (has.capabilities.iter().cloned().collect::<Vec<_>>().join(", ")) }
                td { (format!("{:.1}", has.load)) " on " (has.processors) }
                td { (size(has.disk_free)) }
            } @else { td {} td {} td {} td {} td {} }
            td { @if let Some(seen) = node.seen { (moment(seen)) } @else { "never" } }
            td.actions { @if admin {
                @if node.state != NodeState::Revoked { form method="post" action={ "/nodes/" (node.id) "/revoke" } { button { "Revoke" } } }
                @if matches!(node.state, NodeState::Revoked | NodeState::New) {
                    form method="post" action={ "/nodes/" (node.id) "/forget" } { button { "Forget" } }
                }
            } }
        }
    }
}

#[derive(Debug, Deserialize)]
pub struct Named {
    name: String,
}

pub fn name(text: &str) -> Result<Name, Error> {
    text.trim().parse().map_err(|error: kiln_farm_api::ids::NotAName| Error::bad(error.to_string()))
}

pub async fn enrol(State(farm): State<Farm>, Visitor(person): Visitor, Form(named): Form<Named>) -> Page {
    person.administers()?;
    let enrolled = farm.enrol(name(&named.name)?, person.name()).await?;
    let told = html! {
        div.told role="status" {
            p { "This is the credential of " strong { (enrolled.name) } ". It is shown once; on the node, put it into a file and run:" }
            pre { (enrolled.credential) "\n\nkiln node --server " (farm.address) " --credential-file FILE" }
        }
    };
    Ok(page("Nodes", &person, nodes_body(&farm, &person, told).await?))
}

pub async fn revoke(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Path(node): Path<NodeId>,
) -> Result<Redirect, NoPage> {
    person.administers()?;
    farm.revoke(node, person.name()).await?;
    Ok(Redirect::to("/nodes"))
}

pub async fn forget(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Path(node): Path<NodeId>,
) -> Result<Redirect, NoPage> {
    person.administers()?;
    farm.forget(node, person.name()).await?;
    Ok(Redirect::to("/nodes"))
}

pub async fn projects(State(farm): State<Farm>, Visitor(person): Visitor) -> Page {
    let mine = person.projects(&farm).await?;
    let all = farm.db.projects().await?;
    let here = all.iter().filter(|project| mine.as_ref().is_none_or(|mine| mine.contains(&project.name)));
    let queue = farm.db.queue().await?;
    let body = html! {
        h1 { "Projects" }
        p { (queue.iter().filter(|task| task.state == TaskState::Queued).count()) " tasks wait on the whole farm." }
        table {
            thead { tr { th { "Project" } th { "Who sees it" } th { "Weight" } th { "Keeps" } th { "Members" } th {} } }
            tbody { @for project in here {
                tr {
                    td { a href={ "/?project=" (project.name) } { (project.name) } }
                    td { @if project.open { "everyone here" } @else { "members" } }
                    td { (project.weight) }
                    td { (kept(&project.retention)) }
                    td { @for (at, member) in project.members.iter().enumerate() {
                        @if at > 0 { ", " } (member.user) " (" (member.role.name()) ")"
                    } }
                    td { @if person.is_admin() || owns(project, &person) {
                        a href={ "/projects/" (project.name) } { "Settings" } " "
                        a href={ "/projects/" (project.name) "/sources" } { "Sources" } " "
                        a href={ "/projects/" (project.name) "/hooks" } { "Webhooks" }
                    } }
                }
            } }
        }
        @if person.is_admin() {
            form method="post" action="/projects" {
                label { "A new project's name " input name="name" required; }
                button { "Make it" }
            }
        }
    };
    Ok(page("Projects", &person, body))
}

fn owns(project: &Project, person: &Person) -> bool {
    project.members.iter().any(|member| member.user == person.0.name && member.role == Role::Owner)
}

/// Returns what a project keeps, in words.
fn kept(rules: &Retention) -> String {
    let days = |days: u32| format!("for {days} {}", if days == 1 { "day" } else { "days" });
    let last = rules.builds.map(|builds| format!("the last {builds}"));
    let well: Vec<String> = last.into_iter().chain(rules.days.map(days)).collect();
    let failed = rules.failed_days.map(|count| format!("failed ones {}", days(count)));
    let well = (!well.is_empty()).then(|| format!("done ones {}", well.join(" or ")));
    let words: Vec<String> = well.into_iter().chain(failed).collect();
    if words.is_empty() { "everything".into() } else { words.join("; ") }
}

pub async fn make_project(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Form(named): Form<Named>,
) -> Result<Redirect, NoPage> {
    person.administers()?;
    let project = NewProject { name: name(&named.name)?, open: false, weight: None };
    farm.make_project(project, Some(person.id()), person.name()).await?;
    Ok(Redirect::to("/projects"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_in_words() {
        let cases = [
            ((None, None, None), "everything"),
            ((Some(5), None, None), "done ones the last 5"),
            ((Some(5), Some(1), Some(7)), "done ones the last 5 or for 1 day; failed ones for 7 days"),
        ];
        for ((builds, days, failed_days), wanted) in cases {
            assert_eq!(kept(&Retention { builds, days, failed_days }), wanted);
        }
    }
}
