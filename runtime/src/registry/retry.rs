//! What is worth another try, and when.

use std::time::Duration;

use crate::digest::fill_random;

/// Tries of one request, the first included.
pub const ATTEMPTS: u32 = 5;
const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(60);

/// Whether a server that answers so may answer otherwise soon.
pub fn is_temporary(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

/// How long to wait before try number `attempt` (from 1): doubled each time, up to a quarter more by chance so that many
/// clients do not come back at once; or as long as the server asks for, within reason.
pub fn delay(attempt: u32, retry_after: Option<&str>) -> Duration {
    if let Some(seconds) = retry_after.and_then(|text| text.trim().parse().ok()) {
        return Duration::from_secs(seconds).min(LONGEST);
    }
    let pause = FIRST * 2u32.pow(attempt.saturating_sub(1).min(10));
    let mut chance = [0u8];
    // Without chance it is only less spread.
    let _ = fill_random(&mut chance);
    (pause + pause * u32::from(chance[0]) / 1024).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        for (attempt, least) in [(1, 250), (2, 500), (3, 1000), (4, 2000)] {
            let pause = delay(attempt, None);
            let least = Duration::from_millis(least);
            assert!(pause >= least && pause <= least + least / 4, "{attempt}: {pause:?}");
        }
        assert_eq!(delay(u32::MAX, None), LONGEST);
        assert_eq!(delay(1, Some("7")), Duration::from_secs(7));
        assert_eq!(delay(1, Some("86400")), LONGEST);
        assert!(delay(1, Some("Fri, 31 Dec 2027 23:59:59 GMT")) < Duration::from_secs(1));
        assert!(is_temporary(503) && is_temporary(429) && !is_temporary(404) && !is_temporary(401));
    }
}
