//! Priorities: which repository a package is taken from, as apt_preferences(5) decides it.

use super::release::Release;

/// What apt gives a repository when nobody says otherwise.
pub const DEFAULT: i32 = 500;
/// Nothing is taken unless asked for by name and suite (`NotAutomatic: yes`).
pub const NOT_AUTOMATIC: i32 = 1;
/// As above, but upgraded from once taken (`ButAutomaticUpgrades: yes`).
pub const BUT_AUTOMATIC_UPGRADES: i32 = 100;
/// What is installed already.
pub const INSTALLED: i32 = 100;
/// Files that the recipe brings itself: taken whatever the archives offer, even when older.
pub const LOCAL: i32 = 1001;

/// Returns a repository's priority: the recipe's word, or what its release file asks for.
pub fn priority(recipe: Option<i32>, release: Option<&Release>) -> i32 {
    let asked = match release {
        Some(release) if release.not_automatic && release.but_automatic_upgrades => BUT_AUTOMATIC_UPGRADES,
        Some(release) if release.not_automatic => NOT_AUTOMATIC,
        _ => DEFAULT,
    };
    recipe.unwrap_or(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipe_comes_first_then_the_release_file() {
        let release = |not_automatic, but_automatic_upgrades| Release {
            not_automatic,
            but_automatic_upgrades,
            ..Release::default()
        };
        assert_eq!(priority(Some(7), Some(&release(true, true))), 7);
        assert_eq!(priority(None, Some(&release(true, true))), 100);
        assert_eq!(priority(None, Some(&release(true, false))), 1);
        assert_eq!(priority(None, Some(&release(false, true))), 500);
        assert_eq!(priority(None, None), 500);
    }
}
