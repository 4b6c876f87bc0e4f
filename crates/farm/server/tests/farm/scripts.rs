//! Farm scripts: a story of nodes and builds in, what the server makes of it beside it. The same on both databases.
//!
//! `tests/scripts/x.txt` has one command a line: `node NAME [ARCH…]`, `project NAME WEIGHT`,
//! `submit BUILD [project=P] [priority=N] [arch=A] [attempts=N] TASK[<NEED,NEED]…`, `poll NODE FREE`, `forget NODE TASK`,
//! `tell NODE TASK FIRST LINE|LINE…`, `done NODE TASK`, `fail NODE TASK FAULT`, `stale NODE TASK` (a result under the lease before),
//! `cancel BUILD`, `retry BUILD`, `revoke NODE`, `wait SECONDS`, `show BUILD`, `log BUILD`. `x.out` is what it says.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::common::{On, TestFarm};
use kiln_farm_api::{BuildId, Error, Lease, NewProject, Order, Orders};
use kiln_farm_server::http::events::words;
use kiln_model::{Arch, FaultKind};

#[tokio::test(flavor = "multi_thread")]
async fn scripts_on_sqlite() {
    for (name, script) in scripts() {
        let said = play(&script, TestFarm::start(On::Sqlite).await).await;
        kiln_testkit::golden(&format!("{}/tests/scripts/{name}.out", env!("CARGO_MANIFEST_DIR")), &said);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_on_postgres_say_the_same() {
    for (name, script) in scripts() {
        let on = On::Postgres(kiln_testkit::Postgres::start());
        let said = play(&script, TestFarm::start(on).await).await;
        let wanted = std::fs::read_to_string(folder().join(format!("{name}.out"))).unwrap();
        assert_eq!(said, wanted, "{name}");
    }
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts"))
}

fn scripts() -> Vec<(String, String)> {
    let paths = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut scripts: Vec<_> = paths.filter(|path| path.extension().is_some_and(|kind| kind == "txt")).collect();
    scripts.sort();
    assert!(!scripts.is_empty());
    let read = |path: &std::path::PathBuf| {
        (path.file_stem().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(path).unwrap())
    };
    scripts.iter().map(read).collect()
}

struct Stage {
    farm: TestFarm,
    builds: BTreeMap<String, BuildId>,
    /// The leases that ended, by node and task.
    past: BTreeMap<(String, String), Lease>,
}

async fn play(script: &str, farm: TestFarm) -> String {
    let mut stage = Stage { farm, builds: BTreeMap::new(), past: BTreeMap::new() };
    let mut said = String::new();
    for line in script.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.is_empty() || words[0].starts_with('#') {
            writeln!(said, "{line}").unwrap();
            continue;
        }
        let answer = stage.perform(&words).await;
        writeln!(said, "> {line}").unwrap();
        answer.lines().for_each(|line| writeln!(said, "  {line}").unwrap());
    }
    said
}

impl Stage {
    async fn perform(&mut self, words: &[&str]) -> String {
        match words {
            ["node", name, archs @ ..] => {
                let archs: Vec<Arch> = archs.iter().map(|arch| arch.parse().unwrap()).collect();
                self.farm.enrol(name, if archs.is_empty() { &[Arch::Amd64] } else { &archs }).await;
                String::new()
            }
            ["project", name, weight] => {
                let weight = Some(weight.parse().unwrap());
                let project = NewProject { name: name.parse().unwrap(), open: true, weight };
                told(self.farm.admin.make_project(&project).await.map(|_| String::new()))
            }
            ["submit", name, rest @ ..] => self.submit(name, rest).await,
            ["poll", node, free] => self.poll(node, free.parse().unwrap()).await,
            ["tell", node, task, first, ..] => {
                let lines = words[4..].join(" ");
                let lines: Vec<&str> = lines.split('|').collect();
                let lease = self.lease(node, task);
                let taken = self.farm.nodes[*node].tell(&lease, first.parse().unwrap(), &lines).await;
                told(taken.map(|seq| format!("taken up to {seq}")))
            }
            ["done", node, task] => self.end(node, task, None).await,
            ["fail", node, task, fault] => {
                self.end(node, task, Some(serde_json::from_str(&format!("\"{fault}\"")).unwrap())).await
            }
            ["stale", node, task] => {
                let lease = self.past[&(node.to_string(), task.to_string())].clone();
                told(self.farm.nodes[*node].end(&lease, None).await.map(|()| "taken".into()))
            }
            ["forget", node, task] => {
                self.drop_lease(node, task);
                String::new()
            }
            ["cancel", build] => told(self.farm.admin.cancel(self.builds[*build]).await.map(|_| String::new())),
            ["retry", build] => told(self.farm.admin.retry(self.builds[*build]).await.map(|_| String::new())),
            ["revoke", node] => {
                let id = self.farm.nodes[*node].id;
                told(
                    self.farm
                        .farm
                        .revoke(id, "admin")
                        .await
                        .map(|()| String::new())
                        .map_err(|error| Error::Refused(error.problem())),
                )
            }
            ["wait", seconds] => {
                self.farm.turn(seconds.parse::<i64>().unwrap() * 1000);
                String::new()
            }
            ["show", build] => self.show(build).await,
            ["log", build] => self.log(build).await,
            other => panic!("no such command: {other:?}"),
        }
    }

    async fn submit(&mut self, name: &str, rest: &[&str]) -> String {
        let mut submission = self.farm.submission(name, vec![]);
        let (mut arch, mut attempts) = (None, None);
        for word in rest {
            match word.split_once('=') {
                Some(("project", project)) => submission.project = project.parse().unwrap(),
                Some(("priority", priority)) => submission.priority = priority.parse().unwrap(),
                Some(("arch", name)) => arch = Some(name.parse().unwrap()),
                Some(("attempts", number)) => attempts = Some(number.parse().unwrap()),
                Some(other) => panic!("no such setting: {other:?}"),
                None => {
                    let (task, needs) = word.split_once('<').unwrap_or((word, ""));
                    let needs = needs.split(',').filter(|need| !need.is_empty()).map(|need| need.parse().unwrap());
                    let order = Order { needs: needs.collect(), arch, attempts, ..self.farm.order(task) };
                    submission.tasks.push(order);
                }
            }
        }
        let made = self.farm.admin.submit(&submission).await;
        told(made.map(|build| {
            self.builds.insert(name.to_owned(), build.id);
            String::new()
        }))
    }

    async fn poll(&mut self, node: &str, free: u32) -> String {
        let here = self.farm.nodes.get_mut(node).unwrap();
        let names: BTreeMap<_, _> = here.held.iter().map(|lease| (lease.task, lease.name.clone())).collect();
        let orders = here.poll(free, 0).await;
        told(orders.map(|Orders { begin, stop }| {
            let begin = begin.iter().map(|lease| format!("begin {} epoch {}", lease.name, lease.epoch));
            let stop = stop.iter().map(|lease| format!("stop {} epoch {}", names[&lease.task], lease.epoch));
            begin.chain(stop).collect::<Vec<_>>().join("\n")
        }))
    }

    fn lease(&self, node: &str, task: &str) -> Lease {
        self.farm.nodes[node].lease(&task.parse().unwrap()).unwrap_or_else(|| panic!("{node} has no {task}"))
    }

    fn drop_lease(&mut self, node: &str, task: &str) {
        let lease = self.lease(node, task);
        self.farm.nodes.get_mut(node).unwrap().forget(&lease);
        self.past.insert((node.to_owned(), task.to_owned()), lease);
    }

    async fn end(&mut self, node: &str, task: &str, fault: Option<FaultKind>) -> String {
        let lease = self.lease(node, task);
        let ended = self.farm.nodes[node].end(&lease, fault).await;
        self.drop_lease(node, task);
        told(ended.map(|()| "taken".into()))
    }

    async fn show(&self, build: &str) -> String {
        let build = self.farm.build(self.builds[build]).await;
        let mut text = format!("{}\n", build.state.name());
        for task in build.tasks {
            let place = task.position.map(|at| format!(", {at} before it")).unwrap_or_default();
            let times = task.expected.map(|at| {
                let seconds = |time: i64| (time - self.farm.farm.now()) / 1000;
                format!(", begins in {} s, ends in {} s", seconds(at.start), seconds(at.end))
            });
            let why = task.failure.map(|failure| format!(": {}", failure.message)).unwrap_or_default();
            let state = task.state.name();
            writeln!(text, "{} {state} epoch {}{place}{}{why}", task.order.name, task.epoch, times.unwrap_or_default())
                .unwrap();
        }
        text
    }

    async fn log(&self, build: &str) -> String {
        let page = self.farm.admin.events(self.builds[build], 0, &[]).await.unwrap();
        let gapless = page.entries.iter().zip(1..).all(|(entry, seq)| entry.seq == seq);
        assert!(gapless && page.last == page.entries.len() as u64, "{page:?}");
        let lines = page.entries.iter().filter_map(|entry| Some(format!("{} {}", entry.seq, words(&entry.what)?)));
        lines.collect::<Vec<_>>().join("\n")
    }
}

fn told(answer: Result<String, Error>) -> String {
    match answer {
        Ok(words) => words,
        Err(Error::Refused(problem)) => {
            // Ids are others each time.
            let title: Vec<&str> = problem
                .title
                .split('`')
                .enumerate()
                .map(|(at, part)| if at % 2 == 1 && part.len() == 36 { "ID" } else { part })
                .collect();
            format!("{}: {}", problem.status, title.join("`"))
        }
        Err(error) => panic!("{error:?}"),
    }
}
