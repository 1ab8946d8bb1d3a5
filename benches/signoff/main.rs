//! What Signoff costs and how fast it is, beside what the same API server does without it. `docs/benchmarks.md` says how to read it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a benchmark that cannot go on has nothing to say; its table is its output"
)]

#[path = "../../tests/support/controlplane/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the tests use more of it")]
mod controlplane;
#[path = "../../tests/support/real.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod real;

mod ends;
mod latency;
mod load;
mod raw;
mod server;
mod shapes;
mod sync;
mod table;
mod target;
mod throughput;
mod waiting;

use clap::Parser as _;
use server::{Server, ServerKind};
use table::Table;
use target::Target;

/// Measure Signoff on an API server, beside that server alone.
#[derive(Debug, clap::Parser)]
struct Args {
    /// Which API server: the embedded one of `signoff dev`, one built by tests/controlplane, or the cluster of $KUBECONFIG.
    #[arg(long, value_enum, default_value = "embedded")]
    server: ServerKind,
    /// Context of the operator's account, with `--server kubeconfig`; the current context is whoever starts runs and decides.
    #[arg(long, required_if_eq("server", "kubeconfig"))]
    operator_context: Option<String>,
    /// Let the etcd of `--server real` not wait for its disk, to see what is left when that is not the bound. What it acknowledges is then
    /// not safe from a power cut.
    #[arg(long)]
    volatile: bool,
    /// Runs of three in-process steps.
    #[arg(long, default_value_t = 2_000)]
    runs: usize,
    /// Decisions, and callbacks, whose latency is measured.
    #[arg(long, default_value_t = 200)]
    decisions: usize,
    /// Runs that wait meanwhile, in the second part.
    #[arg(long, default_value_t = 10_000)]
    waiting: usize,
    /// Flows in one git repository.
    #[arg(long, default_value_t = 1_000)]
    flows: usize,
    /// Pushes that a webhook tells of.
    #[arg(long, default_value_t = 100)]
    pushes: usize,
    /// Items of one run.
    #[arg(long, default_value_t = 500)]
    items: usize,
    /// Steps of one run.
    #[arg(long, default_value_t = 200)]
    steps: usize,
    /// Runs that poll.
    #[arg(long, default_value_t = 1_000)]
    polling: usize,
    /// Runs that share one key of concurrency.
    #[arg(long, default_value_t = 1_000)]
    queued: usize,
    /// Events by webhook.
    #[arg(long, default_value_t = 10_000)]
    events: usize,
    /// How many clients create runs at the same time.
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// Seconds of quiet in which writes are counted.
    #[arg(long, default_value_t = 60)]
    quiet: u64,
    /// Seconds of the operator's lease, where it has one. A restart waits for it to end; a short one is easily lost on a busy machine.
    #[arg(long, default_value_t = 3)]
    lease: u64,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let args = Args::parse();
    // there is none before, so this cannot fail
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = Server::start(&args);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(measure(&args, server));
}

async fn measure(args: &Args, mut server: Server) {
    let target = Target::prepare(&server).await;
    let mut table = Table::begin(&server);
    server.operator.start().await;
    eprintln!("throughput: {} runs", args.runs);
    throughput::measure(&mut table, &server, &target, args.runs, args.clients).await;
    eprintln!("latency, idle: {} decisions and callbacks", args.decisions);
    latency::measure(&mut table, &server, &target, args.decisions, "idle").await;
    if args.flows > 0 && matches!(server.kind, ServerKind::Embedded) {
        eprintln!("git: {} flows, {} pushes", args.flows, args.pushes);
        sync::measure(&mut table, &server, &target, args.flows, args.pushes).await;
    }
    shapes::measure(&mut table, &server, &target, args).await;
    if args.waiting > 0 {
        eprintln!("waiting: {} runs", args.waiting);
        waiting::measure(&mut table, &mut server, &target, args).await;
    }
    table.print();
}
