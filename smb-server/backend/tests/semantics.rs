//! One suite for every backend: what handlers may rely on.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::sync::Arc;

use smb_backend::{
    Backend, BackendError, BackendFile, CreateAction, CreateArgs, DirCursor, Ea, Fault, FaultyBackend, FileKind, MemoryBackend, MustBe, Op,
    OpenHow, Opened, Overwrite, PosixBackend, Range, RelPath, SetBasic, Stability, StoredDescriptor, Want,
};
use smb_types::{CreateDisposition, FileAttributes, FileTime};

const CACHED: Stability = Stability::Cached;

/// Runs each scenario on posix, memory and on posix behind an idle fault injector.
macro_rules! scenarios {
    ($($name:ident)*) => { $(
        mod $name {
            #[test]
            fn posix() {
                let (_keep, backend) = super::posix();
                super::scenario::$name(&backend);
            }
            #[test]
            fn memory() {
                super::scenario::$name(&super::MemoryBackend::new());
            }
            #[test]
            fn faulty() {
                let (_keep, backend) = super::posix();
                super::scenario::$name(&super::FaultyBackend::new(std::sync::Arc::new(backend)));
            }
        }
    )* };
}

scenarios! {
    creates_and_finds_in_any_case
    tells_causes_apart
    dispositions
    reads_and_writes
    appends_and_resizes
    reads_onto_what_is_there
    want_is_enforced
    attributes_and_times
    overwriting_drops_what_belonged_to_the_old_data
    eas
    security_descriptors
    the_directories_on_the_way
    streams
    stream_rename
    sparse_files
    copies_ranges
    renames
    rename_replaces
    rename_changes_case
    links
    removes_by_key
    open_files_outlive_their_names
    lists_while_entries_change
    stable_changes
    volume
}

fn posix() -> (tempfile::TempDir, PosixBackend) {
    let dir = tempfile::tempdir().unwrap();
    let backend = PosixBackend::open_root(dir.path()).unwrap();
    (dir, backend)
}

fn p(path: &str) -> RelPath {
    RelPath::parse_smb(path).unwrap()
}

fn how(disposition: CreateDisposition) -> OpenHow {
    OpenHow { disposition, ..OpenHow::existing(Want::READ_WRITE) }
}

fn create(b: &dyn Backend, path: &str) -> Opened {
    b.open(&p(path), &OpenHow::create_new(FileKind::File)).unwrap()
}

fn mkdir(b: &dyn Backend, path: &str) -> Opened {
    b.open(&p(path), &OpenHow::create_new(FileKind::Directory)).unwrap()
}

fn put(b: &dyn Backend, path: &str, data: &[u8]) -> Opened {
    let opened = create(b, path);
    opened.file.write_at(0, data, CACHED).unwrap();
    opened
}

fn contents(file: &dyn BackendFile) -> Vec<u8> {
    let mut buffer = vec![0; usize::try_from(file.metadata().unwrap().size).unwrap() + 1];
    let n = file.read_at(0, &mut buffer).unwrap();
    buffer.truncate(n);
    buffer
}

fn read(b: &dyn Backend, path: &str) -> Vec<u8> {
    contents(&*b.open(&p(path), &OpenHow::existing(Want::READ)).unwrap().file)
}

fn names(b: &dyn Backend, path: &str) -> Vec<String> {
    let mut names = b.open(&p(path), &OpenHow::existing(Want::READ)).unwrap().file.names().unwrap();
    names.sort();
    names
}

macro_rules! fails {
    ($e:expr, $variant:ident) => {
        match $e {
            Err(BackendError::$variant { .. }) => {}
            other => panic!("wanted {}, got {other:?}", stringify!($variant)),
        }
    };
}

mod scenario {
    use super::*;

    pub(super) fn creates_and_finds_in_any_case(b: &dyn Backend) {
        mkdir(b, "Dir");
        let made = create(b, "dIR\\Ärger.txt");
        assert_eq!(made.action, CreateAction::Created);
        assert_eq!(made.path.as_str(), "Dir/Ärger.txt");
        assert_eq!(made.file.key(), made.metadata.key);
        let found = b.lookup(&p("DIR\\äRGER.TXT")).unwrap();
        assert_eq!(found.path.as_str(), "Dir/Ärger.txt");
        assert_eq!(found.metadata.key, made.metadata.key);
        assert_eq!(found.metadata.kind, FileKind::File);
        assert_eq!(found.metadata.links, 1);
        let again = b.open(&p("dir\\ärger.txt"), &OpenHow::existing(Want::PATH_ONLY)).unwrap();
        assert_eq!(again.file.key(), made.file.key());
        assert_eq!(again.path.as_str(), "Dir/Ärger.txt");
        fails!(b.open(&p("DIR\\ÄRGER.txt"), &OpenHow::create_new(FileKind::File)), Exists);
        assert_eq!(names(b, "dir"), ["Ärger.txt"]);
        mkdir(b, "DIR\\Sub");
        create(b, "dir\\sub\\deep");
        assert_eq!(b.lookup(&p("DIR\\SUB\\DEEP")).unwrap().path.as_str(), "Dir/Sub/deep");
        assert_eq!(b.lookup(&p("Dir\\sub\\deep")).unwrap().path.as_str(), "Dir/Sub/deep");
        let root = b.lookup(&RelPath::root()).unwrap();
        assert!(root.metadata.is_directory() && root.path.is_root());
        assert!(root.metadata.attributes.contains(FileAttributes::DIRECTORY));
    }

