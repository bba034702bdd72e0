//! Events to those who listen: at once to observers, in order to streams.

use std::sync::Arc;

use parking_lot::RwLock;
use persistence_model::Event;
use tokio::sync::broadcast;

/// Events that a slow stream may be behind; beyond that it is told that it has missed some.
const STREAM_EVENTS_MAX: usize = 16_384;

/// Called inside apply with each event, before anybody is told that the command was applied.
pub(crate) type Observer = Box<dyn Fn(&Event) + Send + Sync>;

/// Observers and streams.
pub(crate) struct Fanout {
    observers: RwLock<Vec<Observer>>,
    stream: broadcast::Sender<Arc<Event>>,
    /// As `stream`, without changes of single files: those are as many as commands, and few want to be woken by each.
    news: broadcast::Sender<Arc<Event>>,
}

impl Fanout {
    pub(crate) fn new() -> Self {
        Self {
            observers: RwLock::default(),
            stream: broadcast::Sender::new(STREAM_EVENTS_MAX),
            news: broadcast::Sender::new(STREAM_EVENTS_MAX),
        }
    }

    pub(crate) fn observe(&self, observer: Observer) {
        self.observers.write().push(observer);
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.stream.subscribe()
    }

    pub(crate) fn subscribe_news(&self) -> broadcast::Receiver<Arc<Event>> {
        self.news.subscribe()
    }

    /// Tells everybody. Called from the apply task only, so that all streams have the same order.
    pub(crate) fn tell(&self, events: &[Arc<Event>]) {
        {
            let observers = self.observers.read();
            for event in events {
                observers.iter().for_each(|observer| observer(event));
            }
        }
        for event in events {
            // Nobody may be listening.
            if !matches!(**event, Event::FileChanged { .. }) {
                drop(self.news.send(Arc::clone(event)));
            }
            drop(self.stream.send(Arc::clone(event)));
        }
    }
}
