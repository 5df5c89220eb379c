//! Bob Jenkins' lookup3 (public domain) as PostgreSQL calculates 64 bits with it: what
//! `hashtextextended(text COLLATE "C", seed)` returns on a machine whose lowest byte comes first,
//! which is the same on all of PostgreSQL 14 to 18.

/// The state of one hash.
#[derive(Clone, Copy)]
struct State {
    a: u32,
    b: u32,
    c: u32,
}

impl State {
    fn new(length: usize, seed: u64) -> Self {
        // Lengths count modulo 2³², as there.
        let start = 0x9e37_79b9_u32.wrapping_add(low(length as u64)).wrapping_add(3_923_095);
        let mut state = Self { a: start, b: start, c: start };
        if seed != 0 {
            state.a = state.a.wrapping_add(low(seed >> 32));
            state.b = state.b.wrapping_add(low(seed));
            state.mix();
        }
        state
    }

    #[inline]
    fn add(&mut self, block: [u32; 3]) {
        self.a = self.a.wrapping_add(block[0]);
        self.b = self.b.wrapping_add(block[1]);
        self.c = self.c.wrapping_add(block[2]);
    }

    #[inline]
    fn mix(&mut self) {
        let Self { mut a, mut b, mut c } = *self;
        a = a.wrapping_sub(c) ^ c.rotate_left(4);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a) ^ a.rotate_left(6);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b) ^ b.rotate_left(8);
        b = b.wrapping_add(a);
        a = a.wrapping_sub(c) ^ c.rotate_left(16);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a) ^ a.rotate_left(19);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b) ^ b.rotate_left(4);
        b = b.wrapping_add(a);
        *self = Self { a, b, c };
    }

    #[inline]
    fn finish(self) -> u64 {
        let Self { mut a, mut b, mut c } = self;
        c = (c ^ b).wrapping_sub(b.rotate_left(14));
        a = (a ^ c).wrapping_sub(c.rotate_left(11));
        b = (b ^ a).wrapping_sub(a.rotate_left(25));
        c = (c ^ b).wrapping_sub(b.rotate_left(16));
        a = (a ^ c).wrapping_sub(c.rotate_left(4));
        b = (b ^ a).wrapping_sub(a.rotate_left(14));
        c = (c ^ b).wrapping_sub(b.rotate_left(24));
        u64::from(b) << 32 | u64::from(c)
    }
}

/// The hash with seed 0.
pub(super) fn first(text: &[u8]) -> u64 {
    let mut state = State::new(text.len(), 0);
    let (blocks, rest) = text.as_chunks::<12>();
    for block in blocks {
        state.add(words(block));
        state.mix();
    }
    state.add(last(rest));
    state.finish()
}

/// The hashes with seeds 0 and 1. Both in one pass: each waits for itself most of the time, so two
/// take hardly longer than one.
pub(super) fn both(text: &[u8]) -> (u64, u64) {
    let (mut one, mut two) = (State::new(text.len(), 0), State::new(text.len(), 1));
    let (blocks, rest) = text.as_chunks::<12>();
    for block in blocks {
        let block = words(block);
        one.add(block);
        two.add(block);
        one.mix();
        two.mix();
    }
    let rest = last(rest);
    one.add(rest);
    two.add(rest);
    (one.finish(), two.finish())
}

#[inline]
fn words(block: &[u8; 12]) -> [u32; 3] {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *block;
    [[a, b, c, d], [e, f, g, h], [i, j, k, l]].map(u32::from_le_bytes)
}

/// The up to eleven bytes at the end. The lowest byte of the third word is left free.
#[inline]
fn last(rest: &[u8]) -> [u32; 3] {
    let mut block = [0; 12];
    block[..rest.len()].copy_from_slice(rest);
    let [a, b, c] = words(&block);
    [a, b, c << 8]
}

