//! Takes away what nobody needs: builds that their project's rules let go, then blobs that no build has.
//!
//! A blob is needed while a build has it, as an artifact or as the bundle of one of its tasks, ended or not, for those may be tried
//! again; while it is a stage that nodes share, of which those go that were used longest ago when they are more than is kept; and for a day after somebody said that it is wanted: uploaded it, asked whether it is here, submitted or completed with it.
//!
//! Nothing that is needed is ever taken, whatever happens at the same time, because
//!
//! - an answer that a blob is here is a promise for that day: it is given only after the row says so (`Farm::note`). A client that
//!   asks, uploads nothing and submits an hour later finds the blob.
//! - who begins to need a blob renews its row in the same transaction, and fails if the row is gone. The gc removes a row only if in
//!   its own transaction nobody needs it and nobody renewed it. The row itself is what two servers of one PostgreSQL wait for: who
//!   comes second sees what the first did.
//! - in the server's folder bytes have the name of their digest: from looking at them until the row is written, the promise holds the
//!   part of the store that the blob is in, shared with others; the gc holds it alone from removing rows until their bytes are gone. So
//!   bytes that are about to go are never promised, and bytes that were promised never go. Parts are held by `flock`: a crash lets go.
//! - in a bucket, which servers with folders of their own share, bytes have a new name each time, and only the row is asked whether a
//!   blob is here: see [`crate::blobs::Bucket`].
//! - an upload under way is removed only by who has the turn at it, and not before nobody went on with it for a day; the same holds for what
//!   of it lies in the bucket.
//! - a build goes only if it still is as the decision saw it; a retry or a pin that came first keeps it, one that comes later finds
//!   nothing. The newest of a name that a schedule submits again never goes, and with it stays what the schedule needs.
//! - a backup holds the server's folder as a whole, shared; a gc holds it alone, or does not begin. Of a bucket it copies nothing.
//!
//! Rows go first, bytes last. A crash in between leaves bytes without a row: the next gc takes those that are older than a day, for
//! an upload that is whole and not yet noted looks the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::FutureExt as _;
use kiln_farm_api::points::{self, Point};
use kiln_farm_api::retention::{Swept, SweptProject};
use kiln_farm_api::{BuildId, Name};
use kiln_model::Digest;

use crate::blobs::{Hold, Stray};
use crate::decide::retain::{DAY, Ended, GRACE, Shared, over, too_many, unneeded};
use crate::error::{Result, chain};
use crate::farm::Farm;

/// What goes, as it looked before anything was touched.
struct Picture {
    builds: Vec<(Name, Ended)>,
    /// The blobs of those builds, by the first project that loses them.
    owners: BTreeMap<Digest, Name>,
    /// Those of them that nobody else needs.
    blobs: Vec<(Digest, u64)>,
    /// Blobs that no build had.
    unused: Vec<(Digest, u64)>,
    /// Stages of nodes beyond what is kept.
    stages: Vec<Shared>,
    /// Those of their blobs that nobody else needs.
    stage_blobs: BTreeMap<Digest, u64>,
}

/// Takes away what nobody needs, or with `dry_run` says what that would be.
pub async fn gc(farm: &Farm, dry_run: bool) -> Result<Swept> {
    let _alone = if dry_run { None } else { Some(farm.blobs.folder.hold_all().await?) };
    let picture = look(farm).await?;
    let swept = if dry_run { expected(farm, &picture).await? } else { sweep(farm, &picture).await? };
    if !dry_run {
        let builds: u64 = swept.projects.iter().map(|project| project.builds).sum();
        tracing::info!(builds, bytes = swept.bytes(), "gc: {builds} builds and {} bytes are gone", swept.bytes());
    }
    Ok(swept)
}

/// How long hooks' deliveries are remembered, milliseconds: 30 days.
const DELIVERIES: i64 = 30 * DAY;
/// How long after the start of the server the first gc of its own is.
const FIRST: Duration = Duration::from_secs(600);
const DAILY: Duration = Duration::from_secs(24 * 3600);

/// Takes away every day what nobody needs, until the server ends.
pub async fn daily(farm: Farm) {
    tokio::time::sleep(FIRST).await;
    loop {
        if let Err(error) = gc(&farm, false).await {
            tracing::error!("the daily gc: {}", chain(&error));
        }
        tokio::time::sleep(DAILY).await;
    }
}

async fn look(farm: &Farm) -> Result<Picture> {
    let now = farm.now();
    let mut builds = vec![];
    for (project, rules) in farm.db.retention().await? {
        let ended = farm.db.ended_builds(&project).await?;
        builds.extend(over(&ended, &rules, now).into_iter().map(|build| (project.clone(), build)));
    }
    let mut owners = BTreeMap::new();
    for (project, build) in &builds {
        for digest in farm.db.blobs_of(build.id).await? {
            owners.entry(digest).or_insert_with(|| project.clone());
        }
    }
    let gone: BTreeSet<BuildId> = builds.iter().map(|(_, build)| build.id).collect();
    let mut blobs = vec![];
    let stages = farm.db.stages().await?;
    let shared: BTreeSet<Digest> = stages.iter().map(|stage| stage.sha256).collect();
    for digest in owners.keys().filter(|digest| !shared.contains(digest)) {
        let blob = farm.db.blob_with_builds(*digest).await?;
        blobs.extend(blob.filter(|blob| unneeded(blob, &gone, now)).map(|blob| (blob.digest, blob.size)));
    }
    let unused = farm.db.unused_blobs(now - GRACE).await?;
    let (stages, mut stage_blobs) = (too_many(stages, farm.stages_limit), BTreeMap::new());
    for stage in &stages {
        let blob = farm.db.blob_with_builds(stage.sha256).await?;
        stage_blobs.extend(blob.filter(|blob| unneeded(blob, &gone, now)).map(|blob| (blob.digest, blob.size)));
    }
    Ok(Picture { builds, owners, blobs, unused, stages, stage_blobs })
}

