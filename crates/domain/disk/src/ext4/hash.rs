//! The half MD4 hash of names, under which large directories are sorted.

/// Hash and minor hash of a name.
pub(super) type NameHash = (u32, u32);

const NO_SEED: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
/// What the kernel keeps for "end of directory".
const END: u32 = 0x7fff_ffff;

/// Returns the hash of `name` (signed characters, which the superblock says too).
pub(super) fn half_md4(name: &[u8], seed: &[u8; 16]) -> NameHash {
    let mut state = std::array::from_fn(|at| u32::from_le_bytes(std::array::from_fn(|byte| seed[4 * at + byte])));
    if state == [0; 4] {
        state = NO_SEED;
    }
    let mut rest = name;
    while !rest.is_empty() {
        transform(&mut state, &words(rest));
        rest = &rest[rest.len().min(32)..];
    }
    let hash = state[1] & !1;
    (if hash == END << 1 { (END - 1) << 1 } else { hash }, state[2])
}

/// Eight words of the next 32 bytes, padded with the length of what is left.
fn words(rest: &[u8]) -> [u32; 8] {
    let pad = rest.len() as u32 | (rest.len() as u32) << 8;
    let pad = pad | pad << 16;
    std::array::from_fn(|at| {
        let bytes = rest.iter().take(32).skip(4 * at).take(4);
        bytes.fold(pad, |word, &byte| (word << 8).wrapping_add(i32::from(byte as i8) as u32))
    })
}

fn transform(state: &mut [u32; 4], words: &[u32; 8]) {
    type Mix = fn(u32, u32, u32) -> u32;
    let choose: Mix = |x, y, z| z ^ (x & (y ^ z));
    let majority: Mix = |x, y, z| (x & y).wrapping_add((x ^ y) & z);
    let parity: Mix = |x, y, z| x ^ y ^ z;
    let rounds: [(Mix, u32, [usize; 8], [u32; 4]); 3] = [
        (choose, 0, [0, 1, 2, 3, 4, 5, 6, 7], [3, 7, 11, 19]),
        (majority, 0x5a82_7999, [1, 3, 5, 7, 0, 2, 4, 6], [3, 5, 9, 13]),
        (parity, 0x6ed9_eba1, [3, 7, 2, 6, 1, 5, 0, 4], [3, 9, 11, 15]),
    ];
    let [mut a, mut b, mut c, mut d] = *state;
    for (mix, constant, order, turns) in rounds {
        for (step, word) in order.into_iter().enumerate() {
            let sum = a.wrapping_add(mix(b, c, d)).wrapping_add(words[word]).wrapping_add(constant);
            (a, b, c, d) = (d, sum.rotate_left(turns[step % 4]), b, c);
        }
    }
    for (kept, new) in state.iter_mut().zip([a, b, c, d]) {
        *kept = kept.wrapping_add(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Said by `debugfs -R 'dx_hash -h half_md4 -s SEED NAME'`; `ext4.rs` in `tests/` asks it about many more names.
    #[test]
    fn known_hashes() {
        let seed = *uuid::uuid!("00112233-4455-6677-8899-aabbccddeeff").as_bytes();
        assert_eq!(half_md4(b"hello", &seed), HELLO);
        assert_eq!(half_md4("ä-long-name-that-needs-more-than-thirty-two-bytes".as_bytes(), &seed), LONG);
    }

    const HELLO: NameHash = (0x344c_a36e, 0x2ef1_6de2);
    const LONG: NameHash = (0xd6e5_d8ee, 0x2e05_70e0);
}
