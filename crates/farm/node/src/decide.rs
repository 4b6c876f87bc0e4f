//! How much more a node takes, and what it does with its orders. Nothing is done here.

use std::collections::BTreeSet;

use kiln_farm_api::{Holding, Lease, Orders};

/// What the answer to "how many more" hangs on.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    pub slots: u32,
    /// Builds that run.
    pub running: u32,
    /// Of these, such as began a moment ago, which have not taken what they need yet.
    pub young: u32,
    pub memory_free: u64,
    pub build_memory: u64,
    pub disk_free: u64,
    pub min_disk: u64,
    pub build_disk: u64,
    /// It is to end.
    pub draining: bool,
}

/// How many more, and why none where the reason is not simply that all slots are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Free {
    pub free: u32,
    pub refusing: Option<String>,
    /// It is the disk's fault, which a smaller cache may mend.
    pub full: bool,
}

/// Decides how many more tasks a node takes; `unwritable` is why it cannot write where it works.
pub fn free(room: &Room, unwritable: Option<String>) -> Free {
    let refuse = |why: String| Free { free: 0, refusing: Some(why), full: false };
    if room.draining {
        return refuse("it is to end".into());
    }
    if let Some(why) = unwritable {
        return refuse(why);
    }
    let for_builds =
        |bytes: u64, each: u64| u32::try_from(bytes / each.max(1)).unwrap_or(u32::MAX).saturating_sub(room.young);
    let disk = for_builds(room.disk_free.saturating_sub(room.min_disk), room.build_disk);
    if room.disk_free < room.min_disk || (disk == 0 && room.running == 0) {
        let (free, least, each) = (gib(room.disk_free), gib(room.min_disk), gib(room.build_disk));
        let why =
            format!("its disk is nearly full: {free} GiB free, {least} GiB must stay, a build is given {each} GiB");
        return Free { full: true, ..refuse(why) };
    }
    let memory = for_builds(room.memory_free, room.build_memory);
    if memory == 0 && room.running == 0 {
        let (free, needed) = (gib(room.memory_free), gib(room.build_memory));
        return refuse(format!("it lacks memory: {free} GiB free, a build is given {needed} GiB"));
    }
    Free { free: room.slots.saturating_sub(room.running).min(memory).min(disk), refusing: None, full: false }
}

fn gib(bytes: u64) -> String {
    let tenths = bytes / ((1 << 30) / 10);
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// What is to be done about an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Stop(Holding),
    Begin(Lease),
}

/// Decides what becomes of the server's orders: first what is to stop, then what is to begin, no more than it was `free` for.
/// A lease that is not begun is not held, and goes out again.
pub fn changes(held: &BTreeSet<Holding>, orders: Orders, free: u32) -> Vec<Change> {
    let fresh = |lease: &Lease| !held.contains(&holding(lease)) && !orders.stop.contains(&holding(lease));
    let mut begun = BTreeSet::new();
    let begin = orders.begin.iter().filter(|lease| fresh(lease) && begun.insert(lease.task));
    let begin: Vec<Lease> = begin.take(free as usize).cloned().collect();
    // An older run of the same task is somebody else's by now, or nobody's.
    let older = |held: &&Holding| begin.iter().any(|lease| lease.task == held.task);
    let mut stop: BTreeSet<Holding> = held.iter().filter(older).copied().collect();
    stop.extend(orders.stop.iter().filter(|one| held.contains(one)));
    stop.into_iter().map(Change::Stop).chain(begin.into_iter().map(Change::Begin)).collect()
}

/// Returns what a node says of a lease that it holds.
pub fn holding(lease: &Lease) -> Holding {
    Holding { task: lease.task, epoch: lease.epoch }
}

#[cfg(test)]
mod tests {
    use kiln_farm_api::{BuildId, TaskId, Work};
    use kiln_model::Digest;
    use uuid::Uuid;

    use super::*;

    const ROOM: Room = Room {
        slots: 4,
        running: 1,
        young: 0,
        memory_free: 8 << 30,
        build_memory: 1 << 30,
        disk_free: 50 << 30,
        min_disk: 5 << 30,
        build_disk: 2 << 30,
        draining: false,
    };

