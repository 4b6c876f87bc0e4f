//! What is too small for the packages, said where the recipe fixes its size.

use kiln_family::lock::Lock;
use kiln_model::Fault;
use kiln_plan::fits::misfits;
use kiln_recipe::Diagnostic;
use kiln_recipe::render::Look;

use super::solve::start;
use crate::load::Loaded;

pub(super) fn diagnostics(loaded: &Loaded, lock: &Lock) -> Vec<Diagnostic> {
    let completed = &loaded.completed;
    let told = misfits(&completed.spec, lock).into_iter().map(|misfit| {
        let place = completed.locate(&misfit.place).cloned().unwrap_or_else(|| start(loaded));
        kiln_recipe::diagnostic_at(&place, "too-small", &misfit.text, Some(misfit.hint))
    });
    told.collect()
}

/// Fails where the packages of a lock cannot fit.
pub(crate) fn check(loaded: &Loaded, lock: &Lock) -> Result<(), Fault> {
    let found = diagnostics(loaded, lock);
    if found.is_empty() {
        return Ok(());
    }
    let detail = kiln_recipe::render(&found, &loaded.completed.files, Look::PLAIN);
    Err(Fault::recipe(format!("fit the packages of `{}` on its disk", loaded.path.display())).detail(detail))
}
