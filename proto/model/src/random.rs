//! Where randomness comes from.

/// A source of random bytes, handed down from `main` so that tests can seed it.
pub trait Random: Send + Sync {
    /// Fills `buffer` with random bytes.
    fn fill(&self, buffer: &mut [u8]);
}

/// The operating system's generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    #[expect(clippy::disallowed_methods, reason = "this is the one door to the system's generator")]
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("the operating system has a random generator");
    }
}

/// `N` random bytes.
pub fn bytes<const N: usize>(random: &dyn Random) -> [u8; N] {
    let mut buffer = [0; N];
    random.fill(&mut buffer);
    buffer
}

/// A number in `0.0 .. 1.0`.
pub fn unit(random: &dyn Random) -> f64 {
    // 53 random bits: every value a double can hold in that range at that spacing.
    let bits = u64::from_le_bytes(bytes(random)) >> 11;
    bits as f64 / (1_u64 << 53) as f64
}
