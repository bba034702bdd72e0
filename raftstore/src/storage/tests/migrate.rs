//! A directory of the first format is taken over: entries, vote, marks, identity.

use openraft::RaftLogReader;
use openraft::storage::RaftLogStorage;
use rocksdb::{DB, Options};
use tempfile::TempDir;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_in_the_database_moves_to_its_files() {
    let dir = TempDir::new().unwrap();
    {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        let db = DB::open_cf(&options, dir.path().join(DATABASE), ["log", "meta", "state"]).unwrap();
        let (log, meta) = (db.cf_handle("log").unwrap(), db.cf_handle("meta").unwrap());
        for index in 11..60u64 {
            db.put_cf(log, index.to_be_bytes(), codec::encode(Kind::Entry, &entry(index)).unwrap()).unwrap();
        }
        let identity = DirectoryIdentity { cluster: CLUSTER.as_u128(), node_id: 1 };
        db.put_cf(meta, b"identity", codec::encode(Kind::Identity, &identity).unwrap()).unwrap();
        let vote = crate::types::Vote { leader_id: LeaderId { term: 4, node_id: 2 }, committed: true };
        db.put_cf(meta, b"vote", codec::encode(Kind::Vote, &vote).unwrap()).unwrap();
        db.put_cf(meta, b"purged", codec::encode(Kind::LogId, &entry(10).log_id).unwrap()).unwrap();
        db.put_cf(meta, b"committed", codec::encode(Kind::LogId, &entry(50).log_id).unwrap()).unwrap();
        let progress = state::tests_progress(entry(40).log_id);
        db.put_cf(meta, b"applied", codec::encode(Kind::Applied, &progress).unwrap()).unwrap();
    }
    for _ in 0..2 {
        let (mut log, mut state) = reopen(dir.path()).unwrap();
        let entries = log.try_get_log_entries(..).await.unwrap();
        assert_eq!(entries, (11..60).map(entry).collect::<Vec<_>>());
        let marks = log.get_log_state().await.unwrap();
        assert_eq!((marks.last_purged_log_id, marks.last_log_id), (Some(entry(10).log_id), Some(entry(59).log_id)));
        assert_eq!(log.read_vote().await.unwrap().unwrap().leader_id.term, 4);
        assert_eq!(log.read_committed().await.unwrap(), Some(entry(50).log_id));
        use openraft::storage::RaftStateMachine;
        assert_eq!(state.applied_state().await.unwrap().0, Some(entry(40).log_id));
    }
    // A program of the first format meets the bar, and what it made before is not taken for the log.
    for _ in 0..2 {
        let mut options = Options::default();
        options.create_missing_column_families(true);
        let db = DB::open_cf(&options, dir.path().join(DATABASE), ["log", "meta", "state"]).unwrap();
        let identity = db.get_cf(db.cf_handle("meta").unwrap(), b"identity").unwrap().unwrap();
        assert_eq!(codec::decode::<DirectoryIdentity>(Kind::Identity, &identity), Err(codec::DecodeError::Version(2)));
        drop(db);
        let (mut log, _) = reopen(dir.path()).unwrap();
        assert_eq!(log.try_get_log_entries(..).await.unwrap().len(), 49);
        assert_eq!(log.read_vote().await.unwrap().unwrap().leader_id.term, 4);
    }
    let mut other = opening(dir.path(), Environment::default());
    other.node_id = 2;
    assert!(matches!(Database::open(other), Err(StartError::WrongNode { found: 1, .. })));
}
