//! A client of the farm's API: what `kiln submit` and nodes call.

use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use eventsource_stream::Eventsource as _;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use kiln_model::Digest;
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::io::ReaderStream;
use url::Url;

use crate::hook::{Delivery, Hook, NewHook};
use crate::schedule::{Enabled, NewRepeat, NewSchedule, Repeat, Schedule};
use crate::secret::{Value, Values, Wanted};
use crate::source::{NewPush, NewSource, Push, Source, Told};
use crate::{
    Build, BuildId, Complete, DeliveryId, Enrolled, Entry, Handed, HookId, Kept, Name, NewNode, NewProject, NewSecret,
    Node, Orders, Page, Poll, Problem, Project, Retention, ScheduleId, Secret, SourceId, StageFound, Submission, Swept,
    Taken, TaskId, Tell, Upload, Variable, routes,
};

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server could not be spoken to; it may go better later.
    #[error("ask `{server}`")]
    Unreachable { server: String, source: Box<dyn std::error::Error + Send + Sync> },
    /// The server said no.
    #[error("{}", .0.title)]
    Refused(Problem),
    /// A file here.
    #[error("{doing} `{path}`")]
    File { doing: &'static str, path: String, source: std::io::Error },
}

impl Error {
    /// Whether the same call may go better a little later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(problem) => matches!(problem.status, 408 | 429 | 500..),
            Self::File { .. } => false,
        }
    }

    /// Returns the HTTP status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused(problem) => Some(problem.status),
            _ => None,
        }
    }
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// How long a piece of an upload is at most, bytes: as much as servers that share a bucket leave to one of them. What came of a piece that
/// breaks off stays.
const PIECE: u64 = 256 << 20;
/// The same where a proxy takes no long ones.
const SMALL: u64 = 8 << 20;
/// The answer to an upload whose bytes are others than its digest says.
const WRONG: u16 = StatusCode::UNPROCESSABLE_ENTITY.as_u16();
/// The answer of a proxy that takes no request so long.
const TOO_LONG: u16 = StatusCode::PAYLOAD_TOO_LARGE.as_u16();
/// Longest time a server checks and stores what it was sent. Who asks another one meanwhile makes it do the same again.
const STORING: Duration = Duration::from_secs(300);
/// Between a piece that was not taken and the next question how far the upload has come.
const PAUSE: Duration = Duration::from_millis(200);
/// After so many pieces in a row that brought the upload no further it is given up.
const IN_VAIN: u32 = 6;
/// How much of a piece is read at once.
const AT_ONCE: usize = 256 << 10;
/// Longest time a server is silent while it has something to say.
const SILENCE: Duration = Duration::from_secs(60);

/// A server, and what opens its door.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    /// The same for what may take long; made when it is needed.
    patient: Arc<OnceLock<reqwest::Client>>,
    server: Url,
    token: String,
    trust: Trust,
}

/// Certificates that are trusted beside the system's: those of a service with an authority of its own.
#[derive(Clone, Default)]
pub struct Trust(Vec<reqwest::Certificate>);

impl Trust {
    /// Reads certificates in PEM.
    pub fn from_pem(text: &[u8]) -> Result<Self, String> {
        let found = reqwest::Certificate::from_pem_bundle(text).map_err(|error| error.to_string())?;
        if found.is_empty() {
            return Err("there is no `BEGIN CERTIFICATE` in it".into());
        }
        // Whether they are certificates shows when they are put to use.
        let this = Self(found);
        rooted(&|| builder(None), &this.0).map_err(|_| "a certificate in it is none".to_owned())?;
        Ok(this)
    }
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} certificates", self.0.len())
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("server", &self.server.as_str()).finish_non_exhaustive()
    }
}

impl Client {
    /// Makes a client; nothing is asked yet.
    pub fn new(server: Url, token: impl Into<String>) -> Self {
        Self::trusting(server, token, Trust::default())
    }

    /// The same for a service whose certificate others do not trust.
    pub fn trusting(server: Url, token: impl Into<String>, trust: Trust) -> Self {
        Self { http: http(Some(SILENCE), &trust), patient: Arc::default(), server, token: token.into(), trust }
    }