    pub(super) fn tells_causes_apart(b: &dyn Backend) {
        create(b, "file");
        mkdir(b, "dir");
        fails!(b.lookup(&p("none")), NotFound);
        fails!(b.lookup(&p("none\\x")), ParentNotFound);
        fails!(b.lookup(&p("file\\x")), ParentNotFound);
        fails!(b.lookup(&p("FILE\\x")), ParentNotFound);
        fails!(b.open(&p("none\\x"), &how(CreateDisposition::OpenIf)), ParentNotFound);
        fails!(b.open(&p("file\\x"), &how(CreateDisposition::OpenIf)), ParentNotFound);
        let must = |must_be| OpenHow { must_be, ..OpenHow::existing(Want::READ) };
        fails!(b.open(&p("file"), &must(MustBe::Directory)), NotADirectory);
        fails!(b.open(&p("dir"), &must(MustBe::File)), IsADirectory);
        fails!(b.unlink(&p("dir"), None, CACHED), IsADirectory);
        fails!(b.remove_dir(&p("file"), None, CACHED), NotADirectory);
        fails!(b.is_dir_empty(&p("file")), NotADirectory);
        fails!(b.unlink(&p("none"), None, CACHED), NotFound);
        fails!(b.rename(&p("none"), &p("x"), false, CACHED), NotFound);
        fails!(b.rename(&p("file"), &p("none\\x"), false, CACHED), ParentNotFound);
        fails!(b.remove_dir(&RelPath::root(), None, CACHED), AccessDenied);
        create(b, "dir\\x");
        fails!(b.remove_dir(&p("dir"), None, CACHED), NotEmpty);
        let dir = b.open(&p("dir"), &OpenHow::existing(Want::READ_WRITE)).unwrap();
        fails!(dir.file.read_at(0, &mut [0]), IsADirectory);
        fails!(dir.file.write_at(0, &[0], CACHED), IsADirectory);
        fails!(b.open(&p("file"), &OpenHow::existing(Want::READ)).unwrap().file.names(), NotADirectory);
    }

    pub(super) fn dispositions(b: &dyn Backend) {
        use CreateDisposition as D;
        for d in [D::Open, D::Overwrite] {
            fails!(b.open(&p("new"), &how(d)), NotFound);
        }
        for (d, n) in [(D::Supersede, "a"), (D::Create, "b"), (D::OpenIf, "c"), (D::OverwriteIf, "d")] {
            assert_eq!(b.open(&p(n), &how(d)).unwrap().action, CreateAction::Created, "{d:?}");
        }
        let old = put(b, "old", b"12345");
        for (d, action, size) in [
            (D::Open, CreateAction::Opened, 5),
            (D::OpenIf, CreateAction::Opened, 5),
            (D::Overwrite, CreateAction::Overwritten, 0),
            (D::OverwriteIf, CreateAction::Overwritten, 0),
            (D::Supersede, CreateAction::Superseded, 0),
        ] {
            old.file.write_at(0, b"12345", CACHED).unwrap();
            let opened = b.open(&p("OLD"), &how(d)).unwrap();
            assert_eq!((opened.action, opened.metadata.size), (action, size), "{d:?}");
            assert_eq!(opened.file.key(), old.file.key());
        }
        fails!(b.open(&p("old"), &how(D::Create)), Exists);
        mkdir(b, "dir");
        fails!(b.open(&p("dir"), &how(D::OverwriteIf)), Exists);
        fails!(b.open(&RelPath::root(), &how(D::OverwriteIf)), AccessDenied);
        let made = b.open(&p("dir2"), &OpenHow { must_be: MustBe::Directory, ..how(D::OpenIf) }).unwrap();
        assert!(made.metadata.is_directory());
        let kind = OpenHow { create: CreateArgs { kind: FileKind::Directory, ..CreateArgs::default() }, ..how(D::OpenIf) };
        assert!(b.open(&p("dir3"), &kind).unwrap().metadata.is_directory());
    }

