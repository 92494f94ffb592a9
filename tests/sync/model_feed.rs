//! A stream of the model's changes, which goes on from its place.

use crate::model::{Fault, Seen, Watcher, lost, unreachable};
use crate::model_client::ModelClient;
use futures::FutureExt;
use lockstep::client::ClientError;
use lockstep::client::sync::{Asked, FeedMessage, Place, SyncFeed};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

pub struct ModelFeed {
    client: ModelClient,
    prefixes: Vec<String>,
    place: Option<Place>,
    cluster_id: Option<String>,
    stream: Option<UnboundedReceiver<FeedMessage>>,
}

impl ModelFeed {
    pub fn new(
        client: ModelClient,
        prefixes: &[String],
        place: Option<Place>,
        cluster_id: Option<String>,
    ) -> Self {
        assert!(prefixes.len() <= 16, "a watch has no more prefixes");
        Self { client, prefixes: prefixes.to_vec(), place, cluster_id, stream: None }
    }

    async fn message(&mut self) -> Result<FeedMessage, ClientError> {
        if self.client.mortal.is_dead() {
            return Err(lost());
        }
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                match self.client.choose_fault(&Seen { kind: "watch", ops: &[] }) {
                    None => {}
                    Some(Fault::Slow(ms)) => tokio::time::sleep(Duration::from_millis(ms)).await,
                    Some(_) => return Err(unreachable()),
                }
                let stream = self.subscribe()?;
                self.stream.insert(stream)
            }
        };
        let Some(message) = stream.recv().await.filter(|_| !self.client.mortal.is_dead()) else {
            self.stream = None;
            return Err(lost());
        };
        match &message {
            FeedMessage::Change { index, .. } | FeedMessage::Bookmark { index } => {
                self.place = self.place.take().map(|place| Place { index: *index, ..place });
            }
            FeedMessage::Subscribed { .. } | FeedMessage::Resync { .. } => {}
        }
        Ok(message)
    }

    fn subscribe(&mut self) -> Result<UnboundedReceiver<FeedMessage>, ClientError> {
        let mut state = self.client.model.state();
        if self.cluster_id.as_ref().is_some_and(|id| *id != state.cluster_id) {
            return Err(ClientError::Garbled { url: "/v1/watch".into(), reason: "another cluster".into() });
        }
        let (tell, stream) = unbounded_channel();
        let say = |message| tell.send(message).expect("it is listened to");
        let now = state.place();
        let mut from = self.place.take().unwrap_or_else(|| now.clone());
        let history = from.history != now.history;
        if history || from.index < state.floor {
            say(FeedMessage::Resync { history });
            from = now.clone();
        }
        say(FeedMessage::Subscribed { history: now.history });
        let missed = state.log.iter().filter(|logged| logged.index > from.index);
        missed.filter_map(|logged| logged.for_prefixes(&self.prefixes)).for_each(say);
        state.watchers.push(Watcher { prefixes: self.prefixes.clone(), tell });
        self.place = Some(from);
        Ok(stream)
    }
}

impl SyncFeed for ModelFeed {
    fn next(&mut self) -> Asked<'_, FeedMessage> {
        self.message().boxed()
    }
}