    #[test]
    fn slots_memory_and_disk_bound_what_is_taken() {
        let free = |room: Room| free(&room, None).free;
        assert_eq!(free(ROOM), 3);
        assert_eq!(free(Room { running: 4, ..ROOM }), 0);
        assert_eq!(free(Room { running: 9, ..ROOM }), 0);
        assert_eq!(free(Room { memory_free: 2 << 30, ..ROOM }), 2);
        assert_eq!(free(Room { memory_free: 2 << 30, young: 1, ..ROOM }), 1);
        assert_eq!(free(Room { memory_free: 1 << 20, ..ROOM }), 0);
        assert_eq!(free(Room { build_memory: 0, ..ROOM }), 3);
        assert_eq!(free(Room { draining: true, ..ROOM }), 0);
        assert_eq!(free(Room { disk_free: 9 << 30, ..ROOM }), 2);
        assert_eq!(free(Room { disk_free: 9 << 30, young: 1, ..ROOM }), 1);
        assert_eq!(free(Room { disk_free: 4 << 30, min_disk: 0, build_disk: 0, ..ROOM }), 3);
    }

    #[test]
    fn a_node_that_takes_nothing_says_why() {
        let why = |room: Room| free(&room, None).refusing;
        assert_eq!(why(ROOM), None);
        assert_eq!(why(Room { running: 4, ..ROOM }), None);
        let full = "its disk is nearly full: 1.5 GiB free, 5.0 GiB must stay, a build is given 2.0 GiB";
        assert_eq!(why(Room { disk_free: 3 << 29, ..ROOM }).as_deref(), Some(full));
        // What is there is not enough for a first build, but a second one of two may be at work with it.
        let scarce = Room { disk_free: 6 << 30, ..ROOM };
        assert_eq!((why(scarce), why(Room { running: 0, ..scarce }).is_some()), (None, true));
        assert!(super::free(&Room { disk_free: 0, ..ROOM }, None).full);
        let sick = super::free(&ROOM, Some("its folder is read-only".into()));
        assert_eq!((sick.free, sick.refusing.as_deref(), sick.full), (0, Some("its folder is read-only"), false));
        let lacks = "it lacks memory: 0.0 GiB free, a build is given 1.0 GiB";
        assert_eq!(why(Room { memory_free: 1, running: 0, ..ROOM }).as_deref(), Some(lacks));
        assert_eq!(why(Room { draining: true, ..ROOM }).as_deref(), Some("it is to end"));
    }

    fn held(task: u128, epoch: u64) -> Holding {
        Holding { task: TaskId(Uuid::from_u128(task)), epoch }
    }

    fn lease(task: u128, epoch: u64) -> Lease {
        let work = Work::image(Digest::of(""), "kiln.toml");
        let Holding { task, epoch } = held(task, epoch);
        let (build, name) = (BuildId(Uuid::nil()), || "x".parse().unwrap());
        Lease { task, epoch, build, project: name(), name: name(), work }
    }

    #[test]
    fn orders_are_obeyed_once() {
        let have = BTreeSet::from([held(1, 1), held(2, 1)]);
        let orders = Orders { begin: vec![lease(1, 1), lease(3, 1), lease(3, 1)], stop: vec![held(2, 1), held(9, 1)] };
        assert_eq!(changes(&have, orders, 4), [Change::Stop(held(2, 1)), Change::Begin(lease(3, 1))]);
    }

    #[test]
    fn a_newer_lease_ends_the_older_run() {
        let have = BTreeSet::from([held(1, 1)]);
        let orders = Orders { begin: vec![lease(1, 2)], stop: vec![] };
        assert_eq!(changes(&have, orders, 1), [Change::Stop(held(1, 1)), Change::Begin(lease(1, 2))]);
    }

    #[test]
    fn no_more_is_begun_than_there_was_room_for() {
        let orders = Orders { begin: vec![lease(1, 1), lease(2, 1)], stop: vec![] };
        assert_eq!(changes(&BTreeSet::new(), orders, 1), [Change::Begin(lease(1, 1))]);
    }

    #[test]
    fn what_begins_and_stops_at_once_is_not_begun() {
        let orders = Orders { begin: vec![lease(1, 1)], stop: vec![held(1, 1)] };
        assert_eq!(changes(&BTreeSet::new(), orders, 1), []);
    }
}
