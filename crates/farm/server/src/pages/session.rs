//! In and out.

use axum::Form;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use futures_util::FutureExt as _;
use kiln_farm_api::{Name, UserId};
use maud::{Markup, html};
use serde::Deserialize;

use super::NoPage;
use super::layout::outside;
use crate::error::{Error, Result};
use crate::farm::Farm;
use crate::http::caller::{COOKIE, OwnForm, cookie};
use crate::secret;

/// How long a session lasts, seconds.
const LASTS: i64 = 14 * 24 * 3600;

pub async fn form(State(farm): State<Farm>) -> Markup {
    login_form(&farm, None)
}

fn login_form(farm: &Farm, wrong: Option<&str>) -> Markup {
    let body = html! {
        h1 { "Log in" }
        @if let Some(wrong) = wrong { p.failure role="alert" { (wrong) } }
        form.door method="post" action="/login" {
            label { "Name " input name="name" autocomplete="username" required autofocus; }
            label { "Password " input name="password" type="password" autocomplete="current-password" required; }
            button { "Log in" }
        }
        @if let Some(provider) = &farm.oidc {
            p { a href="/login/oidc" { "Log in at " (provider.settings().issuer.host_str().unwrap_or("the provider")) } }
        }
    };
    outside("Log in", body)
}

#[derive(Deserialize)]
pub struct Login {
    name: String,
    password: String,
}

pub async fn login(
    State(farm): State<Farm>,
    OwnForm: OwnForm,
    Form(Login { name, password }): Form<Login>,
) -> Result<Response, NoPage> {
    let known = match name.parse::<Name>() {
        Ok(name) => farm.db.user_named(name.as_str()).await?,
        Err(_) => None,
    };
    let whose = known.as_ref().map_or("", |(user, _)| user.name.as_str());
    let hash = known.as_ref().and_then(|(_, hash)| hash.clone());
    match farm.guesses.verify(&farm, &name, password, hash).await {
        Ok(true) => {
            let (user, _) = known.ok_or_else(Error::stranger)?;
            Ok(begin(&farm, user.id, "/").await?)
        }
        Ok(false) => {
            // Of somebody who is nobody too: else one could tell by the time it takes. What was typed as a name may be a password.
            let (who, now) = (whose.to_owned(), farm.now());
            if farm.guesses.is_noted(now) {
                farm.db.write(move |tx| async move { tx.note(now, &who, "wrong password", "").await }.boxed()).await?;
            }
            let form = login_form(&farm, Some("name or password is wrong"));
            Ok((StatusCode::UNAUTHORIZED, form).into_response())
        }
        Err(Error::Refused(problem)) => {
            Ok((StatusCode::TOO_MANY_REQUESTS, login_form(&farm, Some(&problem.title))).into_response())
        }
        Err(failed) => Err(failed.into()),
    }
}

/// Shows a button: what looks at links before people do must not use the invitation up.
pub async fn welcome(Path(secret): Path<String>) -> Markup {
    let body = html! {
        h1 { "Welcome" }
        p { "This link logs in once." }
        form method="post" action={ "/welcome/" (secret) } { button autofocus { "Log in" } }
    };
    outside("Welcome", body)
}

pub async fn accept(
    State(farm): State<Farm>,
    OwnForm: OwnForm,
    Path(secret): Path<String>,
) -> Result<Response, NoPage> {
    let (digest, now) = (secret::digest(&secret), farm.now());
    let user = farm.db.write(move |tx| async move { tx.accept(&digest, now).await }.boxed()).await?;
    let used = || {
        Error::missing("invitation", "of this link")
            .hint("it was used before, or is too old; the administrator makes another")
    };
    Ok(begin(&farm, user.ok_or_else(used)?, "/account").await?)
}

pub async fn begin(farm: &Farm, user: UserId, to: &str) -> Result<Response> {
    let (fresh, now) = (secret::fresh("")?, farm.now());
    let digest = fresh.digest;
    let job =
        farm.db.write(move |tx| async move { tx.begin_session(user, &digest, now, now + LASTS * 1000).await }.boxed());
    job.await?;
    let secure = if farm.address.starts_with("https:") { "; Secure" } else { "" };
    let value = format!("{COOKIE}={}; Path=/; HttpOnly; SameSite=Lax; Max-Age={LASTS}{secure}", fresh.secret);
    Ok((set_cookie(value), Redirect::to(to)).into_response())
}

pub async fn logout(State(farm): State<Farm>, OwnForm: OwnForm, headers: HeaderMap) -> Result<Response, NoPage> {
    if let Some(session) = cookie(&headers) {
        let (digest, now) = (secret::digest(session), farm.now());
        farm.db.write(move |tx| async move { tx.end_session(&digest, now).await }.boxed()).await?;
    }
    Ok((set_cookie(format!("{COOKIE}=; Path=/; Max-Age=0")), Redirect::to("/login")).into_response())
}

fn set_cookie(value: String) -> AppendHeaders<[(HeaderName, String); 1]> {
    AppendHeaders([(header::SET_COOKIE, value)])
}
