//! The call, from its messages to the limits and back.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use headgate_engine::Told;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::access::Gatekeeper;
use super::messages::{
    Code, DescriptorStatus, Duration, HeaderValue, RateLimit, RateLimitDescriptor, RateLimitRequest, RateLimitResponse,
    Unit,
};
use crate::rate_limit::application::{Application, Unasked};

/// The one method of the service.
const METHOD: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
/// The entry that names a limit.
const LIMIT: &str = "limit";
/// Most descriptors of a call, and entries of each.
const MOST_DESCRIPTORS: usize = 64;
const MOST_ENTRIES: usize = 16;
/// Most requests that one call may ask for, as for a cost header.
const MOST_HITS: u64 = 1_000_000;

/// The service.
#[derive(Clone)]
pub(super) struct Limits {
    pub(super) application: Application,
    pub(super) gatekeeper: Arc<Gatekeeper>,
}

/// One descriptor, understood.
#[derive(Debug, PartialEq, Eq)]
struct Question<'a> {
    name: &'a str,
    key: Vec<&'a str>,
    cost: u32,
}

impl Limits {
    async fn answer(self, request: Request<RateLimitRequest>) -> Result<Response<RateLimitResponse>, Status> {
        let namespace = &request.get_ref().domain;
        let token = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let token = token.and_then(|value| value.strip_prefix("Bearer "));
        self.gatekeeper.admit(token, namespace).await?;
        let RateLimitRequest { domain: _, descriptors, hits_addend } = request.get_ref();
        if descriptors.is_empty() || descriptors.len() > MOST_DESCRIPTORS {
            let sentence = format!("send 1 to {MOST_DESCRIPTORS} descriptors; there are {}", descriptors.len());
            return Err(Status::invalid_argument(sentence));
        }
        // All are understood before one is charged.
        let questions: Vec<Question<'_>> =
            descriptors.iter().map(|descriptor| understand(descriptor, *hits_addend)).collect::<Result<_, _>>()?;
        let mut answer = RateLimitResponse { overall_code: Code::Ok.into(), ..RateLimitResponse::default() };
        for Question { name, key, cost } in questions {
            // The first refusal ends it, and later ones are not charged, as for requests.
            let is_over = answer.overall_code == i32::from(Code::OverLimit);
            let cost = if is_over { 0 } else { cost };
            let told = self.application.ask(namespace, name, &key, cost).await.map_err(|unasked| refusal(&unasked))?;
            if told.refused.is_some() && !is_over {
                answer.overall_code = Code::OverLimit.into();
                answer.response_headers_to_add.push(HeaderValue {
                    key: "retry-after".to_owned(),
                    value: told.figures.reset_after.div_ceil(1_000).to_string(),
                });
            }
            answer.statuses.push(status(name, &told));
        }
        Ok(Response::new(answer))
    }
}

fn understand(descriptor: &RateLimitDescriptor, hits_addend: u32) -> Result<Question<'_>, Status> {
    let RateLimitDescriptor { entries, hits_addend: own, is_negative_hits } = descriptor;
    let Some((first, others)) = entries.split_first().filter(|(first, _)| first.key == LIMIT) else {
        let found = entries.first().map_or("there is none", |entry| entry.key.as_str());
        let sentence = format!(
            "the first entry of a descriptor names the RateLimit: limit=NAME; found: {found}; begin the actions with \
             generic_key, descriptor_key: limit, descriptor_value: NAME"
        );
        return Err(Status::invalid_argument(sentence));
    };
    if others.len() > MOST_ENTRIES {
        return Err(Status::invalid_argument(format!("a descriptor has at most {MOST_ENTRIES} entries after limit")));
    }
    if *is_negative_hits {
        return Err(Status::invalid_argument("a limit takes nothing back; leave is_negative_hits out"));
    }
    let hits = own.map_or(u64::from(hits_addend.max(1)), |own| own.value);
    let cost = u32::try_from(hits).ok().filter(|_| hits <= MOST_HITS);
    let cost = cost.ok_or_else(|| Status::invalid_argument(format!("hits_addend is at most {MOST_HITS}")))?;
    Ok(Question { name: &first.value, key: others.iter().map(|entry| entry.value.as_str()).collect(), cost })
}

fn refusal(unasked: &Unasked) -> Status {
    let sentence = unasked.to_string();
    match unasked {
        Unasked::Starting => Status::unavailable(sentence),
        Unasked::Unknown { .. } => Status::not_found(sentence),
        Unasked::OwnKey { .. } => Status::failed_precondition(sentence),
    }
}

fn status(name: &str, told: &Told) -> DescriptorStatus {
    let Told { refused, limit, period, figures } = told;
    let code = if refused.is_some() { Code::OverLimit } else { Code::Ok };
    let limit = |unit: Unit| RateLimit { requests_per_unit: *limit, unit: unit.into(), name: name.to_owned() };
    let (seconds, rest) = (figures.reset_after / 1_000, figures.reset_after % 1_000);
    DescriptorStatus {
        code: code.into(),
        current_limit: Unit::of(*period).map(limit),
        limit_remaining: figures.remaining,
        duration_until_reset: Some(Duration {
            seconds: i64::try_from(seconds).unwrap_or(i64::MAX),
            nanos: i32::try_from(rest * 1_000_000).unwrap_or_default(),
        }),
    }
}

impl NamedService for Limits {
    const NAME: &'static str = "envoy.service.ratelimit.v3.RateLimitService";
}

impl UnaryService<RateLimitRequest> for Limits {
    type Response = RateLimitResponse;
    type Future = Pin<Box<dyn Future<Output = Result<Response<RateLimitResponse>, Status>> + Send>>;

    fn call(&mut self, request: Request<RateLimitRequest>) -> Self::Future {
        Box::pin(self.clone().answer(request))
    }
}

impl Service<http::Request<Body>> for Limits {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let limits = self.clone();
        Box::pin(async move {
            if request.uri().path() != METHOD {
                return Ok(Status::unimplemented("there is ShouldRateLimit alone").into_http());
            }
            let codec = ProstCodec::<RateLimitResponse, RateLimitRequest>::default();
            Ok(Grpc::new(codec).unary(limits, request).await)
        })
    }
}
