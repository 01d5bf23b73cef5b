//! The replicas that a proxy is connected to now, for questions beside the stream.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use headgate_snapshot::configuration_client::ConfigurationClient;
use headgate_snapshot::{ReviewAnswer, ReviewQuestion};
use parking_lot::Mutex;
use tokio::time::timeout;
use tonic::Request;
use tonic::transport::Channel;

use super::connect::innermost;
use super::credentials::Credentials;
use super::session::bearer;

/// How long one replica may take to answer a question.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Connections to replicas.
#[derive(Default)]
pub(crate) struct Replicas(Mutex<BTreeMap<SocketAddr, Replica>>);

#[derive(Clone)]
struct Replica {
    channel: Channel,
    credentials: Arc<Credentials>,
}

/// A replica that is there as long as this is.
pub(crate) struct Present<'a> {
    replicas: &'a Replicas,
    address: SocketAddr,
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.replicas.0.lock().remove(&self.address);
    }
}

impl Replicas {
    /// A replica is connected.
    pub(crate) fn enter(&self, address: SocketAddr, channel: Channel, credentials: &Arc<Credentials>) -> Present<'_> {
        let replica = Replica { channel, credentials: Arc::clone(credentials) };
        self.0.lock().insert(address, replica);
        Present { replicas: self, address }
    }

    /// Whether somebody with a token may ask for the limits of a namespace, by whichever replica answers first of those
    /// that are asked one after the other. An error says why nobody could answer.
    pub(crate) async fn review(&self, token: &str, namespace: &str) -> Result<ReviewAnswer, String> {
        let replicas: Vec<Replica> = self.0.lock().values().cloned().collect();
        let mut failure = "no replica of the operator is connected".to_owned();
        for Replica { channel, credentials } in replicas {
            let question = ReviewQuestion { token: token.to_owned(), namespace: namespace.to_owned() };
            let mut request = Request::new(question);
            let Some(own) = bearer(&credentials.token()) else { continue };
            request.metadata_mut().insert("authorization", own);
            let mut client = ConfigurationClient::new(channel);
            failure = match timeout(ANSWER_LIMIT, client.review(request)).await {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) => format!("{:?}: {}", status.code(), innermost(&status)),
                Err(_) => format!("no answer within {} s", ANSWER_LIMIT.as_secs()),
            };
        }
        Err(failure)
    }
}