    /// Returns the same client, which waits for an answer as long as it takes.
    fn patient(&self) -> Self {
        let patient = self.patient.get_or_init(|| http(None, &self.trust));
        Self { http: patient.clone(), ..self.clone() }
    }

    pub fn server(&self) -> &Url {
        &self.server
    }

    pub async fn submit(&self, submission: &Submission) -> Result<Build> {
        self.post(&routes::builds(), submission).await
    }

    pub async fn build(&self, id: BuildId) -> Result<Build> {
        self.get(&routes::build(id)).await
    }

    pub async fn cancel(&self, id: BuildId) -> Result<Build> {
        self.post(&routes::cancel(id), &()).await
    }

    pub async fn retry(&self, id: BuildId) -> Result<Build> {
        self.post(&routes::retry(id), &()).await
    }

    pub async fn make_project(&self, project: &NewProject) -> Result<Project> {
        self.post(&format!("{}/projects", routes::API), project).await
    }

    /// Says which builds a project keeps.
    pub async fn set_retention(&self, project: &Name, rules: &Retention) -> Result<Project> {
        self.json(self.request(Method::PUT, &routes::retention(project)).json(rules)).await
    }

    /// Lets a build stay whatever its project's rules say, or not any more.
    pub async fn pin(&self, id: BuildId, pinned: bool) -> Result<Build> {
        self.post(&if pinned { routes::pin(id) } else { routes::unpin(id) }, &()).await
    }

    /// Lets somebody be told of a project's builds; the answer has the secret that bodies are signed with.
    pub async fn make_hook(&self, project: &Name, hook: &NewHook) -> Result<Hook> {
        self.post(&routes::hooks(project), hook).await
    }

    pub async fn hooks(&self, project: &Name) -> Result<Vec<Hook>> {
        self.get(&routes::hooks(project)).await
    }

    pub async fn drop_hook(&self, project: &Name, hook: HookId) -> Result<()> {
        self.answer(self.request(Method::DELETE, &routes::hook(project, hook))).await.map(drop)
    }

    /// Returns a hook's last deliveries, the newest first.
    pub async fn deliveries(&self, project: &Name, hook: HookId) -> Result<Vec<Delivery>> {
        self.get(&routes::deliveries(project, hook)).await
    }

    pub async fn redeliver(&self, project: &Name, hook: HookId, delivery: DeliveryId) -> Result<()> {
        self.answer(self.request(Method::POST, &routes::redeliver(project, hook, delivery))).await.map(drop)
    }

    /// Lets the server remove what no rule keeps, or with `dry_run` only say what that would be. That may take a while.
    pub async fn gc(&self, dry_run: bool) -> Result<Swept> {
        // The server says nothing until it is done.
        self.patient().post(&routes::gc(dry_run), &()).await
    }

    pub async fn sources(&self, project: &Name) -> Result<Vec<Source>> {
        self.get(&routes::sources(project)).await
    }

    pub async fn make_source(&self, project: &Name, new: &NewSource) -> Result<Source> {
        self.post(&routes::sources(project), new).await
    }

    pub async fn drop_source(&self, project: &Name, source: SourceId) -> Result<()> {
        self.answer(self.request(Method::DELETE, &routes::source(project, source))).await.map(drop)
    }

    /// Returns what a source was told last, the newest first.
    pub async fn pushes(&self, project: &Name, source: SourceId) -> Result<Vec<Push>> {
        self.get(&routes::pushes(project, source)).await
    }

    /// Builds all of a source's recipes as they are on a branch.
    pub async fn build_source(&self, project: &Name, source: SourceId, branch: &str) -> Result<Told> {
        self.post(&routes::pushes(project, source), &NewPush { branch: branch.to_owned() }).await
    }

    pub async fn schedules(&self, project: &Name, source: SourceId) -> Result<Vec<Schedule>> {
        self.get(&routes::schedules(project, source)).await
    }

    pub async fn make_schedule(&self, project: &Name, source: SourceId, new: &NewSchedule) -> Result<Schedule> {
        self.post(&routes::schedules(project, source), new).await
    }

    /// Lets a schedule build, or rest.
    pub async fn enable_schedule(&self, project: &Name, source: SourceId, id: ScheduleId, enabled: bool) -> Result<()> {
        let request = self.request(Method::PUT, &routes::schedule(project, source, id)).json(&Enabled { enabled });
        self.answer(request).await.map(drop)
    }

