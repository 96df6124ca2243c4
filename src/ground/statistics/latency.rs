//! Latencies in buckets that grow by a fourth root of two, so that a percentile read from them is off
//! by at most 10 percent, whatever its size.

use std::time::Duration;

/// The number of a bucket.
///
/// Number 0 is for less than 1 ms; number n for 2^((n-1)/4) ms to before 2^(n/4) ms; the last one for
/// 131 s and more, which is beyond every deadline.
pub(super) type Bucket = u8;

/// Octaves that are told apart, beginning with 1 ms.
const OCTAVES: u32 = 17;
/// The number of the last bucket.
pub(super) const LAST: Bucket = 4 * 17 + 1;

const MILLI: u64 = 1_000_000;
/// 2^(1/4), 2^(2/4) and 2^(3/4), in parts of 65,536.
const QUARTERS: [u64; 3] = [77_936, 92_682, 110_218];
/// The middle of each quarter of the first octave, in nanoseconds: 2^(1/8) ms and so on.
const MIDDLES: [u64; 4] = [1_090_508, 1_296_840, 1_542_211, 1_834_008];

/// The bucket of a latency.
pub(super) fn bucket(latency: Duration) -> Bucket {
    let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
    let Some(octave) = (nanos / MILLI).checked_ilog2() else {
        return 0;
    };
    if octave >= OCTAVES {
        return LAST;
    }
    // Below 2^17 ms the shifted number is far from the end of 64 bits.
    let part = (nanos << 16) / (MILLI << octave);
    let quarter = QUARTERS.iter().filter(|bound| part >= **bound).count();
    u8::try_from(octave).unwrap_or(LAST) * 4 + u8::try_from(quarter).unwrap_or(0) + 1
}

/// What stands for the latencies of a bucket: off by at most a factor of 2^(1/8) in either direction.
pub(super) fn middle(bucket: Bucket) -> Duration {
    if bucket == 0 {
        return Duration::from_micros(500);
    }
    if bucket >= LAST {
        return Duration::from_nanos(MILLI << OCTAVES);
    }
    let (octave, quarter) = ((bucket - 1) / 4, usize::from((bucket - 1) % 4));
    Duration::from_nanos(MIDDLES[quarter] << octave)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks from 1 ms to 131 s in steps of a thousandth and compares each with its bucket's middle.
    #[test]
    fn a_bucket_is_off_by_at_most_ten_percent() {
        let mut nanos = 1_000_000_u64;
        let mut last = 0;
        while nanos < MILLI << OCTAVES {
            let latency = Duration::from_nanos(nanos);
            let found = bucket(latency);
            assert!(found == last || found == last + 1, "{latency:?} is in {found} after {last}");
            last = found;
            let middle = middle(found).as_secs_f64();
            let off = (middle / latency.as_secs_f64() - 1.0).abs();
            assert!(off <= 0.1, "{latency:?} is taken for {middle} s");
            nanos += nanos / 1_000;
        }
        assert_eq!(last, LAST - 1);
    }

    /// Looks at the ends (table).
    #[test]
    fn the_ends_have_buckets_of_their_own() {
        let ms = Duration::from_millis;
        for (latency, expected) in [
            (Duration::ZERO, 0),
            (Duration::from_micros(999), 0),
            (ms(1), 1),
            (ms(2), 5),
            (ms(131_071), LAST - 1),
            (ms(131_072), LAST),
            (Duration::MAX, LAST),
        ] {
            assert_eq!(bucket(latency), expected, "{latency:?}");
        }
        assert_eq!(middle(0), Duration::from_micros(500));
        assert_eq!(middle(LAST), ms(131_072));
        assert_eq!(middle(u8::MAX), ms(131_072));
    }
}
