//! The embedded control plane over the network, and its end by force.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt as _};
use tokio_util::sync::CancellationToken;

use crate::local_support::{Local, eventually, map, open, refusal};

async fn client(kubeconfig: &str, context: &str) -> Client {
    let options = KubeConfigOptions {
        context: Some(context.to_owned()),
        ..KubeConfigOptions::default()
    };
    let config = Kubeconfig::from_yaml(kubeconfig).unwrap();
    Client::try_from(Config::from_custom_kubeconfig(config, &options).await.unwrap()).unwrap()
}

/// Serves the control plane on a free port and gives its kubeconfig.
async fn serve(local: &Local) -> (String, SocketAddr, CancellationToken) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let (plane, stop) = (local.plane.clone(), shutdown.clone());
    tokio::spawn(async move { plane.serve(listener, stop).await });
    (local.plane.kubeconfig(address), address, shutdown)
}

#[tokio::test]
async fn every_context_of_the_kubeconfig_reaches_the_server_as_its_user() {
    let local = Local::start().await;
    let (kubeconfig, _, _) = serve(&local).await;
    let admin = client(&kubeconfig, "admin").await;
    let maps: Api<ConfigMap> = Api::default_namespaced(admin);
    maps.create(&PostParams::default(), &map("a", "1")).await.unwrap();
    for context in ["admin", "dev", "alice", "bob"] {
        let maps: Api<ConfigMap> = Api::default_namespaced(client(&kubeconfig, context).await);
        assert_eq!(maps.get("a").await.unwrap().name_any(), "a");
    }
}

#[tokio::test]
async fn without_a_valid_token_there_is_nothing_to_see() {
    let local = Local::start().await;
    let (kubeconfig, _, _) = serve(&local).await;
    let token = kubeconfig
        .lines()
        .find(|line| line.contains("token:"))
        .unwrap()
        .to_owned();
    let wrong = kubeconfig.replace(&token, "    token: wrong");
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&wrong, "admin").await);
    let (code, reason, _) = refusal(maps.get("a").await);
    assert_eq!((code, reason.as_str()), (401, "Unauthorized"));
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_and_every_answer_has_a_date() {
    let local = Local::start().await;
    let (kubeconfig, _, _) = serve(&local).await;
    for client in [local.client(), client(&kubeconfig, "admin").await] {
        let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
        let (code, reason, _) = refusal(
            maps.create(&PostParams::default(), &map("a", &"x".repeat(4 << 20)))
                .await,
        );
        assert_eq!((code, reason.as_str()), (413, "RequestEntityTooLarge"));
        let request = http::Request::get("/api/v1/namespaces")
            .body(kube::client::Body::empty())
            .unwrap();
        let response = client.send(request).await.unwrap();
        assert!(
            response
                .headers()
                .get("date")
                .unwrap()
                .to_str()
                .unwrap()
                .ends_with(" GMT")
        );
    }
}

/// Environment of the child: the directory it keeps its data in.
const CHILD: &str = "SIGNOFF_TEST_CHILD";

/// Not a test by itself: what the child process of the test below does. It serves, prints where, and ends
/// with its standard input.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_serves() {
    let Ok(data) = std::env::var(CHILD) else { return };
    let plane = open(Path::new(&data)).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let file = Path::new(&data).join("kubeconfig");
    std::fs::write(&file, plane.kubeconfig(address)).unwrap();
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    std::thread::spawn(move || {
        let mut line = String::new();
        let _ended = std::io::stdin().read_line(&mut line);
        stop.cancel();
    });
    println!("\nserving {}", file.display());
    plane.serve(listener, shutdown).await.unwrap();
    plane.shutdown().await;
}

