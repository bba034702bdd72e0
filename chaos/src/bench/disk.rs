//! The yardstick: what one flush of this disk costs.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;

use crate::stats::Samples;

/// Bytes of one write.
const WRITE_BYTES: usize = 4096;
/// Writes, one after the other in a file of that size.
const WRITES: u64 = 2000;

/// Times of an fdatasync after writing 4 KiB into a file that has its blocks already, ms.
pub(crate) fn flushes(dir: &Path) -> anyhow::Result<Samples> {
    Ok(Samples::new(flushes_of(dir, "flushes")?))
}

/// The same while others flush as much on the same disk: what the members of a cluster on one machine have to bear.
pub(crate) fn flushes_at_once(dir: &Path, writers: usize) -> anyhow::Result<Samples> {
    let times = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..writers).map(|n| scope.spawn(move || flushes_of(dir, &format!("flushes-{n}")))).collect();
        let ended = writers.into_iter().map(|writer| writer.join().map_err(|_| anyhow::anyhow!("a writer broke"))?);
        ended.collect::<anyhow::Result<Vec<_>>>()
    })?;
    Ok(Samples::new(times.concat()))
}

fn flushes_of(dir: &Path, name: &str) -> anyhow::Result<Vec<f64>> {
    let path = dir.join(name);
    let file = File::create(&path).with_context(|| format!("no file at {}", path.display()))?;
    let block = [0xA5; WRITE_BYTES];
    let place = |n: u64| n * WRITE_BYTES as u64;
    for n in 0..WRITES {
        file.write_all_at(&block, place(n))?;
    }
    file.sync_all()?;
    let mut times = Vec::new();
    for n in 0..WRITES {
        let from = Instant::now();
        file.write_all_at(&block, place(n))?;
        file.sync_data()?;
        times.push(from.elapsed().as_secs_f64() * 1000.0);
    }
    drop(file);
    std::fs::remove_file(&path)?;
    Ok(times)
}

/// Tells whether the folder lies in memory, where a flush costs nothing and nothing measured means anything.
pub(crate) fn is_in_memory(dir: &Path) -> bool {
    const TMPFS_MAGIC: u64 = 0x0102_1994;
    rustix::fs::statfs(dir).is_ok_and(|found| u64::try_from(found.f_type) == Ok(TMPFS_MAGIC))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_write_is_measured_and_the_file_goes() {
        let dir = tempfile::tempdir().unwrap();
        let samples = flushes(dir.path()).unwrap();
        assert_eq!(samples.count() as u64, WRITES);
        assert_eq!(flushes_at_once(dir.path(), 2).unwrap().count() as u64, 2 * WRITES);
        assert!(samples.percentile(50) > 0.0);
        assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());
    }
}