    pub async fn drop_schedule(&self, project: &Name, source: SourceId, id: ScheduleId) -> Result<()> {
        self.answer(self.request(Method::DELETE, &routes::schedule(project, source, id))).await.map(drop)
    }

    /// Returns the schedules by which a project submits builds again.
    pub async fn repeats(&self, project: &Name) -> Result<Vec<Repeat>> {
        self.get(&routes::repeats(project)).await
    }

    pub async fn make_repeat(&self, project: &Name, new: &NewRepeat) -> Result<Repeat> {
        self.post(&routes::repeats(project), new).await
    }

    /// Lets a schedule submit, or rest.
    pub async fn enable_repeat(&self, project: &Name, id: ScheduleId, enabled: bool) -> Result<()> {
        let request = self.request(Method::PUT, &routes::repeat(project, id)).json(&Enabled { enabled });
        self.answer(request).await.map(drop)
    }

    pub async fn drop_repeat(&self, project: &Name, id: ScheduleId) -> Result<()> {
        self.answer(self.request(Method::DELETE, &routes::repeat(project, id))).await.map(drop)
    }

    /// Returns which secrets a project has, without their values.
    pub async fn secrets(&self, project: &Name) -> Result<Vec<Secret>> {
        self.get(&routes::secrets(project)).await
    }

    /// Gives a project a secret, or gives the one of this name another value.
    pub async fn set_secret(&self, project: &Name, name: &Variable, value: Value) -> Result<()> {
        let request = self.request(Method::PUT, &routes::secret(project, name)).json(&NewSecret { value });
        self.answer(request).await.map(drop)
    }

    pub async fn drop_secret(&self, project: &Name, name: &Variable) -> Result<()> {
        self.answer(self.request(Method::DELETE, &routes::secret(project, name))).await.map(drop)
    }

    pub async fn nodes(&self) -> Result<Vec<Node>> {
        self.get(&routes::nodes()).await
    }

    pub async fn enrol(&self, name: Name) -> Result<Enrolled> {
        self.post(&routes::nodes(), &NewNode { name }).await
    }

    /// Asks for a stage that nodes share.
    pub async fn stage(&self, id: Digest) -> Result<StageFound> {
        self.get(&routes::stage(id)).await
    }

    /// Says that the bytes which the server has for a stage are none.
    pub async fn drop_stage(&self, id: Digest, kept: &Kept) -> Result<()> {
        self.answer(self.request(Method::DELETE, &routes::stage(id)).json(kept)).await.map(drop)
    }

    /// Says which blob, uploaded already, is a stage's.
    pub async fn keep_stage(&self, id: Digest, kept: &Kept) -> Result<()> {
        self.answer(self.request(Method::PUT, &routes::stage(id)).json(kept)).await.map(drop)
    }

    pub async fn poll(&self, poll: &Poll) -> Result<Orders> {
        self.post(&routes::poll(), poll).await
    }

    pub async fn tell(&self, task: TaskId, tell: &Tell) -> Result<Taken> {
        self.post(&routes::tell(task), tell).await
    }

    /// Returns the secrets of a task that this node has a lease of.
    pub async fn values(&self, task: TaskId, epoch: u64) -> Result<Values> {
        self.post(&routes::values(task), &Wanted { epoch }).await
    }

    /// Returns the files that a task takes from others, whose lease this node has.
    pub async fn handed(&self, task: TaskId, epoch: u64) -> Result<Vec<Handed>> {
        self.post(&routes::handed(task), &Wanted { epoch }).await
    }

    pub async fn complete(&self, task: TaskId, complete: &Complete) -> Result<()> {
        let request = self.request(Method::POST, &routes::complete(task)).json(complete);
        self.answer(request).await.map(drop)
    }

    /// Returns entries of a build's log that come after number `after`; `sought` are fields of the address that choose some of them.
    pub async fn events(&self, id: BuildId, after: u64, sought: &[(&str, String)]) -> Result<Page> {
        let from = [("after", after.to_string())];
        self.get(&routes::asking(routes::events(id), from.iter().chain(sought))).await
    }