    pub(super) fn reads_and_writes(b: &dyn Backend) {
        let f = create(b, "f").file;
        f.write_at(0, b"hello world", CACHED).unwrap();
        f.write_at(6, b"WORLD", Stability::Stable).unwrap();
        let mut buffer = [0; 64];
        assert_eq!(f.read_at(0, &mut buffer).unwrap(), 11);
        assert_eq!(&buffer[..11], b"hello WORLD");
        assert_eq!(f.read_at(9, &mut buffer).unwrap(), 2);
        assert_eq!(f.read_at(11, &mut buffer).unwrap(), 0);
        assert_eq!(f.read_at(u64::MAX, &mut buffer).unwrap(), 0);
        f.write_at(20, b"!", CACHED).unwrap();
        assert_eq!(contents(&*f), b"hello WORLD\0\0\0\0\0\0\0\0\0!");
        f.write_at(100, b"", CACHED).unwrap();
        assert_eq!(f.metadata().unwrap().size, 21, "an empty write grows nothing");
        fails!(f.write_at(u64::MAX - 1, b"xx", CACHED), TooLarge);
        let large: Vec<u8> = (0..300_000u32).map(|i| i.to_le_bytes()[0]).collect();
        f.write_at(4095, &large, CACHED).unwrap();
        assert_eq!(contents(&*f)[4095..], large);
        f.flush().unwrap();
    }

    pub(super) fn appends_and_resizes(b: &dyn Backend) {
        let f = create(b, "f").file;
        assert_eq!(f.append(b"abc", CACHED).unwrap(), 0);
        assert_eq!(f.append(b"def", Stability::Stable).unwrap(), 3);
        f.set_len(4).unwrap();
        assert_eq!(contents(&*f), b"abcd");
        f.set_len(6).unwrap();
        assert_eq!(contents(&*f), b"abcd\0\0");
        f.allocate(1 << 20).unwrap();
        assert_eq!(f.metadata().unwrap().size, 6, "reserving keeps the size");
        f.allocate(2).unwrap();
        assert_eq!(contents(&*f), b"ab");
        fails!(f.set_len(u64::MAX), TooLarge);
        // The caller may ask for a size through an open without write access, if its own rules allow that.
        b.open(&p("f"), &OpenHow::existing(Want::PATH_ONLY)).unwrap().file.set_len(1).unwrap();
        assert_eq!(contents(&*f), b"a");
    }

    pub(super) fn reads_onto_what_is_there(b: &dyn Backend) {
        let f = put(b, "f", b"0123456789").file;
        let mut out = b"head".to_vec();
        assert_eq!(f.read_onto(2, 3, &mut out).unwrap(), 3);
        assert_eq!(out, b"head234");
        out.reserve(1000);
        assert_eq!(f.read_onto(5, 2, &mut out).unwrap(), 2, "whatever room there is");
        assert_eq!(out, b"head23456");
        assert_eq!(f.read_onto(8, 100, &mut out).unwrap(), 2);
        assert_eq!(f.read_onto(10, 100, &mut out).unwrap(), 0);
        assert_eq!(f.read_onto(u64::MAX, 100, &mut out).unwrap(), 0);
        assert_eq!(f.read_onto(0, 0, &mut out).unwrap(), 0);
        assert_eq!(out, b"head2345689");
        let writer = b.open(&p("f"), &OpenHow::existing(Want::WRITE)).unwrap().file;
        fails!(writer.read_onto(0, 1, &mut out), AccessDenied);
        assert_eq!(out, b"head2345689");
    }

    pub(super) fn want_is_enforced(b: &dyn Backend) {
        put(b, "f", b"x");
        let open = |want| b.open(&p("f"), &OpenHow::existing(want)).unwrap().file;
        fails!(open(Want::READ).write_at(0, b"y", CACHED), AccessDenied);
        fails!(open(Want::WRITE).read_at(0, &mut [0]), AccessDenied);
        fails!(open(Want::PATH_ONLY).read_at(0, &mut [0]), AccessDenied);
        fails!(open(Want::READ).zero_range(Range { offset: 0, length: 1 }), AccessDenied);
        assert_eq!(open(Want::PATH_ONLY).metadata().unwrap().size, 1);
        open(Want::PATH_ONLY).flush().unwrap();
        fails!(b.open(&RelPath::root(), &OpenHow::existing(Want::PATH_ONLY)).unwrap().file.names(), AccessDenied);
        assert_eq!(read(b, "f"), b"x");
    }

