//! What only a real directory has: symbolic links, other processes, Samba's attributes.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use smb_backend::{Backend, BackendError, FileKind, OpenHow, PosixBackend, RelPath, Stability, Want};
use smb_types::{CreateDisposition, FileAttributes, FileTime};

fn p(path: &str) -> RelPath {
    RelPath::parse_smb(path).unwrap()
}

/// A share `root/share` beside a secret `root/secret`.
fn share() -> (tempfile::TempDir, PosixBackend) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("share")).unwrap();
    fs::write(dir.path().join("secret"), "s").unwrap();
    let backend = PosixBackend::open_root(&dir.path().join("share")).unwrap();
    (dir, backend)
}

#[test]
fn links_do_not_leave_the_share() {
    let (dir, b) = share();
    let share = dir.path().join("share");
    symlink("../secret", share.join("up")).unwrap();
    symlink(dir.path().join("secret"), share.join("absolute")).unwrap();
    symlink("..", share.join("updir")).unwrap();
    symlink("loop", share.join("loop")).unwrap();
    symlink("/proc/self/root", share.join("magic")).unwrap();
    for path in ["up", "absolute", "updir\\secret", "loop", "magic", "UP", "UpDir\\secret"] {
        for how in [OpenHow::existing(Want::PATH_ONLY), OpenHow::existing(Want::READ_WRITE)] {
            let got = b.open(&p(path), &how);
            assert!(matches!(got, Err(BackendError::Escapes { .. })), "{path}: {got:?}");
        }
        assert!(b.lookup(&p(path)).is_err());
    }
    assert!(b.open(&p("updir\\new"), &OpenHow { disposition: CreateDisposition::OpenIf, ..OpenHow::existing(Want::WRITE) }).is_err());
    assert!(!dir.path().join("new").exists());
    let root = b.open(&RelPath::root(), &OpenHow::existing(Want::READ)).unwrap().file;
    for name in root.names().unwrap() {
        assert!(root.entry(&name).unwrap().is_none(), "{name} must not be listed");
    }
    assert_eq!(fs::read_to_string(dir.path().join("secret")).unwrap(), "s");
}

#[test]
fn links_inside_the_share_are_followed() {
    let (dir, b) = share();
    let share = dir.path().join("share");
    fs::create_dir(share.join("real")).unwrap();
    fs::write(share.join("real/f"), "abc").unwrap();
    symlink("real", share.join("alias")).unwrap();
    symlink("../real/f", share.join("real/g")).unwrap();
    symlink("nowhere", share.join("dangling")).unwrap();
    assert_eq!(b.lookup(&p("ALIAS\\F")).unwrap().metadata.size, 3);
    let real = b.open(&p("real"), &OpenHow::existing(Want::READ)).unwrap().file;
    let entry = real.entry("g").unwrap().unwrap();
    assert_eq!(entry.metadata.key, b.lookup(&p("real\\f")).unwrap().metadata.key);
    assert!(matches!(b.lookup(&p("dangling")), Err(BackendError::NotFound { .. })));
    let create = OpenHow { disposition: CreateDisposition::OpenIf, ..OpenHow::existing(Want::WRITE) };
    assert!(b.open(&p("dangling"), &create).is_err(), "nothing is created through a dangling link");
    assert!(!share.join("nowhere").exists());
    b.unlink(&p("real\\g"), None, Stability::Cached).unwrap();
    assert!(share.join("real/f").exists() && !share.join("real/g").exists(), "the link goes, not the file");
}

#[test]
fn attributes_are_where_samba_looks() {
    let (dir, b) = share();
    let f = b.open(&p("f"), &OpenHow::create_new(FileKind::File)).unwrap();
    let disk = dir.path().join("share/f");
    let value = xattr::get(&disk, "user.DOSATTRIB").unwrap().unwrap();
    assert_eq!(value.len(), 32);
    assert_eq!(value[..16], [0, 0, 4, 0, 4, 0, 0, 0, 0x11, 0, 0, 0, 0x20, 0, 0, 0]);
    assert_eq!(value[24..], f.metadata.creation.0.to_le_bytes());
    xattr::set(&disk, "user.DOSATTRIB", b"0x6").unwrap();
    assert_eq!(f.file.metadata().unwrap().attributes, FileAttributes::HIDDEN | FileAttributes::SYSTEM);
    xattr::set(&disk, "user.DOSATTRIB", &[0xff; 9]).unwrap();
    assert_eq!(f.file.metadata().unwrap().attributes, FileAttributes::NORMAL, "rubbish is as good as nothing");
    xattr::set(&disk, "user.DosStream.old:$DATA", b"abc\0").unwrap();
    let s = b.open_stream(&p("f"), "OLD", &OpenHow::existing(Want::READ)).unwrap();
    assert_eq!(s.metadata.size, 3);
    xattr::set(&disk, "user.holdfast.sd", b"\x01damaged").unwrap();
    assert!(matches!(f.file.security_descriptor(), Err(BackendError::Io { .. })));
}

