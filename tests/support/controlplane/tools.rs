//! Where the programs are: built by `tests/controlplane`, or named by the environment.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::kubectl::Tool;
use super::process::Process;

/// Which Kubernetes is tested against: the newest supported one, or `oldest`.
const VERSION: &str = "SIGNOFF_CONTROLPLANE";
/// A folder with programs, as `setup-envtest` gets them; the controller manager is not among those.
const ASSETS: &str = "KUBEBUILDER_ASSETS";
const MANAGER: &str = "kube-controller-manager";

/// The programs that tests run.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) kubectl: PathBuf,
    pub(super) helm: PathBuf,
    plane: Plane,
}

/// Where the servers' programs are.
#[derive(Debug)]
enum Plane {
    /// One program for all, as `tests/controlplane` builds it.
    One(PathBuf),
    /// A folder with a program for each.
    Folder(PathBuf),
}

impl Tools {
    pub(super) fn find() -> Result<Self, String> {
        let plane = match assets() {
            Some(folder) => Plane::Folder(folder),
            None => Plane::One(built("controlplane").ok_or_else(|| {
                format!(
                    "no control plane; build it with tests/controlplane/build.sh{}",
                    argument()
                )
            })?),
        };
        Ok(Self {
            kubectl: find("KUBECTL", "kubectl")?,
            helm: find("HELM", "helm")?,
            plane,
        })
    }

    pub(super) fn start(&self, component: &str, dir: &Path, args: &[String]) -> Process {
        let (program, first) = match &self.plane {
            Plane::One(program) => (program.clone(), Some(component.to_owned())),
            Plane::Folder(folder) => (folder.join(component), None),
        };
        let args: Vec<_> = first.into_iter().chain(args.iter().cloned()).collect();
        Process::start(&program, component, &args, dir)
    }

    /// Whether there is a controller manager to start.
    pub(super) fn has_manager(&self) -> bool {
        match &self.plane {
            Plane::One(_) => true,
            Plane::Folder(folder) => folder.join(MANAGER).exists(),
        }
    }
}

/// helm alone, for what needs no server; `None` as in [`super::ControlPlane::start`].
pub fn helm(suite: &str) -> Option<Tool> {
    match find("HELM", "helm") {
        Ok(helm) => Some(Tool::new(&helm, Path::new("/dev/null"), &[], None)),
        Err(missing) => not_run(suite, &missing),
    }
}

/// kubectl alone with this kubeconfig, for another server than a real one; `None` as in [`super::ControlPlane::start`].
#[allow(dead_code, reason = "the benchmark has this file too")]
pub fn kubectl(suite: &str, kubeconfig: &Path) -> Option<Tool> {
    match find("KUBECTL", "kubectl") {
        Ok(kubectl) => Some(Tool::new(&kubectl, kubeconfig, &["--context", "admin"], None)),
        Err(missing) => not_run(suite, &missing),
    }
}

/// Says on the terminal that something is not tested, or fails where everything must be.
pub fn not_run<T>(what: &str, missing: &str) -> Option<T> {
    assert!(
        std::env::var_os("SIGNOFF_REQUIRE_CONTROLPLANE").is_none(),
        "{what}: {missing}"
    );
    say_not_run(what, missing);
    None
}

/// Says on the terminal that something is not tested.
pub fn say_not_run(what: &str, why: &str) {
    // written past the test runner, which keeps what a passing test prints to itself
    let _ = writeln!(std::io::stderr(), "\nNOT RUN: {what}: {why}");
}

fn find(variable: &str, name: &str) -> Result<PathBuf, String> {
    let asset = || {
        assets()
            .map(|folder| folder.join(name))
            .filter(|path| path.exists())
    };
    std::env::var_os(variable)
        .map(PathBuf::from)
        .or_else(asset)
        .or_else(|| built(name))
        .ok_or_else(|| {
            format!(
                "no {name}; get it with tests/controlplane/tools.sh{} or set {variable}",
                argument()
            )
        })
}

fn assets() -> Option<PathBuf> {
    std::env::var_os(ASSETS).map(PathBuf::from)
}

fn built(name: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/controlplane");
    let folder = if is_oldest() {
        folder.join("oldest")
    } else {
        folder
    };
    Some(folder.join(name)).filter(|path| path.exists())
}

fn argument() -> &'static str {
    if is_oldest() { " oldest" } else { "" }
}

fn is_oldest() -> bool {
    let version = std::env::var_os(VERSION).filter(|version| !version.is_empty());
    assert!(
        version
            .as_ref()
            .is_none_or(|version| version == &OsString::from("oldest")),
        "{VERSION} is either `oldest` or not set"
    );
    version.is_some()
}