    pub(super) fn attributes_and_times(b: &dyn Backend) {
        let f = create(b, "f");
        assert_eq!(f.metadata.attributes, FileAttributes::ARCHIVE);
        assert!(f.metadata.creation.0 > 0 && f.metadata.last_write >= f.metadata.creation);
        let path_only = b.open(&p("f"), &OpenHow::existing(Want::PATH_ONLY)).unwrap().file;
        let time = |n| Some(FileTime::from_unix(n, 123_456_700));
        let attributes = Some(FileAttributes::HIDDEN | FileAttributes::READONLY | FileAttributes::DIRECTORY | FileAttributes::NORMAL);
        let set = SetBasic { creation: time(1_000_000_000), last_access: time(1_100_000_000), last_write: time(1_200_000_000), attributes };
        path_only.set_basic(&set).unwrap();
        let m = f.file.metadata().unwrap();
        assert_eq!(m.attributes, FileAttributes::HIDDEN | FileAttributes::READONLY);
        assert_eq!((Some(m.creation), Some(m.last_access), Some(m.last_write)), (set.creation, set.last_access, set.last_write));
        assert_eq!(b.lookup(&p("f")).unwrap().metadata, m);
        f.file.set_basic(&SetBasic { last_write: time(5), ..SetBasic::default() }).unwrap();
        let n = f.file.metadata().unwrap();
        assert_eq!((Some(n.last_write), n.last_access, n.creation, n.attributes), (time(5), m.last_access, m.creation, m.attributes));
        f.file.set_basic(&SetBasic { attributes: Some(FileAttributes::NORMAL), ..SetBasic::default() }).unwrap();
        assert_eq!(f.file.metadata().unwrap().attributes, FileAttributes::NORMAL);
        let dir = mkdir(b, "d").file;
        dir.set_basic(&SetBasic { attributes: Some(FileAttributes::HIDDEN), ..SetBasic::default() }).unwrap();
        assert_eq!(dir.metadata().unwrap().attributes, FileAttributes::HIDDEN | FileAttributes::DIRECTORY);
        let root = b.open(&RelPath::root(), &OpenHow::existing(Want::READ)).unwrap().file;
        assert_eq!(root.entry("d").unwrap().unwrap().metadata.attributes, FileAttributes::HIDDEN | FileAttributes::DIRECTORY);
    }

    pub(super) fn overwriting_drops_what_belonged_to_the_old_data(b: &dyn Backend) {
        let f = put(b, "f", b"data");
        let creation = f.metadata.creation;
        f.file.set_eas(&[Ea { name: "OLD".into(), value: vec![1] }]).unwrap();
        f.file.set_security_descriptor(&descriptor(7)).unwrap();
        b.open_stream(&p("f"), "s", &how(CreateDisposition::Create)).unwrap();
        let with = Overwrite { attributes: FileAttributes::HIDDEN, eas: vec![Ea { name: "NEW".into(), value: vec![2] }], allocation: 4096 };
        f.file.overwrite(&with, Stability::Stable).unwrap();
        let m = f.file.metadata().unwrap();
        assert_eq!((m.size, m.attributes, m.creation), (0, FileAttributes::HIDDEN, creation));
        assert_eq!(f.file.eas().unwrap(), [Ea { name: "NEW".into(), value: vec![2] }]);
        assert!(f.file.streams().unwrap().is_empty());
        assert_eq!(f.file.security().unwrap().stored, StoredDescriptor::Bytes(descriptor(7)), "security stays");
    }

    pub(super) fn eas(b: &dyn Backend) {
        let ea = |name: &str, value: &[u8]| Ea { name: name.into(), value: value.to_vec() };
        let create = CreateArgs { eas: vec![ea("FIRST", b"1")], ..CreateArgs::default() };
        let f = b.open(&p("f"), &OpenHow { create, ..OpenHow::create_new(FileKind::File) }).unwrap().file;
        f.set_eas(&[ea("second", b"2"), ea("First", b"one")]).unwrap();
        assert_eq!(f.eas().unwrap(), [ea("FIRST", b"one"), ea("second", b"2")]);
        f.set_eas(&[ea("SECOND", b""), ea("never", b"")]).unwrap();
        assert_eq!(f.eas().unwrap(), [ea("FIRST", b"one")]);
        for own in ["DOSATTRIB", "holdfast.sd", "ntacl", "DosStream.x", "", "a*b"] {
            fails!(f.set_eas(&[ea("FIRST", b"gone"), ea(own, b"x")]), NameInvalid);
        }
        assert_eq!(f.eas().unwrap(), [ea("FIRST", b"one")], "a refused list changes nothing");
        fails!(f.set_eas(&[ea("BIG", &[0; 70_000])]), TooLarge);
        fails!(f.set_eas(&[ea(&"N".repeat(252), b"x")]), NameTooLong);
        let bad = CreateArgs { eas: vec![ea("DOSATTRIB", b"1")], ..CreateArgs::default() };
        fails!(b.open(&p("g"), &OpenHow { create: bad, ..OpenHow::create_new(FileKind::File) }), NameInvalid);
        fails!(b.lookup(&p("g")), NotFound);
    }

    /// The header of a descriptor without parts, and some bytes behind it.
    fn descriptor(rest: u8) -> Vec<u8> {
        [&[1, 0, 0, 0x80][..], &[0; 16], &[rest; 1000]].concat()
    }

