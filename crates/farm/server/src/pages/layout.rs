//! What all pages have in common.

use axum::http::StatusCode;
use axum::response::IntoResponse;
use kiln_farm_api::Problem;
use maud::{DOCTYPE, Markup, html};

use crate::http::caller::Person;

/// Returns a page for somebody who is logged in.
pub fn page(title: &str, person: &Person, body: Markup) -> Markup {
    let nav = html! {
        nav aria-label="Pages" {
            a href="/" { "Builds" }
            a href="/submit" { "Submit" }
            a href="/queue" { "Queue" }
            a href="/nodes" { "Nodes" }
            a href="/projects" { "Projects" }
            @if person.is_admin() { a href="/people" { "People" } }
            a href="/account" { (person.name()) }
            form method="post" action="/logout" { button { "Log out" } }
        }
    };
    frame(title, nav, body)
}

/// Returns a page for anybody.
pub fn outside(title: &str, body: Markup) -> Markup {
    frame(title, html! {}, body)
}

fn frame(title: &str, nav: Markup, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · kiln" }
                link rel="icon" href="data:,";
                link rel="stylesheet" href="/assets/kiln.css";
                script src="/assets/kiln.js" defer {}
            }
            body {
                a.skip href="#main" { "To the content" }
                header { a.brand href="/" { "kiln" } (nav) }
                main #main { (body) }
            }
        }
    }
}

/// Returns what went wrong, as a page.
pub fn problem(problem: &Problem) -> Markup {
    let body = html! {
        h1 { (problem.status) }
        p { (problem.title) }
        @if let Some(hint) = &problem.hint { p.hint { (hint) } }
        p { a href="/" { "Builds" } }
    };
    outside(&problem.status.to_string(), body)
}

pub async fn nowhere() -> impl IntoResponse {
    let title = "there is no such page".to_owned();
    (StatusCode::NOT_FOUND, problem(&Problem { status: 404, title, hint: None, diagnostics: vec![] }))
}
