//! `[[user]]`: root and the one user, with passwords by reference.

use super::Work;
use crate::desk::Note;
use crate::language::pieman::sheets::Refused;
use crate::language::pieman::table::{Default, Parameter};
use crate::language::pieman::tree::Tree;

impl Work<'_> {
    /// Somebody must be able to log in; a password that everyone knows opens no account unless that is said.
    pub(super) fn users(&mut self) -> Result<(), Refused> {
        let user = self.parameters.is_on("ENABLE_USER");
        self.root(!user)?;
        if user { self.user() } else { Ok(()) }
    }

    fn root(&mut self, alone: bool) -> Result<(), Refused> {
        let mut root = Tree::default();
        let span = self.parameters.span("PASSWORD");
        root.set("name", "root", span);
        match self.password("PASSWORD")? {
            Some(password) => root.set("password", password, span),
            None if alone => return Err(self.nobody("PASSWORD")),
            None => {
                let message = "nobody can log in as root: `PASSWORD` is not set";
                let hint = "`sudo` makes root of the user; `--insecure-defaults` brings back the password `secret`";
                self.warnings.push(Note::warning(span, "nobody-can-log-in", message).hint(hint));
                return Ok(());
            }
        }
        self.tree.add("user", root, span);
        Ok(())
    }

    fn user(&mut self) -> Result<(), Refused> {
        let mut user = Tree::default();
        let span = self.parameters.span("USER_NAME");
        user.set("name", self.parameters.text("USER_NAME"), span);
        let password = self.password("USER_PASSWORD")?.ok_or_else(|| self.nobody("USER_PASSWORD"))?;
        user.set("password", password, self.parameters.span("USER_PASSWORD"));
        if self.parameters.is_on("ENABLE_SUDO") {
            let asks = self.parameters.is_on("SUDO_REQUIRE_PASSWORD");
            let name = if asks { "password" } else { "no-password" };
            user.set("sudo", name, self.parameters.span("SUDO_REQUIRE_PASSWORD"));
        }
        self.tree.add("user", user, span);
        Ok(())
    }

    /// Returns the reference to a password that somebody chose.
    fn password(&mut self, name: &'static str) -> Result<Option<crate::node::Value>, Refused> {
        let default = Parameter::find(name).map(|parameter| parameter.default);
        let text = match (self.parameters.is_given(name), default) {
            (true, _) if self.parameters.text(name).is_empty() => return Err(self.empty(name)),
            (true, _) => self.parameters.text(name),
            (false, Some(Default::Word(word))) if self.surroundings.insecure_defaults => word,
            (false, _) => return Ok(None),
        };
        Ok(Some(self.secret(name, text.to_owned())))
    }

    /// Declares a secret that comes from the variable of its own name, and returns the reference to it.
    pub(super) fn secret(&mut self, name: &str, text: String) -> crate::node::Value {
        let span = self.parameters.span(name);
        self.secrets.insert(name.to_owned(), text);
        self.tree.set(&format!("secrets.{name}.env"), name, span);
        let mut reference = Tree::default();
        reference.set("secret", name, span);
        crate::node::Value::Table(reference.0)
    }

    fn nobody(&self, name: &str) -> Refused {
        let note = Note::error(self.parameters.span(name), "missing-key", "nobody could log in to this image").hint(
            format!("set `{name}`; `{name}=-` asks for it; `--insecure-defaults` brings back the password `secret`"),
        );
        self.parameters.sheets.refuse(format!("{name} is not set, and kiln has no default password"), note)
    }

    fn empty(&self, name: &str) -> Refused {
        let note =
            Note::error(self.parameters.span(name), "parameter", "a password of no characters opens an account to all")
                .hint(format!("set `{name}`; `{name}=-` asks for it"));
        self.parameters.sheets.refuse(format!("{name} is empty"), note)
    }
}