    pub(super) fn security_descriptors(b: &dyn Backend) {
        let stored = |file: &dyn BackendFile| file.security().unwrap().stored;
        let create = CreateArgs { security_descriptor: Some(descriptor(1)), ..CreateArgs::default() };
        let f = b.open(&p("f"), &OpenHow { create, ..OpenHow::create_new(FileKind::File) }).unwrap().file;
        assert_eq!(stored(f.as_ref()), StoredDescriptor::Bytes(descriptor(1)));
        let other = b.open(&p("f"), &OpenHow::existing(Want::PATH_ONLY)).unwrap().file;
        other.set_security_descriptor(&descriptor(2)).unwrap();
        assert_eq!(stored(f.as_ref()), StoredDescriptor::Bytes(descriptor(2)));
        assert_eq!(b.security(&p("F")).unwrap().stored, StoredDescriptor::Bytes(descriptor(2)));
        let stream = b.open_stream(&p("f"), "s", &how(CreateDisposition::Create)).unwrap().file;
        assert_eq!(stored(stream.as_ref()), StoredDescriptor::Bytes(descriptor(2)), "a stream has its file's");
        assert!(f.eas().unwrap().is_empty(), "descriptors are no EAs");
        let directory = mkdir(b, "d").file.security().unwrap();
        assert_eq!((directory.stored, directory.kind), (StoredDescriptor::None, FileKind::Directory));
        fails!(f.set_security_descriptor(&[0; 70_000]), TooLarge);
        fails!(b.security(&p("missing")), NotFound);
    }

    pub(super) fn the_directories_on_the_way(b: &dyn Backend) {
        let set = |path: &str, n: u8| {
            let directory = b.open(&p(path), &OpenHow::existing(Want::PATH_ONLY)).unwrap().file;
            directory.set_security_descriptor(&descriptor(n)).unwrap();
        };
        mkdir(b, "a");
        mkdir(b, "a\\b");
        put(b, "a\\b\\f", b"");
        set("a", 1);
        set("a\\b", 2);
        set("a\\b\\f", 3);
        let way = |path: &str| -> Vec<StoredDescriptor> {
            b.security_on_the_way(&p(path)).unwrap().into_iter().map(|security| security.stored).collect()
        };
        let (none, one, two) = (StoredDescriptor::None, StoredDescriptor::Bytes(descriptor(1)), StoredDescriptor::Bytes(descriptor(2)));
        assert_eq!(way(""), []);
        assert_eq!(way("a"), std::slice::from_ref(&none));
        assert_eq!(way("A\\B"), [none.clone(), one.clone()]);
        assert_eq!(way("a\\b\\new"), [none, one, two], "the last name need not be there");
        fails!(b.security_on_the_way(&p("a\\x\\f")), ParentNotFound);
        fails!(b.security_on_the_way(&p("a\\b\\f\\g")), ParentNotFound);
    }

    pub(super) fn streams(b: &dyn Backend) {
        put(b, "f", b"main");
        fails!(b.open_stream(&p("f"), "s", &how(CreateDisposition::Open)), NotFound);
        fails!(b.open_stream(&p("none"), "s", &how(CreateDisposition::OpenIf)), NotFound);
        fails!(b.open_stream(&p("f"), "a:b", &how(CreateDisposition::OpenIf)), NameInvalid);
        let s = b.open_stream(&p("F"), "Zone.Identifier", &how(CreateDisposition::OpenIf)).unwrap();
        assert_eq!((s.action, s.metadata.size, s.metadata.kind), (CreateAction::Created, 0, FileKind::File));
        assert_eq!(s.file.key().base(), b.lookup(&p("f")).unwrap().metadata.key);
        assert_ne!(s.file.key(), s.file.key().base());
        s.file.write_at(2, b"cd", Stability::Stable).unwrap();
        assert_eq!(s.file.append(b"ef", CACHED).unwrap(), 4);
        assert_eq!(contents(&*s.file), b"\0\0cdef");
        let again = b.open_stream(&p("f"), "ZONE.identifier", &OpenHow::existing(Want::READ)).unwrap();
        assert_eq!(again.file.key(), s.file.key());
        assert_eq!(again.metadata.size, 6);
        fails!(again.file.write_at(0, b"x", CACHED), AccessDenied);
        fails!(b.open_stream(&p("f"), "zone.identifier", &how(CreateDisposition::Create)), Exists);
        s.file.zero_range(Range { offset: 3, length: 2 }).unwrap();
        s.file.set_len(5).unwrap();
        assert_eq!(contents(&*s.file), b"\0\0c\0\0");
        fails!(s.file.write_at(65_535, b"x", CACHED), TooLarge);
        assert_eq!(s.file.allocated_ranges(Range { offset: 1, length: 100 }, 9).unwrap(), [Range { offset: 1, length: 4 }]);
        let list = b.streams(&p("f")).unwrap();
        assert_eq!(list.len(), 1);
        assert_eq!((list[0].name.as_str(), list[0].size), ("Zone.Identifier", 5));
        assert_eq!(read(b, "f"), b"main");
        let over = b.open_stream(&p("f"), "zone.identifier", &how(CreateDisposition::OverwriteIf)).unwrap();
        assert_eq!((over.action, over.metadata.size), (CreateAction::Overwritten, 0));
        b.remove_stream(&p("f"), "ZONE.IDENTIFIER", Stability::Stable).unwrap();
        fails!(b.remove_stream(&p("f"), "ZONE.IDENTIFIER", CACHED), NotFound);
        fails!(s.file.read_at(0, &mut [0]), NotFound);
        mkdir(b, "d");
        let on_dir = b.open_stream(&p("d"), "s", &how(CreateDisposition::OpenIf)).unwrap();
        assert_eq!(on_dir.metadata.kind, FileKind::File);
        assert!(!on_dir.metadata.attributes.contains(FileAttributes::DIRECTORY));
    }

