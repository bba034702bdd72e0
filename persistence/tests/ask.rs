//! What programs ask each other beside the log: answered by the right node, also without a leader; silence and limits have names.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Cluster, Wish};
use futures::FutureExt as _;
use persistence::{AskError, PROGRAM_BYTES_MAX};
use persistence_model::NodeId;

const LIMIT: Duration = Duration::from_secs(5);

fn answer_with_own_id(cluster: &Cluster, id: u64) {
    cluster.store(id).answer_programs(Arc::new(move |from, question| {
        async move {
            let length = if question == b"long" { PROGRAM_BYTES_MAX + 1 } else { 0 };
            [format!("{id} to {from}: ").into_bytes(), question, vec![b'x'; length]].concat()
        }
        .boxed()
    }));
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_are_asked_with_and_without_a_leader() {
    let cluster = Cluster::new(3, Wish::default()).await;
    answer_with_own_id(&cluster, 1);
    answer_with_own_id(&cluster, 2);
    for id in 1..=2 {
        let answer = cluster.store(1).ask_program(NodeId(id), b"hello".to_vec(), LIMIT).await.unwrap();
        assert_eq!(String::from_utf8(answer).unwrap(), format!("{id} to 1: hello"));
    }
    // The first handler stays.
    answer_with_own_id(&cluster, 2);
    let nobody = cluster.store(1).ask_program(NodeId(3), Vec::new(), LIMIT).await.unwrap_err();
    assert!(matches!(&nobody, AskError::Unanswered { node: NodeId(3), because } if because.contains("starting")), "{nobody}");
    let long = cluster.store(1).ask_program(NodeId(2), b"long".to_vec(), LIMIT).await.unwrap_err();
    assert!(matches!(long, AskError::Unanswered { node: NodeId(2), .. }), "{long}");
    let question = vec![0; PROGRAM_BYTES_MAX + 1];
    let refused = cluster.store(1).ask_program(NodeId(2), question, LIMIT).await;
    assert_eq!(refused, Err(AskError::TooLong { bytes: PROGRAM_BYTES_MAX + 1 }));
    let longest = cluster.store(1).ask_program(NodeId(2), vec![0; PROGRAM_BYTES_MAX - 64], LIMIT).await.unwrap();
    assert_eq!(longest.len(), PROGRAM_BYTES_MAX - 64 + "2 to 1: ".len());

    // Without a majority nothing can be committed, and programs talk all the same.
    cluster.store(3).kill().await;
    let gone = cluster.store(1).ask_program(NodeId(3), Vec::new(), LIMIT).await.unwrap_err();
    assert!(gone.to_string().starts_with("node 3 did not answer: "), "{gone}");
    cluster.faults.isolate(1, &[2]);
    let silent = cluster.store(2).ask_program(NodeId(1), Vec::new(), Duration::from_millis(300)).await;
    assert!(matches!(silent, Err(AskError::Unanswered { node: NodeId(1), .. })));
    cluster.faults.heal();
    let answer = cluster.store(2).ask_program(NodeId(1), b"again".to_vec(), LIMIT).await.unwrap();
    assert_eq!(answer, b"1 to 2: again");
}
