//! Random: the only place random numbers come from.

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use std::sync::{Mutex, PoisonError};

/// Random numbers. Not for secrets, but of [`SystemRandom`].
pub trait Random: Send + Sync {
    /// 64 random bits.
    fn next_u64(&self) -> u64;

    /// An id of a flow or a trace: 127 random bits in 32 hex digits, never all of them 0.
    fn id(&self) -> String {
        let halves = [self.next_u64().to_be_bytes(), (self.next_u64() | 1).to_be_bytes()];
        let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value & 0xf)]);
        let mut id = String::with_capacity(32);
        for byte in halves.as_flattened() {
            id.extend([digit(byte >> 4), digit(*byte)]);
        }
        id
    }

    /// Evenly from 0 to below 1.
    #[allow(clippy::cast_precision_loss)] // 53 bits fit exactly
    fn unit(&self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Random numbers that nobody can foretell: of a generator for secrets, with a seed of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn next_u64(&self) -> u64 {
        rand::rng().next_u64()
    }
}

/// Random numbers that are a function of a seed.
#[derive(Debug)]
pub struct SeededRandom(Mutex<StdRng>);

impl SeededRandom {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Random for SeededRandom {
    fn next_u64(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next_u64()
    }
}

/// A hash that is the same in every version, process and machine (FNV-1a, 64 bits, then mixed): for shards and for
/// decisions that are a function of a seed. Not against an adversary.
pub fn stable_hash(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (fnv ^ (fnv >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^ (mixed >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_32_hex_digits_and_never_all_0() {
        struct Zero;
        impl Random for Zero {
            fn next_u64(&self) -> u64 {
                0
            }
        }
        assert_eq!(Zero.id(), "00000000000000000000000000000001");
        let (bits, id) = (SeededRandom::new(7), SeededRandom::new(7).id());
        assert_eq!(id, format!("{:016x}{:016x}", bits.next_u64(), bits.next_u64() | 1));
    }
}
