//! What the programs of nodes ask each other: who answers which question. Every question is JSON with its own name.

use std::sync::Arc;

use futures::FutureExt as _;
use persistence::Store;

use crate::{
    doors::{self, Doors},
    registrations::Registrations,
};

/// From now on this node answers what the programs of others ask.
pub fn answer(store: &Store, registrations: &Arc<Registrations>, doors: &Arc<Doors>) {
    let (registrations, doors) = (Arc::downgrade(registrations), Arc::downgrade(doors));
    store.answer_programs(Arc::new(move |_from, question| {
        let (registrations, doors) = (registrations.upgrade(), doors.upgrade());
        async move {
            match (serde_json::from_slice::<doors::Question>(&question), doors) {
                (Ok(question), Some(doors)) => serde_json::to_vec(&doors.answer(question).await).unwrap_or_default(),
                _ => registrations.map_or_else(Vec::new, |registrations| registrations.answer(&question)),
            }
        }
        .boxed()
    }));
}
