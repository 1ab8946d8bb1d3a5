//! `signoff man`: the manual pages.

use std::path::{Path, PathBuf};

use super::{answer::Answer, error::CliError};

/// Write the manual pages, one for each command, as `man` reads them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  signoff man --dir ~/.local/share/man/man1
  man signoff-approve")]
pub(super) struct ManArgs {
    /// Folder to write into. It is created if it is not there.
    #[arg(long, value_name = "FOLDER")]
    dir: PathBuf,
}

pub(super) fn verb(args: &ManArgs, command: clap::Command) -> Result<Answer, CliError> {
    let failed = |path: &Path, error: &std::io::Error| CliError::internal(&path.display().to_string(), error);
    std::fs::create_dir_all(&args.dir).map_err(|error| failed(&args.dir, &error))?;
    // `signoff help VERB` prints what the page of the verb says
    let command = command.disable_help_subcommand(true);
    clap_mangen::generate_to(command, &args.dir).map_err(|error| failed(&args.dir, &error))?;
    let pages = std::fs::read_dir(&args.dir).map_err(|error| failed(&args.dir, &error))?;
    let pages = pages.filter_map(Result::ok);
    let mut names: Vec<String> = pages
        .filter_map(|page| page.file_name().into_string().ok())
        .filter(|name| name.starts_with("signoff") && name.ends_with(".1"))
        .collect();
    names.sort_unstable();
    let told = format!("wrote {} pages to {}", names.len(), args.dir.display());
    Ok(Answer::text(told).with_data(names.into()))
}
