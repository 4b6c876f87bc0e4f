//! In by a provider's door, and out of it again.

use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use maud::html;
use serde::Deserialize;
use subtle::ConstantTimeEq as _;

use super::layout::page;
use super::session::begin;
use super::{NoPage, Visitor};
use crate::error::{Error, Result};
use crate::farm::Farm;
use crate::http::caller::cookie_named;
use crate::oidc::{self, Provider};

/// What binds a login to the browser that began it.
const COOKIE: &str = "kiln_login";

fn provider(farm: &Farm) -> Result<&Provider> {
    farm.oidc.as_deref().ok_or_else(|| Error::missing("page", "of logins elsewhere"))
}

fn bound(farm: &Farm, state: &str) -> AppendHeaders<[(header::HeaderName, String); 1]> {
    let secure = if farm.address.starts_with("https:") { "; Secure" } else { "" };
    let value = format!("{COOKIE}={state}; Path=/login/oidc; HttpOnly; SameSite=Lax; Max-Age=600{secure}");
    AppendHeaders([(header::SET_COOKIE, value)])
}

/// Sends somebody there to log in.
pub async fn leave(State(farm): State<Farm>) -> Result<Response, NoPage> {
    let (state, to) = oidc::begin(&farm, provider(&farm)?, None).await?;
    Ok((bound(&farm, &state), Redirect::to(to.as_str())).into_response())
}

/// Lets somebody who is logged in open the account by the provider too. The way there is a link: pages send forms nowhere else.
pub async fn link(State(farm): State<Farm>, Visitor(person): Visitor) -> Result<Response, NoPage> {
    person.may_open_doors()?;
    let provider = provider(&farm)?;
    let (state, to) = oidc::begin(&farm, provider, Some(person.id())).await?;
    let body = html! {
        h1 { "Link " (person.name()) }
        p { "Whoever you log in as there opens this account from now on." }
        p { a href=(to) { "Log in at " (provider.settings().issuer.host_str().unwrap_or("the provider")) } }
    };
    Ok((bound(&farm, &state), page("Link", &person, body)).into_response())
}

/// What a provider sends somebody back with.
#[derive(Deserialize)]
pub struct Back {
    state: String,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    error: Option<String>,
}

pub async fn back(State(farm): State<Farm>, headers: HeaderMap, Query(back): Query<Back>) -> Result<Response, NoPage> {
    let provider = provider(&farm)?;
    let known = cookie_named(&headers, COOKIE).unwrap_or_default();
    if known.is_empty() || !bool::from(known.as_bytes().ct_eq(back.state.as_bytes())) {
        return Err(Error::forbidden("this login was begun elsewhere").hint("log in again, in one browser").into());
    }
    let Some(code) = back.code else {
        let why = back.error.unwrap_or_else(|| "no reason".into());
        return Err(Error::forbidden(format!("the provider lets nobody in: {}", why.escape_debug())).into());
    };
    let user = oidc::end(&farm, provider, &back.state, &code).await?;
    Ok(begin(&farm, user, "/").await?)
}
