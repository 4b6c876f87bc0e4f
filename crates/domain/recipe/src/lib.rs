//! Recipe → Spec: what the user wrote, checked against the catalogue and completed from it.

mod armour;
pub mod catalogue;
mod check;
mod codes;
pub mod complete;
mod desk;
pub mod diagnostic;
mod firm;
mod forms;
mod keys;
mod language;
mod load;
mod merge;
mod needs;
mod node;
pub mod options;
mod path;
mod reference;
pub mod render;
mod schema;
mod section;
mod shape;
pub mod spec;
mod templates;
mod view;
mod write;

pub use complete::{
    Completed, Draft, SIZE_OF_DISK, SourceFile, Written, complete, diagnostic_at, draft, draft_written, size_of, sort,
};
pub use diagnostic::{Diagnostic, Files, Place, Rejected, Severity};
pub use forms::is_password_hash;
pub use language::pieman;
pub use options::{HostSource, Local, Options, Sources, mirrors_from};
pub use reference::reference;
pub use render::{Look, render};
pub use schema::schema;
pub use spec::Spec;
pub use templates::{Template, templates};

/// Completes a recipe that is nothing but `text`; for fuzzing: whatever the text, it returns.
pub fn complete_text(text: &str) -> Result<Completed, Rejected> {
    struct Alone<'a>(&'a str);
    impl Sources for Alone<'_> {
        fn read(&self, path: &str) -> std::io::Result<String> {
            let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
            (path == "kiln.toml").then(|| self.0.to_owned()).ok_or_else(missing)
        }

        fn digest(&self, _path: &str) -> std::io::Result<Local> {
            Err(std::io::ErrorKind::NotFound.into())
        }
    }
    complete(&Alone(text), "kiln.toml", &Options::new(kiln_model::Arch::Amd64))
}
