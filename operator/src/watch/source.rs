//! One source: a consistent listing, then what changes, for ever.

use std::pin::Pin;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use headgate_translate::ObjectKey;
use kube::api::{Api, ListParams, WatchParams};
use kube::core::{DynamicObject, PartialObjectMeta, TypeMeta, WatchEvent};
use kube::{Client, ResourceExt as _};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::failure::Failure;
use super::listing::Listing;
use super::{Absence, News, Read, Source, Told, resource};
use crate::clock;
use crate::metrics::Metrics;

/// How long the server keeps one watch, in seconds. Afterwards it is resumed.
const WATCH_SECONDS: u32 = 240;

/// A watch that says nothing for so long, not even a bookmark, is dead.
const SILENCE: Duration = Duration::from_secs(150);

/// How long the beginning of an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// The first pause after a failure; each further one is twice as long.
const LEAST_PAUSE: Duration = Duration::from_millis(200);

/// The longest pause, and so how late an installed CRD or a granted permission is noticed.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Objects a page, where the server has no WatchList.
const PAGE: u32 = 500;

/// Marks the bookmark that ends the initial events of a WatchList.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// How much of each object is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// Its metadata.
    Metadata,
}

/// What a source follows.
#[derive(Clone, Debug)]
pub struct Target {
    /// What it is for.
    pub source: Source,
    /// How much of each object.
    pub part: Part,
    /// The namespace, absent: all.
    pub namespace: Option<String>,
    /// Label that the objects have.
    pub labels: Option<String>,
    /// The one object.
    pub name: Option<String>,
}

/// Why an attempt ended.
#[derive(Debug)]
enum End {
    /// The server ended the watch, as it does from time to time.
    Quiet,
    /// Somebody wants a new listing.
    Resync,
    /// Nobody listens any more.
    Deaf,
    /// It cannot go on.
    Failed(Failure),
}

/// Follows a target until nobody listens.
pub async fn follow(
    client: Client,
    target: Target,
    news: mpsc::Sender<News>,
    resync: watch::Receiver<u64>,
    metrics: Metrics,
) {
    let mut follower = Follower {
        client,
        target,
        news,
        resync,
        metrics,
        listing: Listing::default(),
        position: None,
        version: 0,
        has_watch_list: true,
        absent: None,
        pause: LEAST_PAUSE,
    };
    loop {
        let started = clock::instant();
        match follower.attempt().await {
            End::Deaf => return,
            End::Resync => follower.position = None,
            End::Quiet if clock::instant().saturating_duration_since(started) > LEAST_PAUSE => {}
            End::Quiet => follower.back_off().await,
            End::Failed(failure) => follower.fail(failure).await,
        }
    }
}

type Events = Pin<Box<dyn Stream<Item = kube::Result<WatchEvent<DynamicObject>>> + Send>>;

struct Follower {
    client: Client,
    target: Target,
    news: mpsc::Sender<News>,
    resync: watch::Receiver<u64>,
    metrics: Metrics,
    listing: Listing,
    /// Where the next watch goes on, absent: a new listing.
    position: Option<String>,
    /// Which of the kind's versions the server seems to have.
    version: usize,
    has_watch_list: bool,
    absent: Option<Absence>,
    pause: Duration,
}

