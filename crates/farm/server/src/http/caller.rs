//! Who asks: a person by token or session, or a node by its credential.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use kiln_farm_api::{Name, NodeId, Role, Scope, UserId};

use crate::db::access::{By, Known};
use crate::db::holders::Holder;
use crate::error::{Error, Result};
use crate::farm::Farm;
use crate::secret;

/// A person who asks.
#[derive(Clone, Debug)]
pub struct Person(pub Known);

/// A node that asks.
#[derive(Clone, Debug)]
pub struct Machine {
    pub id: NodeId,
    pub name: Name,
}

/// Either of them: for blobs.
#[derive(Clone, Debug)]
pub enum Anyone {
    Person(Person),
    Machine(Machine),
}

impl Anyone {
    /// Returns as whom they bring blobs.
    pub fn holder(&self) -> Holder {
        match self {
            Self::Person(person) => person.holder(),
            Self::Machine(node) => Holder::Node(node.id),
        }
    }
}

/// What the session is called among a browser's cookies.
pub const COOKIE: &str = "kiln_session";

impl Person {
    pub fn name(&self) -> &str {
        self.0.name.as_str()
    }

    pub fn id(&self) -> UserId {
        self.0.user
    }

    /// Returns as whom this person brings blobs.
    pub fn holder(&self) -> Holder {
        Holder::User(self.id())
    }

    /// Refuses a token that is not for everything: who holds it may not open further doors.
    pub fn may_open_doors(&self) -> Result<()> {
        match self.0.by {
            By::Token { .. } if !self.has(Scope::Admin) => {
                Err(Error::forbidden("this is for who is logged in, or has a token with the scope `admin`"))
            }
            By::Token { .. } | By::Session => Ok(()),
        }
    }

    /// Refuses a token that is only to look, and who builds for no project: what is uploaded is for builds.
    pub async fn may_upload(&self, farm: &Farm) -> Result<()> {
        if !self.has(Scope::Submit) {
            return Err(Error::forbidden("this token has no scope `submit`"));
        }
        if self.0.admin || farm.db.builds_somewhere(self.id()).await? {
            return Ok(());
        }
        Err(Error::forbidden("only who may build for a project uploads")
            .hint("an owner of a project gives you the role `builder` in it"))
    }

    fn has(&self, scope: Scope) -> bool {
        self.0.scopes.iter().any(|given| *given >= scope)
    }

    /// Refuses who may not look after the farm.
    pub fn administers(&self) -> Result<()> {
        if self.is_admin() {
            Ok(())
        } else {
            Err(Error::forbidden("this is for administrators, by a token with the scope `admin`"))
        }
    }

    pub fn is_admin(&self) -> bool {
        self.0.admin && self.has(Scope::Admin)
    }

    /// Refuses who may not do in a project what `role` may. A project that somebody may not even look at is not there.
    pub async fn may(&self, farm: &Farm, project: &Name, role: Role) -> Result<()> {
        let scope = match role {
            Role::Viewer => Scope::Read,
            Role::Builder => Scope::Submit,
            Role::Owner => Scope::Admin,
        };
        let missing = || Error::missing("project", project);
        let found = farm.db.projects().await?.into_iter().find(|one| one.name == *project).ok_or_else(missing)?;
        let given = found.members.iter().find(|member| member.user == self.0.name).map(|member| member.role);
        let has = if self.0.admin { Some(Role::Owner) } else { given.max(found.open.then_some(Role::Viewer)) };
        match has {
            None => Err(missing()),
            Some(has) if has >= role && self.has(scope) => Ok(()),
            Some(has) if has >= role => Err(Error::forbidden(format!("this token has no scope `{}`", scope.name()))),
            Some(has) => {
                Err(Error::forbidden(format!("a {} may not do this in `{project}`; a {} may", has.name(), role.name())))
            }
        }
    }

    /// Returns the projects this person may look at; none: all of them.
    pub async fn projects(&self, farm: &Farm) -> Result<Option<Vec<Name>>> {
        if self.0.admin {
            return Ok(None);
        }
        let here = |project: &kiln_farm_api::Project| {
            project.open || project.members.iter().any(|one| one.user == self.0.name)
        };
        Ok(Some(farm.db.projects().await?.into_iter().filter(here).map(|project| project.name).collect()))
    }
}

/// What a person shows: the digest of a token's secret, or of a session's.
pub struct Pass {
    digest: String,
    token: bool,
}

impl Pass {
    pub fn of(headers: &HeaderMap) -> Result<Self> {
        let digest = secret_of(headers).map(secret::digest).ok_or_else(Error::stranger)?;
        Ok(Self { digest, token: bearer(headers).is_some() })
    }

