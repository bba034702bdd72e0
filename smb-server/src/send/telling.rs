//! Lets an answer wait until this node's other clients have been told of the breaks that its request caused.
//!
//! Both go out on connections of their own. Without this a client could learn that a file is marked for deletion, or changed, before
//! another client of this node learns that it has lost its rights to it.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use parking_lot::Mutex;
use persistence_model::FileKey;
use tokio::sync::{Notify, mpsc, oneshot};

/// Longest wait for a client that takes nothing from its connection: what it holds is safe without that, by the time it has to answer.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// A question whether every event so far has been taken up: dropped when it has.
pub(crate) type Question = oneshot::Sender<Infallible>;

/// Breaks on their way to the clients of this node.
#[derive(Debug, Default)]
pub struct Telling {
    /// To whoever takes up the events.
    questions: Mutex<Option<mpsc::UnboundedSender<Question>>>,
    /// Breaks under way by file.
    under_way: Mutex<BTreeMap<FileKey, usize>>,
    one_told: Notify,
}

/// A break on its way; told, or given up, when this is dropped.
#[derive(Debug)]
pub(crate) struct Teller {
    telling: Arc<Telling>,
    file: FileKey,
}

impl Telling {
    /// For who takes up the events: the questions that others have from now on.
    pub(crate) fn questions(&self) -> mpsc::UnboundedReceiver<Question> {
        let (ask, questions) = mpsc::unbounded_channel();
        *self.questions.lock() = Some(ask);
        questions
    }

    /// Begins to tell somebody of a break on a file.
    pub(crate) fn begin(self: &Arc<Self>, file: FileKey) -> Teller {
        *self.under_way.lock().entry(file).or_default() += 1;
        Teller { telling: Arc::clone(self), file }
    }

    /// Returns when every break on `file` that was committed before the call is on the sockets of this node's clients, or after
    /// [`WAIT_MAX`].
    pub(crate) async fn told(&self, file: FileKey) {
        let told = async {
            let (question, taken_up) = oneshot::channel::<Infallible>();
            if let Some(ask) = &*self.questions.lock() {
                // Nobody takes up events any more: this node stops.
                drop(ask.send(question));
            } else {
                drop(question);
            }
            let Err(_dropped) = taken_up.await;
            loop {
                let mut one_told = std::pin::pin!(self.one_told.notified());
                one_told.as_mut().enable();
                if !self.under_way.lock().contains_key(&file) {
                    return;
                }
                one_told.await;
            }
        };
        if tokio::time::timeout(WAIT_MAX, told).await.is_err() {
            tracing::debug!(?file, "an answer no longer waits for a client that takes nothing from its connection");
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        let mut under_way = self.telling.under_way.lock();
        if let Some(count) = under_way.get_mut(&self.file) {
            *count -= 1;
            if *count == 0 {
                under_way.remove(&self.file);
            }
        }
        drop(under_way);
        self.telling.one_told.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const FILE: FileKey = FileKey { volume: 1, inode: 1, generation: 1, stream: 0 };
    const OTHER: FileKey = FileKey { volume: 1, inode: 2, generation: 1, stream: 0 };

    #[tokio::test]
    async fn an_answer_waits_for_events_and_then_for_breaks_on_its_file() {
        let telling = Arc::new(Telling::default());
        assert!(telling.told(FILE).now_or_never().is_some(), "nobody takes up events");
        let mut questions = telling.questions();
        let mut told = Box::pin(telling.told(FILE));
        assert!((&mut told).now_or_never().is_none());
        let (first, second, elsewhere) = (telling.begin(FILE), telling.begin(FILE), telling.begin(OTHER));
        drop(questions.try_recv().expect("it asked"));
        assert!((&mut told).now_or_never().is_none());
        drop(first);
        assert!((&mut told).now_or_never().is_none(), "a second one is under way");
        drop(second);
        assert!((&mut told).now_or_never().is_some());
        drop(questions);
        assert!(telling.told(FILE).now_or_never().is_some(), "nobody takes up events any more");
        drop(elsewhere);
        assert!(telling.under_way.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_holds_nobody_up_for_long() {
        let telling = Arc::new(Telling::default());
        let teller = telling.begin(FILE);
        let from = tokio::time::Instant::now();
        telling.told(FILE).await;
        assert_eq!(from.elapsed().as_secs(), WAIT_MAX.as_secs());
        drop(teller);
    }
}
