//! Envoy's rate limit service around the library limitador, counters in memory: what its server costs at least, which is
//! not published as a crate and has metrics and tracing beside.
//!
//! `limitador_service ADDRESS LIMIT`: so many requests a second for each value of the descriptor entry `client`.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::Context as _;
use limitador::RateLimiter;
use limitador::limit::{Context as Values, Limit, Namespace, Predicate};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic_prost::ProstCodec;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const OK: i32 = 1;
const OVER_LIMIT: i32 = 2;

#[derive(Clone, PartialEq, prost::Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Descriptor {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Question {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(message, repeated, tag = "2")]
    descriptors: Vec<Descriptor>,
    #[prost(uint32, tag = "3")]
    hits_addend: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(int32, tag = "1")]
    overall_code: i32,
}

#[derive(Clone)]
struct Limits(Arc<RateLimiter>);

impl NamedService for Limits {
    const NAME: &'static str = "envoy.service.ratelimit.v3.RateLimitService";
}

impl UnaryService<Question> for Limits {
    type Response = Answer;
    type Future = Ready<Result<tonic::Response<Answer>, tonic::Status>>;

    fn call(&mut self, question: tonic::Request<Question>) -> Self::Future {
        let Question { domain, descriptors, hits_addend } = question.into_inner();
        let entries = |Descriptor { entries }: Descriptor| -> HashMap<String, String> {
            entries.into_iter().map(|Entry { key, value }| (key, value)).collect()
        };
        let mut values = Values::default();
        values.list_binding("descriptors".to_owned(), descriptors.into_iter().map(entries).collect());
        let namespace: Namespace = domain.into();
        let cost = u64::from(hits_addend.max(1));
        let answer = match self.0.check_rate_limited_and_update(&namespace, &values, cost) {
            Ok(check) if check.limited => Ok(Answer { overall_code: OVER_LIMIT }),
            Ok(_) => Ok(Answer { overall_code: OK }),
            Err(error) => Err(tonic::Status::internal(error.to_string())),
        };
        ready(answer.map(tonic::Response::new))
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
        Box::pin(async move { Ok(Grpc::new(ProstCodec::<Answer, Question>::default()).unary(limits, request).await) })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address: SocketAddr = arguments.next().context("the address is missing")?.parse()?;
    let limit: u64 = arguments.next().context("the limit is missing")?.parse()?;
    let limiter = RateLimiter::new(1_000_000);
    let by_client = vec!["descriptors[0].client".try_into().context("a variable")?];
    limiter.add_limit(Limit::new("bench", limit, 1, Vec::<Predicate>::new(), by_client));
    let limits = Limits(Arc::new(limiter));
    Ok(tonic::transport::Server::builder().add_service(limits).serve(address).await?)
}