impl Follower {
    fn kind(&self) -> &'static str {
        self.target.source.kind().as_str()
    }

    fn api(&self) -> Api<DynamicObject> {
        let resource = resource(self.target.source.kind(), self.version);
        match &self.target.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }

    fn fields(&self) -> Option<String> {
        self.target.name.as_ref().map(|name| format!("metadata.name={name}"))
    }

    async fn attempt(&mut self) -> End {
        // A resync that came while nothing was read.
        if self.resync.has_changed().unwrap_or(false) {
            self.position = None;
        }
        self.resync.mark_unchanged();
        let began = clock::instant();
        let position = match self.position.clone() {
            Some(position) => position,
            None if self.has_watch_list => {
                self.listing.begin();
                let stream = match self.watch("", true).await {
                    Ok(stream) => stream,
                    Err(failure) => return End::Failed(failure),
                };
                return self.read(stream, Some(began)).await;
            }
            None => match self.list(began).await {
                Ok(position) => position,
                Err(end) => return end,
            },
        };
        match self.watch(&position, false).await {
            Ok(stream) => {
                if self.absent.take().is_some() {
                    info!(source = %self.target.source, "is read again");
                    if !self.tell(Told::Resumed).await {
                        return End::Deaf;
                    }
                }
                self.read(stream, None).await
            }
            Err(failure) => End::Failed(failure),
        }
    }

    async fn watch(&self, position: &str, sends_initial: bool) -> Result<Events, Failure> {
        let params = WatchParams {
            label_selector: self.target.labels.clone(),
            field_selector: self.fields(),
            timeout: Some(WATCH_SECONDS),
            bookmarks: true,
            send_initial_events: sends_initial,
        };
        let api = self.api();
        let started = async {
            Ok(match self.target.part {
                Part::Whole => api.watch(&params, position).await?.boxed(),
                Part::Metadata => api.watch_metadata(&params, position).await?.map_ok(from_metadata).boxed(),
            })
        };
        match timeout(ANSWER_LIMIT, started).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(Failure::new(&error, sends_initial)),
            Err(_) => Err(Failure::silence()),
        }
    }

    /// Takes in what a watch tells. `listing` is when its listing began, where it begins with one.
    async fn read(&mut self, mut events: Events, mut listing: Option<Instant>) -> End {
        loop {
            let event = tokio::select! {
                event = timeout(SILENCE, events.next()) => event,
                changed = self.resync.changed() => return if changed.is_ok() { End::Resync } else { End::Deaf },
            };
            let event = match event {
                Ok(Some(Ok(event))) => event,
                Ok(Some(Err(error))) => return End::Failed(Failure::new(&error, false)),
                Ok(None) => return End::Quiet,
                Err(_) => return End::Failed(Failure::silence()),
            };
            let label = match &event {
                WatchEvent::Added(_) | WatchEvent::Modified(_) => "upsert",
                WatchEvent::Deleted(_) => "delete",
                WatchEvent::Bookmark(_) => "bookmark",
                WatchEvent::Error(_) => "error",
            };
            self.metrics.watch_events.with_label_values(&[self.kind(), label]).inc();
            let heard = match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    let version = object.resource_version();
                    let heard = self.upsert(object).await;
                    if listing.is_none() {
                        self.position = version.or(self.position.take());
                    }
                    heard
                }
                WatchEvent::Deleted(object) => {
                    let version = object.resource_version();
                    let heard = self.remove(&key(&object)).await;
                    if listing.is_none() {
                        self.position = version.or(self.position.take());
                    }
                    heard
                }
                WatchEvent::Bookmark(bookmark) => {
                    let heard = match listing {
                        Some(began) if bookmark.metadata.annotations.contains_key(INITIAL_EVENTS_END) => {
                            listing = None;
                            if self.absent.take().is_some() {
                                info!(source = %self.target.source, "is read again");
                            }
                            self.listed(began).await
                        }
                        Some(_) | None => true,
                    };
                    if listing.is_none() {
                        self.position = Some(bookmark.metadata.resource_version);
                    }
                    heard
                }
                WatchEvent::Error(status) => {
                    return End::Failed(Failure::new(&kube::Error::Api(status), listing.is_some()));
                }
            };
            if !heard {
                return End::Deaf;
            }
            if listing.is_none() {
                self.pause = LEAST_PAUSE;
            }
        }
    }

    /// Lists by pages, and says where to watch from. What was wrong is over once that watch tells something: whoever
    /// may list and not watch, or whose watch expires at once, would list again and again without a pause.
    async fn list(&mut self, began: Instant) -> Result<String, End> {
        self.listing.begin();
        let api = self.api();
        let mut params = ListParams {
            label_selector: self.target.labels.clone(),
            field_selector: self.fields(),
            limit: Some(PAGE),
            ..ListParams::default()
        };
        loop {
            let page = async {
                match self.target.part {
                    Part::Whole => api.list(&params).await.map(|page| (page.items, page.metadata)),
                    Part::Metadata => api
                        .list_metadata(&params)
                        .await
                        .map(|page| (page.items.into_iter().map(metadata_only).collect::<Vec<_>>(), page.metadata)),
                }
            };
            let (items, metadata) = match timeout(ANSWER_LIMIT, page).await {
                Ok(Ok(page)) => page,
                Ok(Err(error)) => return Err(End::Failed(Failure::new(&error, false))),
                Err(_) => {
                    return Err(End::Failed(Failure::silence()));
                }
            };
            for object in items {
                if !self.upsert(object).await {
                    return Err(End::Deaf);
                }
            }
            params.continue_token = metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                let position = metadata.resource_version.unwrap_or_default();
                self.position = Some(position.clone());
                return if self.listed(began).await { Ok(position) } else { Err(End::Deaf) };
            }
        }
    }

    async fn upsert(&mut self, object: DynamicObject) -> bool {
        let read = Read::new(self.target.source.kind(), object);
        self.listing.is_there(&read.key);
        self.tell(Told::Upsert(Box::new(read))).await
    }

    async fn remove(&mut self, key: &ObjectKey) -> bool {
        self.listing.is_gone(key);
        self.tell(Told::Remove(key.clone())).await
    }

    async fn listed(&mut self, began: Instant) -> bool {
        for gone in self.listing.end() {
            if !self.tell(Told::Remove(gone)).await {
                return false;
            }
        }
        self.metrics.watch_listings.with_label_values(&[self.kind()]).inc();
        self.tell(Told::Listed { began }).await
    }

    /// False where nobody listens.
    async fn tell(&self, told: Told) -> bool {
        self.news.send(News { source: self.target.source.clone(), told }).await.is_ok()
    }

    async fn fail(&mut self, failure: Failure) {
        match failure {
            Failure::NoWatchList => {
                debug!(source = %self.target.source, "the server has no WatchList; lists by pages");
                self.has_watch_list = false;
            }
            Failure::Expired => {
                self.metrics.watch_errors.with_label_values(&[self.kind(), "expired"]).inc();
                debug!(source = %self.target.source, "what was seen last is compacted; lists again");
                self.position = None;
                self.back_off().await;
            }
            Failure::Absent(absence, message) => {
                self.metrics.watch_errors.with_label_values(&[self.kind(), absence.as_str()]).inc();
                if absence != Absence::Unreachable {
                    self.position = None;
                    self.version += 1;
                }
                if self.absent != Some(absence) {
                    warn!(source = %self.target.source, reason = absence.as_str(), %message, "cannot be read; tries again");
                }
                self.absent = Some(absence);
                // Told each time: how long it lasts counts.
                self.tell(Told::Absent { absence, message }).await;
                self.back_off().await;
            }
        }
    }

    async fn back_off(&mut self) {
        let pause = self.pause.mul_f64(rand::random_range(0.75..1.25));
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        tokio::select! {
            () = sleep(pause) => {}
            // A resync that comes now is met by the listing that follows.
            _ = self.resync.changed() => self.position = None,
        }
    }
}

