//! Threads that do jobs side by side, until all are done or one failed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, ErrorKind, Result};

/// Does the jobs in their order, with one thread for each worker. `end` is told how a worker's last job went. When one
/// fails, `stop` is set, and what failed first is the error: others may fail because they are given up.
pub(super) fn side_by_side<W: Send, J: Send>(
    workers: Vec<W>,
    jobs: Vec<J>,
    stop: &AtomicBool,
    serve: impl Fn(&mut W, J) -> Result<()> + Sync,
    end: impl Fn(W, Result<()>) -> Result<()> + Sync,
) -> Result<()> {
    let queue = Mutex::new(VecDeque::from(jobs));
    let live = |mut worker: W| {
        let mut outcome = Ok(());
        while outcome.is_ok() && !stop.load(Ordering::Relaxed) {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(job) = next else { break };
            outcome = serve(&mut worker, job);
        }
        let is_first = outcome.is_err() && !stop.swap(true, Ordering::Relaxed);
        end(worker, outcome).map_err(|error| (is_first || !stop.swap(true, Ordering::Relaxed), error))
    };
    let outcomes: Vec<std::result::Result<(), (bool, Error)>> = std::thread::scope(|scope| {
        let live = &live;
        let threads: Vec<_> = workers.into_iter().map(|worker| scope.spawn(move || live(worker))).collect();
        let failed = |_| Err((true, Error::new(ErrorKind::Io, "a thread failed")));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(failed)).collect()
    });
    let mut errors: Vec<(bool, Error)> = outcomes.into_iter().filter_map(std::result::Result::err).collect();
    errors.sort_by_key(|(is_first, _)| !is_first);
    errors.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
}

/// The error of what is given up since something else failed; never the one that a user sees.
pub(super) fn given_up() -> Error {
    Error::new(ErrorKind::Io, "given up, since another layer failed")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn every_job_is_done_once() {
        let done = Mutex::new(Vec::new());
        let serve = |_: &mut (), job: u32| {
            done.lock().unwrap().push(job);
            Ok(())
        };
        side_by_side(vec![(); 3], (0..50).collect(), &AtomicBool::new(false), serve, |(), outcome| outcome).unwrap();
        let mut done = done.into_inner().unwrap();
        done.sort_unstable();
        assert_eq!(done, (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn what_failed_first_is_the_error_and_the_rest_is_given_up() {
        let stop = AtomicBool::new(false);
        let begun = Mutex::new(0);
        let serve = |worker: &mut u32, _: u32| {
            *begun.lock().unwrap() += 1;
            let end = Instant::now() + Duration::from_secs(20);
            while *worker != 1 && !stop.load(Ordering::Relaxed) {
                assert!(Instant::now() < end, "nobody failed");
                std::thread::sleep(Duration::from_millis(1));
            }
            match *worker {
                1 => Err(Error::new(ErrorKind::Io, "the cause")),
                _ => Err(given_up()),
            }
        };
        let error = side_by_side(vec![0, 1, 2], (0..50).collect(), &stop, serve, |_, outcome| outcome).unwrap_err();
        assert_eq!(error.to_string(), "the cause");
        assert!(begun.into_inner().unwrap() <= 3);
    }
}
