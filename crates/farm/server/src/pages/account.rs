//! One's own account: password and tokens.

use axum::Form;
use axum::extract::{Path, State};
use axum::response::Redirect;
use futures_util::FutureExt as _;
use kiln_farm_api::access::Identity;
use kiln_farm_api::{Name, NewToken, Scope, Token, TokenId};
use maud::{Markup, html};
use serde::Deserialize;

use super::layout::page;
use super::words::moment;
use super::{NoPage, Page, Visitor};
use crate::error::Error;
use crate::farm::Farm;
use crate::http::access::{hashed, token_for, unlinked};
use crate::http::caller::Person;

pub async fn show(State(farm): State<Farm>, Visitor(person): Visitor) -> Page {
    Ok(page("Account", &person, body(&farm, &person, html! {}).await?))
}

async fn body(farm: &Farm, person: &Person, told: Markup) -> Result<Markup, NoPage> {
    let tokens = farm.db.tokens(Some(person.id())).await?;
    let without = farm.db.user_named(person.name()).await?.is_some_and(|(_, password)| password.is_none());
    Ok(html! {
        h1 { (person.name()) }
        (told)
        @if without { p.told role="status" { "This account has no password yet: without one nobody can log in again." } }
        h2 { "Password" }
        form method="post" action="/account/password" {
            // For those who keep passwords: whose it is.
            input type="text" name="name" value=(person.name()) autocomplete="username" hidden;
            @if !without { label { "Password until now " input name="before" type="password" required autocomplete="current-password"; } }
            label { "New password " input name="password" type="password" minlength="10" required autocomplete="new-password"; }
            button { "Change it" }
        }
        @if let Some(provider) = &farm.oidc {
            form method="post" action="/account/oidc" {
                button { "Let me log in at " (provider.settings().issuer.host_str().unwrap_or("the provider")) " too" }
            }
        }
        (logins(&farm.db.identities(Some(person.id())).await?, "/account"))
        h2 { "Tokens" }
        (listed(&tokens, "/account"))
        form method="post" action="/account/tokens" {
            label { "Name " input name="name" required maxlength="100"; }
            label { "Allows " select name="scope" { @for scope in Scope::ALL { option value=(scope.name()) selected[scope == Scope::Submit] { (scope.name()) } } } }
            label { "For " select name="days" { option value="30" { "30 days" } option value="365" { "a year" } option value="" { "ever" } } }
            button { "Make a token" }
        }
    })
}

/// Shows tokens, and buttons that take them back: under the address of whose they are.
pub fn listed(tokens: &[Token], at: &str) -> Markup {
    html! {
        @if !tokens.is_empty() {
            table {
                thead { tr { th { "Token" } th { "Allows" } th { "Made" } th { "Ends" } th {} } }
                tbody { @for token in tokens {
                    tr {
                        td { (token.name) }
                        td { (token.scopes.iter().map(|scope| scope.name()).collect::<Vec<_>>().join(", ")) }
                        td { (moment(token.created)) }
                        td { @if let Some(expires) = token.expires { (moment(expires)) } @else { "never" } }
                        td { form method="post" action={ (at) "/tokens/" (token.id) "/drop" } { button { "Take back" } } }
                    }
                } }
            }
        }
    }
}

/// Shows who at providers opens an account, and buttons that end that.
pub fn logins(identities: &[Identity], at: &str) -> Markup {
    html! {
        @if !identities.is_empty() {
            h2 { "Logins elsewhere" }
            table {
                thead { tr { th { "Provider" } th { "Who there" } th { "Since" } th {} } }
                tbody { @for identity in identities {
                    tr {
                        td { (identity.issuer) }
                        td { (identity.subject) }
                        td { (moment(identity.created)) }
                        td { form method="post" action={ (at) "/unlink" } {
                            input type="hidden" name="issuer" value=(identity.issuer);
                            input type="hidden" name="subject" value=(identity.subject);
                            button { "Unlink" }
                        } }
                    }
                } }
            }
        }
    }
}

/// Who somebody is at a provider, as the form says.
#[derive(Debug, Deserialize)]
pub struct Elsewhere {
    issuer: String,
    subject: String,
}

impl Elsewhere {
    pub fn of(self, user: Name) -> Identity {
        Identity { user, issuer: self.issuer, subject: self.subject, created: 0 }
    }
}

pub async fn unlink(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Form(elsewhere): Form<Elsewhere>,
) -> Result<Redirect, NoPage> {
    unlinked(&farm, &person, elsewhere.of(person.0.name.clone())).await?;
    // All sessions have ended.
    Ok(Redirect::to("/login"))
}

#[derive(Deserialize)]
pub struct Password {
    password: String,
    #[serde(default)]
    before: String,
}

pub async fn password(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Form(form): Form<Password>,
) -> Result<Redirect, NoPage> {
    let kept = farm.db.user_named(person.name()).await?.and_then(|(_, kept)| kept);
    if kept.is_some() && !farm.guesses.verify(&farm, person.name(), form.before, kept).await? {
        return Err(Error::forbidden("the password until now is another").into());
    }
    let hash = hashed(form.password).await?;
    let (user, now, name) = (person.id(), farm.now(), person.name().to_owned());
    let job = farm.db.write(move |tx| {
        async move {
            tx.set_password(user, hash).await?;
            tx.note(now, &name, "change password", &name).await
        }
        .boxed()
    });
    job.await?;
    Ok(Redirect::to("/login"))
}

#[derive(Debug, Deserialize)]
pub struct Wanted {
    name: String,
    scope: String,
    days: String,
}

pub async fn make_token(State(farm): State<Farm>, Visitor(person): Visitor, Form(wanted): Form<Wanted>) -> Page {
    let scopes = Scope::ALL.into_iter().filter(|scope| scope.name() == wanted.scope).collect();
    let lasts = wanted.days.parse::<u64>().ok().map(|days| days * 24 * 3600);
    let token = token_for(&farm, &person, NewToken { name: wanted.name, scopes, lasts }).await?;
    let told = html! {
        div.told role="status" {
            p { "This is the token " strong { (token.name) } ". It is shown once:" }
            pre { (token.secret.unwrap_or_default()) }
        }
    };
    Ok(page("Account", &person, body(&farm, &person, told).await?))
}

pub async fn drop_token(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Path(id): Path<TokenId>,
) -> Result<Redirect, NoPage> {
    farm.drop_token(id, Some(person.id()), person.name()).await?;
    Ok(Redirect::to("/account"))
}