    pub(super) fn stream_rename(b: &dyn Backend) {
        create(b, "f");
        for (n, data) in [("a", b"A"), ("b", b"B")] {
            b.open_stream(&p("f"), n, &how(CreateDisposition::Create)).unwrap().file.write_at(0, data, CACHED).unwrap();
        }
        fails!(b.rename_stream(&p("f"), "a", "B", false), Exists);
        fails!(b.rename_stream(&p("f"), "x", "y", false), NotFound);
        b.rename_stream(&p("f"), "A", "B", true).unwrap();
        b.rename_stream(&p("f"), "b", "b", false).unwrap();
        let list = b.streams(&p("f")).unwrap();
        assert_eq!(list.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["b"]);
        assert_eq!(contents(&*b.open_stream(&p("f"), "b", &OpenHow::existing(Want::READ)).unwrap().file), b"A");
    }

    pub(super) fn sparse_files(b: &dyn Backend) {
        const PAGE: u64 = 65_536;
        let f = create(b, "f").file;
        f.set_sparse(true).unwrap();
        assert!(f.metadata().unwrap().attributes.contains(FileAttributes::SPARSE_FILE));
        f.set_len(8 * PAGE).unwrap();
        let all = Range { offset: 0, length: u64::MAX };
        assert!(f.allocated_ranges(all, 10).unwrap().is_empty());
        let ones = vec![1; usize::try_from(PAGE).unwrap()];
        for page in [1, 3, 4, 6] {
            f.write_at(page * PAGE, &ones, CACHED).unwrap();
        }
        let range = |from: u64, count: u64| Range { offset: from * PAGE, length: count * PAGE };
        assert_eq!(f.allocated_ranges(all, 10).unwrap(), [range(1, 1), range(3, 2), range(6, 1)]);
        assert_eq!(f.allocated_ranges(range(4, 3), 10).unwrap(), [range(4, 1), range(6, 1)]);
        assert_eq!(f.allocated_ranges(all, 2).unwrap(), [range(1, 1), range(3, 2)]);
        f.zero_range(range(3, 1)).unwrap();
        f.zero_range(Range { offset: 4 * PAGE + 10, length: 5 }).unwrap();
        f.zero_range(range(100, 1)).unwrap();
        assert_eq!(f.allocated_ranges(all, 10).unwrap(), [range(1, 1), range(4, 1), range(6, 1)]);
        assert_eq!(f.metadata().unwrap().size, 8 * PAGE, "zeroing keeps the size");
        let mut part = [9; 20];
        f.read_at(4 * PAGE, &mut part).unwrap();
        assert_eq!(part, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1]);
        f.set_sparse(false).unwrap();
        assert!(!f.metadata().unwrap().attributes.contains(FileAttributes::SPARSE_FILE));
    }

    pub(super) fn copies_ranges(b: &dyn Backend) {
        let from = put(b, "from", b"0123456789").file;
        let to = put(b, "to", b"abc").file;
        assert_eq!(to.copy_from(2, &*from, 4, 3).unwrap(), 3);
        assert_eq!(contents(&*to), b"ab456");
        assert_eq!(to.copy_from(0, &*from, 8, 100).unwrap(), 2, "the source ends");
        assert_eq!(to.copy_from(0, &*from, 10, 1).unwrap(), 0);
        assert_eq!(contents(&*to), b"89456");
        let s = b.open_stream(&p("to"), "s", &how(CreateDisposition::Create)).unwrap().file;
        assert_eq!(s.copy_from(0, &*from, 0, 4).unwrap(), 4);
        assert_eq!(from.copy_from(6, &*s, 0, 4).unwrap(), 4);
        assert_eq!(contents(&*from), b"0123450123");
        assert_eq!(from.copy_from(0, &*from, 6, 2).unwrap(), 2);
        assert_eq!(contents(&*from), b"0123450123");
    }

    pub(super) fn renames(b: &dyn Backend) {
        let f = put(b, "f", b"x");
        mkdir(b, "d");
        b.rename(&p("F"), &p("D\\New"), false, CACHED).unwrap();
        fails!(b.lookup(&p("f")), NotFound);
        let found = b.lookup(&p("d\\new")).unwrap();
        assert_eq!((found.path.as_str(), found.metadata.key), ("d/New", f.file.key()));
        create(b, "other");
        fails!(b.rename(&p("d\\new"), &p("OTHER"), false, CACHED), Exists);
        mkdir(b, "e");
        b.rename(&p("d"), &p("e\\sub"), false, Stability::Stable).unwrap();
        assert_eq!(read(b, "e\\sub\\new"), b"x");
        fails!(b.rename(&p("e"), &p("e\\sub\\below"), false, CACHED), AccessDenied);
        fails!(b.rename(&RelPath::root(), &p("x"), false, CACHED), AccessDenied);
    }

    pub(super) fn rename_replaces(b: &dyn Backend) {
        let new = put(b, "new", b"new");
        put(b, "Old", b"old");
        mkdir(b, "d");
        b.rename(&p("new"), &p("oLD"), true, Stability::Stable).unwrap();
        assert_eq!(names(b, ""), ["d", "oLD"], "the new spelling counts");
        assert_eq!(b.lookup(&p("old")).unwrap().metadata.key, new.file.key());
        assert_eq!(read(b, "old"), b"new");
        fails!(b.rename(&p("old"), &p("D"), true, CACHED), IsADirectory);
        fails!(b.rename(&p("d"), &p("old"), true, CACHED), NotADirectory);
        assert_eq!(names(b, ""), ["d", "oLD"]);
    }

    pub(super) fn rename_changes_case(b: &dyn Backend) {
        let f = put(b, "file", b"x");
        b.rename(&p("file"), &p("FILE"), false, CACHED).unwrap();
        assert_eq!(names(b, ""), ["FILE"]);
        b.rename(&p("file"), &p("FILE"), false, CACHED).unwrap();
        assert_eq!(names(b, ""), ["FILE"]);
        assert_eq!(b.lookup(&p("file")).unwrap().metadata.key, f.file.key());
        mkdir(b, "dir");
        create(b, "dir\\x");
        b.rename(&p("DIR"), &p("Dir"), true, CACHED).unwrap();
        assert_eq!(names(b, ""), ["Dir", "FILE"]);
        assert_eq!(names(b, "dir"), ["x"]);
    }

    pub(super) fn links(b: &dyn Backend) {
        let f = put(b, "f", b"x");
        b.link(&p("F"), &p("g"), false, Stability::Stable).unwrap();
        let g = b.lookup(&p("g")).unwrap().metadata;
        assert_eq!((g.key, g.links), (f.file.key(), 2));
        fails!(b.link(&p("f"), &p("G"), false, CACHED), Exists);
        mkdir(b, "d");
        fails!(b.link(&p("d"), &p("e"), false, CACHED), IsADirectory);
        fails!(b.link(&p("f"), &p("D"), true, CACHED), IsADirectory);
        put(b, "other", b"y");
        b.link(&p("f"), &p("OTHER"), true, CACHED).unwrap();
        assert_eq!(read(b, "other"), b"x");
        assert_eq!(f.file.metadata().unwrap().links, 3);
        b.unlink(&p("f"), Some(g.key), CACHED).unwrap();
        assert_eq!(f.file.metadata().unwrap().links, 2);
        fails!(b.rename(&p("g"), &p("other"), false, CACHED), Exists);
        b.rename(&p("g"), &p("other"), true, CACHED).unwrap();
        assert_eq!(names(b, ""), ["OTHER", "d"]);
    }

    pub(super) fn removes_by_key(b: &dyn Backend) {
        let first = create(b, "f").file.key();
        b.rename(&p("f"), &p("away"), false, CACHED).unwrap();
        let second = create(b, "f").file.key();
        assert_ne!(first, second);
        fails!(b.unlink(&p("f"), Some(first), CACHED), KeyMismatch);
        b.unlink(&p("F"), Some(second), Stability::Stable).unwrap();
        fails!(b.lookup(&p("f")), NotFound);
        let d = mkdir(b, "d").file.key();
        assert!(b.is_dir_empty(&p("d")).unwrap());
        create(b, "d\\x");
        assert!(!b.is_dir_empty(&p("D")).unwrap());
        b.unlink(&p("d\\x"), None, CACHED).unwrap();
        fails!(b.remove_dir(&p("d"), Some(first), CACHED), KeyMismatch);
        b.remove_dir(&p("D"), Some(d), Stability::Stable).unwrap();
        assert_eq!(names(b, ""), ["away"]);
    }

    pub(super) fn open_files_outlive_their_names(b: &dyn Backend) {
        let f = put(b, "f", b"x").file;
        b.rename(&p("f"), &p("g"), false, CACHED).unwrap();
        f.write_at(1, b"y", CACHED).unwrap();
        assert_eq!(read(b, "g"), b"xy");
        b.unlink(&p("g"), None, CACHED).unwrap();
        f.write_at(2, b"z", CACHED).unwrap();
        assert_eq!(contents(&*f), b"xyz");
        assert_eq!(f.metadata().unwrap().links, 0);
        let dir = mkdir(b, "d").file;
        b.rename(&p("d"), &p("e"), false, CACHED).unwrap();
        create(b, "e\\x");
        assert_eq!(dir.names().unwrap(), ["x"]);
        assert!(dir.entry("x").unwrap().is_some());
    }

    pub(super) fn lists_while_entries_change(b: &dyn Backend) {
        let dir = mkdir(b, "d").file;
        for i in 0..50 {
            put(b, &format!("d\\f{i:02}"), &vec![0; i]);
        }
        let mut cursor = DirCursor::new(&*dir).unwrap();
        let mut seen: Vec<String> = (0..20).map(|_| cursor.next_matching(&*dir, |_| true).unwrap().unwrap().name).collect();
        let rest: Vec<String> = (0..50).map(|i| format!("f{i:02}")).filter(|n| !seen.contains(n)).collect();
        b.unlink(&p(&format!("d\\{}", rest[0])), None, CACHED).unwrap();
        b.unlink(&p(&format!("d\\{}", seen[0])), None, CACHED).unwrap();
        create(b, "d\\late");
        let at = cursor.position();
        let first = cursor.next_matching(&*dir, |_| true).unwrap().unwrap();
        cursor.seek(at);
        assert_eq!(cursor.next_matching(&*dir, |_| true).unwrap().unwrap(), first, "what did not fit comes again");
        assert_eq!(first.metadata.size, first.name[1..].parse::<u64>().unwrap());
        seen.push(first.name);
        while let Some(entry) = cursor.next_matching(&*dir, |n| n != rest[1]) {
            seen.push(entry.unwrap().name);
        }
        seen.sort();
        let wanted: Vec<String> = (0..50).map(|i| format!("f{i:02}")).filter(|n| *n != rest[0] && *n != rest[1]).collect();
        assert!(seen.len() >= wanted.len() && wanted.iter().all(|n| *n == first_of(&seen, n)), "{seen:?}");
        assert!(!seen.contains(&"late".to_owned()), "a snapshot does not grow");
        assert!(DirCursor::new(&*dir).unwrap().next_matching(&*dir, |n| n == "late").is_some());
        assert!(dir.entry("..").unwrap().is_none() && dir.entry("F01").unwrap().is_none());
    }

    fn first_of(seen: &[String], name: &str) -> String {
        let found: Vec<&String> = seen.iter().filter(|n| *n == name).collect();
        if found.len() == 1 { name.to_owned() } else { format!("{} times", found.len()) }
    }

    pub(super) fn stable_changes(b: &dyn Backend) {
        for kind in [FileKind::File, FileKind::Directory] {
            let how = OpenHow { stability: Stability::Stable, ..OpenHow::create_new(kind) };
            assert_eq!(b.open(&p(&format!("{kind:?}")), &how).unwrap().action, CreateAction::Created);
        }
        b.sync_dir(&RelPath::root()).unwrap();
        b.sync_dir(&p("directory")).unwrap();
        fails!(b.sync_dir(&p("none")), NotFound);
        b.open(&p("directory"), &OpenHow::existing(Want::READ)).unwrap().file.flush().unwrap();
    }

    pub(super) fn volume(b: &dyn Backend) {
        let v = b.volume().unwrap();
        assert!(v.total_bytes >= v.free_bytes && v.free_bytes >= v.available_bytes && v.total_bytes > 0);
        assert!(v.cluster_bytes >= 512 && v.cluster_bytes.is_multiple_of(v.sector_bytes));
        assert_eq!(v.serial, b.volume().unwrap().serial);
        assert!(v.creation.0 > 0 && v.name_units_max == 255 && !v.read_only);
    }
}

