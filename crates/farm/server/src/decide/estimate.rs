//! When a task may begin and end, judged by how long others took.

use kiln_farm_api::task::Expected;

/// Returns when each task of a queue may begin and end. `running`: how long the others on the farm still take, one for each slot
/// that is busy, milliseconds; `free` slots take one at once; `queue`: how long each takes, in order.
pub fn estimate(running: &[i64], free: u32, queue: &[i64], now: i64) -> Vec<Option<Expected>> {
    // When each slot is free next.
    let mut slots: Vec<i64> = running.iter().map(|left| now + left.max(&0)).collect();
    slots.extend(std::iter::repeat_n(now, free as usize));
    let one = |takes: &i64| {
        let slot = slots.iter_mut().min()?;
        let expected = Expected { start: *slot, end: *slot + takes };
        *slot = expected.end;
        Some(expected)
    };
    queue.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_free_slot_takes_the_next_task() {
        let expected = |start, end| Some(Expected { start, end });
        let wanted = [expected(100, 110), expected(105, 125), expected(110, 111)];
        assert_eq!(estimate(&[5], 1, &[10, 20, 1], 100), wanted);
        assert_eq!(estimate(&[-3], 0, &[10], 100), [expected(100, 110)], "one that takes longer than others did");
        assert_eq!(estimate(&[], 0, &[10], 100), [None]);
    }
}
