//! Where the engine shall work and how: from flags, then the environment, then what suits this machine.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use kiln_engine::config::{CACHE_LIMIT, Config};
use kiln_model::Fault;
use kiln_sandbox::{Namespaces, Sandbox};

use crate::ending::Failure;
use crate::text;

/// Enters the sandbox world, for commands that run programs; call it while this process has one thread.
pub fn enter() -> Result<Arc<dyn Sandbox>, Fault> {
    let mut how = kiln_sandbox::Enter::default();
    how.emulators_on_host = emulators_on_host(std::env::var("KILN_EMULATORS").ok().as_deref())?;
    let entered = kiln_sandbox::enter(&how)?;
    Ok(Arc::new(Namespaces::new(&entered)))
}

fn emulators_on_host(said: Option<&str>) -> Result<bool, Fault> {
    match said {
        None | Some("" | "sandbox") => Ok(false),
        Some("host") => Ok(true),
        Some(other) => Err(Fault::recipe(format!("`KILN_EMULATORS`: `{other}` is neither `host` nor `sandbox`"))),
    }
}

/// Flags of every command that works with the cache or the network.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Engine")]
pub struct Flags {
    /// Cache folder [default: $KILN_CACHE, $XDG_CACHE_HOME/kiln, ~/.cache/kiln]
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// Never ask the network; what is missing is an error
    #[arg(long)]
    pub offline: bool,
    /// Threads to work with [default: $KILN_JOBS, the number of processors]
    #[arg(long, short, value_name = "N")]
    pub jobs: Option<usize>,
}

impl Flags {
    /// Returns the engine's configuration on this machine, now.
    pub fn config(&self) -> Result<Config, Failure> {
        let env = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let mut config = config_from(&env, self, now, processors)?;
        config.cache = std::path::absolute(&config.cache)
            .map_err(|error| Fault::farm(format!("find the cache `{}`", config.cache.display())).because(error))?;
        Ok(config)
    }
}

type Environment = BTreeMap<String, String>;

/// Returns the configuration that flags and environment ask for.
fn config_from(env: &Environment, flags: &Flags, now: i64, processors: usize) -> Result<Config, Failure> {
    Ok(Config {
        cache: flags.cache.clone().unwrap_or_else(|| cache_folder(env)),
        cache_limit: variable(env, "KILN_CACHE_LIMIT", text::parse_bytes)?.unwrap_or(CACHE_LIMIT),
        jobs: jobs(env, flags)?.unwrap_or(processors).max(1),
        offline: flags.offline,
        mirrors: mirrors(env)?,
        now,
        clock_offset: 0,
        lend: variable(env, "KILN_NATIVE_HELPERS", yes_or_no)?.unwrap_or(true),
        sandbox_hostname: "kiln".into(),
        stages: None,
    })
}

/// Reads the mirrors; one that is no address would only fail later, and not by its name.
fn mirrors(env: &Environment) -> Result<BTreeMap<String, Vec<String>>, Failure> {
    for name in env.keys().filter(|name| name.starts_with("KILN_MIRROR_")) {
        variable(env, name, |text| text.split_whitespace().try_for_each(address))?;
    }
    Ok(kiln_recipe::mirrors_from(env.clone()))
}

fn address(text: &str) -> Result<(), String> {
    let rest = ["http://", "https://", "file:///"].iter().find_map(|scheme| text.strip_prefix(scheme));
    match rest {
        Some(rest) if !rest.is_empty() && (text.starts_with("file:") || !rest.starts_with('/')) => Ok(()),
        // Whatever it is, it may hold a password.
        _ if text.contains('@') => Err("an address in it begins with none of `http://`, `https://`, `file:///`".into()),
        _ => Err(format!("`{text}` is not an address such as `http://HOST/debian`, `https://…` or `file:///…`")),
    }
}

fn jobs(env: &Environment, flags: &Flags) -> Result<Option<usize>, Failure> {
    let number = |text: &str| text.parse().map_err(|_| format!("`{text}` is not a number of threads"));
    Ok(flags.jobs.or(variable(env, "KILN_JOBS", number)?))
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(format!("`{text}` is neither `yes` nor `no`")),
    }
}