    /// Returns whose it is, as long as it is somebody's.
    pub async fn person(&self, farm: &Farm) -> Result<Person> {
        let known = match self.token {
            true => farm.db.token_owner(&self.digest, farm.now()).await?,
            false => farm.db.session_owner(&self.digest, farm.now()).await?,
        };
        known.map(Person).ok_or_else(Error::stranger)
    }
}

impl FromRequestParts<Farm> for Person {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, farm: &Farm) -> Result<Self> {
        let pass = Pass::of(&parts.headers)?;
        if !pass.token {
            same_origin(parts)?;
        }
        let person = pass.person(farm).await?;
        farm.gate.user(person.id(), &pass.digest)?;
        Ok(person)
    }
}

impl FromRequestParts<Farm> for Machine {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, farm: &Farm) -> Result<Self> {
        let credential = bearer(&parts.headers).filter(|token| token.starts_with(secret::NODE));
        let credential = credential.ok_or_else(Error::stranger)?;
        let digest = secret::digest(credential);
        let known = farm.db.node_with(&digest).await?;
        let unknown = || {
            Error::stranger().hint("this node was revoked, or never let in here: the page `Nodes` gives credentials")
        };
        let (id, name) = known.ok_or_else(unknown)?;
        farm.gate.good(&digest);
        Ok(Self { id, name })
    }
}

impl FromRequestParts<Farm> for Anyone {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, farm: &Farm) -> Result<Self> {
        match bearer(&parts.headers) {
            Some(token) if token.starts_with(secret::NODE) => {
                Machine::from_request_parts(parts, farm).await.map(Self::Machine)
            }
            _ => Person::from_request_parts(parts, farm).await.map(Self::Person),
        }
    }
}

/// Returns a token. The scheme's name may be in any case (RFC 9110, section 11.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start_matches(' '))
}

/// Returns the secret by which somebody asks: of a token, else of a session.
pub fn secret_of(headers: &HeaderMap) -> Option<&str> {
    bearer(headers).or_else(|| cookie(headers))
}

pub fn cookie(headers: &HeaderMap) -> Option<&str> {
    cookie_named(headers, COOKIE)
}

pub fn cookie_named<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split("; ")).filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| *name == wanted).map(|(_, value)| value)
}

/// Refuses what another site makes a browser do: its cookie goes along, but the browser also says where the wish comes from.
fn same_origin(parts: &Parts) -> Result<()> {
    if matches!(parts.method, Method::GET | Method::HEAD) || of_own_page(parts) == Some(true) {
        return Ok(());
    }
    Err(Error::forbidden("this wish comes from another site, or from no page at all")
        .hint("programs send `Authorization: Bearer TOKEN` instead of a cookie; a proxy must pass `Host` on"))
}

/// Whether a browser says that a page of this server sends what it sends; none: it says nothing, or it is no browser.
fn of_own_page(parts: &Parts) -> Option<bool> {
    let said = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let host = said("host").or_else(|| parts.uri.authority().map(|authority| authority.as_str()));
    let own = |origin: &str| origin.split_once("://").is_some_and(|(_, from)| Some(from) == host);
    said("origin").map(own).or_else(|| (said("sec-fetch-site")? == "cross-site").then_some(false))
}

/// A form without a session before it, as to log in: another site's is refused, for it may be meant to make somebody somebody else.
pub struct OwnForm;

impl FromRequestParts<Farm> for OwnForm {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _farm: &Farm) -> Result<Self> {
        match of_own_page(parts) {
            Some(false) => Err(Error::forbidden("this form comes from another site")
                .hint("open this server's own page; a proxy must pass `Host` on")),
            _ => Ok(Self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    #[test]
    fn only_its_own_pages() {
        let cases = [
            ("GET", None, true),
            ("POST", None, false),
            ("POST", Some("http://farm:8080"), true),
            ("POST", Some("https://farm:8080"), true),
            ("POST", Some("http://evil:8080"), false),
            ("POST", Some("null"), false),
        ];
        for (method, origin, sound) in cases {
            let mut request = Request::builder().method(method).header("host", "farm:8080");
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(same_origin(&parts).is_ok(), sound, "{method} {origin:?}");
        }
    }

    #[test]
    fn the_session_among_cookies() {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, "a=1; kiln_session=secret; b=2".parse().unwrap());
        assert_eq!(cookie(&headers), Some("secret"));
        assert_eq!(cookie(&HeaderMap::new()), None);
    }
}