    /// Returns a build's log as text, in pieces.
    pub async fn log(
        &self,
        id: BuildId,
        sought: &[(&str, String)],
    ) -> Result<impl Stream<Item = Result<Bytes>> + use<>> {
        let response = self.answer(self.request(Method::GET, &routes::asking(routes::log(id), sought))).await?;
        let server = self.server.to_string();
        let broken = move |error: reqwest::Error| Error::Unreachable {
            server: server.clone(),
            source: error.without_url().into(),
        };
        Ok(response.bytes_stream().map_err(broken))
    }

    /// Follows a build's log after number `after` until the build has ended or the line breaks; the caller goes on after the
    /// last entry it got.
    pub async fn follow(
        &self,
        id: BuildId,
        after: u64,
        sought: &[(&str, String)],
    ) -> Result<impl Stream<Item = Result<Entry>> + use<>> {
        let request =
            self.request(Method::GET, &routes::asking(routes::events(id), sought)).header(ACCEPT, "text/event-stream");
        let response = self.answer(request.header("last-event-id", after.to_string())).await?;
        let server = self.server.to_string();
        let entries = response.bytes_stream().eventsource().map(move |event| {
            let unreachable = |source| Error::Unreachable { server: server.clone(), source };
            let event = event.map_err(|error| unreachable(error.into()))?;
            serde_json::from_str(&event.data).map_err(|error| unreachable(error.into()))
        });
        Ok(entries)
    }

    /// Uploads a file as the blob `digest`; what the server has already is not sent again. Each request may come to another server.
    pub async fn upload(&self, digest: Digest, path: &Path) -> Result<()> {
        let failed = |source| Error::File { doing: "open", path: path.display().to_string(), source };
        let size = tokio::fs::metadata(path).await.map_err(failed)?.len();
        let (mut most, mut forgiven, mut in_vain, mut have) = (PIECE, false, 0, self.uploaded(digest).await?);
        while !have.complete {
            have = match self.piece(digest, path, have.offset, size, most).await {
                // Somebody else uploads the same bytes, or did at another server: go on where they are.
                Err(error) if error.status() == Some(StatusCode::CONFLICT.as_u16()) => {
                    tokio::time::sleep(PAUSE).await;
                    self.uploaded(digest).await?
                }
                // What was there before may have been wrong, whoever sent it. It is forgotten now.
                Err(error) if error.status() == Some(WRONG) && have.offset > 0 && !forgiven => {
                    forgiven = true;
                    self.uploaded(digest).await?
                }
                // A proxy takes no pieces as long as that.
                Err(error) if error.status() == Some(TOO_LONG) && most > SMALL => {
                    most = SMALL;
                    self.uploaded(digest).await?
                }
                // The line broke, whoever refused the piece did not listen to its end, or a server fetches first what others have.
                Err(error @ Error::Unreachable { .. }) => {
                    tokio::time::sleep(PAUSE * (1 + in_vain)).await;
                    let now = self.uploaded(digest).await?;
                    in_vain = if now.offset == have.offset { in_vain + 1 } else { 0 };
                    if in_vain == IN_VAIN && !now.complete {
                        return Err(error);
                    }
                    now
                }
                other => other?,
            };
        }
        Ok(())
    }

    async fn uploaded(&self, digest: Digest) -> Result<Upload> {
        self.get(&routes::upload(digest)).await
    }

    /// Sends `most` bytes of a file from `offset` on.
    async fn piece(&self, digest: Digest, path: &Path, offset: u64, size: u64, most: u64) -> Result<Upload> {
        let failed = |source| Error::File { doing: "read", path: path.display().to_string(), source };
        let mut file = tokio::fs::File::open(path).await.map_err(failed)?;
        file.seek(std::io::SeekFrom::Start(offset)).await.map_err(failed)?;
        let length = size.saturating_sub(offset).min(most);
        let ((moved, moving), broken) = (watch::channel(()), Arc::new(Mutex::new(None)));
        let noted = broken.clone();
        let bytes = ReaderStream::with_capacity(file.take(length), AT_ONCE).map(move |bytes| {
            let _ = moved.send(());
            bytes.map_err(|error| {
                let kind = error.kind();
                *noted.lock().expect("no panic while held") = Some(error);
                std::io::Error::from(kind)
            })
        });
        let request = self.patient().request(Method::PATCH, &routes::upload(digest)).body(Body::wrap_stream(bytes));
        let request = request.header(CONTENT_LENGTH, length).header("upload-offset", offset);
        let answer = self.while_it_moves(request.header("upload-length", size), moving).await;
        match broken.lock().expect("no panic while held").take() {
            // It is not the line's fault.
            Some(error) => Err(failed(error)),
            None => answer,
        }
    }

