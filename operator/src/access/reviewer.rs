//! The API server's word, behind a trait so that everything else can be tested without one.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus, UserInfo};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{Api, PostParams};
use kube::core::ObjectMeta;
use thiserror::Error;

use super::{AUDIENCE, Caller};

/// What somebody wants to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    /// `get`, `create`, `update`…
    pub verb: &'static str,
    /// API group, empty for the core group.
    pub group: &'static str,
    /// Resource, in the plural.
    pub resource: String,
    /// Namespace. Empty: all of them, or none for what belongs to the cluster.
    pub namespace: String,
}

/// Why a review has no answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ReviewFailed {
    /// The API server refuses or cannot be reached.
    #[error("{0}")]
    Refused(String),
    /// It takes too long.
    #[error("no answer in time")]
    Timeout,
}

/// Answers what only the API server knows.
pub trait Reviewer: Send + Sync {
    /// TokenReview for the audience of headgate.
    fn token<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<TokenReviewStatus, ReviewFailed>>;

    /// SubjectAccessReview.
    fn permission<'a>(
        &'a self,
        caller: &'a Caller,
        question: &'a Question,
    ) -> BoxFuture<'a, Result<bool, ReviewFailed>>;
}

/// Asks a real API server.
#[derive(Clone)]
pub struct ClusterReviewer {
    client: kube::Client,
}

impl ClusterReviewer {
    /// A reviewer; the client's account needs `create` on `tokenreviews` and `subjectaccessreviews`.
    pub fn new(client: kube::Client) -> Self {
        Self { client }
    }
}

impl Reviewer for ClusterReviewer {
    fn token<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<TokenReviewStatus, ReviewFailed>> {
        let review = TokenReview {
            metadata: ObjectMeta::default(),
            spec: TokenReviewSpec { audiences: Some(vec![AUDIENCE.to_owned()]), token: token.to_owned() },
            status: None,
        };
        async move {
            let api: Api<TokenReview> = Api::all(self.client.clone());
            let answer = api.create(&PostParams::default(), &review).await.map_err(failed)?;
            Ok(answer.status.unwrap_or_default())
        }
        .boxed()
    }

    fn permission<'a>(
        &'a self,
        caller: &'a Caller,
        question: &'a Question,
    ) -> BoxFuture<'a, Result<bool, ReviewFailed>> {
        let UserInfo { extra, groups, uid, username } = caller.user.clone();
        let Question { verb, group, resource, namespace } = question.clone();
        let attributes = ResourceAttributes {
            verb: Some(verb.to_owned()),
            group: Some(group.to_owned()),
            resource: Some(resource),
            namespace: Some(namespace),
            ..ResourceAttributes::default()
        };
        let review = SubjectAccessReview {
            metadata: ObjectMeta::default(),
            spec: SubjectAccessReviewSpec {
                extra,
                groups,
                uid,
                user: username,
                resource_attributes: Some(attributes),
                non_resource_attributes: None,
            },
            status: None,
        };
        async move {
            let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
            let answer = api.create(&PostParams::default(), &review).await.map_err(failed)?;
            Ok(answer.status.is_some_and(|status| status.allowed && status.denied != Some(true)))
        }
        .boxed()
    }
}

/// A review's own text may hold the token; the API server's answer does not.
fn failed(error: kube::Error) -> ReviewFailed {
    match error {
        kube::Error::Api(status) => ReviewFailed::Refused(status.message.clone()),
        _ => ReviewFailed::Refused("it cannot be reached".to_owned()),
    }
}