/// The lowest 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "the lowest bits are asked for")]
fn low(number: u64) -> u32 {
    number as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What PostgreSQL 15 and 18 say to `hashtextextended(text, 0)` and `(text, 1)`.
    const VECTORS: [(&str, i64, i64); 33] = [
        ("", -6_939_563_903_564_495_251, -150_071_773_020_461_347),
        ("a", 3_591_986_179_850_072_241, 3_325_245_193_489_759_299),
        ("ab", 2_833_316_173_711_343_549, 6_831_083_245_906_393_158),
        ("abc", -6_747_756_470_228_489_321, 2_125_675_926_272_891_485),
        ("abcd", -1_038_429_303_365_892_052, -9_042_268_383_291_675_265),
        ("abcde", 3_076_356_108_696_143_428, 3_336_351_395_796_527_909),
        ("abcdef", 290_958_262_752_763_840, -7_708_154_518_206_703_230),
        ("abcdefg", -6_158_032_784_613_548_338, 8_893_296_306_369_806_751),
        ("abcdefgh", -8_882_191_227_074_733_005, -996_835_456_672_934_620),
        ("abcdefghi", -3_278_210_106_038_014_113, 5_773_402_991_589_158_274),
        ("abcdefghij", -3_183_301_415_634_409_076, 3_861_069_368_272_743_232),
        ("abcdefghijk", 3_112_909_444_737_856_467, 8_196_382_510_784_792_041),
        ("abcdefghijkl", -7_556_637_188_122_330_412, -6_429_754_808_531_195_817),
        ("abcdefghijklm", 8_871_624_171_452_417_744, 3_808_842_878_744_369_845),
        ("abcdefghijklmnopqrstu", 7_996_419_909_667_933_074, 7_909_351_786_236_951_067),
        ("abcdefghijklmnopqrstuvw", -1_198_571_854_151_947_912, 5_175_166_317_898_960_337),
        ("abcdefghijklmnopqrstuvwx", -1_933_194_731_779_935_345, -731_882_798_451_170_301),
        ("abcdefghijklmnopqrstuvwxy", 5_649_064_133_428_767_341, 5_694_819_572_527_276_190),
        ("abcdefghijklmnopqrstuvwxyz", -6_612_928_417_832_572_997, 1_507_071_677_509_843_718),
        (
            "abcdefghijklmnopqrstuvwxyz012345678",
            -7_327_977_299_585_643_623,
            -2_912_616_209_969_337_761,
        ),
        (
            "abcdefghijklmnopqrstuvwxyz0123456789",
            -9_049_552_497_159_076_100,
            -2_082_128_406_719_352_852,
        ),
        (
            "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJK",
            -5_440_039_937_619_924_774,
            2_694_807_392_891_376_785,
        ),
        (
            "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKL",
            -7_165_171_339_210_277_023,
            7_950_169_962_748_257_810,
        ),
        (
            "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVW",
            -4_769_213_231_689_440_536,
            2_450_527_842_181_269_866,
        ),
        (
            "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWX",
            -2_210_398_797_443_235_344,
            4_989_959_547_980_515_581,
        ),
        (
            "(1,\"a \"\"quoted\"\" \\\\ b\",,t)",
            -3_309_249_578_140_453_564,
            -6_807_825_794_629_572_002,
        ),
        ("(über,\"🦀 x\",NULL)", 6_303_967_444_727_506_501, -7_683_951_718_105_676_294),
        ("(,)", 3_799_609_687_445_904_881, -5_233_365_047_399_775_179),
        ("()", 2_733_329_281_101_762_124, 9_019_629_775_851_163_539),
        ("(\"\")", 1_983_355_789_931_719_674, 8_651_303_959_091_699_330),
        ("(-9223372036854775808)", 5_339_483_501_489_862_240, -2_025_768_603_306_067_142),
        (
            "(\"line
break\ttab\")",
            -5_937_189_871_456_503_246,
            -6_734_385_195_165_384_011,
        ),
        ("éééééééééééééééééééééééééééééé", -923_576_981_563_433_165, 6_603_040_572_236_173_604),
    ];

    #[test]
    fn hashes_are_those_of_postgresql() {
        for (text, zero, one) in VECTORS {
            let expected = (zero.cast_unsigned(), one.cast_unsigned());
            assert_eq!(both(text.as_bytes()), expected, "{text:?}");
            assert_eq!(first(text.as_bytes()), expected.0, "{text:?}");
        }
    }
}
