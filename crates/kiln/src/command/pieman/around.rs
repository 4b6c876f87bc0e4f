//! What lies around the parameters: the environment, `.env`, a pair's files, keys, and whom the artifacts belong to.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::path::Path;

use kiln_engine::sums::{self, Sums};
use kiln_model::fault::OrFault as _;
use kiln_model::{Digest, Fault, FaultKind};
use kiln_recipe::pieman::{self, Given, HookFile, Made, PairFiles, Parameters, Place, Surroundings};

use super::{Ending, Environment};

/// Returns the environment as text. A parameter that is none is refused: a build without it would be another one.
pub fn environment() -> Result<Environment, Fault> {
    let mut environment = Environment::new();
    for (name, value) in std::env::vars_os() {
        let Ok(name) = name.into_string() else { continue };
        match value.into_string() {
            Ok(value) => drop(environment.insert(name, value)),
            Err(_) if pieman::is_parameter(&name) => {
                let fault = Fault::recipe(format!("the value of {name} is not UTF-8"));
                return Err(fault.hint("set it in a shell with a UTF-8 locale, or in `.env`"));
            }
            Err(_) => {}
        }
    }
    Ok(environment)
}

/// Reads `./.env`, if there is one.
pub fn dotenv() -> Result<Option<String>, Fault> {
    match fs::read_to_string(".env") {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Fault::recipe("read `.env`").because(error)),
    }
}

pub fn given<'a>(environment: &'a Environment, dotenv: Option<&'a str>) -> Result<Given<'a>, Fault> {
    Ok(Given {
        environment,
        dotenv,
        folder: here()?,
        owner: format!("{}:{}", rustix::process::geteuid(), rustix::process::getegid()),
        project: fresh_name()?,
    })
}

fn here() -> Result<String, Fault> {
    let folder = std::env::current_dir().farm(|| "find the working directory".into())?;
    Ok(folder.to_string_lossy().into_owned())
}

/// Returns a UUID of version 4.
fn fresh_name() -> Result<String, Fault> {
    let mut bytes = [0_u8; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).farm(|| "draw a random name".into())?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid().to_string())
}

/// Returns the user's own pair and the distribution's keys, from `PIEMAN_DIR`.
pub fn surroundings(
    parameters: &Parameters,
    environment: Environment,
    insecure_defaults: bool,
) -> Result<Surroundings, Ending> {
    let base = parameters.text("PIEMAN_DIR");
    let base = if base == here()? { String::new() } else { format!("{base}/") };
    let folder = format!("{base}{}", pieman::pair_folder(parameters));
    let distribution = pieman::pieces(parameters).map_or("", |pieces| pieces[0]).to_owned();
    let keys = names(Path::new(&format!("{base}keys/{distribution}")));
    let keys = keys.into_iter().map(|name| format!("{base}keys/{distribution}/{name}")).collect();
    let file = format!("{folder}/pieman.yml");
    if !Path::new(&file).is_file() {
        return Ok(Surroundings { pair: None, keys, insecure_defaults });
    }
    let pair = PairFiles { definition: read(&file)?, path: file, hooks: hooks(&folder)?, environment };
    Ok(Surroundings { pair: Some(pair), keys, insecure_defaults })
}

/// Reads every `*.sh` of a pair's hook folders.
fn hooks(folder: &str) -> Result<Vec<HookFile>, Fault> {
    let mut found = Vec::new();
    for hook in names(Path::new(folder)) {
        for file in names(&Path::new(folder).join(&hook)).into_iter().filter(|name| name.ends_with(".sh")) {
            let text = read(&format!("{folder}/{hook}/{file}"))?;
            found.push(HookFile { hook: hook.clone(), file, text });
        }
    }
    Ok(found)
}

fn read(path: &str) -> Result<String, Fault> {
    fs::read_to_string(path).fault(FaultKind::Recipe, || format!("read `{path}`"))
}

