//! The command line as a whole.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use headgate_engine::{Chance, Context, Explanation, Limits, Listening, Outcome, Plan, Resolutions, Sharing, Step};
use headgate_operator::world::World;
use headgate_snapshot::ResourceSet;

use crate::client::Api;
use crate::cluster::{Access, Cluster, Seen};
use crate::explain::{self, Question};
use crate::standalone::{self, Settings};
use crate::terminal::{self, BAD, GOOD, NOTABLE, QUIET};
use crate::{clock, status, validate};

/// Load balancing with health, steering and failover for Kubernetes traffic.
#[derive(Debug, Parser)]
#[command(name = "headgate", version, arg_required_else_help = true)]
pub struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything in one process, with manifests from files and no cluster
    Standalone(Box<Settings>),
    /// Check manifests; needs no cluster
    Validate {
        /// File or folder of manifests
        #[arg(short = 'f', long = "filename", required = true, value_name = "PATH")]
        files: Vec<PathBuf>,
    },
    /// Show all objects at a glance
    Status {
        #[command(flatten)]
        api: Api,
        #[command(flatten)]
        access: Access,
    },
    /// Show what a request meets: listener, route, policies and origin, in the order of enforcement
    Explain {
        /// http://shop.example.com/chat
        url: String,
        /// The method of the request
        #[arg(long, value_name = "METHOD")]
        method: Option<String>,
        /// A header of the request, as `name: value`
        #[arg(long = "header", short = 'H', value_name = "HEADER")]
        headers: Vec<String>,
        /// Explain these manifests in place of a running headgate
        #[arg(short = 'f', long = "filename", value_name = "PATH", conflicts_with_all = ["api_url", "token_file", "kubeconfig", "context"])]
        files: Vec<PathBuf>,
        #[command(flatten)]
        api: Api,
        #[command(flatten)]
        access: Access,
    },
    /// Print the custom resource definitions, for `kubectl apply -f -`
    Crds,
}

/// What kubectl looks for on PATH begins so; `kubectl headgate` runs `kubectl-headgate`.
const PLUGIN: &str = "kubectl-";

/// Reads a command line; ends the process where it is none. As a plugin of kubectl it calls itself as its user does.
pub fn line(arguments: impl IntoIterator<Item = OsString>) -> Line {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let name = arguments.first().and_then(|program| Path::new(program).file_stem()?.to_str());
    let mut command = Line::command();
    if let Some(plugin) = name.and_then(|name| name.strip_prefix(PLUGIN)) {
        command = command.bin_name(format!("kubectl {plugin}"));
    }
    let matches = command.get_matches_from(arguments);
    Line::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// Runs a command line.
pub async fn run(line: Line) -> anyhow::Result<ExitCode> {
    match line.command {
        Command::Standalone(settings) => standalone::run(*settings).await.map(|()| ExitCode::SUCCESS),
        Command::Validate { files } => validate::run(files),
        Command::Status { api, access } => status::run(api, access).await,
        Command::Explain { url, method, headers, files, api, access } => {
            let question = Question { url, method, headers: headers.join("\n") };
            let explanation = if files.is_empty() {
                match api.cluster(&access).await? {
                    Some(cluster) => look(&question, &cluster).await?,
                    None => ask(&question, &api).await?,
                }
            } else {
                let (_, mut world) = validate::load(files)?;
                compile(&question, &mut world, Listening::Merged)?
            };
            print(&explanation)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Crds => {
            let mut out = anstream::stdout().lock();
            for kind in headgate_crds::KINDS {
                writeln!(out, "---\n{}", kind.yaml()?.trim_end())?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn ask(question: &Question, api: &Api) -> anyhow::Result<Explanation> {
    let Question { url, method, headers } = question;
    let mut query = vec![("url", url.as_str()), ("headers", headers.as_str())];
    query.extend(method.as_deref().map(|method| ("method", method)));
    let answer = api.get("/v1/explain", &query).await?;
    serde_json::from_value(answer).context("the answer is not an explanation; is it the same release of headgate?")
}

/// Explains what is in a cluster.
async fn look(question: &Question, cluster: &Cluster) -> anyhow::Result<Explanation> {
    let Seen { mut world, notes } = cluster.see().await?;
    for note in notes {
        terminal::tell_in(NOTABLE, note);
    }
    compile(question, &mut world, Listening::ByPort)
}

/// Explains a world without a proxy: names are not resolved and nothing is probed.
fn compile(question: &Question, world: &mut World, listening: Listening) -> anyhow::Result<Explanation> {
    let set: ResourceSet = world.translate(clock::timestamp()).resources.into_iter().collect();
    let (resolutions, limits) = (Resolutions::default(), Limits::new(0, [0; 16], Sharing::Nothing));
    let context = Context { listening, resolutions: &resolutions, limits: &limits, check_certificate: &|_| Ok(()) };
    let plan = Arc::new(Plan::compile(&Arc::new(set), None, &context));
    Ok(explain::answer(&plan, question, listening, Chance::new(0))?)
}

fn print(explanation: &Explanation) -> anyhow::Result<()> {
    let Explanation { steps, outcome } = explanation;
    let mut out = anstream::stdout().lock();
    for Step { stage, chosen, why } in steps {
        writeln!(out, "{stage:<11} {chosen}")?;
        for reason in why {
            writeln!(out, "{QUIET}{:<11} {reason}{QUIET:#}", "")?;
        }
    }
    match outcome {
        Outcome::Forwarded { pool, origin, address, path, host } => {
            writeln!(out, "{GOOD}forwarded{GOOD:#}   {pool}, origin {origin}, {address}: {path} for host {host}")?;
        }
        Outcome::Redirected { status, location } => writeln!(out, "{GOOD}redirected{GOOD:#}  {status} to {location}")?,
        Outcome::Answered { status, reason, detail } => {
            writeln!(out, "{BAD}answered{BAD:#}    {status} {reason}: {detail}")?;
        }
    }
    Ok(())
}

/// Tells why a command failed, with all causes.
pub fn fail(error: &anyhow::Error) -> ExitCode {
    terminal::tell(format!("{BAD}error{BAD:#} {error:#}"));
    ExitCode::FAILURE
}
