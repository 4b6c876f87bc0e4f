//! One commit of a git repository, into a folder.
//!
//! The `git` command does it, for it speaks every server's dialect; it gets nothing of this machine: no settings, no hooks, no
//! credentials but the one it is given, no terminal to ask at, no redirect elsewhere, and so much time and space.

mod child;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_model::{Fault, FaultKind};

use child::Git;

/// A repository elsewhere.
#[derive(Clone)]
pub struct Remote {
    pub url: String,
    /// `NAME:TOKEN`, for its host alone.
    pub credential: Option<String>,
    /// What its host is: name, port, and the address that is asked whatever a name server says later.
    pub pinned: Option<(String, u16, IpAddr)>,
    /// What may be spoken, as `https` or `https:http:file`.
    pub protocols: &'static str,
}

/// What a fetch may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub time: Duration,
    pub bytes: u64,
}

/// One commit's files; git's own are in another folder beside theirs.
pub struct Checkout {
    git: Git,
    remote: Remote,
    /// The commit's name.
    pub commit: String,
}

impl Checkout {
    /// Fetches a commit, or the last of a branch, into an empty folder.
    pub fn fetch(
        remote: &Remote,
        branch: &str,
        commit: Option<&str>,
        folder: &Path,
        bounds: Bounds,
    ) -> Result<Self, Fault> {
        let git = Git::new(folder, settings(remote), remote.protocols, bounds)?;
        git.run(&["init", "--quiet", "--template="])?;
        let branch = format!("refs/heads/{branch}");
        let wanted = commit.unwrap_or(&branch);
        git.run(&fetch(&remote.url, wanted)).map_err(|fault| gone(fault, &remote.url, wanted))?;
        let commit = git.run(&["rev-parse", "--verify", "FETCH_HEAD^{commit}"])?.trim().to_owned();
        git.run(&["checkout", "--quiet", "--force", "--detach", &commit])?;
        Ok(Self { git, remote: remote.clone(), commit })
    }

    /// Returns the folder with its files, and nothing of git's.
    pub fn folder(&self) -> PathBuf {
        self.git.tree()
    }

    /// Returns the paths of all files.
    pub fn files(&self) -> Result<Vec<String>, Fault> {
        Ok(paths(&self.git.run(&["ls-tree", "-r", "-z", "--name-only", "--full-tree", &self.commit])?))
    }

    /// Returns the paths that differ from another commit; none where that is not there any more.
    pub fn changed_since(&self, base: &str) -> Result<Option<Vec<String>>, Fault> {
        if let Err(fault) = self.git.run(&fetch(&self.remote.url, base)) {
            return if fault.kind() == FaultKind::Upstream { Ok(None) } else { Err(fault) };
        }
        let words = ["diff-tree", "-r", "-z", "--name-only", "--no-renames", base, &self.commit];
        Ok(Some(paths(&self.git.run(&words)?)))
    }
}

fn fetch<'a>(url: &'a str, wanted: &'a str) -> [&'a str; 7] {
    ["fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", url, wanted]
}

/// Says in words of people's what servers say when something is not there.
fn gone(fault: Fault, url: &str, wanted: &str) -> Fault {
    let said = fault.detail_text().unwrap_or_default();
    let name = wanted.strip_prefix("refs/heads/").unwrap_or(wanted);
    if ["not our ref", "couldn't find remote ref", "did not send all necessary objects"]
        .iter()
        .any(|words| said.contains(words))
    {
        let fault = Fault::upstream(format!("`{url}` has no `{name}`"));
        return fault.hint("it may have been pushed over, or be there in a moment");
    }
    if ["could not read Username", "Authentication failed", "403", "401"].iter().any(|words| said.contains(words)) {
        return Fault::recipe(format!("`{url}` lets nobody in without a credential, or not with this one"));
    }
    fault
}

fn settings(remote: &Remote) -> Vec<(String, String)> {
    let fixed = [
        ("core.hooksPath", "/dev/null"),
        ("core.fsmonitor", "false"),
        ("core.autocrlf", "false"),
        ("credential.helper", ""),
        ("gc.auto", "0"),
        ("maintenance.auto", "false"),
        ("http.followRedirects", "false"),
        ("http.proxy", ""),
        ("init.defaultBranch", "none"),
        ("protocol.version", "2"),
        ("submodule.recurse", "false"),
    ];
    let mut all: Vec<_> = fixed.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    if let Some((host, port, address)) = &remote.pinned {
        let address = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
        all.push(("http.curloptResolve".into(), format!("{host}:{port}:{address}")));
    }
    if let Some(credential) = &remote.credential {
        all.push(("http.extraHeader".into(), format!("Authorization: Basic {}", STANDARD.encode(credential))));
    }
    all
}

fn paths(said: &str) -> Vec<String> {
    said.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect()
}
