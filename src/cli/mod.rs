//! The command line: one file per verb. Data goes to stdout, talk to stderr.

mod agent_stdio;
mod agents;
mod answer;
mod applying;
mod approvals;
mod archived;
mod cancel;
mod completions;
mod connect;
mod connections;
mod crds;
mod decide;
mod decisions;
#[cfg(feature = "dev")]
mod demo;
#[cfg(feature = "dev")]
pub mod dev;
mod diff;
mod error;
mod flows;
mod gateway;
mod gateway_client;
mod gateway_url;
mod git_init;
mod graph;
mod lines;
mod listening;
mod local_kubeconfig;
mod man;
mod manifest;
mod mcp;
mod named;
mod operator;
mod outbound;
mod private;
mod promote;
mod releases;
mod replay;
mod resolve;
mod resources;
mod retry;
mod run;
mod runs;
mod schema;
mod serving;
mod show;
mod status;
mod store_options;
mod suspend;
mod sync;
mod table;
mod tasks;
mod test;
mod timeline;
mod traces;
mod ui;
mod validate;
mod values;
mod verify;
mod wait;
mod worker;

use std::{ffi::OsString, process::ExitCode, time::Duration};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use self::{
    answer::{Answer, Format},
    error::CliError,
};
use crate::telemetry;
use signoff_api::{HumanDuration, name::DnsLabel, text::visible};

/// Run agent workflows from git, and stop for people.
#[derive(Debug, Parser)]
#[command(name = "signoff", version, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// What every verb understands.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Options of every verb")]
struct Global {
    /// How the program was called.
    #[arg(skip)]
    program: &'static str,
    /// How to print the answer.
    #[arg(
        short,
        long,
        value_enum,
        global = true,
        default_value = "table",
        value_name = "FORMAT"
    )]
    output: Format,
    /// Namespace; the context's own by default.
    #[arg(short, long, global = true)]
    namespace: Option<DnsLabel>,
    /// Context of the kubeconfig.
    #[arg(long, global = true)]
    context: Option<String>,
    /// Kubeconfig file; otherwise $KUBECONFIG, then .signoff/kubeconfig if `signoff dev` wrote it, then ~/.kube/config.
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<std::path::PathBuf>,
    /// Act as this user, if you may impersonate.
    #[arg(long = "as", global = true, value_name = "USER")]
    act_as: Option<String>,
    /// Act as a member of this group; repeatable.
    #[arg(long = "as-group", global = true, value_name = "GROUP", requires = "act_as")]
    act_as_group: Vec<String>,
    /// Longest wait for something to happen; when it passes, the exit code is 9.
    #[arg(long, global = true, default_value = "30s", value_name = "DURATION")]
    timeout: HumanDuration,
    /// Log more to stderr; repeat for still more.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

impl Global {
    fn timeout(&self) -> Duration {
        self.timeout.duration()
    }

    /// A command line for the same server, namespace and user, called as this one was.
    fn command(&self, line: &str) -> String {
        let mut words = vec![
            if self.program.is_empty() {
                "signoff"
            } else {
                self.program
            }
            .to_owned(),
        ];
        let flags = [
            ("-n", self.namespace.as_ref().map(ToString::to_string)),
            ("--context", self.context.clone()),
            (
                "--kubeconfig",
                self.kubeconfig.as_ref().map(|path| path.display().to_string()),
            ),
            ("--as", self.act_as.clone()),
        ];
        let groups = self
            .act_as_group
            .iter()
            .map(|group| ("--as-group", Some(group.clone())));
        for (flag, value) in flags.into_iter().chain(groups) {
            if let Some(value) = value {
                words.extend([flag.to_owned(), quoted(&value)]);
            }
        }
        words.push(line.to_owned());
        words.join(" ")
    }

