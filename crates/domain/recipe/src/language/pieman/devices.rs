//! The list of devices as Pieman's `get_devices()` gives it to user interfaces, from the catalogue.

use kiln_model::Arch;
use serde_json::{Map, Value, json};

use super::system::os_name;
use crate::catalogue::{Board, Release, board, release};
use crate::spec::Family;

/// Returns every board by its name, with the systems that kiln builds for it by theirs; both sorted.
pub fn devices() -> Value {
    let all = board::all().iter().map(|board| (board.name.clone(), device(board)));
    Value::Object(sorted(all))
}

fn device(board: &Board) -> Value {
    let pairs =
        release::all().iter().flat_map(|release| release.architectures.iter().map(move |arch| (release, *arch)));
    let built = pairs.filter(|(release, arch)| board.kernel_in(release, *arch).is_some());
    let distros = built.map(|(release, arch)| (os_name(release, arch), system(board, release, arch)));
    let Name { maker, generation, model } = Name::of(&board.title);
    json!({ "name": maker, "generation": generation, "model": model, "distros": sorted(distros) })
}

fn system(board: &Board, release: &Release, architecture: Arch) -> Value {
    let ours = match release.family {
        Family::Deb => architecture.debian(),
        Family::Apk => architecture.alpine(),
    };
    let mender = board.mender_in(release, architecture).is_some();
    let mut said = json!({
        "name": release.name(),
        "codename": codename(release),
        "version": version(&release.release),
        "port": architecture.debian(),
        "bits": architecture.bits(),
        "packages_url": release.packages_url.replace("{architecture}", ours),
        "build_types": if mender { &["classic", "mender", "artifact"][..] } else { &["classic"] },
    });
    if release.distribution == "raspios" {
        said["former_name"] = "Raspbian".into();
    }
    said
}

/// Returns `Trixie`; none where people say the number alone, and where a release is for ever.
fn codename(release: &Release) -> Option<String> {
    let plain = release.codename.chars().all(|c| c.is_ascii_lowercase()) && release.codename != release.distribution;
    let mut letters = release.codename.chars();
    let first = letters.next().filter(|_| plain && release.family == Family::Deb)?;
    Some(first.to_ascii_uppercase().to_string() + letters.as_str())
}

/// Returns a version as the number that it looks like; as text where a number would lose its last zero; none of a release that rolls.
fn version(text: &str) -> Value {
    let number = text.parse::<u64>().map(Value::from).or_else(|_| text.parse::<f64>().map(Value::from));
    match number {
        Ok(number) if format!("{number}") == text => number,
        Ok(_) => text.into(),
        Err(_) => Value::Null,
    }
}

/// A board's title in parts, as in `Raspberry Pi`, 3, `Model B`.
struct Name<'a> {
    maker: &'a str,
    generation: Option<u64>,
    model: &'a str,
}

impl<'a> Name<'a> {
    fn of(title: &'a str) -> Self {
        let makers = ["Raspberry Pi", "Orange Pi"];
        let Some((maker, rest)) = makers.into_iter().find_map(|maker| Some((maker, title.strip_prefix(maker)?.trim())))
        else {
            return Self { maker: title, generation: None, model: title };
        };
        let (first, model) = rest.split_once(' ').unwrap_or((rest, rest));
        match first.parse() {
            Ok(generation) => Self { maker, generation: Some(generation), model },
            Err(_) => Self { maker, generation: None, model: rest },
        }
    }
}

fn sorted(entries: impl Iterator<Item = (String, Value)>) -> Map<String, Value> {
    let mut entries: Vec<_> = entries.collect();
    entries.sort_by(|one, other| one.0.cmp(&other.0));
    entries.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_have_parts() {
        for (title, maker, generation, model) in [
            ("Raspberry Pi 3 Model B+", "Raspberry Pi", Some(3), "Model B+"),
            ("Raspberry Pi Model B and B+", "Raspberry Pi", None, "Model B and B+"),
            ("Raspberry Pi 5", "Raspberry Pi", Some(5), "5"),
            ("Raspberry Pi Zero 2 W", "Raspberry Pi", None, "Zero 2 W"),
            ("Orange Pi PC Plus", "Orange Pi", None, "PC Plus"),
            ("any machine", "any machine", None, "any machine"),
        ] {
            let name = Name::of(title);
            assert_eq!((name.maker, name.generation, name.model), (maker, generation, model));
        }
    }

    #[test]
    fn versions_are_numbers_where_they_can_be() {
        assert_eq!(["13", "24.04", "3.20", "sid"].map(version), [json!(13), json!(24.04), json!("3.20"), Value::Null]);
    }
}