    /// Sends a long request, which is given up only if nothing of it moves for a while.
    async fn while_it_moves<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        mut moving: watch::Receiver<()>,
    ) -> Result<T> {
        let mut answer = pin!(self.json(request));
        let silent =
            || Error::Unreachable { server: self.server.to_string(), source: "it was silent for too long".into() };
        loop {
            let moved = tokio::select! {
                answer = &mut answer => return answer,
                moved = timeout(SILENCE, moving.changed()) => moved,
            };
            match moved {
                Ok(Ok(())) => {}
                // All is sent.
                Ok(Err(_)) => return timeout(STORING, answer).await.unwrap_or_else(|_| Err(silent())),
                Err(_) => return Err(silent()),
            }
        }
    }

    /// Downloads a blob into a file, and tells whether its bytes are those of the digest.
    pub async fn download(&self, digest: Digest, path: &Path) -> Result<()> {
        self.save(&routes::blob(digest), path).await
    }

    /// Downloads an artifact of a build into a file.
    pub async fn artifact(&self, id: BuildId, name: &str, task: Option<TaskId>, path: &Path) -> Result<()> {
        self.save(&routes::artifact(id, name, task), path).await
    }

    async fn save(&self, at: &str, path: &Path) -> Result<()> {
        let response = self.answer(self.request(Method::GET, at)).await?;
        let failed = |source| Error::File { doing: "write", path: path.display().to_string(), source };
        let mut file = tokio::fs::File::create(path).await.map_err(failed)?;
        let mut bytes = response.bytes_stream().map_err(|error| self.unreachable(error));
        while let Some(piece) = bytes.try_next().await? {
            file.write_all(&piece).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)
    }

    async fn get<T: DeserializeOwned>(&self, at: &str) -> Result<T> {
        self.json(self.request(Method::GET, at)).await
    }

    async fn post<T: DeserializeOwned>(&self, at: &str, body: &impl Serialize) -> Result<T> {
        self.json(self.request(Method::POST, at).json(body)).await
    }

    fn request(&self, method: Method, at: &str) -> RequestBuilder {
        let url = format!("{}{at}", self.server.as_str().trim_end_matches('/'));
        self.http.request(method, url).bearer_auth(&self.token)
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        let response = self.answer(request).await?;
        response.json().await.map_err(|error| self.unreachable(error))
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Response> {
        let response = request.send().await.map_err(|error| self.unreachable(error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(Error::Refused(problem(response).await))
    }

    fn unreachable(&self, error: reqwest::Error) -> Error {
        // Its own words repeat the whole address.
        Error::Unreachable { server: self.server.to_string(), source: error.without_url().into() }
    }
}

fn http(silence: Option<Duration>, trust: &Trust) -> reqwest::Client {
    rooted(&|| builder(silence), &trust.0).expect("a client whose certificates were tried before can be made")
}

/// Makes a client that trusts the system's certificates and `own`. Where the system has none it trusts `own` alone, and speaks to those who
/// need none.
pub fn rooted(
    make: &dyn Fn() -> reqwest::ClientBuilder,
    own: &[reqwest::Certificate],
) -> reqwest::Result<reqwest::Client> {
    let all = if own.is_empty() { make() } else { make().tls_certs_merge(own.iter().cloned()) };
    all.build().or_else(|_| make().tls_certs_only(own.iter().cloned()).build())
}

fn builder(silence: Option<Duration>) -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(10))
        .user_agent(concat!("kiln/", env!("CARGO_PKG_VERSION")));
    silence.into_iter().fold(builder, reqwest::ClientBuilder::read_timeout)
}

/// Reads why the server said no; something between may have said it in words of its own.
async fn problem(response: Response) -> Problem {
    let status = response.status();
    let known = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/problem+json");
    let read = if known { response.json().await.ok() } else { None };
    read.unwrap_or_else(|| Problem {
        status: status.as_u16(),
        title: format!("the server answers {status}"),
        hint: None,
        diagnostics: vec![],
    })
}
