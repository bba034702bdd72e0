//! A sync that failed leaves pages in the cache that no later sync writes, though it says so. The next process must not believe them.

use super::*;
use crate::environment::simulated_disk::Operation;

#[tokio::test(start_paused = true)]
async fn a_sync_that_failed_is_not_believed_by_the_next_run() {
    for seed in 0..40 {
        let (disk, dir) = (SimulatedDisk::new(seed), Path::new("/data"));
        let small = || Opening { segment_bytes: 4 << 10, ..opening(dir, simulated(&disk)) };
        let (mut log, state) = open_with(small()).unwrap();
        log.blocking_append((0..20).map(entry)).await.unwrap();
        disk.fail(Operation::Sync, 1 + seed % 3);
        let mut failed = false;
        for index in 20..60 {
            failed |= log.blocking_append([entry(index)]).await.is_err();
        }
        assert!(failed, "seed {seed}");
        drop((log, state));
        disk.kill();

        let (mut log, state) = open_with(small()).unwrap();
        let next = log.get_log_state().await.unwrap().last_log_id.unwrap().index + 1;
        assert!(next > 20);
        log.blocking_append((next..next + 20).map(entry)).await.unwrap();
        drop((log, state));
        disk.power_loss();

        let (mut log, _state) = open_with(Opening { boot_id: "the next one".to_owned(), ..small() }).unwrap();
        let read = log.try_get_log_entries(0..).await.unwrap();
        assert_eq!(read, (0..next + 20).map(entry).collect::<Vec<_>>(), "seed {seed}");
    }
}
