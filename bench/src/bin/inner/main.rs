//! The pure parts alone: what translating a world, carrying an edit and matching a request cost, by number of routes.
//!
//! ```text
//! world -> translate -> ResourceSet -> diff -> Batch -> after -> Plan::compile -> Plan::route
//! ```
//!
//! Prints one table, each figure the fastest of several repeats, which other work on the machine disturbs least. The
//! figures guide work on these parts; `bench/run` has those that users feel.

mod clock;
mod world;

use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use headgate_engine::{
    Authority, Context, FrontendId, Limits, Listening, Plan, Protocol, Request, Resolutions, Sharing, normalise_path,
};
use headgate_snapshot::{ResourceSet, diff};
use headgate_translate::{Inputs, Translator, translate};
use http::{HeaderMap, Method};
use prost::Message as _;

use crate::clock::{fastest, timed};
use crate::world::Shape;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUTES: [usize; 4] = [1, 1_000, 5_000, 10_000];
const REPEATS: usize = 15;
const MATCH_REPEATS: usize = 50;
/// Requests that are matched in one measurement.
const MATCHES: usize = 50_000;
/// Visits the routes in strides, so that neighbours in a table are not neighbours in time.
const STRIDE: usize = 7919;

/// What one size of a world costs.
struct Figures {
    translate: Duration,
    translate_edit: Duration,
    publish: Duration,
    batch_bytes: usize,
    after: Duration,
    compile_first: Duration,
    compile_edit: Duration,
    route_match: Duration,
}

fn main() -> anyhow::Result<()> {
    println!(
        "| routes | first translation ms | translation of an edit ms | hash and diff ms | batch bytes | apply ms | first compile ms | compile of an edit us | match ns |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for shape in [Shape::HostEach, Shape::OneHost] {
        for routes in ROUTES {
            let figures = measure(shape, routes).with_context(|| format!("{routes} routes, {shape}"))?;
            let millis = |time: Duration| format!("{:.2}", time.as_secs_f64() * 1e3);
            println!(
                "| {routes}, {shape} | {} | {} | {} | {} | {} | {} | {:.0} | {} |",
                millis(figures.translate),
                millis(figures.translate_edit),
                millis(figures.publish),
                figures.batch_bytes,
                millis(figures.after),
                millis(figures.compile_first),
                figures.compile_edit.as_secs_f64() * 1e6,
                figures.route_match.as_nanos(),
            );
        }
    }
    Ok(())
}

fn measure(shape: Shape, routes: usize) -> anyhow::Result<Figures> {
    let mut inputs = world::inputs(shape, routes)?;
    let translation = fastest(REPEATS, || timed(|| translate(black_box(&inputs))).0);
    let old = resources(&inputs);
    let before = inputs.clone();
    world::edit(&mut inputs, shape, routes / 2)?;
    let edited = translate(&inputs);
    let translate_edit = translating_edits([&before, &inputs]);
    let publish = fastest(REPEATS, || {
        let resources = edited.resources.clone();
        timed(|| diff(&old, &resources.into_iter().collect(), &BTreeSet::new())).0
    });
    let batch =
        diff(&old, &edited.resources.into_iter().collect(), &BTreeSet::new()).context("the edit changed nothing")?;
    ensure!(batch.upserts.len() == 1, "the edit of one route changed {} resources", batch.upserts.len());
    let new = Arc::new(old.after(&batch));
    let (resolutions, limits) = (Resolutions::default(), Limits::new(0, [0; 16], Sharing::Nothing));
    let context = Context {
        listening: Listening::Merged,
        resolutions: &resolutions,
        limits: &limits,
        check_certificate: &|_| Ok(()),
    };
    let plan = Plan::compile(&old, None, &context);
    ensure!(plan.refusals().is_empty(), "the plan refuses {:?}", plan.refusals());
    Ok(Figures {
        translate: translation,
        translate_edit,
        publish,
        batch_bytes: batch.encoded_len(),
        after: fastest(REPEATS, || timed(|| old.after(&batch)).0),
        compile_first: fastest(REPEATS, || timed(|| Plan::compile(&old, None, &context)).0),
        compile_edit: fastest(REPEATS, || timed(|| Plan::compile(&new, Some(&plan), &context)).0),
        route_match: matching(&plan, shape, routes)?,
    })
}

/// One route differs between the two worlds; the translator knows the one before, as in a running control plane.
fn translating_edits(worlds: [&Inputs; 2]) -> Duration {
    let mut translator = Translator::default();
    let mut worlds = worlds.into_iter().cycle();
    let mut claims = Arc::default();
    let mut translate_next = || {
        let Some(world) = worlds.next() else { return Duration::ZERO };
        let inputs = Inputs { claims: Arc::clone(&claims), ..world.clone() };
        let (took, translation) = timed(|| translator.translate(black_box(&inputs)));
        claims = translation.claims;
        took
    };
    translate_next();
    fastest(REPEATS, translate_next)
}

fn resources(inputs: &Inputs) -> Arc<ResourceSet> {
    Arc::new(translate(inputs).resources.into_iter().collect())
}

/// One request from its raw host and path to the rule that it meets.
fn matching(plan: &Plan, shape: Shape, routes: usize) -> anyhow::Result<Duration> {
    let frontend = FrontendId { port: 80, protocol: Protocol::Http };
    let headers = HeaderMap::new();
    let requests: Vec<(String, String)> = (0..routes).map(|index| (shape.host(index), shape.path(index))).collect();
    let meets = |(host, path): &(String, String)| -> Option<bool> {
        let authority = Authority::parse(host).ok()?;
        let path = normalise_path(path).ok()?;
        let request =
            Request { method: &Method::GET, host: &authority.host, path: &path, query: None, headers: &headers };
        Some(plan.route(frontend, &request).is_ok())
    };
    ensure!(requests.iter().all(|request| meets(request) == Some(true)), "a request met no route");
    let took = fastest(MATCH_REPEATS, || {
        timed(|| {
            for index in (0..).step_by(STRIDE).take(MATCHES) {
                black_box(meets(black_box(&requests[index % routes])));
            }
        })
        .0
    });
    Ok(took / u32::try_from(MATCHES)?)
}
