//! The news that an entry is committed goes to a follower with the next entries, or by itself when somebody there waits for it.
//!
//! By itself it costs a message and an answer for each commit and follower, half of all messages when commits come one by one. So it is
//! held back for a moment, in which the next entries mostly come. Whoever knows of somebody who waits for an entry to be applied elsewhere
//! says so with [`Urged::urge`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use openraft::raft::AppendEntriesRequest;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::types::TypeConfig;

/// Longest time that news is held back.
const NEWS_PAUSE: Duration = Duration::from_millis(2);

/// Up to where somebody elsewhere waits for the news.
#[derive(Debug, Default)]
pub(crate) struct Urged {
    index: AtomicU64,
    changed: Notify,
}

impl Urged {
    /// Somebody on another node waits for this entry, which is committed or will be.
    pub(crate) fn urge(&self, index: u64) {
        if self.index.fetch_max(index, Ordering::AcqRel) < index {
            self.changed.notify_waiters();
        }
    }

    /// Waits until somebody waits for an entry behind this one.
    async fn beyond(&self, told: u64) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.index.load(Ordering::Acquire) > told {
                return;
            }
            changed.await;
        }
    }
}

/// The requests of a stream, without those that only tell of a commit which the next one tells of too.
pub(crate) fn hold_back<S>(input: S, urged: Arc<Urged>) -> impl Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + 'static
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
{
    stream::unfold((input.fuse(), urged, 0), |(mut input, urged, told)| async move {
        let mut request = input.next().await?;
        let until = Instant::now() + NEWS_PAUSE;
        while request.entries.is_empty() {
            tokio::select! {
                biased;
                next = input.next() => match next {
                    Some(next) => request = next,
                    // A question by itself, not news.
                    None => break,
                },
                () = urged.beyond(told) => break,
                () = tokio::time::sleep_until(until) => break,
            }
        }
        let told = request.leader_commit.map_or(told, |log_id| log_id.index);
        Some((request, (input, urged, told)))
    })
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use openraft::EntryPayload;
    use openraft::entry::{RaftEntry, RaftPayload};
    use tokio::sync::mpsc;

    use super::*;
    use crate::types::{Entry, LeaderId, LogId, Vote};

    type Append = AppendEntriesRequest<TypeConfig>;

    fn log_id(index: u64) -> LogId {
        LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index }
    }

    fn news(committed: u64) -> Append {
        let vote = Vote { leader_id: log_id(0).leader_id, committed: true };
        Append { vote, prev_log_id: Some(log_id(committed)), entries: Vec::new(), leader_commit: Some(log_id(committed)) }
    }

    fn entries(committed: u64) -> Append {
        Append { entries: vec![Entry::new(log_id(committed + 1), EntryPayload::blank())], ..news(committed) }
    }

    struct Line {
        give: Option<mpsc::UnboundedSender<Append>>,
        urged: Arc<Urged>,
        taken: std::pin::Pin<Box<dyn Stream<Item = Append> + Send>>,
    }

    impl Line {
        fn new() -> Self {
            let (give, mut queue) = mpsc::unbounded_channel();
            let input = stream::poll_fn(move |context| queue.poll_recv(context));
            let urged = Arc::new(Urged::default());
            let taken = hold_back(input, urged.clone()).boxed();
            Self { give: Some(give), urged, taken }
        }

        fn give(&self, request: Append) {
            self.give.as_ref().unwrap().send(request).unwrap();
        }

        fn ready(&mut self) -> Option<(usize, u64)> {
            let request = self.taken.next().now_or_never()??;
            Some((request.entries.len(), request.leader_commit.unwrap().index))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn news_goes_with_the_next_entries() {
        let mut line = Line::new();
        line.give(news(4));
        assert_eq!(line.ready(), None);
        line.give(news(5));
        assert_eq!(line.ready(), None);
        line.give(entries(5));
        assert_eq!(line.ready(), Some((1, 5)));
        assert_eq!(line.ready(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn news_goes_by_itself_after_a_moment() {
        let mut line = Line::new();
        line.give(news(4));
        let begun = Instant::now();
        let request = line.taken.next().await.unwrap();
        assert_eq!((request.leader_commit, begun.elapsed() <= NEWS_PAUSE * 2), (Some(log_id(4)), true));
    }

    #[tokio::test(start_paused = true)]
    async fn news_goes_at_once_to_somebody_who_waits() {
        let mut line = Line::new();
        line.give(news(4));
        assert_eq!(line.ready(), None);
        line.urged.urge(4);
        assert_eq!(line.ready(), Some((0, 4)));
        line.give(news(5));
        assert_eq!(line.ready(), None, "nobody waits for this one");
        line.urged.urge(9);
        assert_eq!(line.ready(), Some((0, 5)));
        line.give(news(6));
        assert_eq!(line.ready(), Some((0, 6)), "whoever waits for 9 may mean any before it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_at_the_end_is_not_held_back() {
        let mut line = Line::new();
        line.give(news(4));
        line.give = None;
        assert_eq!(line.ready(), Some((0, 4)));
        assert!(line.taken.next().await.is_none());
    }
}
