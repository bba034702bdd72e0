use super::*;

const DIR: &str = "/data";

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

fn booted(disk: &SimulatedDisk) -> Arc<dyn Disk> {
    let process = disk.boot();
    process.create_dir_all(Path::new(DIR)).unwrap();
    process
}

fn read(process: &dyn Disk, name: &str) -> Option<Vec<u8>> {
    let file = process.open(&path(name), OpenFile::Read).ok()?;
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    Some(bytes)
}

fn write(process: &dyn Disk, name: &str, bytes: &[u8]) -> Arc<dyn DiskFile> {
    let file = process.open(&path(name), OpenFile::CreateEmpty).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file
}

#[test]
fn a_kill_loses_nothing_and_makes_old_handles_void() {
    let disk = SimulatedDisk::new(1);
    let process = booted(&disk);
    let file = write(&*process, "a", b"hello");
    let claim = process.claim(Path::new(DIR)).unwrap();
    assert_eq!(process.claim(Path::new(DIR)).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    disk.kill();
    assert_eq!(file.write_all_at(b"x", 0).unwrap_err().kind(), ENDED);
    assert_eq!(process.list(Path::new(DIR)).unwrap_err().kind(), ENDED);
    let next = disk.boot();
    let own = next.claim(Path::new(DIR)).unwrap();
    // What the dead process lets go of later is not the new one's.
    drop(claim);
    assert_eq!(next.claim(Path::new(DIR)).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(own);
    assert!(next.claim(Path::new(DIR)).is_ok());
    assert_eq!(read(&*next, "a").unwrap(), b"hello");
    assert_eq!(next.list(Path::new(DIR)).unwrap(), [path("a")]);
}

#[test]
fn power_loss_keeps_what_was_synced() {
    for seed in 0..200 {
        let disk = SimulatedDisk::new(seed);
        let process = booted(&disk);
        let file = write(&*process, "a", &[1; 20_000]);
        file.sync().unwrap();
        process.sync_dir(Path::new(DIR)).unwrap();
        file.write_all_at(&[2; 9000], 3000).unwrap();
        file.write_all_at(&[3; 100], 30_000).unwrap();
        disk.power_loss();
        let bytes = read(&*disk.boot(), "a").unwrap();
        assert!((20_000..=30_100).contains(&bytes.len()), "seed {seed}: {}", bytes.len());
        for (at, &byte) in bytes.iter().enumerate() {
            let allowed: &[u8] = match at {
                3000..12_000 => &[1, 2],
                0..20_000 => &[1],
                30_000.. => &[0, 3],
                _ => &[0],
            };
            assert!(allowed.contains(&byte), "seed {seed}: {byte} at {at}");
        }
        // Torn at sectors, never inside of one.
        for sector in bytes[4096..8192].chunks(SECTOR_BYTES) {
            assert!(sector.iter().all(|&byte| byte == sector[0]), "seed {seed}");
        }
    }
}

#[test]
fn power_loss_can_lose_tear_and_keep() {
    let (mut lost, mut kept, mut torn) = (0, 0, 0);
    for seed in 0..200 {
        let disk = SimulatedDisk::new(seed);
        let process = booted(&disk);
        let file = write(&*process, "a", &[1; PAGE_BYTES]);
        file.sync().unwrap();
        process.sync_dir(Path::new(DIR)).unwrap();
        file.write_all_at(&[2; PAGE_BYTES], 0).unwrap();
        disk.power_loss();
        match read(&*disk.boot(), "a").unwrap().iter().filter(|&&byte| byte == 2).count() {
            0 => lost += 1,
            PAGE_BYTES => kept += 1,
            _ => torn += 1,
        }
    }
    assert!(lost > 20 && kept > 20 && torn > 5, "{lost} {kept} {torn}");
}

#[test]
fn a_cut_is_lost_as_a_whole() {
    for seed in 0..100 {
        let disk = SimulatedDisk::new(seed);
        let process = booted(&disk);
        let file = write(&*process, "a", &[1; 10_000]);
        file.sync().unwrap();
        process.sync_dir(Path::new(DIR)).unwrap();
        file.set_len(2000).unwrap();
        disk.power_loss();
        let bytes = read(&*disk.boot(), "a").unwrap();
        assert!((2000..=10_000).contains(&bytes.len()), "seed {seed}");
        assert!(bytes.iter().all(|&byte| byte == 1), "seed {seed}: zeros in the middle of what was never cut");
    }
}

#[test]
fn names_survive_when_their_directory_was_synced() {
    let (mut old, mut new, mut unmade) = (0, 0, 0);
    for seed in 0..100 {
        let disk = SimulatedDisk::new(seed);
        let process = booted(&disk);
        write(&*process, "a", b"old").sync().unwrap();
        process.sync_dir(Path::new(DIR)).unwrap();
        write(&*process, "b", b"new").sync().unwrap();
        process.rename(&path("b"), &path("a")).unwrap();
        write(&*process, "c", b"c").sync().unwrap();
        disk.power_loss();
        let process = disk.boot();
        match read(&*process, "a").unwrap().as_slice() {
            b"old" => old += 1,
            b"new" => new += 1,
            other => panic!("seed {seed}: {other:?}"),
        }
        unmade += u32::from(read(&*process, "c").is_none());
        process.remove(&path("a")).unwrap();
        process.sync_dir(Path::new(DIR)).unwrap();
        disk.power_loss();
        assert_eq!(read(&*disk.boot(), "a"), None);
    }
    assert!(old > 10 && new > 10 && unmade > 10, "{old} {new} {unmade}");
}

#[test]
fn the_world_stops_after_a_change() {
    let run = |disk: &SimulatedDisk| -> io::Result<()> {
        let process = booted(disk);
        let file = process.open(&path("a"), OpenFile::CreateNew)?;
        file.write_all_at(&[1; 5000], 0)?;
        file.sync()?;
        process.rename(&path("a"), &path("b"))?;
        process.sync_dir(Path::new(DIR))
    };
    let counting = SimulatedDisk::new(0);
    run(&counting).unwrap();
    let changes = counting.changes();
    assert_eq!(changes, 5);
    for stop in 0..changes {
        let disk = SimulatedDisk::new(stop);
        disk.stop_after(stop);
        assert_eq!(run(&disk).unwrap_err().kind(), ENDED);
        assert!(disk.is_stopped());
        assert_eq!(disk.changes(), stop);
        disk.kill();
        let process = disk.boot();
        assert_eq!(read(&*process, "b").is_some(), stop >= 4);
        if stop == 1 {
            // Killed inside the write.
            let bytes = read(&*process, "a").unwrap();
            assert!(bytes.len() <= 5000 && bytes.iter().all(|&byte| byte == 1));
        }
    }
}

#[test]
fn faults_come_when_asked_for() {
    let disk = SimulatedDisk::new(4);
    let process = booted(&disk);
    let file = write(&*process, "a", &[1; 100]);
    disk.fail(Operation::Write, 2);
    file.write_all_at(&[2; 10], 0).unwrap();
    assert!(file.write_all_at(&[3; 10], 0).is_err());
    disk.fail(Operation::Read, 1);
    assert!(file.read_exact_at(&mut [0; 1], 0).is_err());
    disk.set_capacity(Some(8192));
    file.write_all_at(&[4; 10], 4096).unwrap();
    assert_eq!(file.write_all_at(&[4; 10], 8192).unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.set_len(10).unwrap();
    file.write_all_at(&[5; 10], 8192).unwrap();
    assert_eq!(disk.allocated(), 8192);
    assert!(disk.flip(&path("a"), 3, 0));
    assert_eq!(read(&*process, "a").unwrap()[..5], [2, 2, 2, 3, 2]);
    assert!(disk.truncate(&path("a"), 3));
    assert_eq!(read(&*process, "a").unwrap(), [2; 3]);
    assert_eq!(disk.counts().failed, 3);
}

#[test]
fn a_failed_sync_gives_its_pages_up() {
    let disk = SimulatedDisk::new(1);
    let process = booted(&disk);
    let file = write(&*process, "a", &[0; 10]);
    file.sync().unwrap();
    process.sync_dir(Path::new(DIR)).unwrap();
    file.write_all_at(&[1; 10], 0).unwrap();
    disk.fail(Operation::Sync, 1);
    assert!(file.sync().is_err());
    // The next sync says yes, and means nothing: who believes it loses data.
    file.sync().unwrap();
    assert_eq!(read(&*process, "a").unwrap(), [1; 10]);
    disk.power_loss();
    assert_eq!(read(&*disk.boot(), "a").unwrap(), [0; 10]);
}

#[test]
fn syncs_owe_time() {
    let disk = SimulatedDisk::new(1);
    let process = booted(&disk);
    let file = write(&*process, "a", b"a");
    let (shortest, longest) = (Duration::from_millis(1), Duration::from_millis(5));
    disk.set_sync_time(shortest, longest);
    file.sync().unwrap();
    let owed = disk.take_owed();
    assert!(owed >= shortest && owed <= longest, "{owed:?}");
    assert_eq!(disk.take_owed(), Duration::ZERO);
}

#[test]
fn a_file_can_be_read_after_its_removal() {
    let disk = SimulatedDisk::new(1);
    let process = booted(&disk);
    let file = write(&*process, "a", b"still here");
    process.remove(&path("a")).unwrap();
    let mut bytes = [0; 10];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"still here");
    assert_eq!(disk.allocated(), 0);
}