#[test]
fn files_that_came_another_way_have_defaults() {
    let (dir, b) = share();
    let disk = dir.path().join("share/plain");
    fs::write(&disk, "x").unwrap();
    let m = b.lookup(&p("PLAIN")).unwrap().metadata;
    assert_eq!(m.attributes, FileAttributes::NORMAL);
    assert!(m.creation > FileTime::from_unix(1_500_000_000, 0) && m.creation <= m.last_write);
    assert_ne!(m.key.generation, 0, "this file system has birth times");
    fs::write(dir.path().join("share/a:b*c"), "").unwrap();
    let root = b.open(&RelPath::root(), &OpenHow::existing(Want::READ)).unwrap().file;
    assert_eq!(root.names().unwrap(), ["plain"], "names that no client can speak are not listed");
    assert!(!b.is_dir_empty(&RelPath::root()).unwrap());
}

#[test]
fn of_several_spellings_the_exact_one_wins() {
    let (dir, b) = share();
    for (name, data) in [("name", "1"), ("NAME", "22"), ("Name", "333")] {
        fs::write(dir.path().join("share").join(name), data).unwrap();
    }
    for (asked, size) in [("name", 1), ("NAME", 2), ("Name", 3), ("nAmE", 2)] {
        assert_eq!(b.lookup(&p(asked)).unwrap().metadata.size, size, "{asked}");
    }
}

#[test]
fn two_mounts_agree_about_keys() {
    let (dir, b) = share();
    let other = PosixBackend::open_root(&dir.path().join("share")).unwrap();
    let f = b.open(&p("f"), &OpenHow::create_new(FileKind::File)).unwrap();
    f.file.write_at(0, b"from one", Stability::Stable).unwrap();
    let there = other.open(&p("F"), &OpenHow::existing(Want::READ)).unwrap();
    assert_eq!(there.file.key(), f.file.key());
    let mut buffer = [0; 8];
    assert_eq!(there.file.read_at(0, &mut buffer).unwrap(), 8);
    assert_eq!(&buffer, b"from one");
    assert_eq!(b.volume().unwrap().id, other.volume().unwrap().id);
}

#[test]
fn special_files_are_not_opened() {
    let (dir, b) = share();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("share/socket")).unwrap();
    let got = b.open(&p("socket"), &OpenHow::existing(Want::READ));
    assert!(matches!(got, Err(BackendError::NotSupported { .. })), "{got:?}");
    let root = b.open(&RelPath::root(), &OpenHow::existing(Want::READ)).unwrap().file;
    assert!(root.names().unwrap().is_empty());
}

#[test]
fn attributes_need_no_read_permission() {
    let (dir, b) = share();
    let disk = dir.path().join("share/f");
    fs::write(&disk, "x").unwrap();
    fs::set_permissions(&disk, fs::Permissions::from_mode(0o000)).unwrap();
    let f = b.open(&p("f"), &OpenHow::existing(Want::PATH_ONLY)).unwrap();
    assert_eq!((f.metadata.size, f.metadata.mode), (1, 0));
}

#[test]
fn an_open_stream_keeps_its_data_through_renames() {
    let (_dir, b) = share();
    let how = OpenHow { disposition: CreateDisposition::OpenIf, ..OpenHow::existing(Want::READ_WRITE) };
    b.open(&p("f"), &how).unwrap();
    let first = b.open_stream(&p("f"), "one", &how).unwrap().file;
    let second = b.open_stream(&p("f"), "ONE", &how).unwrap().file;
    first.write_at(0, b"data", Stability::Cached).unwrap();
    b.open_stream(&p("f"), "\u{5}two?", &how).unwrap();
    for (from, to) in [("one", "\u{5}two?"), ("\u{5}two?", "three")] {
        b.rename_stream(&p("f"), from, to, true).unwrap();
        for file in [&first, &second] {
            assert_eq!(file.metadata().unwrap().size, 4, "{to}");
        }
    }
    second.write_at(4, b"!", Stability::Cached).unwrap();
    drop((first, second));
    let streams = b.streams(&p("f")).unwrap();
    assert_eq!(streams.iter().map(|stream| (stream.name.as_str(), stream.size)).collect::<Vec<_>>(), [("three", 5)]);
    let again = b.open_stream(&p("f"), "three", &OpenHow::existing(Want::READ)).unwrap().file;
    let mut buffer = [0; 5];
    assert_eq!((again.read_at(0, &mut buffer).unwrap(), &buffer), (5, b"data!"));
}

#[test]
fn reserving_room_changes_a_file_but_does_not_write_it() {
    let (_dir, b) = share();
    let how = OpenHow { disposition: CreateDisposition::OpenIf, ..OpenHow::existing(Want::READ_WRITE) };
    let file = b.open(&p("f"), &how).unwrap().file;
    let old = FileTime::from_unix(1_000_000_000, 0);
    file.set_basic(&smb_backend::SetBasic { last_write: Some(old), ..Default::default() }).unwrap();
    for bytes in [0, 8192] {
        file.allocate(bytes).unwrap();
        let metadata = file.metadata().unwrap();
        assert_eq!((metadata.last_write, metadata.size), (old, 0), "{bytes}");
    }
}
