//! Random operations on posix and memory at once: both must answer alike and end alike.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use proptest::prelude::*;
use smb_backend::{
    Backend, BackendError, BackendFile, Ea, FileKind, MemoryBackend, MustBe, OpenHow, PosixBackend, Range, RelPath, Stability, Want,
};
use smb_types::CreateDisposition;

/// Names that make a directory a large one.
const CROWD: usize = 300;

#[derive(Clone, Debug)]
enum Action {
    Open { path: RelPath, disposition: u32, must_be: u8 },
    Write { path: RelPath, offset: u64, data: Vec<u8> },
    Resize { path: RelPath, size: u64 },
    Zero { path: RelPath, offset: u64, length: u64 },
    Copy { from: RelPath, to: RelPath, offset: u64, length: u64 },
    Rename { from: RelPath, to: RelPath, replace: bool },
    Link { from: RelPath, to: RelPath, replace: bool },
    Unlink { path: RelPath },
    RemoveDir { path: RelPath },
    Stream { path: RelPath, name: &'static str, disposition: u32, data: Vec<u8> },
    RemoveStream { path: RelPath, name: &'static str },
    Ea { path: RelPath, name: &'static str, value: Vec<u8> },
}

fn path() -> impl Strategy<Value = RelPath> {
    let name = prop::sample::select(vec!["a", "A", "b", "Ü", "ü"]);
    prop::collection::vec(name, 1..=3).prop_map(|names| RelPath::from_components(names).unwrap())
}

fn action() -> impl Strategy<Value = Action> {
    let data = || prop::collection::vec(any::<u8>(), 0..40);
    let stream = || prop::sample::select(vec!["s", "S", "t"]);
    prop_oneof![
        4 => (path(), 0..6u32, 0..3u8).prop_map(|(path, disposition, must_be)| Action::Open { path, disposition, must_be }),
        3 => (path(), 0..9000u64, data()).prop_map(|(path, offset, data)| Action::Write { path, offset, data }),
        1 => (path(), 0..9000u64).prop_map(|(path, size)| Action::Resize { path, size }),
        1 => (path(), 0..9000u64, 0..9000u64).prop_map(|(path, offset, length)| Action::Zero { path, offset, length }),
        1 => (path(), path(), 0..100u64, 0..9000u64).prop_map(|(from, to, offset, length)| Action::Copy { from, to, offset, length }),
        3 => (path(), path(), any::<bool>()).prop_map(|(from, to, replace)| Action::Rename { from, to, replace }),
        1 => (path(), path(), any::<bool>()).prop_map(|(from, to, replace)| Action::Link { from, to, replace }),
        1 => path().prop_map(|path| Action::Unlink { path }),
        1 => path().prop_map(|path| Action::RemoveDir { path }),
        2 => (path(), stream(), 0..6u32, data())
            .prop_map(|(path, name, disposition, data)| Action::Stream { path, name, disposition, data }),
        1 => (path(), stream()).prop_map(|(path, name)| Action::RemoveStream { path, name }),
        1 => (path(), prop::sample::select(vec!["X", "x", "Y"]), data()).prop_map(|(path, name, value)| Action::Ea { path, name, value }),
    ]
}

fn disposition(wire: u32) -> CreateDisposition {
    CreateDisposition::from_wire(wire).unwrap()
}

/// What happened, in words that both backends must share.
fn act(b: &dyn Backend, action: &Action) -> Result<String, BackendError> {
    let cached = Stability::Cached;
    let open = |path: &RelPath, want| b.open(path, &OpenHow { must_be: MustBe::File, ..OpenHow::existing(want) }).map(|o| o.file);
    match action {
        Action::Open { path, disposition: d, must_be } => {
            let must_be = [MustBe::Either, MustBe::File, MustBe::Directory][usize::from(*must_be)];
            let o = b.open(path, &OpenHow { disposition: disposition(*d), must_be, ..OpenHow::existing(Want::READ_WRITE) })?;
            Ok(format!("{:?} {} {:?}", o.action, o.path, o.metadata.kind))
        }
        Action::Write { path, offset, data } => open(path, Want::WRITE)?.write_at(*offset, data, cached).map(|()| String::new()),
        Action::Resize { path, size } => open(path, Want::WRITE)?.set_len(*size).map(|()| String::new()),
        Action::Zero { path, offset, length } => {
            open(path, Want::WRITE)?.zero_range(Range { offset: *offset, length: *length }).map(|()| String::new())
        }
        Action::Copy { from, to, offset, length } => {
            let (from, to) = (open(from, Want::READ)?, open(to, Want::WRITE)?);
            if from.key() == to.key() {
                return Ok("same".into());
            }
            Ok(to.copy_from(*offset, &*from, *offset / 2, *length)?.to_string())
        }
        Action::Rename { from, to, replace } => b.rename(from, to, *replace, cached).map(|()| String::new()),
        Action::Link { from, to, replace } => b.link(from, to, *replace, cached).map(|()| String::new()),
        Action::Unlink { path } => b.unlink(path, None, cached).map(|()| String::new()),
        Action::RemoveDir { path } => b.remove_dir(path, None, cached).map(|()| String::new()),
        Action::Stream { path, name, disposition: d, data } => {
            let how = OpenHow { disposition: disposition(*d), ..OpenHow::existing(Want::READ_WRITE) };
            let o = b.open_stream(path, name, &how)?;
            o.file.write_at(3, data, cached)?;
            Ok(format!("{:?} {}", o.action, o.path))
        }
        Action::RemoveStream { path, name } => b.remove_stream(path, name, cached).map(|()| String::new()),
        Action::Ea { path, name, value } => {
            let o = b.open(path, &OpenHow::existing(Want::PATH_ONLY))?;
            o.file.set_eas(&[Ea { name: (*name).to_owned(), value: value.clone() }]).map(|()| String::new())
        }
    }
}

/// The variant's name.
fn cause(e: &BackendError) -> String {
    let text = format!("{e:?}");
    text.split([' ', '{']).next().unwrap_or_default().to_owned()
}

/// Everything below a directory, in words.
fn tree(b: &dyn Backend, path: &RelPath, out: &mut Vec<String>) {
    let dir = b.open(path, &OpenHow::existing(Want::READ)).unwrap().file;
    let mut names = dir.names().unwrap();
    names.sort();
    for name in names {
        let child = path.join(&name).unwrap();
        let m = dir.entry(&name).unwrap().unwrap().metadata;
        let o = b.open(&child, &OpenHow::existing(Want::READ)).unwrap();
        assert_eq!(o.metadata.key, m.key);
        let data = if m.kind == FileKind::File { contents(&*o.file) } else { Vec::new() };
        let streams: Vec<_> = o.file.streams().unwrap().into_iter().map(|s| (s.name.clone(), stream(b, &child, &s.name))).collect();
        let eas = o.file.eas().unwrap();
        out.push(format!("{child} {:?} {} {} {:?} {data:?} {streams:?} {eas:?}", m.kind, m.size, m.links, m.attributes));
        if m.kind == FileKind::Directory {
            tree(b, &child, out);
        }
    }
}

fn contents(file: &dyn BackendFile) -> Vec<u8> {
    let mut buffer = vec![0; usize::try_from(file.metadata().unwrap().size).unwrap()];
    assert_eq!(file.read_at(0, &mut buffer).unwrap(), buffer.len());
    buffer
}

fn stream(b: &dyn Backend, path: &RelPath, name: &str) -> Vec<u8> {
    contents(&*b.open_stream(path, name, &OpenHow::existing(Want::READ)).unwrap().file)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_is_as_posix(actions in prop::collection::vec(action(), 1..60), crowded in prop::bool::weighted(0.3)) {
        let dir = tempfile::tempdir().unwrap();
        let posix = PosixBackend::open_root(dir.path()).unwrap();
        let memory = MemoryBackend::new();
        // Of large directories the posix backend remembers which names they lack.
        for n in 0..if crowded { CROWD } else { 0 } {
            let filler = Action::Open { path: RelPath::parse_smb(&format!("Filler {n}")).unwrap(), disposition: 2, must_be: 1 };
            prop_assert_eq!(act(&posix, &filler).unwrap(), act(&memory, &filler).unwrap());
        }
        for (i, a) in actions.iter().enumerate() {
            let (x, y) = (act(&posix, a).map_err(|e| cause(&e)), act(&memory, a).map_err(|e| cause(&e)));
            prop_assert_eq!(x, y, "action {}: {:?}", i, a);
        }
        let (mut x, mut y) = (Vec::new(), Vec::new());
        tree(&posix, &RelPath::root(), &mut x);
        tree(&memory, &RelPath::root(), &mut y);
        prop_assert_eq!(x, y);
    }
}
