//! In and out.

use axum::Form;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use futures_util::FutureExt as _;
use kiln_farm_api::UserId;
use maud::{Markup, html};
use serde::Deserialize;

use super::NoPage;
use super::layout::outside;
use crate::error::{Error, Result};
use crate::farm::Farm;
use crate::http::caller::{COOKIE, cookie};
use crate::secret;

/// How long a session lasts, seconds.
const LASTS: i64 = 14 * 24 * 3600;
/// How many wrong passwords of one name are heard in how many milliseconds.
const GUESSES: (usize, i64) = (10, 60_000);

pub async fn form() -> Markup {
    login_form(None)
}

fn login_form(wrong: Option<&str>) -> Markup {
    let body = html! {
        h1 { "Log in" }
        @if let Some(wrong) = wrong { p.failure role="alert" { (wrong) } }
        form.door method="post" action="/login" {
            label { "Name " input name="name" autocomplete="username" required autofocus; }
            label { "Password " input name="password" type="password" autocomplete="current-password" required; }
            button { "Log in" }
        }
    };
    outside("Log in", body)
}

#[derive(Deserialize)]
pub struct Login {
    name: String,
    password: String,
}

pub async fn login(State(farm): State<Farm>, Form(Login { name, password }): Form<Login>) -> Result<Response, NoPage> {
    if !farm.guesses.may(&name, farm.now(), GUESSES) {
        let wrong = "too many wrong passwords for this name; wait a minute";
        return Ok((axum::http::StatusCode::TOO_MANY_REQUESTS, login_form(Some(wrong))).into_response());
    }
    let known = farm.db.user_named(&name).await?;
    let hash = known.as_ref().and_then(|(_, hash)| hash.clone());
    let right = tokio::task::spawn_blocking(move || secret::verify(&password, hash.as_deref())).await;
    match known.filter(|_| right.unwrap_or(false)) {
        Some((user, _)) => Ok(begin(&farm, user.id, "/").await?),
        None => {
            farm.guesses.wrong(&name, farm.now());
            let form = login_form(Some("name or password is wrong"));
            Ok((axum::http::StatusCode::UNAUTHORIZED, form).into_response())
        }
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

pub async fn accept(State(farm): State<Farm>, Path(secret): Path<String>) -> Result<Response, NoPage> {
    let (digest, now) = (secret::digest(&secret), farm.now());
    let user = farm.db.write(move |tx| async move { tx.accept(&digest, now).await }.boxed()).await?;
    let used = || {
        Error::missing("invitation", "of this link")
            .hint("it was used before, or is too old; the administrator makes another")
    };
    Ok(begin(&farm, user.ok_or_else(used)?, "/account").await?)
}

async fn begin(farm: &Farm, user: UserId, to: &str) -> Result<Response> {
    let (fresh, now) = (secret::fresh("")?, farm.now());
    let digest = fresh.digest;
    let job =
        farm.db.write(move |tx| async move { tx.begin_session(user, &digest, now, now + LASTS * 1000).await }.boxed());
    job.await?;
    let secure = if farm.address.starts_with("https:") { "; Secure" } else { "" };
    let value = format!("{COOKIE}={}; Path=/; HttpOnly; SameSite=Lax; Max-Age={LASTS}{secure}", fresh.secret);
    Ok((set_cookie(value), Redirect::to(to)).into_response())
}

pub async fn logout(State(farm): State<Farm>, headers: HeaderMap) -> Result<Response, NoPage> {
    if let Some(session) = cookie(&headers) {
        let digest = secret::digest(session);
        farm.db.write(move |tx| async move { tx.end_session(&digest).await }.boxed()).await?;
    }
    Ok((set_cookie(format!("{COOKIE}=; Path=/; Max-Age=0")), Redirect::to("/login")).into_response())
}

fn set_cookie(value: String) -> AppendHeaders<[(HeaderName, String); 1]> {
    AppendHeaders([(header::SET_COOKIE, value)])
}