/// Adds up what goes.
#[derive(Default)]
struct Sum {
    projects: BTreeMap<Name, SweptProject>,
    unused: u64,
    unused_bytes: u64,
    stages: u64,
    stages_bytes: u64,
}

impl Sum {
    fn project(&mut self, name: &Name) -> &mut SweptProject {
        let fresh = || SweptProject { project: name.clone(), builds: 0, bytes: 0 };
        self.projects.entry(name.clone()).or_insert_with(fresh)
    }

    fn blob(&mut self, picture: &Picture, digest: Digest, size: u64) {
        match picture.owners.get(&digest) {
            Some(project) => self.project(project).bytes += size,
            None if picture.stage_blobs.contains_key(&digest) => self.stages_bytes += size,
            None => self.stray(size),
        }
    }

    fn stray(&mut self, size: u64) {
        self.unused += 1;
        self.unused_bytes += size;
    }

    fn swept(self, dry_run: bool) -> Swept {
        let Self { projects, unused, unused_bytes, stages, stages_bytes } = self;
        let projects = projects.into_values().collect();
        Swept { dry_run, projects, unused, unused_bytes, stages, stages_bytes }
    }
}

async fn expected(farm: &Farm, picture: &Picture) -> Result<Swept> {
    let mut sum = Sum::default();
    picture.builds.iter().for_each(|(project, _)| sum.project(project).builds += 1);
    picture.blobs.iter().chain(&picture.unused).for_each(|(digest, size)| sum.blob(picture, *digest, *size));
    sum.stages = picture.stages.len() as u64;
    picture.stage_blobs.iter().for_each(|(digest, size)| sum.blob(picture, *digest, *size));
    for shard in shards() {
        strays(farm, &shard).await?.iter().for_each(|stray| sum.stray(stray.size));
    }
    farm.blobs.uploads.abandoned().await?.iter().for_each(|(_, size)| sum.stray(*size));
    if farm.blobs.bucket().is_some() {
        farm.db.parked_before(farm.now() - GRACE).await?.iter().for_each(|stray| sum.stray(stray.size));
    }
    Ok(sum.swept(true))
}

async fn sweep(farm: &Farm, picture: &Picture) -> Result<Swept> {
    let mut sum = Sum::default();
    for (project, build) in &picture.builds {
        let build = *build;
        // One at a time: a build has many rows, and others wait for the writer.
        if farm.db.write(move |tx| async move { tx.forget_build(&build).await }.boxed()).await? {
            sum.project(project).builds += 1;
        }
    }
    for stage in &picture.stages {
        let stage = *stage;
        let forgotten = farm.db.write(move |tx| async move { tx.forget_stage(stage).await }.boxed()).await?;
        sum.stages += u64::from(forgotten);
    }
    let before = farm.now() - DELIVERIES;
    farm.db
        .write(move |tx| {
            async move {
                tx.forget_deliveries(before).await?;
                tx.forget_pushes(before).await
            }
            .boxed()
        })
        .await?;
    for shard in shards() {
        sweep_shard(farm, picture, shard, &mut sum).await?;
    }
    for (digest, size) in farm.blobs.uploads.abandoned().await? {
        if farm.blobs.uploads.give_up(digest).await? {
            sum.stray(size);
        }
    }
    give_up_parked(farm, &mut sum).await?;
    Ok(sum.swept(false))
}

/// Removes what lies in the bucket of uploads that nobody went on with.
async fn give_up_parked(farm: &Farm, sum: &mut Sum) -> Result<()> {
    if farm.blobs.bucket().is_none() {
        return Ok(());
    }
    let before = farm.now() - GRACE;
    let gone = farm.db.write(move |tx| async move { tx.give_up_parked(before).await }.boxed()).await?;
    points::pass(Point::RowsGone);
    for Stray { digest, place, size } in gone {
        farm.blobs.remove(digest, &place).await?;
        sum.stray(size);
    }
    Ok(())
}

async fn sweep_shard(farm: &Farm, picture: &Picture, shard: String, sum: &mut Sum) -> Result<()> {
    let Some(_alone) = farm.blobs.folder.hold(&shard, Hold::Alone).await? else { return Ok(()) };
    let (name, before) = (shard.clone(), farm.now() - GRACE);
    let gone = farm.db.write(move |tx| async move { tx.forget_blobs(&name, before).await }.boxed()).await?;
    points::pass(Point::RowsGone);
    for Stray { digest, place, size } in gone {
        farm.blobs.remove(digest, &place).await?;
        sum.blob(picture, digest, size);
    }
    for Stray { digest, place, size } in strays(farm, &shard).await? {
        farm.blobs.remove(digest, &place).await?;
        sum.stray(size);
    }
    Ok(())
}

/// Returns what is in a part of the store and in no row.
async fn strays(farm: &Farm, shard: &str) -> Result<Vec<Stray>> {
    let (known, parked) = (farm.db.blobs_in(shard).await?, farm.db.parked_in(shard).await?);
    let is_parked = |stray: &Stray| stray.place.name().is_some_and(|name| parked.contains(name));
    farm.blobs.strays(shard, |stray| known.get(&stray.digest) == Some(&stray.place) || is_parked(stray)).await
}

/// Returns the names of the store's parts.
fn shards() -> impl Iterator<Item = String> {
    (0..=0xff).map(|number| format!("{number:02x}"))
}