/// Returns the names in a folder, sorted; none where there is no such folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// Returns whom root shall give the artifacts to. Refuses what only root can do, before anything is built; call it before the
/// sandbox world is entered, where everybody is root.
pub fn owner(parameters: &Parameters) -> Result<Option<(u32, u32)>, Fault> {
    let me = rustix::process::geteuid();
    match pieman::owner(parameters) {
        Some(other) if !me.is_root() && other != (me.as_raw(), rustix::process::getegid().as_raw()) => {
            let fault = Fault::recipe(format!("IMAGE_OWNERSHIP={} cannot be", parameters.text("IMAGE_OWNERSHIP")));
            Err(fault.hint("only root can give files to another user; leave `IMAGE_OWNERSHIP` out"))
        }
        owner => Ok(owner.filter(|_| me.is_root() && parameters.is_given("IMAGE_OWNERSHIP"))),
    }
}

/// Moves the result into a folder, which may lie on another filesystem: what has its name there is whole.
pub fn deliver(place: &mut Place, folder: &Path) -> Result<(), Fault> {
    let from = Path::new(&place.result);
    let name = from.file_name().unwrap_or_default();
    let to = folder.join(name);
    let doing = || format!("move `{}` to `{}`", from.display(), folder.display());
    match fs::rename(from, &to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            let partial = tempfile::Builder::new().prefix(".kiln-").tempfile_in(folder).farm(doing)?;
            let owner = fs::metadata(from).farm(doing)?;
            io::copy(&mut File::open(from).farm(doing)?, &mut partial.as_file()).farm(doing)?;
            partial.as_file().set_permissions(owner.permissions()).farm(doing)?;
            let _ = lchown(partial.path(), Some(owner.uid()), Some(owner.gid()));
            partial.persist(&to).map_err(|error| error.error).farm(doing)?;
            fs::remove_file(from).farm(doing)?;
        }
        moved => moved.farm(doing)?,
    }
    follow(from, &to)?;
    place.result = to.display().to_string();
    Ok(())
}

/// Makes what names a moved file name it where it is: SHA256SUMS of both folders, and what Raspberry Pi Imager reads.
fn follow(from: &Path, to: &Path) -> Result<(), Fault> {
    let (name, old, new) = (file_name(from), beside(from), beside(to));
    let read = |path: &Path| Sums::parse(&fs::read_to_string(path).unwrap_or_default());
    let mut left = read(&old.join(sums::NAME));
    let Some(sum) = left.take(&name) else { return Ok(()) };
    for list in names(old).into_iter().filter(|name| name.ends_with(IMAGER)) {
        let path = old.join(&list);
        let text = fs::read_to_string(&path).farm(|| format!("read `{}`", path.display()))?;
        let fresh = text.replace(&address(from), &address(to));
        if fresh != text {
            rewrite(&path, &fresh, &path)?;
            left.put(list, Digest::of(&fresh));
        }
    }
    let (old, new) = (old.join(sums::NAME), new.join(sums::NAME));
    rewrite(&old, &left.to_string(), &old)?;
    let mut there = read(&new);
    there.put(name, sum);
    rewrite(&new, &there.to_string(), if new.exists() { &new } else { &old })
}

