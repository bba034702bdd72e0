//! What only a real directory has: symbolic links, other processes, Samba's attributes.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use smb_backend::{
    Backend, BackendError, CreateArgs, DescriptorStore, FileKind, OpenHow, PosixBackend, PosixEntry, PosixWho, RelPath, Stability,
    StoredDescriptor, UnixOwner, Want,
};
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
}

#[test]
fn descriptors_are_where_samba_looks_and_where_only_the_server_writes() {
    let (dir, b) = share();
    let f = b.open(&p("f"), &OpenHow::create_new(FileKind::File)).unwrap();
    let disk = dir.path().join("share/f");
    let descriptor = [&[1, 0, 0, 0x80][..], &[0; 16]].concat();
    f.file.set_security_descriptor(&descriptor).unwrap();
    let (used, other) = match b.descriptor_store() {
        DescriptorStore::Protected => ("security.NTACL", "user.NTACL"),
        // Without the capability, as when tests are run by an ordinary user.
        DescriptorStore::Unprotected => ("user.NTACL", "user.other"),
        DescriptorStore::Unsupported => panic!("this file system keeps no attributes"),
    };
    let value = xattr::get(&disk, used).unwrap().unwrap();
    assert_eq!(value, [&[1, 0, 1, 0, 0, 0, 2, 0][..], &descriptor].concat());
    // What the owner of the file can write is not believed where the server has a better place.
    xattr::remove(&disk, used).unwrap();
    xattr::set(&disk, other, &value).unwrap();
    assert_eq!(f.file.security().unwrap().stored, StoredDescriptor::None);
    xattr::set(&disk, used, b"\x01damaged").unwrap();
    assert_eq!(f.file.security().unwrap().stored, StoredDescriptor::Damaged);
    let root = xattr::list(dir.path().join("share")).unwrap().count();
    assert_eq!(root, 0, "the probe leaves nothing at the root");
}

#[test]
fn owner_mode_and_access_list_are_told() {
    let (dir, b) = share();
    let disk = dir.path().join("share/f");
    fs::write(&disk, "x").unwrap();
    fs::set_permissions(&disk, fs::Permissions::from_mode(0o640)).unwrap();
    let own = fs::metadata(&disk).unwrap();
    let security = b.security(&p("f")).unwrap();
    assert_eq!((security.uid, security.gid, security.mode), (own.uid(), own.gid(), 0o640));
    assert!(security.acl.is_empty() && security.default_acl.is_empty());
    // u::rw-,u:1001:rwx,g::r--,m::rwx,o::---
    let mut list = vec![2, 0, 0, 0];
    for (tag, permissions, id) in [(1_u8, 6_u8, u32::MAX), (2, 7, 1001), (4, 4, u32::MAX), (16, 7, u32::MAX), (32, 0, u32::MAX)] {
        list.extend_from_slice(&[tag, 0, permissions, 0]);
        list.extend_from_slice(&id.to_le_bytes());
    }
    if xattr::set(&disk, "system.posix_acl_access", &list).is_err() {
        return; // A file system without such lists.
    }
    let acl = b.security(&p("f")).unwrap().acl;
    assert_eq!(acl.len(), 5);
    assert_eq!(acl[1], PosixEntry { who: PosixWho::User(1001), permissions: 7 });
}

#[test]
fn files_belong_to_whom_they_are_made_for() {
    let (dir, b) = share();
    let own = fs::metadata(dir.path()).unwrap();
    // Only root can give files away; to oneself anybody can.
    let (uid, gid) = if own.uid() == 0 { (4711, 4712) } else { (own.uid(), own.gid()) };
    let create = CreateArgs { owner: Some(UnixOwner { uid, gid: Some(gid) }), mode: Some(0o2770), ..CreateArgs::default() };
    let how = OpenHow { create, ..OpenHow::create_new(FileKind::File) };
    let file = b.open(&p("f"), &how).unwrap().file;
    let disk = dir.path().join("share/f");
    let made = fs::metadata(&disk).unwrap();
    assert_eq!((made.uid(), made.gid(), made.mode() & 0o7777), (uid, gid, 0o2770), "bits as asked, whatever the umask says");
    b.open(&p("f"), &OpenHow::existing(Want::PATH_ONLY)).unwrap().file.set_owner(Some(own.uid()), None, Some(0o600)).unwrap();
    let made = fs::metadata(&disk).unwrap();
    assert_eq!((made.uid(), made.gid(), made.mode() & 0o777), (own.uid(), gid, 0o600));
    drop(file);
}

#[test]
fn a_link_counts_with_the_directories_that_it_leads_through() {
    let (dir, b) = share();
    let share = dir.path().join("share");
    fs::create_dir_all(share.join("private/deep")).unwrap();
    fs::set_permissions(share.join("private"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(share.join("private/deep/f"), "x").unwrap();
    symlink("private/deep/f", share.join("shortcut")).unwrap();
    let modes = |path: &str| -> Vec<u32> { b.security_on_the_way(&p(path)).unwrap().into_iter().map(|s| s.mode & 0o777).collect() };
    assert_eq!(modes("private\\deep\\f").len(), 3);
    assert!(modes("shortcut").contains(&0o700), "the private directory is on the way");
    assert_eq!(modes("new").len(), 1);
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

/// ext4 and others keep large attributes in a block and count it among the file's.
#[test]
fn the_space_of_a_file_is_that_of_its_data() {
    let (_dir, b) = share();
    let make = |name: &str, security_descriptor: Option<Vec<u8>>| {
        let create = CreateArgs { security_descriptor, ..CreateArgs::default() };
        let how = OpenHow { disposition: CreateDisposition::Create, create, ..OpenHow::existing(Want::READ_WRITE) };
        b.open(&p(name), &how).unwrap().file
    };
    let bare = make("bare", None);
    let described = make("described", Some(vec![7; 900]));
    for bytes in [0, 1, 5000] {
        for file in [&bare, &described] {
            file.write_at(0, &vec![1; bytes], Stability::Stable).unwrap();
        }
        assert_eq!(bare.metadata().unwrap().allocation, described.metadata().unwrap().allocation, "{bytes} bytes");
    }
}