/// Reads an environment variable; one that is set but makes no sense is a mistake, not a default.
fn variable<T>(env: &Environment, name: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, Failure> {
    let value = env.get(name).filter(|value| !value.is_empty());
    value
        .map(|value| read(value))
        .transpose()
        .map_err(|why| Failure::usage(format!("environment variable `{name}`: {why}")))
}

/// Returns the environment's SOURCE_DATE_EPOCH.
pub fn source_date_epoch() -> Result<Option<i64>, Failure> {
    let name = "SOURCE_DATE_EPOCH";
    let env = std::env::var(name).map(|value| (name.to_owned(), value)).into_iter().collect();
    variable(&env, name, |text| text.parse().map_err(|_| format!("`{text}` is no number of seconds since 1970")))
}

/// Returns the cache folder by the XDG rules; a kiln without a home (a bare service) keeps it in `/var/cache`.
fn cache_folder(env: &Environment) -> PathBuf {
    let folder = |name: &str| env.get(name).filter(|value| value.starts_with('/')).map(PathBuf::from);
    env.get("KILN_CACHE")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
        .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("kiln")))
        .or_else(|| Some(folder("HOME")?.join(".cache/kiln")))
        .unwrap_or_else(|| PathBuf::from("/var/cache/kiln"))
}

/// Returns the farm's folder by the XDG rules; a service without a home keeps it in `/var/lib`.
pub fn data_folder() -> PathBuf {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || Some(folder("HOME")?.join(".local/state/kiln"));
    let state = || folder("XDG_STATE_HOME").map(|state| state.join("kiln"));
    folder("KILN_DATA").or_else(state).or_else(home).unwrap_or_else(|| PathBuf::from("/var/lib/kiln"))
}

/// Returns the address of the database that DATABASE_URL names.
pub fn database() -> Option<String> {
    std::env::var("DATABASE_URL").ok().filter(|url| !url.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn the_cache_is_where_flags_then_environment_say() {
        type Case<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>, &'a str);
        let cases: &[Case<'_>] = &[
            (&[("HOME", "/home/ann")], None, "/home/ann/.cache/kiln"),
            (&[("HOME", "/home/ann"), ("XDG_CACHE_HOME", "/c")], None, "/c/kiln"),
            (&[("HOME", "/home/ann"), ("XDG_CACHE_HOME", "relative")], None, "/home/ann/.cache/kiln"),
            (&[("XDG_CACHE_HOME", "/c"), ("KILN_CACHE", "/k")], None, "/k"),
            (&[("KILN_CACHE", "/k")], Some("/flag"), "/flag"),
            (&[], None, "/var/cache/kiln"),
        ];
        for (pairs, flag, wanted) in cases {
            let flags = Flags { cache: flag.map(PathBuf::from), ..Flags::default() };
            let config = config_from(&env(pairs), &flags, 0, 2).unwrap();
            assert_eq!(config.cache, PathBuf::from(wanted), "{pairs:?} {flag:?}");
        }
    }

    #[test]
    fn mirrors_jobs_and_limit_come_from_the_environment() {
        let env = env(&[("KILN_MIRROR_DEBIAN", "http://a/debian http://b/debian/"), ("KILN_CACHE_LIMIT", "2G")]);
        let config = config_from(&env, &Flags { jobs: Some(3), ..Flags::default() }, 7, 2).unwrap();
        assert_eq!(config.mirrors["debian"], ["http://a/debian", "http://b/debian"]);
        assert_eq!((config.cache_limit, config.jobs, config.now), (2_000_000_000, 3, 7));
    }

    #[test]
    fn nonsense_in_the_environment_is_a_usage_error() {
        let refused = |name, value| match config_from(&env(&[(name, value)]), &Flags::default(), 0, 2) {
            Err(Failure::Usage(message)) => message,
            other => panic!("{other:?}"),
        };
        assert!(refused("KILN_JOBS", "many").contains("`KILN_JOBS`"));
        for value in ["foo", "http://", "http:///debian", "ftp://a/debian", "http://a/debian mirror"] {
            assert!(refused("KILN_MIRROR_DEBIAN", value).contains("`KILN_MIRROR_DEBIAN`: `"), "{value}");
        }
        assert!(!refused("KILN_MIRROR_DEBIAN", "ann:secret@host/debian").contains("secret"));
    }

    #[test]
    fn mirrors_are_addresses() {
        for value in ["", " ", "http://a/debian", "https://ann:secret@a:80/x file:///srv/debian"] {
            config_from(&env(&[("KILN_MIRROR_DEBIAN", value)]), &Flags::default(), 0, 2).unwrap();
        }
    }
}