/// How the names of such lists end.
const IMAGER: &str = ".os_list.json";

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The folder that a file lies in.
fn beside(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Where a file is, as a list in JSON says it.
fn address(path: &Path) -> String {
    let at = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let url = url::Url::from_file_path(at).map(String::from).unwrap_or_default();
    serde_json::Value::from(url).to_string()
}

/// Writes a file anew, with mode and owner of another.
fn rewrite(path: &Path, text: &str, like: &Path) -> Result<(), Fault> {
    let doing = || format!("write `{}`", path.display());
    let mut partial = tempfile::Builder::new().prefix(".kiln-").tempfile_in(beside(path)).farm(doing)?;
    partial.write_all(text.as_bytes()).farm(doing)?;
    let like = fs::metadata(like).farm(doing)?;
    partial.as_file().set_permissions(fs::Permissions::from_mode(like.mode() & 0o777)).farm(doing)?;
    let _ = lchown(partial.path(), Some(like.uid()), Some(like.gid()));
    partial.persist(path).map_err(|error| error.error).farm(doing).map(drop)
}

/// Gives the folder of the artifacts and this build's files in it to their owner.
pub fn give(parameters: &Parameters, place: &Place, owner: Option<(u32, u32)>) -> Result<(), Fault> {
    let Some((uid, gid)) = owner else { return Ok(()) };
    let (folder, project) = (parameters.text("BUILD_DIR"), parameters.text("PROJECT_NAME"));
    let own =
        |name: &String| name == sums::NAME || name.strip_prefix(project).is_some_and(|rest| rest.starts_with('.'));
    let files = names(Path::new(folder)).into_iter().filter(own).map(|name| format!("{folder}/{name}"));
    let mut all: Vec<String> = [folder.to_owned()].into_iter().chain(files).collect();
    if place.made == Made::Chroot {
        // What lies in the tree belongs to the accounts of the tree.
        let beside = names(Path::new(&place.folder)).into_iter().map(|name| format!("{}/{name}", place.folder));
        all.extend(beside.filter(|path| *path != place.result).chain([place.folder.clone()]));
    }
    for path in all {
        // What the owner of the folder put there may lead anywhere.
        lchown(&path, Some(uid), Some(gid)).farm(|| format!("give `{path}` to {uid}:{gid}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "a.os_list.json";

    fn sums(folder: &Path) -> String {
        fs::read_to_string(folder.join(sums::NAME)).unwrap()
    }

    fn line(text: &str, name: &str) -> String {
        format!("{}  {name}\n", Digest::of(text))
    }

    /// What Imager is told of a file in a folder.
    fn list(folder: &Path, name: &str) -> String {
        format!("{{\n  \"url\": \"file://{}/{name}\",\n  \"other\": \"file:///x/{name}\"\n}}\n", folder.display())
    }

    /// A folder with this file, its list and one more, all in SHA256SUMS.
    fn made(name: &str, content: &str) -> (tempfile::TempDir, Place) {
        let home = tempfile::tempdir().unwrap();
        let told = list(home.path(), name);
        let files = [(name, content), (LIST, &told), ("other", "other")];
        files.iter().for_each(|(name, text)| fs::write(home.path().join(name), text).unwrap());
        let lines: String = files.iter().map(|(name, text)| line(text, name)).collect();
        fs::write(home.path().join(sums::NAME), lines).unwrap();
        let folder = home.path().display().to_string();
        let place = Place { result: format!("{folder}/{name}"), folder, made: Made::Image };
        (home, place)
    }

    #[test]
    fn what_is_moved_is_named_where_it_is() {
        // Within a filesystem and, where the host has such a one, between two.
        for there in [std::env::temp_dir(), "/dev/shm".into()].into_iter().filter(|folder| folder.is_dir()) {
            let to = tempfile::tempdir_in(there).unwrap();
            for (name, content) in [("a.img", "one"), ("b.img", "two"), ("a.img", "three")] {
                let (from, mut place) = made(name, content);
                deliver(&mut place, to.path()).unwrap();
                assert_eq!(place.result, to.path().join(name).display().to_string());
                assert_eq!(fs::read_to_string(&place.result).unwrap(), content);
                assert!(!from.path().join(name).exists());
                let told = list(to.path(), name);
                assert_eq!(fs::read_to_string(from.path().join(LIST)).unwrap(), told);
                assert_eq!(sums(from.path()), line(&told, LIST) + &line("other", "other"));
                let left: Vec<_> = names(from.path());
                assert_eq!(left, [sums::NAME, LIST, "other"]);
            }
            assert_eq!(sums(to.path()), line("three", "a.img") + &line("two", "b.img"));
            assert_eq!(names(to.path()), [sums::NAME, "a.img", "b.img"]);
        }
        let (from, mut place) = made("a.img", "one");
        let before = sums(from.path());
        deliver(&mut place, from.path()).unwrap();
        assert_eq!(sums(from.path()), before, "to where it is");
    }
}