fn key(object: &DynamicObject) -> ObjectKey {
    ObjectKey::new(object.namespace().unwrap_or_default(), object.name_any())
}

fn metadata_only(object: PartialObjectMeta<DynamicObject>) -> DynamicObject {
    let PartialObjectMeta { types, metadata, .. } = object;
    DynamicObject { types: types.or_else(|| Some(TypeMeta::default())), metadata, data: Value::Null }
}

fn from_metadata(event: WatchEvent<PartialObjectMeta<DynamicObject>>) -> WatchEvent<DynamicObject> {
    match event {
        WatchEvent::Added(object) => WatchEvent::Added(metadata_only(object)),
        WatchEvent::Modified(object) => WatchEvent::Modified(metadata_only(object)),
        WatchEvent::Deleted(object) => WatchEvent::Deleted(metadata_only(object)),
        WatchEvent::Bookmark(bookmark) => WatchEvent::Bookmark(bookmark),
        WatchEvent::Error(status) => WatchEvent::Error(status),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::{Request, Response};
    use kube::client::Body;
    use prometheus::Registry;
    use serde_json::json;
    use tower::service_fn;

    use super::*;
    use crate::world::ObjectKind;

    /// Lists of a minute by a server without WatchList that answers each watch with `code` and `body`.
    async fn lists_of_a_minute(code: u16, body: Value) -> usize {
        let lists = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&lists);
        let server = service_fn(move |request: Request<Body>| {
            let query = request.uri().query().unwrap_or_default();
            let (code, body) = if query.contains("sendInitialEvents") {
                (422, json!({ "kind": "Status", "code": 422 }))
            } else if query.contains("watch=true") {
                (code, body.clone())
            } else {
                counted.fetch_add(1, Ordering::Relaxed);
                (200, json!({ "metadata": { "resourceVersion": "7" }, "items": [] }))
            };
            std::future::ready(Response::builder().status(code).body(Body::from(format!("{body}\n").into_bytes())))
        });
        let target = Target {
            source: Source::Kind(ObjectKind::Namespace),
            part: Part::Whole,
            namespace: None,
            labels: None,
            name: None,
        };
        let (news, mut told) = mpsc::channel(16);
        let (_resync, resynced) = watch::channel(0);
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let following = follow(Client::new(server, "default"), target, news, resynced, metrics);
        let hearing = async { while told.recv().await.is_some() {} };
        let minute = timeout(Duration::from_mins(1), async { tokio::join!(following, hearing) });
        assert!(minute.await.is_err(), "it follows for ever");
        lists.load(Ordering::Relaxed)
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_may_list_and_not_watch_lists_ever_less_often() {
        let expired = json!({ "kind": "Status", "code": 410, "reason": "Expired", "message": "too old" });
        let cases = [
            (403, json!({ "kind": "Status", "code": 403, "reason": "Forbidden" })),
            (410, expired.clone()),
            (200, json!({ "type": "ERROR", "object": expired })),
        ];
        for (code, body) in cases {
            let lists = lists_of_a_minute(code, body).await;
            // About 200, 400, 800, 1,600 and 3,200 ms between the first, and 5 s from then on.
            assert!((12..=24).contains(&lists), "{code}: {lists} lists");
        }
    }
}
