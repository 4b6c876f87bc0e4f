//! What of a recipe concerns a farm.

use std::collections::BTreeSet;

use kiln_farm_api::Variable;
use kiln_recipe::spec::{Format, Spec};

use crate::error::{Error, Result};
use crate::secrets::variables;

/// Returns the variables that a recipe's secrets come from; refuses a recipe whose artifacts a farm cannot keep as they are.
pub fn fit(spec: &Spec) -> Result<BTreeSet<Variable>> {
    if let Some(output) = spec.outputs.iter().find(|output| output.format == Format::Dir) {
        let why = format!("a farm keeps files, and output `{}` is a folder with links, owners and modes", output.file);
        return Err(Error::bad(why).hint("`format = \"tar\"` has all of them in one file"));
    }
    variables(spec)
}