/// The child, what it goes on to print, and its kubeconfig.
fn child(data: &Path) -> (Child, impl Iterator<Item = std::io::Result<String>>, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "local_server::child_that_serves", "--nocapture"])
        .env(CHILD, data)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let file = lines
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("serving ").map(str::to_owned));
    let kubeconfig = std::fs::read_to_string(file.unwrap()).unwrap();
    (child, lines, kubeconfig)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let (mut running, _output, kubeconfig) = child(dir.path());
        let client = client(&kubeconfig, "admin").await;
        let (told, mut tell) = tokio::sync::mpsc::unbounded_channel();
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let (maps, told) = (Api::<ConfigMap>::default_namespaced(client.clone()), told.clone());
                tokio::spawn(async move {
                    for turn in 0.. {
                        let name = format!("m-{round}-{writer}-{turn}");
                        if maps
                            .create(&PostParams::default(), &map(&name, "1"))
                            .await
                            .is_err()
                        {
                            return;
                        }
                        let _receiver_is_there = told.send(name);
                    }
                })
            })
            .collect();
        drop(told);
        for _ in 0..200 {
            acknowledged.push(tell.recv().await.unwrap());
        }
        running.kill().unwrap();
        running.wait().unwrap();
        while let Some(name) = tell.recv().await {
            acknowledged.push(name);
        }
        for writer in writers {
            writer.abort();
        }
    }
    let (mut running, _output, kubeconfig) = child(dir.path());
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&kubeconfig, "admin").await);
    let all = maps.list(&kube::api::ListParams::default()).await.unwrap();
    let there: std::collections::BTreeSet<_> = all.items.iter().map(kube::ResourceExt::name_any).collect();
    for name in &acknowledged {
        assert!(there.contains(name), "{name} was acknowledged and is lost");
    }
    drop(running.stdin.take());
    eventually("the child ends", async || running.try_wait().unwrap().is_some()).await;
}

#[tokio::test]
async fn everybody_may_do_what_their_roles_say_and_nothing_else() {
    use signoff_api::{Approval, Decision, Run};
    let local = Local::start().await;
    let as_user = |name: &str| {
        local
            .plane
            .client(&signoff_local::Identity::Named(name.to_owned()))
    };
    for name in ["dev", "alice", "bob", "agent"] {
        let runs: Api<Run> = Api::default_namespaced(as_user(name));
        runs.list(&kube::api::ListParams::default()).await.unwrap();
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(as_user(name));
        let (code, _, message) = refusal(
            namespaces
                .delete("default", &kube::api::DeleteParams::default())
                .await,
        );
        assert_eq!(code, 403);
        assert!(
            message.starts_with("namespaces \"default\" is forbidden: User \""),
            "{message}"
        );
    }
    let secrets: Api<k8s_openapi::api::core::v1::Secret> = Api::default_namespaced(as_user("agent"));
    let (_, _, message) = refusal(secrets.list(&kube::api::ListParams::default()).await);
    assert_eq!(
        message,
        "secrets is forbidden: User \"system:serviceaccount:default:agent\" cannot list resource \"secrets\" in API group \"\" in the namespace \"default\""
    );
    let approvals: Api<Approval> = Api::default_namespaced(as_user("alice"));
    assert_eq!(
        refusal(approvals.delete("x", &kube::api::DeleteParams::default()).await).0,
        403
    );
    let decisions: Api<Decision> = Api::default_namespaced(as_user("alice"));
    assert_eq!(
        refusal(decisions.delete("x", &kube::api::DeleteParams::default()).await).0,
        403
    );
    let nobody: Api<ConfigMap> = Api::default_namespaced(as_user("mallory"));
    assert_eq!(refusal(nobody.get("x").await).0, 403);
}

#[tokio::test]
async fn only_admin_acts_as_somebody_else() {
    let local = Local::start().await;
    let (kubeconfig, _, _) = serve(&local).await;
    let as_bob = |context: &'static str| {
        let kubeconfig = kubeconfig.clone();
        async move {
            let options = KubeConfigOptions {
                context: Some(context.to_owned()),
                ..KubeConfigOptions::default()
            };
            let config = Kubeconfig::from_yaml(&kubeconfig).unwrap();
            let mut config = Config::from_custom_kubeconfig(config, &options).await.unwrap();
            config.auth_info.impersonate = Some("bob".to_owned());
            let review = k8s_openapi::api::authentication::v1::SelfSubjectReview::default();
            let reviews: Api<k8s_openapi::api::authentication::v1::SelfSubjectReview> =
                Api::all(Client::try_from(config).unwrap());
            reviews.create(&PostParams::default(), &review).await
        }
    };
    let seen = as_bob("admin").await.unwrap().status.unwrap().user_info.unwrap();
    assert_eq!(seen.username.as_deref(), Some("bob"));
    let (code, _, message) = refusal(as_bob("alice").await);
    assert_eq!(code, 403);
    assert_eq!(
        message,
        "users \"bob\" is forbidden: User \"alice\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope"
    );
}