    /// The same for somebody else, who is not impersonated and has a context of their own.
    fn command_for_others(&self, line: &str) -> String {
        let mut others = self.clone();
        others.context = None;
        others.act_as = None;
        others.act_as_group.clear();
        others.command(line)
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._/:@=+-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Play the whole story on this machine: git push, release, run, approval, done.
    #[cfg(feature = "dev")]
    Demo(demo::DemoArgs),
    #[cfg(feature = "dev")]
    Dev(dev::DevArgs),
    Operator(Box<operator::OperatorArgs>),
    Gateway(Box<gateway::GatewayArgs>),
    Mcp(mcp::McpArgs),
    Crds(crds::CrdsArgs),
    Schema(schema::SchemaArgs),
    Validate(validate::ValidateArgs),
    Test(test::TestArgs),
    Apply(applying::ApplyArgs),
    Run(Box<run::RunArgs>),
    Runs(runs::RunsArgs),
    Wait(wait::WaitArgs),
    Resources(resources::ResourcesArgs),
    Store(values::StoreArgs),
    Connections(connections::ConnectionsArgs),
    Status(status::StatusArgs),
    Approvals(approvals::ApprovalsArgs),
    #[command(alias = "task")]
    Tasks(tasks::TasksArgs),
    Worker(worker::WorkerArgs),
    Show(show::ShowArgs),
    Ui(ui::UiArgs),
    Decisions(decisions::DecisionsArgs),
    Verify(verify::VerifyArgs),
    /// Approve what an approval shows.
    Approve(decide::DecideArgs),
    /// Reject what an approval shows.
    Reject(decide::DecideArgs),
    /// Ask for changes to what an approval shows.
    RequestChanges(decide::DecideArgs),
    /// Hand your vote on an approval on to somebody else.
    Delegate(decide::DecideArgs),
    /// Take back what you said on an approval that is still open.
    Withdraw(decide::DecideArgs),
    Cancel(cancel::CancelArgs),
    Resolve(resolve::ResolveArgs),
    /// Let no further step of a run start.
    Suspend(suspend::SuspendArgs),
    /// Let the steps of a suspended run start again.
    Resume(suspend::SuspendArgs),
    Retry(retry::RetryArgs),
    Rerun(retry::RerunArgs),
    Flows(flows::FlowsArgs),
    Releases(releases::ReleasesArgs),
    Promote(promote::PromoteArgs),
    Diff(diff::DiffArgs),
    Graph(graph::GraphArgs),
    Sync(sync::SyncArgs),
    Git(git_init::GitArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
    /// Print the version.
    Version,
}

/// Parses the arguments, performs the verb, prints its answer.
pub fn main(arguments: &[OsString]) -> ExitCode {
    let name = called_as(arguments);
    let json = wants_json(arguments);
    let cli = match parse(name, arguments.to_vec()) {
        Ok(mut cli) => {
            cli.global.program = name;
            cli
        }
        // the message repeats arguments, which scripts may have from others
        Err(usage) => {
            let visible = arguments
                .iter()
                .map(|argument| visible(&argument.to_string_lossy()).into_owned().into());
            let shown = parse(name, visible.collect()).err();
            return error::usage(shown.as_ref().unwrap_or(&usage), json);
        }
    };
    if let Err(error) = telemetry::logs::init(log_format(&cli), level(&cli)) {
        return CliError::internal("logs", &error).report(cli.global.output);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return CliError::internal("the runtime could not start", &error).report(cli.global.output);
        }
    };
    let format = cli.global.output;
    if format.is_drawing() && !matches!(cli.verb, Verb::Graph(_)) {
        let message = "the formats svg, dot and mermaid are for graph";
        return CliError::usage(message).report(Format::Table);
    }
    match runtime.block_on(perform(cli)) {
        Ok(answer) => answer.print(format),
        Err(error) => error.report(format),
    }
}

fn parse(name: &'static str, arguments: Vec<OsString>) -> Result<Cli, clap::Error> {
    let command = Cli::command().name(name).bin_name(name);
    let mut matches = command.try_get_matches_from(arguments)?;
    Cli::from_arg_matches_mut(&mut matches)
}

async fn perform(cli: Cli) -> Result<Answer, CliError> {
    let global = cli.global;
    match cli.verb {
        #[cfg(feature = "dev")]
        Verb::Demo(args) => demo::verb(args, global.output).await,
        #[cfg(feature = "dev")]
        Verb::Dev(args) => dev::verb(args).await,
        Verb::Operator(args) => Box::pin(operator::verb(*args, &global)).await,
        Verb::Gateway(args) => gateway::verb(*args, &global).await,
        Verb::Mcp(args) => Box::pin(mcp::verb(args, &global)).await,
        Verb::Crds(args) => crds::verb(&args),
        Verb::Schema(args) => schema::verb(&args),
        Verb::Validate(args) => validate::verb(&args),
        Verb::Test(args) => test::verb(&args, global.output),
        Verb::Apply(args) => applying::verb(&args, &global).await,
        Verb::Run(args) => Box::pin(run::verb(*args, &global)).await,
        Verb::Wait(args) => wait::verb(&args, &global).await,
        Verb::Runs(args) => Box::pin(runs::verb(args, &global)).await,
        Verb::Resources(args) => resources::verb(args, &global).await,
        Verb::Store(args) => values::verb(args, &global).await,
        Verb::Connections(args) => Box::pin(connections::verb(args, &global)).await,
        Verb::Status(args) => Box::pin(status::verb(args, &global)).await,
        Verb::Approvals(args) => approvals::verb(&args, &global).await,
        Verb::Tasks(args) => tasks::verb(args, &global).await,
        Verb::Worker(args) => Box::pin(worker::verb(args, &global)).await,
        Verb::Ui(args) => ui::verb(&args, &global).await,
        Verb::Show(args) => show::verb(&args, &global).await,
        Verb::Decisions(args) => decisions::verb(args, &global).await,
        Verb::Verify(args) => verify::verb(args).await,
        Verb::Approve(args) => decide::verb(args, signoff_api::Verdict::Approve, &global).await,
        Verb::Reject(args) => decide::verb(args, signoff_api::Verdict::Reject, &global).await,
        Verb::RequestChanges(args) => decide::verb(args, signoff_api::Verdict::RequestChanges, &global).await,
        Verb::Delegate(args) => decide::verb(args, signoff_api::Verdict::Delegate, &global).await,
        Verb::Withdraw(args) => decide::verb(args, signoff_api::Verdict::Withdraw, &global).await,
        Verb::Cancel(args) => cancel::verb(&args, &global).await,
        Verb::Resolve(args) => resolve::verb(&args, &global).await,
        Verb::Suspend(args) => suspend::verb(&args, true, &global).await,
        Verb::Resume(args) => suspend::verb(&args, false, &global).await,
        Verb::Retry(args) => Box::pin(retry::retry(&args, &global)).await,
        Verb::Flows(args) => flows::verb(&args, &global).await,
        Verb::Rerun(args) => Box::pin(retry::rerun(&args, &global)).await,
        Verb::Releases(args) => releases::verb(&args, &global).await,
        Verb::Promote(args) => promote::verb(&args, &global).await,
        Verb::Diff(args) => diff::verb(&args, &global).await,
        Verb::Graph(args) => graph::verb(&args, &global).await,
        Verb::Sync(args) => sync::verb(&args, &global).await,
        Verb::Git(args) => git_init::verb(&args, &global),
        Verb::Completions(args) => Ok(completions::verb(&args, &mut Cli::command())),
        Verb::Man(args) => man::verb(&args, Cli::command()),
        Verb::Version => Ok(Answer::text(format!("signoff {}", env!("CARGO_PKG_VERSION")))
            .with_data(serde_json::json!({ "version": env!("CARGO_PKG_VERSION") }))),
    }
}

/// `kubectl signoff …` runs `kubectl-signoff`, and its help says so.
fn called_as(arguments: &[OsString]) -> &'static str {
    let name = arguments
        .first()
        .map(std::path::Path::new)
        .and_then(std::path::Path::file_name);
    if name.is_some_and(|name| name == "kubectl-signoff") {
        "kubectl signoff"
    } else {
        "signoff"
    }
}

