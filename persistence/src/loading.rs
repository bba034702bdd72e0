//! Loads the records of a node that starts, or that is sent a snapshot: one thread decodes, another one builds tables and indexes of what is
//! decoded. With a million opens this is most of a restart.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use persistence_model::{Loader, State, StoredRecord, codec::DecodeError};

/// Records that are handed over together.
const CHUNK_RECORDS: usize = 1024;
/// Chunks that may wait.
const CHUNKS_AHEAD: usize = 16;

/// Makes a state of records, each once; ascending by key costs least.
///
/// # Errors
/// What is wrong with a record, or that there is no thread.
pub(crate) fn load(records: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<State, String> {
    let mut decoded = records.map(|(key, value)| StoredRecord::decode(&key, &value));
    thread::scope(|scope| {
        let (give, chunks) = sync_channel(CHUNKS_AHEAD);
        let builder = thread::Builder::new().name("state-build".to_owned()).spawn_scoped(scope, move || build(&chunks));
        let builder = builder.map_err(|error| format!("the system gives no thread for building the state: {error}"))?;
        loop {
            let chunk = decoded.by_ref().take(CHUNK_RECORDS).collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
            // Nobody takes any more after a record that does not fit.
            if chunk.is_empty() || give.send(chunk).is_err() {
                break;
            }
        }
        drop(give);
        builder.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map_err(|error| error.to_string())
    })
}

fn build(chunks: &Receiver<Vec<StoredRecord>>) -> Result<State, DecodeError> {
    let mut loader = Loader::default();
    chunks.iter().flatten().try_for_each(|record| loader.take(record))?;
    Ok(loader.finish())
}

#[cfg(test)]
mod tests {
    use persistence_model::{Command, LogTime};
    use smb_types::Guid;

    use super::*;

    type Records = Vec<(Vec<u8>, Vec<u8>)>;

    /// A state of this many users.
    fn users(count: usize) -> State {
        let mut state = State::new();
        state.apply(LogTime(1), &Command::ClusterInit { net_name: "HOLDFAST".into(), server_guid: Guid([7; 16]) });
        for n in 0..count {
            state.apply(LogTime(2), &Command::UserAdd { name: format!("user{n}"), nt_hash: [1; 16], sid: None, unix: None });
        }
        assert_eq!(state.users().count(), count);
        state
    }

    #[test]
    fn few_and_many_records_are_loaded() {
        for count in [0, 1, CHUNK_RECORDS - 1, 3 * CHUNK_RECORDS + 7] {
            let state = users(count);
            assert_eq!(load(state.all_records().into_iter()), Ok(state));
        }
        assert_eq!(load(Records::new().into_iter()), Ok(State::new()));
    }

    #[test]
    fn what_is_wrong_is_found_wherever_it_stands() {
        let records = users(3 * CHUNK_RECORDS + 7).all_records();
        let fails = |records: Records, because: &DecodeError| assert_eq!(load(records.into_iter()), Err(because.to_string()));
        for place in [0, CHUNK_RECORDS, CHUNK_RECORDS + 1, records.len() - 1] {
            let mut bad = records.clone();
            *bad[place].1.last_mut().expect("a checksum is at the end") ^= 1;
            fails(bad, &DecodeError::Checksum);
            let mut bad = records.clone();
            bad[place].0.push(0);
            fails(bad, &DecodeError::Key);
            let twice = records.iter().cloned().chain([records[place].clone()]).collect();
            fails(twice, &DecodeError::Key);
        }
    }
}