#[test]
fn a_full_volume_says_so() {
    let b = MemoryBackend::with(8192, || FileTime(1));
    let f = put(&b, "f", &[1; 8192]).file;
    fails!(f.write_at(8192, &[1], CACHED), NoSpace);
    assert_eq!(f.metadata().unwrap().size, 8192);
    assert_eq!(b.volume().unwrap().free_bytes, 0);
    drop(f);
    b.unlink(&p("f"), None, CACHED).unwrap();
    assert_eq!(b.volume().unwrap().free_bytes, 8192);
}

#[test]
fn faults_happen_as_scripted() {
    let b = FaultyBackend::new(Arc::new(MemoryBackend::new()));
    let f = create(&b, "F").file;
    b.inject(Fault::no_space(Op::Write).on("f").after_passing(1).times(2));
    b.inject(Fault::io(Op::Rename).when(smb_backend::When::After));
    f.write_at(0, b"1", CACHED).unwrap();
    fails!(f.write_at(1, b"2", CACHED), NoSpace);
    fails!(f.append(b"2", CACHED), NoSpace);
    f.append(b"3", CACHED).unwrap();
    assert_eq!(contents(&*f), b"13");
    fails!(b.rename(&p("f"), &p("g"), false, CACHED), Io);
    assert!(b.lookup(&p("g")).is_ok(), "the rename happened, its answer was lost");
    assert_eq!(b.waiting(), 0);
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let note = seen.clone();
    b.inject(Fault::hook(Op::Flush, move |op, path| note.lock().unwrap().push((op, path.to_owned()))));
    b.inject(Fault::io(Op::Lookup));
    f.flush().unwrap();
    assert_eq!(*seen.lock().unwrap(), [(Op::Flush, "F".to_owned())]);
    b.heal();
    assert!(b.lookup(&p("g")).is_ok());
}