/// Whether JSON is asked for, even if the arguments cannot be parsed.
fn wants_json(arguments: &[OsString]) -> bool {
    let texts: Vec<&str> = arguments
        .iter()
        .filter_map(|argument| argument.to_str())
        .collect();
    texts
        .windows(2)
        .any(|pair| matches!(pair, ["-o" | "--output", "json"]))
        || texts
            .iter()
            .any(|text| matches!(*text, "-ojson" | "-o=json" | "--output=json"))
}

fn log_format(cli: &Cli) -> telemetry::logs::LogFormat {
    match &cli.verb {
        Verb::Operator(args) => args.log_format,
        Verb::Gateway(args) => args.log_format,
        _ => telemetry::logs::LogFormat::Text,
    }
}

fn level(cli: &Cli) -> &'static str {
    let serving = match &cli.verb {
        Verb::Operator(_) | Verb::Gateway(_) => true,
        #[cfg(feature = "dev")]
        Verb::Dev(_) => true,
        _ => false,
    };
    match (serving, cli.global.verbose) {
        (true, 0) => "info",
        (false, 0) => "error",
        (false, 1) => "info",
        (_, 1 | 2) => "debug",
        _ => "trace",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn global(arguments: &[&str]) -> Global {
        let mut cli = Cli::try_parse_from(arguments).unwrap();
        cli.global.program = called_as(&[arguments[0].into()]);
        cli.global
    }

    #[test]
    fn a_command_to_go_on_with_names_the_same_server_and_namespace() {
        let plain = global(&["signoff", "version"]);
        assert_eq!(plain.command("status r"), "signoff status r");
        let full = global(&[
            "kubectl-signoff",
            "-n",
            "g",
            "version",
            "--context",
            "o'hara@prod",
            "--kubeconfig",
            "/a b",
            "--as",
            "dev",
            "--as-group",
            "x",
        ]);
        let server = "kubectl signoff -n g --context 'o'\\''hara@prod' --kubeconfig '/a b'";
        assert_eq!(
            full.command("status r"),
            format!("{server} --as dev --as-group x status r")
        );
        assert_eq!(
            full.command_for_others("approve a"),
            "kubectl signoff -n g --kubeconfig '/a b' approve a"
        );
    }

    #[test]
    fn the_arguments_of_every_verb_are_well_formed() {
        Cli::command().debug_assert();
    }
}
